"""Whole studies through the command line, in processes of their own, as a user runs them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import SMALL, call, command, metrics, run, trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Path:
    """A finished small study; its folder holds runs/ with MLflow's database and ``run``."""
    folder = tmp_path_factory.mktemp("finished")
    done = run(
        folder, "nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "2", "--pack", "auto", "--out", "run"
    )
    (folder / "out.txt").write_text(done.stdout)
    (folder / "err.txt").write_text(done.stderr)
    return folder


def test_the_terminal_shows_answer_tables_and_places(finished: Path) -> None:
    out, err = (finished / "out.txt").read_text(), (finished / "err.txt").read_text()
    for expected in (
        "Configurations", "collapsed", "(frozen backbone)", "To settle differences of",
        "lora-study ui run", "tensorboard --logdir", "report/*.png", "report/index.html",
        "report/results.parquet", "trials.parquet", "start-up",
    ):  # fmt: skip
        assert expected in out
    assert "[6/6]" in err and "no GPU" in err
    assert "pack auto: " in err and "a step of 1 replica takes" in err
    assert "Traceback" not in err and "Warning" not in err


def test_records_are_complete(finished: Path) -> None:
    run_dir = finished / "run"
    frame = pd.read_parquet(run_dir / "trials.parquet")
    assert len(frame) == 6 and set(frame["status"]) == {"finished"}
    assert frame["metric.final_accuracy"].between(0, 1).all()
    assert (frame["trainable_params"] > 0).all() and frame["data_hash"].str.len().eq(64).all()
    assert b"schema_version" in pq.read_schema(run_dir / "metrics.parquet").metadata
    rows = pd.read_parquet(run_dir / "metrics.parquet")
    assert len(rows[(rows["phase"] == "eval") & (rows["name"] == "accuracy")]) == 6 * 4
    assert not rows.duplicated(["trial_id", "seed", "phase", "task", "epoch", "step", "name"]).any()
    study = json.loads((run_dir / "study.json").read_text())
    assert study["provenance"]["versions"]["torch"] and study["reported_source"]
    assert study["resources"]["pack"] in (1, 2)  # of --pack auto, what was picked
    assert (run_dir / "report" / "seeds.png").stat().st_size > 10_000
    assert len(list((run_dir / "checkpoints").glob("*/task_*.safetensors"))) == 6 * 4
    assert not [path for path in (run_dir / "checkpoints").rglob("*") if path.suffix in (".pkl", ".pt", ".pth")]
    assert len(list((run_dir / "tensorboard").rglob("events.*"))) == 6 + 3


