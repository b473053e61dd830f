"""Run directories of versions that had neither rows of final metrics nor their description open like new ones."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from commands import call
from trained import tiny_run

from study.records.run_directory import RunDirectory
from trainables.configs import NestedConfig
from trainables.methods.nested import train
from trainables.packs.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "new", tiny_backbone).path


@pytest.fixture
def old(new: Path, tmp_path: Path) -> Path:
    path = Path(shutil.copytree(new, tmp_path / "old"))
    study = json.loads((path / "study.json").read_text())
    study["metrics"], study["run_id"], study["provenance"]["spec_hash"] = "continual", "old", "0" * 64
    (path / "study.json").write_text(json.dumps(study))
    for file in path.glob("checkpoints/*/*.json"):
        content = json.loads(file.read_text())
        if "rows" in content:
            content["rows"] = [row for row in content["rows"] if row["phase"] != "final"]
            file.write_text(json.dumps(content))
    metrics = pd.read_parquet(path / "metrics.parquet")
    metrics[metrics["phase"] != "final"].to_parquet(path / "metrics.parquet")
    return path


def test_final_metrics_are_those_that_were_recorded(new: Path, old: Path) -> None:
    runs = [RunDirectory.open(path) for path in (new, old)]
    for trial, seed in runs[0].replicas:
        first, second = (run.final_metrics(trial.replica_id(seed)) for run in runs)
        assert first == second and "final_accuracy" in first
    runs[1].export()
    tables = [pd.read_parquet(path / "trials.parquet").drop(columns="run_id") for path in (new, old)]
    pd.testing.assert_frame_equal(*tables)
    assert runs[1].study.metrics == runs[0].study.metrics


def test_status_report_and_compare_work(new: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "status", old)
    assert code == 0 and "4 finished" in out
    code, out, err = call(capsys, "report", old)
    assert code == 0 and "final accuracy" in out, err
    assert json.loads((old / "study.json").read_text())["metrics"]["final_accuracy"]["direction"] == "maximize"
    code, out, err = call(capsys, "compare", old, new)
    assert code == 0 and "bit-equal" in out and "final final_accuracy" not in out, err


def test_a_resume_gives_final_metrics_to_a_replica_that_was_killed_at_its_end(new: Path, old: Path) -> None:
    run = RunDirectory.open(old)
    trial = run.trials[1]
    ids = {seed: trial.replica_id(seed) for seed in trial.seeds}
    (old / "trials.parquet").unlink()
    assert run.final_metrics(ids[0]) == {}
    again = Checkpoints(old / "checkpoints", ids)
    train(NestedConfig.model_validate(trial.params), trial.seeds, lambda rows: None, again)
    first = RunDirectory.open(new)
    assert all(RunDirectory.open(old).final_metrics(name) == first.final_metrics(name) for name in ids.values())
