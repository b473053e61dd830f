"""A search through the command line in processes of their own, as a user runs it: Ray, kill and resume."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import CLOCK, call, command, run

WORDS = [
    "nested_search", "--profile", "embedded", "--device", "cpu", "--set", "data.classes=0:20", "--set", "init_cls=5",
    "--set", "increment=5", "--set", "rank=int:2:16", "--set", "data.train_per_class=8", "--set",
    "data.test_per_class=5", "--set", "epochs=1", "--trials", "4", "--racing", "halving:2,3", "--confirm", "2x2",
    "--max-concurrent", "1",
]  # fmt: skip


def table(run_dir: Path, name: str) -> pd.DataFrame:
    frame = pd.read_parquet(run_dir / f"{name}.parquet")
    return frame.drop(columns=[column for column in frame if column in CLOCK])


@pytest.mark.slow
def test_a_search_runs_and_after_kill_9_ends_the_same(
    tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--backbone", tiny_backbone, "--pack", "2"]
    done = run(tmp_path, *words, "--out", "whole")
    assert "on fresh seeds" in done.stdout and "Traceback" not in done.stderr
    found = table(tmp_path / "whole", "search")
    assert len(found) == 4 and (found["seeds"] == 3).sum() >= 1 and found["fresh_trial_id"].notna().sum() >= 2
    metrics = pd.read_parquet(tmp_path / "whole" / "metrics.parquet")
    tested = set(metrics.loc[metrics["phase"].isin(["eval", "ablation"]), "trial_id"])
    assert tested == set(found["fresh_trial_id"].dropna())

    driver = subprocess.Popen(command(*words, "--out", "cut"), cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "cut").glob("checkpoints/*/outcome.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert 3 <= len(list((tmp_path / "cut").glob("checkpoints/*/outcome.json"))) < 14
    run(tmp_path, "resume", "cut", "--quiet")
    for name in ("search", "importance", "trials"):
        pd.testing.assert_frame_equal(table(tmp_path / "whole", name), table(tmp_path / "cut", name))
    before = (tmp_path / "cut" / "search.jsonl").read_bytes()
    assert call(capsys, "resume", tmp_path / "cut", "--quiet")[0] == 0  # nothing is left to do
    assert (tmp_path / "cut" / "search.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_pack_that_falls_behind_really_stops(tmp_path: Path) -> None:
    # a backbone that learns: where all end at chance, nobody is behind
    done = run(tmp_path, *WORDS, "--set", "loss_classes=task", "--out", "run", "--stopping", "asha:1,2")
    assert "pack auto: " in done.stderr and "a step of 1 replica takes" in done.stderr
    frame = table(tmp_path / "run", "trials")
    pruned = frame[frame["status"] == "pruned"]
    assert len(pruned) and pruned["metric.final_val_accuracy"].isna().all()
    reached = pd.read_parquet(tmp_path / "run" / "metrics.parquet").groupby("trial_id")["task"].max()
    assert (reached[pruned["trial_id"].unique()] < 3).all()
