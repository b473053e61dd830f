"""How far the seeds of a configuration agree: location, spread, collapse and modes of a final metric, with intervals.

Sources: interquartile mean and performance profiles, Agarwal et al. 2021 (rliable); BCa intervals, Efron 1987; exact
binomial intervals, Clopper and Pearson 1934; dip test, Hartigan and Hartigan 1985.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import diptest
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.differences import CONFIDENCE
from analysis.records import Run
from analysis.series import configurations, final_accuracy, finals_of, replicas

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
STATISTICS = ("mean", "std", "iqm", "median")
RESAMPLES = 2_000
FEWEST_SEEDS_BOOTSTRAP = 3  # two seeds have three different bootstrap samples
FEWEST_SEEDS_DIP = 4  # where the table of the dip's critical values begins
_BATCH = 200  # resamples held at once

Interval = tuple[float, float]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """A final metric over ``n`` seeds, in the metric's own unit.

    ``std``: ddof 1, None for one seed. ``iqm``: interquartile mean. ``quantiles``: by probability (``QUANTILES``).
    ``intervals``: bootstrap intervals at level ``CONFIDENCE`` of ``STATISTICS``; empty below
    ``FEWEST_SEEDS_BOOTSTRAP`` seeds. With fewer than about ten seeds a bootstrap interval is too narrow.
    """

    n: int
    mean: float
    std: float | None
    iqm: float
    low: float
    high: float
    quantiles: dict[float, float]
    intervals: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Collapse:
    """Seeds that ended worse than doing nothing, out of the ``n`` of which that is known.

    ``below``: finished below their own head on the frozen backbone. ``diverged``: stopped at a non-finite value, which
    counts as a collapse, since leaving these seeds out would make an unstable configuration look better. ``interval``:
    of the rate, exact, at level ``CONFIDENCE``. Seeds that failed, were pruned or interrupted are in neither number.
    """

    below: int
    diverged: int
    n: int
    interval: Interval

    @property
    def rate(self) -> float:
        return (self.below + self.diverged) / self.n


@dataclass(frozen=True)
class Stability:
    """What is known of one configuration; None where too few seeds, or nothing to compare with, allow no statement.

    ``dip_p``: p-value of the dip test; small means more than one mode. One bad seed alone is no mode.
    """

    configuration: str
    planned: int
    values: Values
    summary: Summary | None
    collapse: Collapse | None
    dip_p: float | None


def summaries(values: Mapping[str, ArrayLike], rng: np.random.Generator) -> dict[str, Summary]:
    """Summaries of many samples, bootstrapped together where they have equally many values.

    Args:
        values: one value per seed, shape (n,), by label; empty ones are left out.
        rng: draws the bootstrap samples.

    Returns:
        in the order of ``values``.
    """
    samples = {label: np.asarray(sample, dtype=np.float64) for label, sample in values.items()}
    intervals: dict[str, dict[str, Interval]] = {}
    for n in sorted({sample.size for sample in samples.values() if sample.size >= FEWEST_SEEDS_BOOTSTRAP}):
        labels = [label for label, sample in samples.items() if sample.size == n]
        low, high = bootstrap_intervals(np.stack([samples[label] for label in labels]), rng)
        for column, label in enumerate(labels):
            pairs = zip(low[:, column], high[:, column], strict=True)
            intervals[label] = {name: (float(a), float(b)) for name, (a, b) in zip(STATISTICS, pairs, strict=True)}
    return {
        label: Summary(
            n=sample.size,
            mean=float(sample.mean()),
            std=float(sample.std(ddof=1)) if sample.size > 1 else None,
            iqm=float(stats.trim_mean(sample, 0.25)),
            low=float(sample.min()),
            high=float(sample.max()),
            quantiles=dict(zip(QUANTILES, map(float, np.quantile(sample, QUANTILES)), strict=True)),
            intervals=intervals.get(label, {}),
        )
        for label, sample in samples.items()
        if sample.size
    }


def bootstrap_intervals(table: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """BCa intervals of ``STATISTICS``; percentile ones where BCa is undefined (as for values that are all but equal).

    Args:
        table: shape (C, n): C samples of n >= ``FEWEST_SEEDS_BOOTSTRAP`` values each.
        rng: draws the samples, the same positions for all rows.

    Returns:
        low and high, shape (4, C) each.
    """
    with warnings.catch_warnings():
        # What is undefined is replaced below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            (table,),
            _statistics,
            axis=-1,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=_BATCH,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=rng,
        )
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    percentile = np.quantile(found.bootstrap_distribution, tails, axis=-1)
    bca = np.stack([found.confidence_interval.low, found.confidence_interval.high])
    low, high = np.where(np.isfinite(bca).all(axis=0), bca, percentile)
    return low, high


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> tuple[Values, Values, Values]:
    """Fraction of seeds whose value is above each threshold, with pointwise exact binomial intervals.

    Args:
        values: one value per seed, shape (n,), n >= 1.
        thresholds: shape (T,).

    Returns:
        fraction, low and high, shape (T,) each. A band from resampling would have no width where all seeds agree.
    """
    sample, tau = np.asarray(values, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    above = sample.size - np.searchsorted(np.sort(sample), tau, side="right")
    low, high = exact_interval(above, sample.size)
    return above / sample.size, low, high


def exact_interval(successes: ArrayLike, n: ArrayLike) -> tuple[Values, Values]:
    """Clopper-Pearson intervals of a fraction at level ``CONFIDENCE``; shapes as broadcast, n >= 1."""
    k, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    tail = (1 - CONFIDENCE) / 2
    # The quantiles of a beta distribution whose first or second parameter is 0 are the end points.
    low = np.where(k > 0, stats.beta.ppf(tail, np.maximum(k, 1), total - k + 1), 0.0)
    high = np.where(k < total, stats.beta.ppf(1 - tail, k + 1, np.maximum(total - k, 1)), 1.0)
    return low, high


def collapse(run: Run, configuration: str) -> Collapse | None:
    """Seeds of one configuration that ended below the frozen backbone or diverged; None where nothing is known."""
    final = final_accuracy(run, configuration).dropna(subset="frozen")
    if final.empty and f"metric.{_FROZEN}" not in run.trials:
        return None
    below = int((final["final"] < final["frozen"]).sum())
    diverged = int((replicas(run, configuration)["status"] == "diverged").sum())
    n = len(final) + diverged
    if n == 0:
        return None
    low, high = exact_interval(below + diverged, n)
    return Collapse(below, diverged, n, (float(low), float(high)))


def dip_p(values: ArrayLike) -> float | None:
    """P-value of the dip test for one mode; None below ``FEWEST_SEEDS_DIP`` values, 1 where all are equal.

    Args:
        values: shape (n,).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < FEWEST_SEEDS_DIP:
        return None
    if np.ptp(sample) == 0:
        return 1.0
    return float(diptest.diptest(sample)[1])


def stabilities(run: Run, metric: str, rng: np.random.Generator) -> list[Stability]:
    """One entry per configuration, in display order.

    Args:
        run: the run.
        metric: a final metric.
        rng: draws the bootstrap samples.
    """
    finals = {label: own.to_numpy(dtype=np.float64) for label, own in finals_of(run, metric).items()}
    known, planned = summaries(finals, rng), run.trials["configuration"].value_counts()
    return [
        Stability(
            label,
            int(planned.get(label, 0)),
            finals[label],
            known.get(label),
            collapse(run, label),
            dip_p(finals[label]),
        )
        for label in configurations(run)
    ]


_FROZEN = "final_frozen_accuracy"


def _statistics(sample: Values, axis: int) -> Values:
    """``STATISTICS`` along an axis, shape (4, ...)."""
    return np.stack(
        [
            sample.mean(axis=axis),
            sample.std(axis=axis, ddof=1),
            stats.trim_mean(sample, 0.25, axis=axis),
            np.median(sample, axis=axis),
        ]
    )
