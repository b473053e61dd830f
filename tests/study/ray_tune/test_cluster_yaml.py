"""Ray itself accepts ``cluster.yaml``, and it says what the project needs of a cluster."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER_FILE = Path(__file__).resolve().parents[3] / "cluster.yaml"


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """The file as Ray completes it, once Ray has found nothing wrong with it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(CLUSTER_FILE.read_text()))
    validate_config(config)
    return config


def commands(config: dict[str, Any], node: str) -> list[str]:
    """All set-up commands of a ``head`` or ``worker`` node; Ray has put the common ones in front of its own."""
    return config[f"{node}_setup_commands"]


def test_ray_rejects_an_unknown_field(prepared: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import validate_config

    broken = copy.deepcopy(prepared)
    broken["available_node_types"]["head"]["gpus"] = 1
    with pytest.raises(ValidationError):
        validate_config(broken)


def test_head_takes_no_trials(prepared: dict[str, Any]) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert head["resources"].get("CPU") == 0
    assert not head["resources"].get("GPU")


def test_gpu_workers_come_and_go(prepared: dict[str, Any]) -> None:
    workers = {k: v for k, v in prepared["available_node_types"].items() if v["resources"].get("GPU", 0) > 0}
    assert workers
    assert all(kind["min_workers"] == 0 and kind["max_workers"] > 0 for kind in workers.values())
    assert 0 < prepared["idle_timeout_minutes"] <= 30


@pytest.mark.parametrize("node", ["head", "worker"])
def test_every_node_installs_the_pinned_packages(prepared: dict[str, Any], node: str) -> None:
    project = [line for line in commands(prepared, node) if "pip install" in line and "constraints.txt" in line]
    assert len(project) == 1
    assert "~/lora-study" in project[0]
    assert {"~/lora-study/constraints.txt", "~/lora-study/pyproject.toml"} <= set(prepared["file_mounts"])


@pytest.mark.parametrize("node", ["head", "worker"])
def test_every_node_mounts_the_shared_runs_and_reports_nothing_home(prepared: dict[str, Any], node: str) -> None:
    assert any("/mnt/runs" in line and "nfs4" in line for line in commands(prepared, node))
    start = " ".join(prepared[f"{node}_start_ray_commands"])
    assert "RAY_USAGE_STATS_ENABLED=0" in start
    assert "MLFLOW_DISABLE_TELEMETRY=true" in start


def test_all_packages_and_what_the_build_reads_are_mounted() -> None:
    mounts = yaml.safe_load(CLUSTER_FILE.read_text())["file_mounts"]
    for name in ("study", "search_spaces", "trainables", "analysis", "README.md", "LICENSE"):
        assert mounts[f"~/lora-study/{name}"] == name