def test_mlflow_has_trials_replicas_metrics_and_artifacts(finished: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("nested_alpha")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 3 + 6 and {run.info.status for run in runs} == {"FINISHED"}
    replica = next(r for r in runs if r.data.tags.get("kind") == "replica")
    assert len(client.get_metric_history(replica.info.run_id, "eval/accuracy")) == 4
    assert client.list_artifacts(replica.info.run_id, "checkpoints")
    parent = client.get_run(replica.data.tags["mlflow.parentRunId"])
    assert len(client.get_metric_history(parent.info.run_id, "eval/accuracy/mean")) == 4
    top = client.get_run(parent.data.tags["mlflow.parentRunId"])
    assert "report/index.html" in {item.path for item in client.list_artifacts(top.info.run_id, "report")}


def test_report_and_status_work_on_a_finished_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Configurations" in call(capsys, "report", finished / "run")[1]
    assert "6 finished" in call(capsys, "status", finished / "run")[1]


def test_an_out_folder_in_use_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted((finished / "run").rglob("*"))
    code, out, err = call(capsys, "nested_alpha", *SMALL, "--out", finished / "run")
    assert code == 2 and not out and "lora-study resume" in err
    study = json.loads((finished / "run" / "study.json").read_text()) | {"study": "another"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").write_text(json.dumps(study))
    assert "another study (another)" in call(capsys, "nested_alpha", *SMALL, "--out", "other")[2]
    assert sorted((finished / "run").rglob("*")) == before


@pytest.mark.slow
def test_again_and_packed_gives_the_same_numbers_to_compare_and_to_rerun(
    finished: Path, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "2", "--quiet"]
    run(tmp_path, *words, "--pack", "2", "--out", "packed")
    pd.testing.assert_frame_equal(trials(finished / "run"), trials(tmp_path / "packed"))
    pd.testing.assert_frame_equal(metrics(finished / "run"), metrics(tmp_path / "packed"))
    assert "All 3 configurations: bit-equal." in call(capsys, "compare", finished / "run", tmp_path / "packed")[1]
    # What Ray trained is repeated without it, bit for bit.
    replica = sorted((tmp_path / "packed" / "checkpoints").iterdir())[0].name
    code, out, _ = call(capsys, "rerun", tmp_path / "packed", "--replica", replica)
    assert code == 0 and "bit-equal" in out


@pytest.mark.slow
def test_resume_after_kill_9_gives_the_undisturbed_numbers(
    finished: Path, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    words = command("nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "2", "--out", "run")
    driver = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not list(run_dir.glob("checkpoints/*/outcome.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert 0 < len(list(run_dir.glob("checkpoints/*/outcome.json"))) < 6
    assert "lora-study resume" in call(capsys, "status", run_dir)[1]
    run(tmp_path, "resume", "run", "--quiet")
    pd.testing.assert_frame_equal(trials(finished / "run"), trials(run_dir))
    pd.testing.assert_frame_equal(metrics(finished / "run"), metrics(run_dir))
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as database:
        states = database.execute("select status, count(*) from runs group by status").fetchall()
        repeated = database.execute(
            "select count(*) from (select 1 from metrics group by run_uuid, key, step having count(*) > 1)"
        ).fetchone()
    assert states == [("FINISHED", 10)]
    assert repeated == (0,)


@pytest.mark.slow
def test_an_interrupt_says_how_to_resume_and_the_budget_too(tmp_path: Path, tiny_backbone: str) -> None:
    words = command("nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "4", "--out", "run")
    driver = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/checkpoints/*/outcome.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert "lora-study resume" in err and "Traceback" not in err
    frame = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert len(frame) == 12 and "interrupted" in set(frame["status"]) and "finished" in set(frame["status"])


@pytest.mark.slow
def test_a_failing_replica_is_reported_and_the_rest_is_complete(
    finished: Path, tmp_path: Path, tiny_backbone: str
) -> None:
    """A replica whose checkpoint folder cannot be written fails; the exit code is 1 and every other number is there."""
    replica = sorted((finished / "run" / "checkpoints").glob("*s0"))[0].name
    words = command("nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "1", "--out", "bad")
    driver = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "bad" / "checkpoints").is_dir():
        time.sleep(0.01)
    (tmp_path / "bad" / "checkpoints" / replica).mkdir()
    (tmp_path / "bad" / "checkpoints" / replica / "task_00.safetensors").mkdir()  # os.replace cannot put a file here
    out, err = driver.communicate(timeout=200)
    assert driver.returncode == 1, err
    frame = pd.read_parquet(tmp_path / "bad" / "trials.parquet")
    assert sorted(frame["status"]) == ["failed", "finished", "finished"]
    assert frame.set_index("status").loc["failed", "error"]


@pytest.mark.cluster
def test_address_joins_a_running_cluster(tmp_path: Path, tiny_backbone: str) -> None:
    """Two nodes on this machine; the study runs on them and leaves them running."""
    script = (
        "import sys, subprocess\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "cluster.add_node(num_cpus=1)\n"
        "done = subprocess.run([*sys.argv[1:], '--address', cluster.address])\n"
        "alive = len(cluster.list_all_nodes())\n"
        "cluster.shutdown()\n"
        "sys.exit(done.returncode if alive == 2 else 99)\n"
    )
    settings = ("data.classes=0:10", "data.train_per_class=4", "data.test_per_class=2", "rank=4", "epochs=1")
    words = command(
        "hybrid_week1", "--backbone", tiny_backbone, "--trials", "2", "--seeds", "1", "--out", "run",
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert set(pd.read_parquet(tmp_path / "run" / "trials.parquet")["status"]) == {"finished"}


@pytest.mark.slow
def test_real_images(real_images: Path, tmp_path: Path) -> None:
    weights = real_images.parents[1] / "weights" / "vit_tiny_32.safetensors"
    if not weights.exists():
        pytest.skip(f"real weights are not at {weights}")
    run(
        tmp_path, "nested_alpha", "--dataset", str(real_images), "--backbone", str(weights), "--seeds", "1",
        "--out", "run",
        "--set", "data.classes=1:41:2", "--set", "data.train_per_class=20", "--set", "data.test_per_class=10",
        "--set", "epochs=2", "--set", "loss_classes=task", "--trials", "1",
    )  # fmt: skip
    frame = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert (frame["metric.final_accuracy"] > 2 / 20).all()  # chance is 1/20
