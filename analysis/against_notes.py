"""Reported numbers beside measured ones: could the seed alone have made them?

Two questions with two answers. A level: how unlikely is the reported value as the value of one more seed (prediction
interval of a normal sample). A difference between two reported single runs: in how many of the measured pairs do two
single seeds differ so much. That is counted and not tested: where one seed in five collapses, a normal tail from few
seeds calls differences beyond seed noise that are not. Where the reported runs come from other data or another
backbone, the level says nothing and the noise only its own size; the sentences say so.

Source: prediction interval for one further value, Hahn 1969.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.captions import count, reported_setting, same_setting
from analysis.cells import Cell, Table, p_text
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

    ``std``: of the difference of two single seeds. ``as_far``: measured pairs that differ at least so much, each
    configuration about its own mean, of ``pairs``. ``configuration``: of both, empty where they are not the same.
    """

    first: str
    second: str
    reported: float
    std: float
    as_far: int
    pairs: int
    configuration: str = ""


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


def seed_noise(difference: float, first: ArrayLike, second: ArrayLike | None = None) -> tuple[float, int, int]:
    """How often two single measured seeds differ by so much, each about the mean of its configuration.

    Args:
        difference: reported, of either sign.
        first: measured values of one configuration, shape (n,), n >= 2.
        second: of the other, shape (m,), m >= 2; None where both runs are of the same configuration.

    Returns:
        standard deviation of such a difference, measured pairs at least so far apart, and all pairs.
    """
    a = np.asarray(first, dtype=np.float64)
    if second is None:
        std = float(np.sqrt(2) * a.std(ddof=1))
        gaps = np.array([x - y for x, y in combinations(a, 2)])
    else:
        b = np.asarray(second, dtype=np.float64)
        std = float(np.sqrt(a.var(ddof=1) + b.var(ddof=1)))
        gaps = np.subtract.outer(a - a.mean(), b - b.mean()).ravel()
    return std, int((np.abs(gaps) >= abs(difference) - 1e-12).sum()), gaps.size


def levels(run: Run, metric: str | None = None) -> list[Level]:
    """Every reported value of a configuration that was measured with ``FEWEST_SEEDS_NOISE`` seeds.

    Args:
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
    """Every pair of reported runs of configurations measured with ``FEWEST_SEEDS_NOISE`` seeds; of a study with
    contrasts the pairs of one configuration, and those that a contrast is about.

    Args:
        metric: a final metric; the study's objective where None.
    """
    entries = list(_entries(run, metric or objective_metric(run)))
    asked = [{*one["plus"], *one["minus"]} for one in run.study.get("contrasts") or []]
    found = []
    for (one, value, sample), (other, baseline, others) in combinations(entries, 2):
        pair = {one.configuration, other.configuration}
        if asked and len(pair) == 2 and pair not in asked:
            continue
        both = one.configuration if one.configuration == other.configuration else ""
        noise = seed_noise(value - baseline, sample, None if both else others)
        found.append(Difference(_name(one), _name(other), value - baseline, *noise, configuration=both))
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
                p_text(one.p) if same_setting(run) else "not comparable",
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
                f"{one.as_far} of {one.pairs}",
            ]
            for one in apart
        ]
        columns = ["reported runs", "difference", "noise of two single seeds", "measured pairs as far apart"]
        caption = (
            "Percentage points. Noise: one standard deviation. Pairs: seeds measured here, each about the mean of its "
            f"configuration. {_scope(run)}"
        )
        tables.append(Table("Reported differences beside seed noise", columns, rows, caption, "reported_differences"))
    return tables


def difference_sentence(run: Run, one: Difference) -> str:
    """A reported difference beside the measured seed noise, in one sentence."""
    text = (
        f"Reported: {one.first} and {one.second} differ by {100 * abs(one.reported):.2f} points; two single seeds "
        "measured here, each about the mean of its configuration, differ by at least as much in "
        f"{one.as_far} of {one.pairs} pairs"
    )
    return f"{text}. {_scope(run)}"


def against_notes_sentences(run: Run, metric: str | None = None) -> list[str]:
    """What the reported differences are worth: the smallest and the largest; why nothing can be said otherwise.

    Args:
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
