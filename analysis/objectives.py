"""The objectives of Pareto fronts: final metrics that are to be large or small, by configuration and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.records import Run
from analysis.series import configurations

Array = NDArray[np.float64]
CONFIDENCE = 0.95
EPSILON = 1e-12  # below, costs differ by rounding


@dataclass(frozen=True)
class Objective:
    """A column of trials.parquet that is to be large or small; ``scale`` and ``digits`` say how it is shown.

    ``logarithmic``: compared by factors in knee and hypervolume, for counts that span orders of magnitude.
    """

    column: str
    name: str
    unit: str = ""
    maximise: bool = False
    scale: float = 1.0
    digits: int = 2
    logarithmic: bool = False

    @property
    def heading(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


OBJECTIVES = (
    Objective("metric.final_top1", "final top-1", "%", maximise=True, scale=100),
    Objective("metric.final_accuracy", "final accuracy", "%", maximise=True, scale=100),
    Objective("trainable_params", "trainable parameters", digits=0, logarithmic=True),
    Objective("metric.step_share_s", "step time", "s", digits=4),
    Objective("metric.final_ece", "ECE", digits=3),
    Objective("metric.peak_memory_mib", "peak memory", "MiB", digits=0),
    Objective("peak_memory_mib", "peak memory", "MiB", digits=0),
)


def final_objectives(run: Run) -> tuple[list[Objective], list[Objective]]:
    """Those of ``OBJECTIVES`` in which the configurations differ, and those in which the seeds alone may explain it.

    Decided by a one-way analysis of variance at level 1 - ``CONFIDENCE``, where there are several seeds: otherwise the
    front would be one of noise, as with the memory of a process that served several configurations.
    """
    telling: list[Objective] = []
    noisy: list[Objective] = []
    for objective in OBJECTIVES:
        if any(objective.name == other.name for other in (*telling, *noisy)):
            continue
        values = seed_values(run, [objective])
        ends = np.flatnonzero(np.diff(pd.factorize(values.index.get_level_values("configuration"))[0])) + 1
        samples = np.split(values[objective.column].to_numpy(), ends)
        if len(samples) > 1 and np.ptp([own.mean() for own in samples]) > EPSILON:
            (telling if _differ(samples) else noisy).append(objective)
    return telling, noisy


def _differ(samples: Sequence[Array]) -> bool:
    """Whether the means of the samples, which are not all equal, differ by more than chance."""
    if all(np.ptp(own) <= EPSILON for own in samples):
        return True  # no spread, or single seeds, of which none is known
    return float(stats.f_oneway(*samples).pvalue) < 1 - CONFIDENCE


def seed_values(run: Run, objectives: Sequence[Objective]) -> pd.DataFrame:
    """The finished seeds that have all of these objectives, one column each, by configuration and seed.

    Configurations are in display order; a seed that was run twice counts once: its mean.
    """
    columns = [objective.column for objective in objectives]
    rows = run.trials[run.trials["status"] == "finished"]
    rows = rows.reindex(columns=["configuration", "seed", *columns]).astype(dict.fromkeys(columns, float))
    rows = rows[np.isfinite(rows[columns]).all(axis=1)]
    values = rows.groupby(["configuration", "seed"])[columns].mean()
    place = {label: number for number, label in enumerate(configurations(run))}
    order = values.index.get_level_values("configuration").map(place)
    return values.iloc[np.argsort(order.to_numpy(int), kind="stable")]


def costs(points: Array, objectives: Sequence[Objective]) -> Array:
    """The points so that less is better in every column, counts as log10.

    Args:
        points: in the objectives' own units, shape (..., M).
    """
    columns = []
    for place, objective in enumerate(objectives):
        column = points[..., place]
        column = np.log10(np.maximum(column, 1)) if objective.logarithmic else column
        columns.append(-column if objective.maximise else column)
    return np.stack(columns, axis=-1)
