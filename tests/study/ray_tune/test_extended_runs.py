"""Runs with seeds added later, through the command line, in processes of their own, as a user extends them."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import SMALL, call, command, metrics, run, trials
from trained import without_ray

OUTSIDE = """
import numpy as np
from lora_study import Objective, Study, plain

def train(config, seed):
    with open("calls.txt", "a") as calls:
        calls.write(f"{config['rate']} {seed}\\n")
    if config["rate"] == 0.2 and seed == 1:
        raise RuntimeError("no memory")
    return {"accuracy": config["rate"] + 0.01 * np.random.rand()}

mine = Study(name="mine", question="Which rate?", trainable=plain(train), objective=Objective(metric="accuracy"),
             configurations={"low": {"rate": 0.1}, "high": {"rate": 0.2}})
"""


def calls(folder: Path) -> list[str]:
    found = (folder / "calls.txt").read_text().splitlines()
    (folder / "calls.txt").unlink()
    return sorted(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_only_what_is_new_is_trained_from_the_kept_copy_and_a_failure_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(OUTSIDE)
    run(tmp_path, "mine.py", "--seeds", "2", "--out", "run", "--quiet", code=1)
    assert calls(tmp_path) == ["0.1 0", "0.1 1", "0.2 0", "0.2 1"]
    (tmp_path / "mine.py").write_text(OUTSIDE.replace("0.01 *", "2.0 *"))
    done = run(tmp_path, "extend", "run", "--seeds", "2", "--only", "high", code=1)
    assert "the copy that this run keeps is trained" in done.stderr
    assert calls(tmp_path) == ["0.2 2", "0.2 3"]
    assert "failed before: 1 of 4 replicas" in done.stderr and "[6/6]" in done.stderr
    frame = pd.read_parquet(tmp_path / "run" / "trials.parquet").set_index(["configuration", "seed"])
    assert frame["status"].to_dict() == {
        ("low", 0): "finished", ("low", 1): "finished", ("high", 0): "finished", ("high", 1): "failed",
        ("high", 2): "finished", ("high", 3): "finished",
    }  # fmt: skip
    assert frame["metric.accuracy"].dropna().max() <= 0.21
    looks = json.loads((tmp_path / "run" / "study.json").read_text())["looks"]
    assert looks == [{"low": 2, "high": 2}, {"low": 2, "high": 4}]

    kept = tmp_path / "run" / "source" / "mine.py"
    kept.write_text(kept.read_text() + "\n")
    code, _, err = call(capsys, "extend", tmp_path / "run", "--seeds", 1)
    assert code == 2 and "code (both at commit" in err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_extension_killed_and_resumed_is_the_run_that_had_all_seeds(
    tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.commands.run.train_and_report", without_ray)
    study = ["nested_alpha", "--backbone", tiny_backbone, *SMALL, "--trials", "2", "--quiet"]
    assert call(capsys, *study, "--seeds", "4", "--out", "whole", "--mlflow", f"sqlite:///{tmp_path}/other.db")[0] == 0
    assert call(capsys, *study, "--seeds", "2", "--out", "run")[0] == 0
    begun = _mlflow(tmp_path)
    assert len(begun) == 1 + 2 + 4
    known = {path.parent: path.read_text() for path in (tmp_path / "run").glob("checkpoints/*/outcome.json")}

    driver = subprocess.Popen(
        command("extend", "run", "--seeds", "2", "--quiet"), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "run").glob("checkpoints/*/outcome.json"))) <= 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGSTOP)
    code, _, err = call(capsys, "extend", tmp_path / "run", "--seeds", 1)
    assert code == 2 and f"process {driver.pid}" in err
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert 4 < len(list((tmp_path / "run").glob("checkpoints/*/outcome.json"))) < 8
    code, _, err = call(capsys, "extend", tmp_path / "run", "--seeds", 1)
    assert code == 2 and "lora-study resume" in err

    run(tmp_path, "resume", "run", "--quiet")
    pd.testing.assert_frame_equal(trials(tmp_path / "whole"), trials(tmp_path / "run"))
    pd.testing.assert_frame_equal(metrics(tmp_path / "whole"), metrics(tmp_path / "run"))
    assert all((folder / "outcome.json").read_text() == text for folder, text in known.items())
    now = _mlflow(tmp_path)
    # The study's run and the replicas' go on; a configuration's is made anew, since curves cannot be changed.
    assert len(begun.keys() & now.keys()) == 1 + 4 and len(now) == 1 + 2 + 8 and set(now.values()) == {"FINISHED"}
    assert len({path.parent for path in (tmp_path / "run" / "tensorboard").rglob("events.*")}) == 8 + 2
    assert len(json.loads((tmp_path / "run" / "study.json").read_text())["looks"]) == 2


def _mlflow(folder: Path) -> dict[str, str]:
    with sqlite3.connect(folder / "runs" / "mlflow.db") as database:
        return dict(database.execute("select run_uuid, status from runs where lifecycle_stage = 'active'").fetchall())
