"""Where two runs of the same replicas first differ, row by row, bit for bit.

Wall-clock times are not compared, nor the phase ``timing`` and memory: they are not reproducible. A metric that only
one version measures is no difference; a row that is missing of a metric that both measure is one.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

REPLICA = ["trial_id", "seed"]
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
        counted = (("task", self.task, 1), ("epoch", self.epoch, 1), ("step", self.step, 0), ("seed", self.seed, 0))
        moment = ", ".join(f"{name} {at + first}" for name, at, first in counted if at is not None)
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
    if any((one["phase"] != "final").all() for one in sides):  # a run of a version that had no such rows
        sides = [one[one["phase"] != "final"] for one in sides]
    metrics = sides[0][_NAME].drop_duplicates().merge(sides[1][_NAME].drop_duplicates(), how="outer", indicator="in")
    names = metrics["phase"] + " " + metrics["name"]
    only = [tuple(sorted(names[metrics["in"] == side])) for side in ("left_only", "right_only")]
    shared = metrics.loc[metrics["in"] == "both", _NAME]
    rows = sides[0].merge(shared).merge(sides[1].merge(shared), how="outer", on=_KEY, indicator="in")
    # Equal bits, or both NaN; a row of one run alone differs.
    values = rows[["value_x", "value_y"]].to_numpy(dtype=np.float64)
    equal = (values[:, 0].view(np.int64) == values[:, 1].view(np.int64)) | np.isnan(values).all(axis=1)
    rows = rows.join(replicas[REPLICA].reset_index(drop=True), on="replica")
    differing = rows[~equal | (rows["in"] != "both")]
    counts, compared = differing["trial_id"].value_counts(), rows["trial_id"].value_counts()
    earliest = differing.sort_values([*_MOMENT, "seed", *_NAME], na_position="last").drop_duplicates("trial_id")
    by_trial = {}
    for row in earliest.to_dict("records"):
        trial = str(row["trial_id"])
        task, epoch, step = (None if pd.isna(row[at]) else int(row[at]) for at in _MOMENT)
        one = None if row["in"] == "right_only" else float(row["value_x"])
        other = None if row["in"] == "left_only" else float(row["value_y"])
        by_trial[trial] = FirstDifference(
            int(row["seed"]), row["phase"], task, epoch, step, row["name"], one, other, int(counts[trial]),
            int(compared[trial]),
        )  # fmt: skip
    pairs = frozenset((str(trial), int(seed)) for trial, seed in differing[REPLICA].itertuples(index=False))
    return RowComparison(by_trial, pairs, *only)


def _comparable(metrics: pd.DataFrame, replicas: pd.DataFrame, noisy: Collection[str]) -> pd.DataFrame:
    """Reproducible rows of the replicas: columns of ``_KEY`` (replica: place in ``replicas``) and value."""
    places = pd.MultiIndex.from_frame(replicas).get_indexer(pd.MultiIndex.from_frame(metrics[REPLICA]))
    names, known = pd.factorize(metrics["name"])
    kept = (places >= 0) & np.array(["memory" not in name for name in known], dtype=bool)[names]
    kept &= (metrics["phase"] != "timing").to_numpy(dtype=bool)
    kept &= ~((metrics["phase"] == "final") & metrics["name"].isin(list(noisy))).to_numpy(dtype=bool)
    rows = metrics.loc[kept, [*_MOMENT, *_NAME, "value"]].assign(replica=places[kept])
    return rows.drop_duplicates(_KEY, keep="last")
