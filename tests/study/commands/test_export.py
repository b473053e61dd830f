"""``lora-study export``: scores for other tools, and which replica ``--peft`` takes where none is named."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import call
from synthetic import make_run

from study.catalog import STUDIES
from study.commands.export import _best
from study.spec import Objective
from trainables.errors import InputError

FINALS = {
    "lucky-s0": {"best_top1": 0.9, "final_top1": 0.5},
    "steady-s0": {"best_top1": 0.8, "final_top1": 0.8},
    "unknown-s0": {},
}


def run(metric: str) -> Any:
    return SimpleNamespace(
        path=Path("run"), study=SimpleNamespace(objective=Objective(metric=metric)), final_metrics=FINALS.__getitem__
    )


@pytest.mark.parametrize("metric", ["final_top1", "best_top1"])  # the second of runs of earlier versions
def test_a_lucky_epoch_does_not_make_a_replica_the_best(metric: str) -> None:
    assert _best(run(metric), list(FINALS)) == "steady-s0"
    with pytest.raises(InputError, match="no finished replica has final_top1"):
        _best(run(metric), ["unknown-s0"])


def test_no_study_takes_its_best_epoch_as_objective() -> None:
    objectives = [study.objective for study in STUDIES.values()]
    objectives += [one for study in STUDIES.values() if study.search for one in study.search.objectives]
    assert not [one.metric for one in objectives if one.metric.startswith("best_")]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", {"a": [0.5, 0.6], "b": [0.4, 0.3]}, 2)


def test_scores_for_rliable_and_marl_eval(scored: Path, tmp_path: Path, capsys) -> None:
    code, out, err = call(capsys, "export", scored, "--rliable", tmp_path / "s.npz")
    assert code == 0 and out.splitlines()[0] == "a: scores 2 x 1 (seeds x runs)", err
    with np.load(tmp_path / "s.npz") as scores:
        assert {label: scores[label].shape for label in scores} == {"a": (2, 1), "b": (2, 1)}
    code, out, err = call(capsys, "export", scored, "--marl-eval", tmp_path / "s.json")
    assert code == 0 and "2 algorithms x 2 runs" in out, err
    assert json.loads((tmp_path / "s.json").read_text())["synthetic"]["glyphs100"]["a"]["run_1"]["absolute_metrics"]


def test_bad_input_is_one_line_and_exit_code_2(scored: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.npz").write_text("mine")
    other = make_run(tmp_path / "other", {"z": [0.5]}, 2)
    new = tmp_path / "new.npz"
    cases = {
        "one format is needed": (scored,),
        "--parquet, --peft, --rliable, --marl-eval": (scored, "--parquet", "--rliable", new, "--out", tmp_path / "o"),
        "--out DIR is missing": (scored, "--parquet"),
        "--out DIR is for": (scored, "--rliable", new, "--out", tmp_path / "o"),
        "allowed with --peft only": (scored, "--rliable", new, "--all"),
        "there already": (scored, "--rliable", tmp_path / "mine.npz"),
        "cannot be written": (scored, "--marl-eval", tmp_path / "nowhere" / "s.json"),
        "no configuration has a seed": (scored, other, "--rliable", new),
        "not a run directory": (tmp_path, "--rliable", new),
    }
    for hint, words in cases.items():
        code, out, err = call(capsys, "export", *words)
        lines = err.strip().splitlines()
        assert (code, out, len(lines)) == (2, "", 1) and hint in lines[0], (hint, err)
    assert (tmp_path / "mine.npz").read_text() == "mine" and not new.exists()
