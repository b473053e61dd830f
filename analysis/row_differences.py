"""Where two runs of the same replicas first differ, row by row, bit for bit.

Wall-clock times are not compared, nor the phase ``timing`` and memory: they are not reproducible. A metric that only
one version measures is no difference; a row that is missing of a metric that both measure is one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.series import REPLICA

_NOT_REPRODUCIBLE, _FINAL = "timing", "final"
_MOMENT = ["task", "epoch", "step"]
_NAME = ["phase", "name"]


@dataclass(frozen=True)
class FirstDifference:
    """The earliest metric row that differs: ``first`` and ``second`` are its values, None where the row is missing.

    Task, epoch and step are None where the row has none; what is measured after a task or an epoch comes after its
    steps. ``rows``: how many of the compared rows differ; ``compared``: all of them.
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
        """``task 3, epoch 0, step 120: train loss``, tasks and epochs counted from 1."""
        moments = [
            f"task {self.task + 1}" if self.task is not None else "",
            f"epoch {self.epoch + 1}" if self.epoch is not None else "",
            f"step {self.step}" if self.step is not None else "",
        ]
        return f"{', '.join(filter(None, [*moments, f'seed {self.seed}']))}: {self.phase} {self.name}"


@dataclass(frozen=True)
class RowComparison:
    """``by_trial``: the first difference of every trial that has one. ``only_first``, ``only_second``: metrics
    (phase and name) that one run alone has."""

    by_trial: dict[str, FirstDifference]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare_rows(
    first: pd.DataFrame, second: pd.DataFrame, replicas: pd.DataFrame, noisy: Collection[str] = ()
) -> RowComparison:
    """Compare the metric rows of the replicas that both runs have.

    Args:
        first: ``metrics`` of a run; of rows with an equal ``METRICS_KEY`` the last counts.
        second: those of the other.
        replicas: columns trial_id and seed as in ``first``, and ``second_trial_id``, one row per common replica.
    """
    others = replicas[["second_trial_id", "seed"]].set_axis(REPLICA, axis=1)
    sides = [_comparable(first, replicas[REPLICA], noisy), _comparable(second, others, noisy)]
    if any((one["phase"] != _FINAL).all() for one in sides):  # a run of a version that had no such rows
        sides = [one[one["phase"] != _FINAL] for one in sides]
    rows = pd.concat(sides, ignore_index=True)
    side = (np.arange(len(rows)) >= len(sides[0])).astype(int)
    metric = _codes(rows, _NAME)
    known = rows.loc[np.unique(metric, return_index=True)[1], _NAME]
    labels = np.array([f"{phase} {name}" for phase, name in zip(known["phase"], known["name"], strict=True)], object)
    seen = np.zeros((2, len(labels)), dtype=bool)
    seen[side, metric] = True
    shared = (seen[0] & seen[1])[metric]
    by_trial = _differing(rows[shared].reset_index(drop=True), side[shared], replicas)
    only = [tuple(sorted(labels[seen[one] & ~seen[1 - one]])) for one in (0, 1)]
    return RowComparison(by_trial, *only)


def _differing(rows: pd.DataFrame, side: NDArray[np.intp], replicas: pd.DataFrame) -> dict[str, FirstDifference]:
    """The first difference of every trial of the first run that has one."""
    key = _codes(rows, ["replica", *_MOMENT, *_NAME])
    firsts = np.unique(key, return_index=True)[1]
    values, present = np.full((len(firsts), 2), np.nan), np.zeros((len(firsts), 2), dtype=bool)
    values[key, side], present[key, side] = rows["value"].to_numpy(dtype=np.float64), True
    # Equal bits, or both NaN; a row of one run alone differs.
    bits = values.view(np.int64)
    equal = ((bits[:, 0] == bits[:, 1]) | np.isnan(values).all(axis=1)) & present.all(axis=1)
    trials = replicas["trial_id"].to_numpy()
    compared = pd.Series(trials[rows["replica"].to_numpy()[firsts]]).value_counts()
    merged = rows.iloc[firsts[~equal]].drop(columns="value")
    merged["trial_id"] = trials[merged["replica"]]
    merged["seed"] = replicas["seed"].to_numpy()[merged["replica"]]
    merged["key"] = np.flatnonzero(~equal)
    counts = merged["trial_id"].value_counts()
    earliest = merged.sort_values([*_MOMENT, "seed", *_NAME], na_position="last").drop_duplicates("trial_id")
    found = {}
    for row in earliest.to_dict("records"):
        trial, place = str(row["trial_id"]), row["key"]
        task, epoch, step = (None if pd.isna(row[at]) else int(row[at]) for at in _MOMENT)
        one, other = (float(values[place, at]) if present[place, at] else None for at in (0, 1))
        moment = (int(row["seed"]), str(row["phase"]), task, epoch, step, str(row["name"]))
        found[trial] = FirstDifference(*moment, one, other, int(counts[trial]), int(compared[trial]))
    return found


def _comparable(metrics: pd.DataFrame, replicas: pd.DataFrame, noisy: Collection[str]) -> pd.DataFrame:
    """Reproducible rows of the replicas: columns replica (place in ``replicas``), task, epoch, step, phase, name,
    value."""
    places = pd.MultiIndex.from_frame(replicas).get_indexer(pd.MultiIndex.from_frame(metrics[REPLICA]))
    names, known = pd.factorize(metrics["name"])
    no_memory = np.array(["memory" not in name for name in known], dtype=bool)[names]
    kept = (places >= 0) & no_memory & (metrics["phase"] != _NOT_REPRODUCIBLE).to_numpy(dtype=bool)
    if noisy:
        kept &= ~((metrics["phase"] == _FINAL) & metrics["name"].isin(list(noisy))).to_numpy(dtype=bool)
    return metrics.loc[kept, [*_MOMENT, *_NAME, "value"]].assign(replica=places[kept])


def _codes(rows: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.intp]:
    """Equal integers for rows that agree in the columns, nulls being equal; 0 to the number of different ones."""
    codes = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        # Renumbered at every column, so that products of their sizes never overflow.
        own, levels = pd.factorize(rows[column])
        codes = pd.factorize(codes * (len(levels) + 1) + own + 1)[0].astype(np.int64)
    return codes
