"""Reported numbers beside measured ones: could the seed alone have made them?

Two questions with two answers. A level: how unlikely is the reported value as the value of one more seed (prediction
interval of a normal sample). A difference between two reported single runs: how often do two single seeds differ so
much, by a normal model and by counting the measured pairs. Where the reported runs come from other data or another
backbone, the level says nothing and the noise only its own size; the sentences say so.

Source: prediction interval for one further value, Hahn 1969; differing variances, Welch 1947 and Satterthwaite 1946.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.captions import count, reported_setting, same_setting
from analysis.cells import Cell, Table
from analysis.differences import CONFIDENCE
from analysis.records import Run
from analysis.series import Reported, configurations, finals_of, objective_metric, reported, task_count

FEWEST_SEEDS_NOISE = 3


@dataclass(frozen=True)
class Level:
    """A reported value among the measured seeds, as fractions. ``low``, ``high``: where one more seed would be with
    probability ``CONFIDENCE``; ``p``: probability of a value at least as far from the mean."""

    configuration: str
    label: str
    reported: float
    n: int
    mean: float
    std: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Difference:
    """Two reported runs, first minus second, beside the seed noise between two single runs, as fractions.

    ``std``: of the difference of two single seeds. ``p``: probability that two single seeds of configurations with
    equal means differ at least so much (t distribution). ``as_far``: measured pairs that differ at least so much, each
    configuration about its own mean, of ``pairs``.
    """

    first: str
    second: str
    reported: float
    std: float
    p: float
    as_far: int
    pairs: int


def reported_value(run: Run, entry: Reported, metric: str) -> float | None:
    """What a reported run says about a final metric; None where it does not, or has another number of tasks."""
    if metric in entry.metrics:
        return float(entry.metrics[metric])
    if metric == "final_accuracy" and entry.accuracy and len(entry.accuracy) == task_count(run):
        return float(entry.accuracy[-1])
    return None


def predictive_p(value: float, sample: ArrayLike) -> tuple[float, float, float]:
    """Where one more value of a normal sample lies, and how unlikely a given one is.

    Args:
        value: the one that is judged.
        sample: shape (n,), n >= 2.

    Returns:
        low and high at level ``CONFIDENCE``, and the two-sided p-value (of a constant sample: 1 if equal, else 0).
    """
    seen = np.asarray(sample, dtype=np.float64)
    n, mean = seen.size, float(seen.mean())
    scale = float(seen.std(ddof=1)) * np.sqrt(1 + 1 / n)
    reach = stats.t.isf((1 - CONFIDENCE) / 2, n - 1) * scale
    p = float(2 * stats.t.sf(abs(value - mean) / scale, n - 1)) if scale > 0 else float(value == mean)
    return mean - reach, mean + reach, p


def noise_p(difference: float, first: ArrayLike, second: ArrayLike | None = None) -> tuple[float, float, int, int]:
    """How often two single seeds differ by so much if their configurations have the same mean.

    Args:
        difference: reported, of either sign.
        first: measured values of one configuration, shape (n,), n >= 2.
        second: of the other, shape (m,), m >= 2; None where both runs are of the same configuration.

    Returns:
        standard deviation of such a difference, p-value, measured pairs at least so far apart, and all pairs.
    """
    a = np.asarray(first, dtype=np.float64)
    if second is None:
        std, freedom = float(np.sqrt(2) * a.std(ddof=1)), float(a.size - 1)
        gaps = np.array([x - y for x, y in combinations(a, 2)])
    else:
        b = np.asarray(second, dtype=np.float64)
        parts = np.array([a.var(ddof=1), b.var(ddof=1)])
        std = float(np.sqrt(parts.sum()))
        sizes = np.array([a.size - 1, b.size - 1])
        freedom = float(parts.sum() ** 2 / (parts**2 / sizes).sum()) if std > 0 else float(sizes.sum())
        gaps = np.subtract.outer(a - a.mean(), b - b.mean()).ravel()
    p = float(2 * stats.t.sf(abs(difference) / std, freedom)) if std > 0 else float(difference == 0)
    return std, p, int((np.abs(gaps) >= abs(difference) - 1e-12).sum()), gaps.size


def levels(run: Run, metric: str | None = None) -> list[Level]:
    """Every reported value of a configuration that was measured with ``FEWEST_SEEDS_NOISE`` seeds.

    Args:
        run: the run.
        metric: a final metric; the study's objective where None.
    """
    metric = metric or objective_metric(run)
    found = []
    for entry, value, sample in _entries(run, metric):
        low, high, p = predictive_p(value, sample)
        mean, std = float(sample.mean()), float(sample.std(ddof=1))
        found.append(Level(entry.configuration, entry.label, value, sample.size, mean, std, low, high, p))
    return found


def reported_differences(run: Run, metric: str | None = None) -> list[Difference]:
    """Every pair of reported runs of configurations that were measured with ``FEWEST_SEEDS_NOISE`` seeds.

    Args:
        run: the run.
        metric: a final metric; the study's objective where None.
    """
    entries = list(_entries(run, metric or objective_metric(run)))
    found = []
    for (one, value, sample), (other, baseline, others) in combinations(entries, 2):
        same = one.configuration == other.configuration
        std, p, as_far, pairs = noise_p(value - baseline, sample, None if same else others)
        found.append(Difference(_name(one), _name(other), value - baseline, std, p, as_far, pairs))
    return found


def against_notes_tables(run: Run, metric: str | None = None) -> list[Table]:
    """Reported levels and differences beside the seed noise, in per cent and points; empty where there are none."""
    apart = reported_differences(run, metric)
    tables = []
    if known := levels(run, metric):
        rows: list[list[Cell]] = [
            [
                f"{one.configuration} {one.label}".strip(),
                f"{100 * one.reported:.2f}",
                f"{100 * one.mean:.2f} ± {100 * one.std:.2f} (n={one.n})",
                f"{100 * one.low:.2f} to {100 * one.high:.2f}",
                _p(one.p) if same_setting(run) else "not comparable",
            ]
            for one in known
        ]
        columns = ["reported run", "reported", "measured", "one more seed, 95 %", "p"]
        caption = (
            f"In per cent. p: one more seed at least as far from the measured mean. {reported_setting(run, 'rows')}"
        )
        tables.append(Table("Reported values beside measured ones", columns, rows, caption, "reported_levels"))
    if apart:
        rows = [
            [
                f"{one.first} − {one.second}",
                f"{100 * one.reported:+.2f}",
                f"{100 * one.std:.2f}",
                _p(one.p),
                f"{one.as_far} of {one.pairs}",
            ]
            for one in apart
        ]
        columns = ["reported runs", "difference", "noise of two single seeds", "p", "measured pairs as far apart"]
        caption = (
            "Percentage points. p: two single seeds differ at least so much although their configurations have the "
            f"same mean (normal model). {_scope(run)}"
        )
        tables.append(Table("Reported differences beside seed noise", columns, rows, caption, "reported_differences"))
    return tables


def difference_sentence(run: Run, one: Difference) -> str:
    """A reported difference beside the measured seed noise, in one sentence."""
    size, noise = 100 * abs(one.reported), 100 * one.std
    chance = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.2f}"
    text = (
        f"Reported: {one.first} and {one.second} differ by {size:.2f} points; two single seeds measured here differ by "
        f"{noise:.2f} points (one standard deviation), so the seed alone makes such a difference with "
        f"{chance} ({one.as_far} of {one.pairs} measured pairs are as far apart)"
    )
    return f"{text}. {_scope(run)}"


def against_notes_sentences(run: Run, metric: str | None = None) -> list[str]:
    """What the reported differences are worth: the smallest and the largest; why nothing can be said otherwise.

    Args:
        run: the run.
        metric: a final metric; the study's objective where None.
    """
    metric = metric or objective_metric(run)
    entries = [entry for label in configurations(run) for entry in reported(run, label)]
    if not entries:
        return []
    found = sorted(reported_differences(run, metric), key=lambda one: abs(one.reported))
    if not found:
        start = "The reported numbers cannot be set against seed noise: that takes two reported values of"
        known = sum(reported_value(run, entry, metric) is not None for entry in entries)
        if known < 2:
            return [f"{start} {metric}, and there {'is 1' if known else 'are none'}."]
        sizes = {label: len(own) for label, own in finals_of(run, metric).items()}
        most = max((sizes.get(entry.configuration, 0) for entry in entries), default=0)
        least = count(FEWEST_SEEDS_NOISE, "finished seed")
        return [f"{start} {metric} and {least} of their configurations; at most {count(most, 'seed')} finished."]
    return [difference_sentence(run, one) for one in (found[:1] + found[-1:] if len(found) > 1 else found)]


def _entries(run: Run, metric: str) -> Iterator[tuple[Reported, float, NDArray[np.float64]]]:
    finals = finals_of(run, metric)
    for label in configurations(run):
        sample = finals[label].to_numpy(dtype=np.float64)
        for entry in reported(run, label):
            value = reported_value(run, entry, metric)
            if value is not None and sample.size >= FEWEST_SEEDS_NOISE:
                yield entry, value, sample


def _name(entry: Reported) -> str:
    return f"{entry.configuration} {entry.label}".strip()


def _scope(run: Run) -> str:
    if same_setting(run):
        return "Same data set and backbone as measured."
    return (
        f"The noise is that of {run.study.get('dataset')} on {run.study.get('backbone')}, not of the reported data and "
        "backbone: it shows what size seed noise can have, not what it was there."
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
