"""From the metrics of a configuration's seeds to what the search compares: statistics over seeds, failed seeds counted.

Every seed that was started counts. A failed or diverged seed, or one whose metric is not finite, counts as
``Objective.failed_as``; see ``imputed`` for what stands in where that is not given.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_serializer, field_validator
from scipy import stats

from analysis.io.objective_labels import objective_label
from study.resolved import Status
from study.spec import Frozen, Objective
from trainables.errors import InputError
from trainables.registry import PARAMETERS

MEANS = frozenset({"mean", "iqm"})
"""Statistics of which one seed is an unbiased, if noisy, measurement."""

SPREADS = frozenset({"spread", "mean_minus_std"})
"""Statistics that need two seeds."""
ITERATIONS = 20
SLIGHT = 1e-4
"""Share of the total variance below which no component falls: with 0 a model could not leave it again."""


class SeedResult(Frozen):
    """What one seed gave: how it ended and its final metrics, by name. Non-finite values are null in JSON."""

    status: Status = "finished"
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("metrics", mode="before")
    @classmethod
    def _null_is_nan(cls, metrics: Any) -> Any:
        if not isinstance(metrics, dict):
            return metrics
        return {name: math.nan if value is None else value for name, value in metrics.items()}

    @field_serializer("metrics", when_used="json")
    def _nan_is_null(self, metrics: dict[str, float]) -> dict[str, float | None]:
        return {name: value if math.isfinite(value) else None for name, value in metrics.items()}

    def value(self, metric: str) -> float | None:
        """The metric of a seed that finished (or was stopped early); None for any other and for non-finite values."""
        value = self.metrics.get(metric, math.nan)
        return value if self.status in ("finished", "pruned") and math.isfinite(value) else None


class Constraint(Frozen):
    """A bound on what an acceptable configuration may have: a statistic over seeds, or the mean of another metric."""

    objective: Objective
    text: str
    bound: float

    def violation(self, value: float) -> float:
        """How far a value is beyond the bound, relative to the bound (absolute where that is 0); <= 0: feasible."""
        excess = value - self.bound if sense(self.objective) == "minimize" else self.bound - value
        return excess / (abs(self.bound) or 1.0)


def sense(objective: Objective) -> Literal["maximize", "minimize"]:
    """Direction of the statistic: rates of collapse and spreads are always minimized."""
    return "minimize" if objective.over_seeds in ("collapse_rate", "spread") else objective.direction


def label(objective: Objective) -> str:
    """Name of the statistic, e.g. ``cvar(0.25) of final_accuracy``."""
    return objective_label(objective.model_dump())


def parse_constraint(text: str, objectives: Sequence[Objective]) -> Constraint:
    """``collapse_rate<=0.1``, ``spread<=0.05`` (of the first objective's metric), ``trainable_params<=100000``.

    Raises:
        InputError: not NAME<=NUMBER or NAME>=NUMBER, or a collapse rate without a threshold.
    """
    match = re.fullmatch(r"\s*([\w./-]+)\s*(<=|>=)\s*(\S+)\s*", text)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise InputError(f"constraint {text!r}: NAME<=NUMBER or NAME>=NUMBER is expected, e.g. collapse_rate<=0.1")
    name, relation = match[1], match[2]
    if name in ("collapse_rate", "spread"):
        if relation != "<=":
            raise InputError(f"constraint {text!r}: {name}<=NUMBER is allowed")
        objective = objectives[0].model_copy(update={"over_seeds": name})
        if name == "collapse_rate":
            with_threshold = next((o for o in objectives if o.threshold is not None), None)
            objective = objective if with_threshold is None else with_threshold.model_copy(update={"over_seeds": name})
        check_objective(objective, seeds=2)
    else:
        objective = Objective(metric=name, direction="minimize" if relation == "<=" else "maximize")
    return Constraint(objective=objective, text=f"{name}{relation}{match[3]}", bound=bound)


def early(constraint: Constraint) -> bool:
    """Whether it is known before training if a configuration meets it."""
    return constraint.objective.metric in PARAMETERS and constraint.objective.over_seeds == "mean"


def check_objective(objective: Objective, seeds: int) -> None:
    """Raises InputError for a statistic that cannot be taken of ``seeds`` seeds or lacks its threshold."""
    if objective.over_seeds in SPREADS and seeds < 2:
        raise InputError(f"objective {label(objective)}: needs at least 2 seeds from the start, the schedule has 1")
    if objective.over_seeds == "collapse_rate" and objective.threshold is None:
        raise InputError(
            f"objective collapse_rate of {objective.metric}: threshold=VALUE is needed (a seed below it has collapsed)"
        )


def imputed(
    results: Sequence[SeedResult], objective: Objective, worst: float | None, constraint: bool = False
) -> np.ndarray | None:
    """Metric of every seed (N,), the failed ones filled in.

    A failed seed counts as ``objective.failed_as``, else as ``worst``.

    Args:
        worst: the metric's worst possible value, or the worst that any seed has had; None where neither is known.
        constraint: what a failed seed still reported (its number of parameters, its step time) is taken at face value.

    Returns:
        None where a failed seed cannot be valued yet.
    """
    stand_in = worst if objective.failed_as is None else objective.failed_as
    values = []
    for result in results:
        value = result.value(objective.metric)
        if value is None and constraint and math.isfinite(reported := result.metrics.get(objective.metric, math.nan)):
            value = reported
        if value is None and stand_in is None:
            return None
        values.append(stand_in if value is None else value)
    return np.array(values, dtype=float)


def summarise(values: np.ndarray, objective: Objective) -> float:
    """The objective's statistic over seeds.

    mean; iqm: mean of the middle half (25 % of the seeds, rounded down, cut at each end); worst; cvar: mean of the
    worst ``fraction`` of the seeds, one seed counting in part where that is not a whole number; mean_minus_std: mean
    less ``c`` standard deviations (plus, where the metric is minimized); collapse_rate: fraction of seeds beyond
    ``threshold``; spread: standard deviation (n - 1).

    Args:
        values: metric per seed, finite, (N,).
    """
    good = 1.0 if objective.direction == "maximize" else -1.0
    statistic = objective.over_seeds
    if statistic == "mean":
        return float(values.mean())
    if statistic == "iqm":
        return float(stats.trim_mean(values, 0.25))
    if statistic == "worst":
        return float(good * (good * values).min())
    if statistic == "cvar":
        ordered = np.sort(good * values)
        weights = np.clip(objective.fraction * len(values) - np.arange(len(values)), 0.0, 1.0)
        return float(good * (weights @ ordered) / weights.sum())
    if statistic == "mean_minus_std":
        return float(values.mean() - good * objective.c * values.std(ddof=1))
    if statistic == "spread":
        return float(values.std(ddof=1))
    assert objective.threshold is not None
    return float((good * values < good * objective.threshold).mean())


def check_reported(results: Mapping[int, SeedResult], objectives: Sequence[Objective], kind: str) -> None:
    """Raises InputError when a finished seed lacks a metric that an objective or constraint is about."""
    for result in results.values():
        for objective in objectives:
            if result.status == "finished" and objective.metric not in result.metrics:
                raise InputError(
                    f"{kind} {objective.metric!r}: the trainable does not report it; "
                    f"reported: {', '.join(sorted(result.metrics)) or 'nothing'}"
                )


def predicted_means(values: np.ndarray) -> np.ndarray:
    """Best linear unbiased predictions of configurations' means over all seeds (Henderson 1975; Robinson 1991).

    The model is y_is = mu + a_i + b_s + e_is with a_i ~ N(0, A) for configurations, b_s ~ N(0, B) for seeds and
    e_is ~ N(0, E); the variances are fitted by expectation-maximization. mu + a_i is pulled towards mu, the more the
    fewer seeds a configuration has, which is what keeps two lucky seeds from outranking eight good ones; and a
    configuration that has only seen hard seeds is not blamed for them. That those with more seeds were chosen by
    their first ones does no harm, because these are in the model too (Little and Rubin: ignorable).

    Args:
        values: metric per configuration and seed, NaN where a configuration does not have a seed, (M, N).

    Returns:
        (M,); plain means where no configuration has two seeds or there are fewer than three (nothing to learn the
        variances from).
    """
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    filled = np.where(there, values, 0.0)
    means = filled.sum(axis=1) / counts
    if len(values) < 3 or counts.max() < 2:
        return means
    deviations = np.where(there, values - means[:, None], 0.0)
    within = float((deviations**2).sum() / (counts - 1).sum())
    total = within + float(means.var())
    if total <= 0.0 or within <= 0.0:
        return means
    variances = np.maximum([total - within, within / 2, within / 2], SLIGHT * total)
    for _ in range(ITERATIONS):
        centre, own, seeds, traces = _predict(filled, there, counts, *variances)
        left = np.where(there, values - centre - own[:, None] - seeds, 0.0)
        squares = np.array([(own**2).sum(), (seeds**2).sum(), (left**2).sum()])
        variances = np.maximum((squares + traces) / [len(values), there.shape[1], counts.sum()], SLIGHT * total)
    centre, own, _, _ = _predict(filled, there, counts, *variances)
    return centre + own


def _predict(
    filled: np.ndarray, there: np.ndarray, counts: np.ndarray, between: float, of_seeds: float, noise: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """mu, a (M,), b (N,) given the variances, and what their uncertainty adds to the sums of squares of a, b and e.

    a is eliminated, which leaves equations for mu and b alone: N + 1 of them, whatever M.
    """
    weight = between / (noise + counts * between)  # (M,); a_i = weight * sum over its seeds of what mu, b leave
    design = np.hstack([np.ones((there.shape[1], 1)), np.eye(there.shape[1])])  # (N, N + 1)
    gram = np.diag(there.sum(axis=0)) - (there * weight[:, None]).T @ there
    right = filled.sum(axis=0) - there.T @ (weight * filled.sum(axis=1))
    equations = design.T @ gram @ design + np.diag([0.0] + [noise / of_seeds] * there.shape[1])
    inverse = np.linalg.inv(equations) * noise
    solution = inverse @ (design.T @ right) / noise
    centre, seeds = float(solution[0]), solution[1:]
    own = weight * (filled - there * (centre + seeds)).sum(axis=1)
    # covariance of (mu + b_s) over seeds; of a_i: own part and what comes from not knowing mu and b
    fixed = design @ inverse @ design.T
    inherited = np.einsum("is,st,it->i", there, fixed, there)
    of_own = between * noise / (noise + counts * between) + weight**2 * inherited
    # e = y - mu - b - a: its uncertainty is that of the sum of the three
    of_rest = (there @ np.diag(fixed)) + counts * of_own - 2 * weight * inherited
    return centre, own, seeds, np.array([of_own.sum(), np.diag(inverse)[1:].sum(), of_rest.sum()])
