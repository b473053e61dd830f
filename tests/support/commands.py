"""The command line as a user runs it: in this process, or in one of its own."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from study.cli import main
from trainables.metrics.finals import COSTS

SMALL = [
    "--set", "data.classes=0:20", "--set", "init_cls=5", "--set", "increment=5", "--set", "rank=4",
    "--set", "data.train_per_class=8", "--set", "data.test_per_class=5", "--set", "epochs=1", "--trials", "3",
    "--pack", "1",  # nothing is measured first
]  # fmt: skip
CLOCK = {"duration_s", "data_s", "train_s", "eval_s", "peak_memory_mib", "run_id", "mlflow_run_id",
         "metric.step_share_s", "metric.step_time_s", "metric.peak_memory_mib"}  # fmt: skip
"""Columns of trials.parquet that a clock or a new run changes."""


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def command(*words: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "study" / "run.py"), *words]


def run(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    done = subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def trials(run_dir: Path) -> pd.DataFrame:
    """trials.parquet without what a clock or a new run changes."""
    frame = pd.read_parquet(run_dir / "trials.parquet")
    return frame.drop(columns=[name for name in frame if name in CLOCK])


def metrics(run_dir: Path) -> pd.DataFrame:
    """metrics.parquet without what a clock changes."""
    frame = pd.read_parquet(run_dir / "metrics.parquet")
    clocked = (frame["phase"] == "timing") | ((frame["phase"] == "final") & frame["name"].isin(list(COSTS)))
    return frame[~clocked].drop(columns="wall_s").reset_index(drop=True)
