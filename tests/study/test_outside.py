"""A study from outside through the command line, in processes of its own: killed, moved, resumed, compared, rerun."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import call, command, metrics, run, trials
from trained import without_ray

TRAIN = """
import time
import numpy as np
from analysis import rate
from lora_study import Metric, Objective, Study, plain

def train(config, seed):
    for _ in range(3):
        time.sleep(0.05)
        yield {"accuracy": rate(config["lr"]) + 0.01 * np.random.rand()}

fraction = Metric(unit="fraction", low=0.0, high=1.0)
mine = Study(name="mine", question="Which rate?", trainable=plain(train, metrics={"accuracy": fraction}),
             configurations={"low": {"lr": 0.1}, "high": {"lr": 0.2}}, objective=Objective(metric="accuracy"))
"""


def lab(folder: Path, text: str = TRAIN) -> None:
    """A study file with an ``analysis`` of its own, where packages named like ours lie in the current folder."""
    (folder / "analysis").mkdir(parents=True)
    (folder / "analysis" / "__init__.py").write_text("def rate(lr):\n    return 0.5 + lr\n")
    for name in ("study", "trainables", "search_spaces"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('not ours')\n")
    (folder / "mine.py").write_text(text)


@pytest.mark.slow
def test_a_study_from_outside_is_killed_moved_resumed_compared_and_rerun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.commands.run.train_and_report", without_ray)
    assert call(capsys, "mine.py", "--seeds", 4, "--out", "whole", "--quiet")[0] == 0

    driver = subprocess.Popen(
        command("mine.py", "--seeds", "4", "--out", "cut"), cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 100
    while len(list((tmp_path / "cut").glob("checkpoints/*/outcome.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    (tmp_path / "mine.py").unlink()
    shutil.rmtree(tmp_path / "analysis")
    done = run(tmp_path, "resume", "cut")
    assert "high differs from low by +" in done.stdout and "Traceback" not in done.stderr
    frame = pd.read_parquet(tmp_path / "cut" / "trials.parquet")
    assert set(frame["status"]) == {"finished"} and len(frame) == 8
    pd.testing.assert_frame_equal(*(trials(tmp_path / name).drop(columns="diff_hash") for name in ("whole", "cut")))
    pd.testing.assert_frame_equal(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"))

    assert "8 finished" in call(capsys, "status", tmp_path / "cut")[1]
    assert "bit-equal" in call(capsys, "compare", tmp_path / "whole", tmp_path / "cut")[1]
    assert "bit-equal" in run(tmp_path, "rerun", "cut", "--replica", str(frame["replica_id"][0])).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('yield {"accuracy"', 'yield {"f1"', "metric 'accuracy': the objective asks for it"),
        ("np.random.rand()", "float('nan')", "diverged"),
    ],
)
def test_a_broken_contract_stops_everything_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    lab(tmp_path, TRAIN.replace(old, new))
    done = run(tmp_path, "mine.py", "--seeds", "2", "--out", "run", "--quiet", code=2)
    assert len(done.stderr.strip().splitlines()) == 1 and said in done.stderr
