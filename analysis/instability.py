"""How far the seeds of a configuration agree: location, spread, collapse and modes of a final metric, with intervals.

Sources: interquartile mean and performance profiles, Agarwal et al. 2021 (rliable); BCa intervals, Efron 1987; exact
binomial intervals, Clopper and Pearson 1934; dip test, Hartigan and Hartigan 1985.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diptest
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.differences import CONFIDENCE
from analysis.records import Run
from analysis.series import finals_of

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
STATISTICS = ("mean", "std", "iqm", "median")
RESAMPLES = 2_000
FEWEST_SEEDS_BOOTSTRAP = 3  # two seeds have three different bootstrap samples
FEWEST_SEEDS_DIP = 4  # where the table of the dip's critical values begins
_FINAL, _FROZEN = "metric.final_accuracy", "metric.final_frozen_accuracy"
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
    found: dict[str, Summary] = {}
    for n in sorted({sample.size for sample in samples.values() if sample.size}):
        labels = [label for label, sample in samples.items() if sample.size == n]
        table = np.stack([samples[label] for label in labels])
        mean, iqm = table.mean(axis=1), stats.trim_mean(table, 0.25, axis=1)
        std = table.std(axis=1, ddof=1) if n > 1 else None
        quantiles = np.quantile(table, QUANTILES, axis=1)
        ends = bootstrap_intervals(table, rng) if n >= FEWEST_SEEDS_BOOTSTRAP else None
        for row, label in enumerate(labels):
            limits = ends and list(zip(*(end[:, row].tolist() for end in ends), strict=True))
            found[label] = Summary(
                n=n,
                mean=float(mean[row]),
                std=None if std is None else float(std[row]),
                iqm=float(iqm[row]),
                low=float(table[row].min()),
                high=float(table[row].max()),
                quantiles=dict(zip(QUANTILES, quantiles[:, row].tolist(), strict=True)),
                intervals=dict(zip(STATISTICS, limits, strict=True)) if limits else {},
            )
    return {label: found[label] for label in samples if label in found}


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
        size: dict[str, Any] = {"n_resamples": RESAMPLES, "batch": _BATCH, "confidence_level": CONFIDENCE}
        found = stats.bootstrap((table,), _statistics, axis=-1, vectorized=True, method="BCa", rng=rng, **size)
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


def collapses(run: Run) -> dict[str, Collapse]:
    """Seeds that ended below the frozen backbone or diverged, by configuration; those of which nothing is known are
    left out, which is all of them where the frozen backbone was not measured."""
    if not {_FINAL, _FROZEN} <= set(run.trials.columns):
        return {}
    rows = run.trials[["configuration", "status", _FINAL, _FROZEN]]
    finished = (rows["status"] == "finished") & rows[_FINAL].notna() & rows[_FROZEN].notna()
    below, diverged = finished & (rows[_FINAL] < rows[_FROZEN]), rows["status"] == "diverged"
    parts = pd.DataFrame({"below": below, "diverged": diverged, "n": finished | diverged})
    counts = parts.groupby(rows["configuration"]).sum()
    counts = counts[counts["n"] > 0]
    low, high = exact_interval(counts["below"] + counts["diverged"], counts["n"])
    places = zip(counts.itertuples(name=None), low, high, strict=True)
    return {label: Collapse(below, diverged, n, (float(a), float(b))) for (label, below, diverged, n), a, b in places}


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
        rng: draws the bootstrap samples.
    """
    finals = {label: own.to_numpy(dtype=np.float64) for label, own in finals_of(run, metric).items()}
    known, fallen, planned = summaries(finals, rng), collapses(run), run.trials["configuration"].value_counts()
    return [
        Stability(label, int(planned.get(label, 0)), values, known.get(label), fallen.get(label), dip_p(values))
        for label, values in finals.items()
    ]


def _statistics(sample: Values, axis: int) -> Values:
    """``STATISTICS`` along an axis, shape (4, ...)."""
    mean, std = sample.mean(axis=axis), sample.std(axis=axis, ddof=1)
    return np.stack([mean, std, stats.trim_mean(sample, 0.25, axis=axis), np.median(sample, axis=axis)])
