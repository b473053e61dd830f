"""What runs are compared by: the objective of their study, seed by seed, and which configurations are the same."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.io.metrics import MetricInfo
from analysis.io.records import Run

ENDED = ("finished", "diverged", "failed")
_NUMBERED = re.compile(r"trial \d+")
"""Label of what a search tried: the number says nothing of what it is."""


def outcomes(runs: Sequence[Run], about: MetricInfo) -> list[pd.DataFrame]:
    """A final metric of every replica that ended, by run; lost seeds have the worst value of all the runs, so that one
    that is lost in two runs makes no gap.

    Returns:
        columns configuration, trial_id, seed, status, value (NaN where no run has a value), lost.
    """
    frames = []
    for run in runs:
        rows = run.trials[run.trials["status"].isin(ENDED)].drop_duplicates(["trial_id", "seed"], keep="last")
        value = rows.get(f"metric.{about.name}", pd.Series(np.nan, rows.index)).astype(float)
        value = value.where((rows["status"] == "finished") & np.isfinite(value))
        frames.append(rows[["configuration", "trial_id", "seed", "status"]].assign(value=value, lost=value.isna()))
    known = pd.concat([frame["value"] for frame in frames])
    worst = known.min() if about.maximise else known.max()
    return [frame.assign(value=frame["value"].fillna(worst)) for frame in frames]


def matched(first: Run, second: Run) -> pd.DataFrame:
    """The configurations of both runs: the same parameters, which trial ids are made of, else the same label.

    Returns:
        columns configuration (label in ``first``), trial_id, second_trial_id, in the order of ``first``.
    """
    one, other = (run.trials.drop_duplicates("trial_id")[["configuration", "trial_id"]] for run in (first, second))
    alike = set(one["trial_id"]) & set(other["trial_id"])
    left = other[~other["trial_id"].isin(alike)].drop_duplicates("configuration")
    by_label = {label: trial for label, trial in left.itertuples(index=False) if not _NUMBERED.fullmatch(label)}
    found = []
    for label, trial in one.itertuples(index=False):
        match = trial if trial in alike else by_label.pop(label, None)
        if match is not None:
            found.append((label, trial, match))
    return pd.DataFrame(found, columns=["configuration", "trial_id", "second_trial_id"])


def other_parameters(first: pd.DataFrame, second: pd.DataFrame) -> tuple[str, ...]:
    """``name: value -> value`` of the parameters of two configurations that differ; one that only one version of the
    code knows is no difference.

    Args:
        first: rows of ``trials`` of a configuration.
        second: those of the other.
    """
    a, b = ({str(name): rows[name].iloc[0] for name in rows.filter(like="param.")} for rows in (first, second))
    texts = {key: ["none" if pd.isna(side[key]) else str(side[key]) for side in (a, b)] for key in a if key in b}
    return tuple(f"{key.removeprefix('param.')}: {one} -> {two}" for key, (one, two) in texts.items() if one != two)
