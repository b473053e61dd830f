"""The objectives of Pareto fronts: final metrics that are to be large or small, by configuration and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.metrics import MetricInfo, metrics_of
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


def _objective(info: MetricInfo, column: str) -> Objective:
    if info.fraction:
        percent = info.maximise  # errors such as ECE are small, and usually read as fractions
        unit, scale, digits = ("%", 100.0, 2) if percent else ("", 1.0, 3)
        return Objective(column, info.text, unit, info.maximise, scale, digits)
    counted = info.unit == "parameters"
    digits = 0 if counted or info.unit == "MiB" else 4
    return Objective(column, info.text, "" if counted else info.unit, info.maximise, digits=digits, logarithmic=counted)


def axes_of(run: Run) -> list[Objective]:
    """What the metrics of study.json name as axes of Pareto fronts, of those that trials.parquet has."""
    infos = sorted((one for one in metrics_of(run.study) if one.front), key=lambda one: one.front)
    found = []
    for info in infos:
        columns = [name for name in (f"metric.{info.name}", info.name) if name in run.trials]
        found += [_objective(info, name) for name in columns]
    return found


def final_objectives(run: Run) -> tuple[list[Objective], list[Objective]]:
    """Those of ``axes_of`` in which the configurations differ, and those in which the seeds alone may explain it.

    Decided by a one-way analysis of variance at level 1 - ``CONFIDENCE``, where there are several seeds: otherwise the
    front would be one of noise, as with the memory of a process that served several configurations.
    """
    telling: list[Objective] = []
    noisy: list[Objective] = []
    for objective in axes_of(run):
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
