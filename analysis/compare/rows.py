"""Where two runs of the same replicas first differ, row by row, bit for bit.

Wall-clock times are not compared, nor the phase ``timing`` and memory: they are not reproducible. A metric that only
one version measures is no difference; a row that is missing of a metric that both measure is one.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

REPLICA = ["trial_id", "seed"]
_NOT_REPRODUCIBLE, _FINAL = "timing", "final"
_MOMENT, _NAME = ["task", "epoch", "step"], ["phase", "name"]
_KEY = ["replica", *_MOMENT, *_NAME]


@dataclass(frozen=True)
class FirstDifference:
    """The earliest metric row that differs: ``first`` and ``second`` are its values, None where the row is missing.

    Task, epoch and step are None where the row has none; what is measured after a task or an epoch comes after its
    steps. ``rows``: how many of the ``compared`` rows differ.
    """

    seed: int
    phase: str
    task: int | None
    epoch: int | None
    step: int | None
    name: str
    first: float | None
    second: float | None
    rows: int
    compared: int

    @property
    def place(self) -> str:
        """``task 3, epoch 1, step 120, seed 2: train loss``, tasks and epochs counted from 1."""
        counted = [(name, at + 1) for name, at in (("task", self.task), ("epoch", self.epoch)) if at is not None]
        counted += [("step", self.step)] if self.step is not None else []
        moment = ", ".join(f"{name} {at}" for name, at in [*counted, ("seed", self.seed)])
        return f"{moment}: {self.phase} {self.name}"


@dataclass(frozen=True)
class RowComparison:
    """``by_trial``: the first difference of every trial that has one. ``differing``: replicas (trial of the first run,
    seed) with a row that differs. ``only_first``, ``only_second``: metrics (phase and name) of one run alone."""

    by_trial: dict[str, FirstDifference]
    differing: frozenset[tuple[str, int]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare_rows(
    first: pd.DataFrame, second: pd.DataFrame, replicas: pd.DataFrame, noisy: Collection[str] = ()
) -> RowComparison:
    """Compare the metric rows of the replicas that both runs have.

    Args:
        first: ``metrics`` of a run; of rows with an equal key the last counts.
        second: those of the other.
        replicas: columns trial_id and seed as in ``first``, and ``second_trial_id``, one row per common replica.
        noisy: final metrics that are not reproducible.
    """
    others = replicas[["second_trial_id", "seed"]].set_axis(REPLICA, axis=1)
    sides = [_comparable(first, replicas[REPLICA], noisy), _comparable(second, others, noisy)]
    if any((one["phase"] != _FINAL).all() for one in sides):  # a run of a version that had no such rows
        sides = [one[one["phase"] != _FINAL] for one in sides]
    known = [one[_NAME].drop_duplicates() for one in sides]
    metrics = known[0].merge(known[1], how="outer", indicator="in")
    only = [
        tuple(sorted(map(" ".join, metrics.loc[metrics["in"] == side, _NAME].to_numpy())))
        for side in ("left_only", "right_only")
    ]
    shared = metrics.loc[metrics["in"] == "both", _NAME]
    rows = sides[0].merge(shared).merge(sides[1].merge(shared), how="outer", on=_KEY, indicator="in")
    return RowComparison(*_differing(rows, replicas), *only)


def _differing(
    rows: pd.DataFrame, replicas: pd.DataFrame
) -> tuple[dict[str, FirstDifference], frozenset[tuple[str, int]]]:
    """The first difference of every trial that has one, and all replicas that have one."""
    values = rows[["value_x", "value_y"]].to_numpy(dtype=np.float64)
    bits = values.view(np.int64)
    # Equal bits, or both NaN; a row of one run alone differs.
    equal = ((bits[:, 0] == bits[:, 1]) | np.isnan(values).all(axis=1)) & (rows["in"] == "both").to_numpy()
    names = replicas.iloc[rows["replica"]][REPLICA].set_axis(rows.index)
    compared = names["trial_id"].value_counts()
    differing = rows[~equal].join(names[~equal])
    counts = differing["trial_id"].value_counts()
    earliest = differing.sort_values([*_MOMENT, "seed", *_NAME], na_position="last").drop_duplicates("trial_id")
    found = {}
    for row in earliest.to_dict("records"):
        trial, seed, phase, name = str(row["trial_id"]), int(row["seed"]), str(row["phase"]), str(row["name"])
        task, epoch, step = (None if pd.isna(row[at]) else int(row[at]) for at in _MOMENT)
        one = None if row["in"] == "right_only" else float(row["value_x"])
        other = None if row["in"] == "left_only" else float(row["value_y"])
        of = int(counts[trial]), int(compared[trial])
        found[trial] = FirstDifference(seed, phase, task, epoch, step, name, one, other, *of)
    pairs = differing[REPLICA].drop_duplicates().itertuples(index=False, name=None)
    return found, frozenset((str(trial), int(seed)) for trial, seed in pairs)


def _comparable(metrics: pd.DataFrame, replicas: pd.DataFrame, noisy: Collection[str]) -> pd.DataFrame:
    """Reproducible rows of the replicas: columns of ``_KEY`` (replica: place in ``replicas``) and value."""
    places = pd.MultiIndex.from_frame(replicas).get_indexer(pd.MultiIndex.from_frame(metrics[REPLICA]))
    names, known = pd.factorize(metrics["name"])
    no_memory = np.array(["memory" not in name for name in known], dtype=bool)[names]
    kept = (places >= 0) & no_memory & (metrics["phase"] != _NOT_REPRODUCIBLE).to_numpy(dtype=bool)
    kept &= ~((metrics["phase"] == _FINAL) & metrics["name"].isin(list(noisy))).to_numpy(dtype=bool)
    rows = metrics.loc[kept, [*_MOMENT, *_NAME, "value"]].assign(replica=places[kept])
    return rows.drop_duplicates(_KEY, keep="last")
