"""Where two runs of the same replicas first differ, row by row, bit for bit.

Wall-clock times are not compared, nor the phase ``timing`` and memory: they are not reproducible. A metric that only
one version measures is no difference; a row that is missing of a metric that both measure is one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.records import METRICS_KEY, Run
from analysis.series import REPLICA

_NOT_REPRODUCIBLE = ("timing",)
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


def compare_rows(first: Run, second: Run, replicas: pd.DataFrame) -> RowComparison:
    """Compare the metric rows of the replicas that both runs have.

    Args:
        first: a run.
        second: the other.
        replicas: columns trial_id and seed as in ``first``, and ``second_trial_id``, one row per common replica.
    """
    a = _comparable(first.metrics, replicas[[*REPLICA]].assign(own=replicas["trial_id"]))
    b = _comparable(
        second.metrics, replicas[["second_trial_id", "seed"]].set_axis(REPLICA, axis=1).assign(own=replicas["trial_id"])
    )
    names = [set(zip(frame["phase"], frame["name"], strict=True)) for frame in (_names(a), _names(b))]
    shared = pd.DataFrame(sorted(names[0] & names[1]), columns=_NAME)
    sides = (frame.merge(shared, on=_NAME) for frame in (a, b))
    merged = pd.merge(*sides, on=METRICS_KEY, how="outer", suffixes=("_first", "_second"), indicator="side")
    values = merged[["value_first", "value_second"]].to_numpy(dtype=np.float64, na_value=np.nan)
    # Equal bits, or both NaN; a row of one run alone differs.
    equal = (values[:, 0] == values[:, 1]) | np.isnan(values).all(axis=1)
    differing = merged[~(equal & (merged["side"] == "both").to_numpy())]
    compared, counts = merged.groupby("trial_id").size(), differing.groupby("trial_id").size()
    earliest = differing.sort_values([*_MOMENT, "seed", *_NAME], na_position="last").drop_duplicates("trial_id")
    found = {}
    for row in earliest.to_dict("records"):
        trial = row["trial_id"]
        task, epoch, step = (None if pd.isna(row[at]) else int(row[at]) for at in _MOMENT)
        sides_seen = {"first": row["side"] != "right_only", "second": row["side"] != "left_only"}
        one, other = (float(row[f"value_{side}"]) if seen else None for side, seen in sides_seen.items())
        moment = (int(row["seed"]), row["phase"], task, epoch, step, row["name"])
        found[trial] = FirstDifference(*moment, one, other, int(counts[trial]), int(compared[trial]))
    only = [tuple(sorted(" ".join(pair) for pair in mine - others)) for mine, others in (names, names[::-1])]
    return RowComparison(found, *only)


def _comparable(metrics: pd.DataFrame, replicas: pd.DataFrame) -> pd.DataFrame:
    rows = metrics[~metrics["phase"].isin(_NOT_REPRODUCIBLE) & ~metrics["name"].str.contains("memory")]
    rows = rows.merge(replicas, on=REPLICA, how="inner").drop(columns=["trial_id", "wall_s"])
    return rows.rename(columns={"own": "trial_id"})


def _names(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[_NAME].drop_duplicates()
