"""The examples, as a new user runs them: from a folder outside the checkout."""

from pathlib import Path

import pandas as pd
import pytest
from commands import run
from conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("digits.py", ["--seeds", "2"]),
        ("digits.py:digits_search", ["--trials", "4", "--racing", "halving:1,2", "--confirm", "1x2"]),
        ("peft_sst2.py", ["--seeds", "1", "--trials", "2", "--set", "train_examples=64"]),
    ],
)
def test_an_example_runs(tmp_path: Path, study: str, words: list[str]) -> None:
    done = run(tmp_path, str(EXAMPLES / study), *words, "--out", "run")
    frame = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert set(frame["status"]) == {"finished"} and "Traceback" not in done.stderr
    assert frame["metric.accuracy"].dropna().between(0, 1).all() and frame["metric.accuracy"].notna().any()
    if "search" in study:  # nothing of the search looked at test images
        searched = frame["param.evaluate"] == "validation"
        assert searched.any() and frame.loc[searched, "metric.accuracy"].isna().all()
