"""Which replica ``export --peft`` takes where none is named."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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
