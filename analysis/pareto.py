"""Pareto fronts of configurations over any of a run's final metrics, with the uncertainty that the seeds leave.

A point is a configuration's mean over its finished seeds. It dominates another when it is as good in every objective
and better in one (Pareto dominance; ``moocore.is_nondominated``). What the seeds leave open is drawn with the Bayesian
bootstrap over seeds (Rubin 1981): a seed gets the same weight in every configuration that has it, so shared seeds are
paired and others are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.objectives import CONFIDENCE, EPSILON, Array, Objective, costs

RESAMPLES = 2_000
MOST_RESAMPLED = 60  # configurations, of lowest Pareto rank; the others are dominated many times over
REFERENCE = 1.1  # of the hypervolume, every objective scaled to [0, 1]; Ishibuchi et al. 2018
FEWEST_SEEDS = 2  # of a configuration, to say anything about the spread
METHODS = [
    "Pareto fronts: of the means over seeds; probabilities by the Bayesian bootstrap over seeds (Rubin 1981), a seed "
    "with one weight in all configurations that have it, spread so that a mean has the variance of the textbook, "
    f"{RESAMPLES:,} draws; dominance, hypervolume and empirical attainment surfaces by moocore.",
    "Attainment surfaces: what the best, the median and the worst seed reach with the configurations that have it; "
    "over seeds that all configurations share.",
]


@dataclass(frozen=True)
class Front:
    """One front over M objectives and C configurations, those without a value of some objective left out.

    ``points``: means in the objectives' own units, shape (C, M). ``seeds``: finished seeds of each, shape (C,).
    ``on_front``: of the means, shape (C,). ``probability``: share of the resamplings in which a configuration is on the
    front, shape (C,), NaN where it was not drawn; None where some configuration has a single seed. ``dominators``: for
    each configuration the members of the front that dominate it, each with the share of the resamplings in which it
    does, likeliest first. ``hypervolume``: of the means, as a fraction of the box between the best value that any seed
    has in every objective and the reference point, ``REFERENCE`` times the range of the seeds' values from there; with
    a percentile interval at level ``CONFIDENCE``. ``knee``: None where nothing bulges.
    """

    objectives: tuple[Objective, ...]
    labels: tuple[str, ...]
    points: Array
    seeds: NDArray[np.int64]
    on_front: NDArray[np.bool_]
    probability: Array | None
    dominators: tuple[tuple[tuple[str, float | None], ...], ...]
    hypervolume: float
    interval: tuple[float, float] | None
    knee: str | None
    knee_probability: float | None

    @property
    def members(self) -> list[str]:
        """Labels on the front, best first in the first objective."""
        order = np.argsort(costs(self.points, self.objectives)[:, 0], kind="stable")
        return [self.labels[place] for place in order if self.on_front[place]]

    @property
    def name(self) -> str:
        *first, last = [objective.name for objective in self.objectives]
        return f"{', '.join(first)} and {last}"


def pareto_front(
    values: pd.DataFrame, objectives: Sequence[Objective], rng: np.random.Generator, resamples: int = RESAMPLES
) -> Front:
    """The front of the means and how sure the seeds make it.

    Args:
        values: from ``seed_values``, at least one row.
        objectives: the M >= 2 columns to use.
        rng: draws the seeds' weights.
        resamples: number of draws.

    Raises:
        ValueError: fewer than 2 objectives, or no configuration.
    """
    chosen = tuple(objectives)
    if len(chosen) < 2 or values.empty:
        raise ValueError(
            f"at least 2 objectives and 1 configuration needed, found {len(chosen)} and {len(values)} rows"
        )
    values = values[[objective.column for objective in chosen]]
    grouped = values.groupby(level="configuration", sort=False)
    means, counts = grouped.mean(), grouped.size().to_numpy()
    labels = tuple(map(str, means.index))
    mean_costs = costs(means.to_numpy(), chosen)
    on_front = moocore.is_nondominated(mean_costs, keep_weakly=True)

    seed_costs = costs(values.to_numpy(), chosen)
    lowest, span = seed_costs.min(axis=0), np.ptp(seed_costs, axis=0)
    span = np.where(span > EPSILON, span, 1.0)
    scaled = (mean_costs - lowest) / span
    volume = _hypervolume(scaled[on_front])
    knee = knee_point(mean_costs[on_front])

    probability: Array | None = None
    interval, knee_probability, drawn = None, None, None
    resampled = np.sort(np.argsort(moocore.pareto_rank(mean_costs), kind="stable")[:MOST_RESAMPLED])
    if counts.min() >= FEWEST_SEEDS:
        kept = values.loc[[labels[place] for place in resampled]]
        drawn = costs(resampled_means(kept, rng, resamples), chosen)
        fronts = np.stack([moocore.is_nondominated(one, keep_weakly=True) for one in drawn])
        probability = np.full(len(labels), np.nan)
        probability[resampled] = fronts.mean(axis=0)
        volumes = [_hypervolume(((one - lowest) / span)[own]) for one, own in zip(drawn, fronts, strict=True)]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(volumes, [tail, 1 - tail])
        interval = (float(low), float(high))
        if knee is not None:
            wanted = list(resampled).index(np.flatnonzero(on_front)[knee])
            found = [_knee_among(one, own) for one, own in zip(drawn, fronts, strict=True)]
            knee_probability = float(np.mean([place == wanted for place in found]))
    dominators = _dominators(labels, mean_costs, on_front, resampled, drawn)
    at_knee = None if knee is None else labels[np.flatnonzero(on_front)[knee]]
    return Front(
        chosen, labels, means.to_numpy(), counts, on_front, probability, dominators, volume, interval, at_knee,
        knee_probability,
    )  # fmt: skip


def resampled_means(values: pd.DataFrame, rng: np.random.Generator, resamples: int) -> Array:
    """Means of every configuration under random weights of the seeds (Bayesian bootstrap), shape (R, C, M).

    The weights of a configuration's n seeds are Dirichlet(1, ..., 1), which gives its mean the variance
    s^2 (n - 1) / (n (n + 1)), s^2 with ddof 1; the draws are spread by sqrt((n + 1) / (n - 1)) about the mean, so that
    it is the s^2 / n of the textbook for few seeds too.

    Args:
        values: from ``seed_values``, at least ``FEWEST_SEEDS`` seeds of every configuration.
        rng: draws the weights.
        resamples: R.
    """
    seeds = values.index.get_level_values("seed")
    names, place = np.unique(seeds, return_inverse=True)
    weights = rng.exponential(size=(resamples, len(names)))
    means = []
    for _, own in values.groupby(level="configuration", sort=False):
        numbers = own.to_numpy()
        at = np.searchsorted(names, own.index.get_level_values("seed"))
        share = weights[:, at] / weights[:, at].sum(axis=1, keepdims=True)
        n, mean = len(numbers), numbers.mean(axis=0)
        means.append(mean + (share @ numbers - mean) * np.sqrt((n + 1) / (n - 1)))
    return np.stack(means, axis=1)


def knee_point(front: Array) -> int | None:
    """The member of a front where giving up a little of one objective no longer buys much of the others.

    With every objective scaled to [0, 1] over the front it is the member with the smallest sum: in two dimensions the
    one farthest below the line between the front's ends (normal-boundary intersection, Das and Dennis 1998; Das 1999).

    Args:
        front: costs of its members, shape (n, M).

    Returns:
        its row; None where no member has a sum below 1, the line between the ends.
    """
    span = np.ptp(front, axis=0)
    varies = span > EPSILON
    if len(front) < 3 or varies.sum() < 2:
        return None
    sums = ((front - front.min(axis=0)) / np.where(varies, span, 1.0)).sum(axis=1)
    return int(sums.argmin()) if sums.min() < 1 - EPSILON else None


def _knee_among(points: Array, on_front: NDArray[np.bool_]) -> int | None:
    knee = knee_point(points[on_front])
    return None if knee is None else int(np.flatnonzero(on_front)[knee])


def _hypervolume(scaled: Array) -> float:
    return float(moocore.hypervolume(scaled, ref=REFERENCE)) / REFERENCE ** scaled.shape[1]


def _dominators(
    labels: Sequence[str],
    mean_costs: Array,
    on_front: NDArray[np.bool_],
    resampled: NDArray[np.int64],
    drawn: Array | None,
) -> tuple[tuple[tuple[str, float | None], ...], ...]:
    members = np.flatnonzero(on_front)
    over = _dominates(mean_costs[members][:, None], mean_costs[None])  # (members, C)
    row = {int(place): number for number, place in enumerate(resampled)}
    found: list[tuple[tuple[str, float | None], ...]] = []
    for place in range(len(labels)):
        shares: list[tuple[str, float | None]] = []
        for one in members[over[:, place]]:
            share = None
            if drawn is not None and place in row and int(one) in row:
                share = float(_dominates(drawn[:, row[int(one)]], drawn[:, row[place]]).mean())
            shares.append((labels[one], share))
        found.append(tuple(sorted(shares, key=lambda share: -(share[1] or 0.0))))
    return tuple(found)


def _dominates(first: Array, second: Array) -> NDArray[np.bool_]:
    """Whether costs ``first`` dominate ``second``, both of shape (..., M)."""
    return np.asarray((first <= second).all(axis=-1) & (first < second).any(axis=-1))
