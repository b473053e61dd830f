"""How many seeds a stated difference needs, and what the seeds at hand can show: paired t tests.

Source: power of the t test from the noncentral t distribution, Cohen 1988; ``statsmodels.stats.power``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.captions import count
from analysis.cells import Cell, Table
from analysis.differences import CONFIDENCE
from analysis.records import Run
from analysis.series import configurations, finals_of, objective_metric

POWER = 0.8
MOST_SEEDS = 1_000_000
STATED = (0.005, 0.01, 0.02)  # differences, fractions


@dataclass(frozen=True)
class Noise:
    """Seed noise of a comparison, as fractions: ``std`` of the paired differences over ``n`` common seeds with its
    chi-square interval ``low`` to ``high`` at level ``CONFIDENCE``, the seeds' own standard deviations, and how far the
    pairs correlate (None where a side is constant)."""

    configuration: str
    baseline: str
    n: int
    std: float
    low: float
    high: float
    std_configuration: float
    std_baseline: float
    correlation: float | None


def pairing_noise(configuration: str, baseline: str, first: ArrayLike, second: ArrayLike) -> Noise | None:
    """Noise of the difference of two configurations; None below 2 common seeds.

    Args:
        configuration, baseline: labels.
        first, second: final values of both for the same seeds in the same order, shape (n,).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    n = a.size
    if n < 2:
        return None
    std = float((a - b).std(ddof=1))
    tails = stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], n - 1)
    low, high = std * np.sqrt((n - 1) / tails)
    own = float(a.std(ddof=1)), float(b.std(ddof=1))
    correlation = float(np.corrcoef(a, b)[0, 1]) if min(own) > 0 else None
    return Noise(configuration, baseline, n, std, float(low), float(high), *own, correlation)


def seeds_needed(difference: float, std: float) -> int:
    """Smallest number of paired seeds with which a two-sided paired t test finds a difference with power ``POWER``.

    Args:
        difference: true mean difference, not 0, in the unit of ``std``.
        std: standard deviation of the paired differences, >= 0.

    Returns:
        at least 2, at most ``MOST_SEEDS``.

    Raises:
        ValueError: the difference is 0.
    """
    if difference == 0:
        raise ValueError("no number of seeds shows a difference of 0")
    if std == 0:
        return 2
    low, high = 1, 2
    while high < MOST_SEEDS and _power(abs(difference) / std, high) < POWER:
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(abs(difference) / std, middle) >= POWER else (middle, high)
    return high


def smallest_difference(n: int, std: float) -> float:
    """The true difference that n paired seeds find with power ``POWER``, in the unit of ``std``.

    Args:
        n: number of paired seeds, >= 2.
        std: standard deviation of the paired differences, >= 0.
    """
    if std == 0:
        return 0.0
    # From a noncentrality of 1 upwards: the noncentral t distribution is not to be had far beyond.
    low, high = 0.0, 1 / float(np.sqrt(n))
    while _power(high, n) < POWER:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, n) >= POWER else (middle, high)
    return high * std


def noises(run: Run, metric: str | None = None) -> list[Noise]:
    """Noise of every configuration against the first, where they have two finished seeds in common.

    Args:
        metric: a final metric; the study's objective where None.
    """
    finals = finals_of(run, metric or objective_metric(run))
    labels = configurations(run)
    found = []
    for label in labels[1:]:
        common = finals[labels[0]].index.intersection(finals[label].index)
        pair = finals[label].loc[common], finals[labels[0]].loc[common]
        if noise := pairing_noise(label, labels[0], *pair):
            found.append(noise)
    return found


def power_sentence(noise: Noise, difference: float) -> str:
    """How many seeds a difference needs, how sure that is, and what the seeds at hand can show.

    Args:
        noise: of the comparison.
        difference: a stated difference, a fraction, not 0.
    """
    size = f"{100 * abs(difference):.2g}"
    points = f"{size} point{'' if size == '1' else 's'}"
    pair = f"{noise.configuration} and {noise.baseline}"
    if noise.std == 0:
        return f"{pair} differ by the same amount for all {noise.n} common seeds, so any difference shows."
    shown = 100 * smallest_difference(noise.n, noise.std)
    need, least, most = (seeds_needed(difference, std) for std in (noise.std, noise.low, noise.high))
    correlation = "" if noise.correlation is None else f", correlation of the pairs {noise.correlation:.2f}"
    return (
        f"To tell {pair} apart when they differ by {points} takes {_seeds(need)} (power "
        f"{100 * POWER:.0f} %, paired t test at {100 * (1 - CONFIDENCE):.0f} %; {least:,} to {_seeds(most)} for "
        f"the uncertainty of the noise); measured over {count(noise.n, 'seed')}, a difference within a seed varies by "
        f"{100 * noise.std:.2f} points{correlation}; these seeds can show {shown:.1f} points or more."
    )


def power_table(found: Sequence[Noise]) -> Table:
    """What the seeds at hand can show of every configuration against the first, and how many a difference takes."""
    columns = ["configuration", "common seeds", "std of a difference", "95 % interval", "correlation of the pairs",
               "can show", *(f"seeds for {100 * stated:g}" for stated in STATED)]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            one.configuration,
            one.n,
            f"{100 * one.std:.2f}",
            f"{100 * one.low:.2f} to {100 * one.high:.2f}",
            None if one.correlation is None else f"{one.correlation:.2f}",
            f"{100 * smallest_difference(one.n, one.std):.1f}",
            *(seeds_needed(stated, one.std) for stated in STATED),
        ]
        for one in found
    ]
    caption = (
        f"Percentage points, against {found[0].baseline if found else 'the first'} within a seed. Can show: the true "
        f"difference that these seeds find with a power of {100 * POWER:.0f} % (paired t test at "
        f"{100 * (1 - CONFIDENCE):.0f} %, one comparison); seeds for: how many a difference of so many points takes."
    )
    return Table("How many seeds a difference takes", columns, rows, caption, "power")


def power_summary(found: Sequence[Noise]) -> str:
    """The range over configurations of what these seeds can show, in one sentence."""
    if not found:
        return "How many seeds a difference takes cannot be said: that needs two seeds that two configurations share."
    shown = {one.configuration: 100 * smallest_difference(one.n, one.std) for one in found}
    least, most = min(shown, key=lambda label: shown[label]), max(shown, key=lambda label: shown[label])
    reach = f"{shown[least]:.1f} points ({least})"
    if len(shown) > 1:
        reach += f" to {shown[most]:.1f} points ({most})"
    return f"The smallest difference from {found[0].baseline} that these seeds can show: {reach}."


def _power(effect: float, n: int) -> float:
    return float(TTestPower().power(effect, n, 1 - CONFIDENCE, alternative="two-sided"))


def _seeds(n: int) -> str:
    return f"over {MOST_SEEDS:,} seeds" if n >= MOST_SEEDS else count(n, "seed")
