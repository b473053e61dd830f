"""Studies and trainables by name: those of the catalogue, and those from outside."""

import difflib
from pathlib import Path

from study.catalog import STUDIES
from study.spec import ResolvedStudy, Study
from trainables.errors import InputError
from trainables.registry import TrainableSpec, builtin


def find_study(name: str) -> Study:
    """Raises InputError for a name that is not in the catalogue."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"study {name!r}: unknown{hint}; allowed: {', '.join(STUDIES)}")
    return STUDIES[name]


def trainable_of(study: ResolvedStudy, run_dir: Path) -> TrainableSpec:
    """What a run trains, wherever its process runs."""
    return builtin()[study.trainable]
