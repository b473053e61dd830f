"""How many seeds does a difference take, and what do the seeds at hand show?

Of the test in force (``analysis.stats.gaps``) normal studies are simulated: the difference that a share ``power`` of
them finds at the level of Holm's first step. Above 12 seeds it is that of the t test (``statsmodels``). The spread is
taken at the upper end of its chi-square interval.
"""

from bisect import bisect_left
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.power import TTestPower

from analysis.stats.frames import FEWEST_SEEDS, fraction, known, sample, seed_table
from analysis.stats.gaps import Rows, measured

MOST_SEEDS = 100_000
_MOST_SIMULATED = 12  # seeds
_VALUES = 10_000_000  # held at once
_WIDEST = 6  # configurations: more add nothing to the error of a row


def seeds_needed(
    spread: Any, difference: float, *, df: float | None = None, configurations: int = 2, comparisons: int = 1,
    power: float = 0.8, confidence: float = 0.8, level: float = 0.05, **columns: Any,
) -> int:  # fmt: skip
    """Smallest number of common seeds with which a difference is found with at least this power.

    Args:
        spread: the paired gaps of two configurations, shape (n,); or their standard deviation, with ``df``; or a frame
            with one row per replica.
        difference: true difference of the means, not 0.
        df: degrees of freedom that a standard deviation was measured with; inf where it is known.
        configurations: how many share the seeds, for the error that a difference borrows from the others.
        comparisons: how many are tested together.
        confidence: of the upper bound of the spread; 0.8 as for pilot studies (Browne 1995).
        level: over all comparisons.
        columns: for a frame: value, and by, baseline, seed, configuration where they are not the usual ones. It gives
            ``configurations`` and ``comparisons``; the noisiest row counts, unless ``configuration`` names one.

    Returns:
        at least 3, at most 100,000.

    Raises:
        ValueError: a difference of 0, fewer than 2 gaps, a standard deviation without ``df``; as ``paired``.
    """
    if not np.isfinite(difference) or difference == 0:
        raise ValueError(f"a difference that is not 0 needed, found {difference}")
    upper, count, tests = _upper(spread, df, configurations, comparisons, confidence, columns)
    wanted = abs(difference) / upper if upper > 0 else np.inf
    seeds = range(FEWEST_SEEDS, MOST_SEEDS)
    return FEWEST_SEEDS + bisect_left(seeds, True, key=lambda n: _found(n, count, tests, power, level) <= wanted)


def smallest_difference(
    spread: Any, n: int, *, df: float | None = None, configurations: int = 2, comparisons: int = 1,
    power: float = 0.8, confidence: float = 0.95, level: float = 0.05, **columns: Any,
) -> float:  # fmt: skip
    """The true difference that n common seeds find with at least this power; arguments as ``seeds_needed``.

    Overstated (%, 3 / 5 / 8 seeds): normal 0.0 / 0.2 / 0.9; skewed 0.5 / 3.1 / 6.2; bimodal 2.7 / 0.3 / 0.8.

    Returns:
        in the unit of ``spread``; inf below 3 seeds, which decide nothing.
    """
    upper, count, tests = _upper(spread, df, configurations, comparisons, confidence, columns)
    return upper * _found(n, count, tests, power, level) if n >= FEWEST_SEEDS else np.inf


def _upper(
    spread: Any, df: float | None, configurations: int, comparisons: int, confidence: float, columns: dict[str, Any]
) -> tuple[float, int, int]:
    """Upper bound of the standard deviation of a gap, configurations that share the seeds, and comparisons."""
    if isinstance(spread, pd.DataFrame):
        return _of_frame(spread, fraction(confidence), comparisons, **columns)
    if np.ndim(spread):
        gaps = sample(spread, "spread")
        spread, df = (float(gaps.std(ddof=1)), gaps.size - 1) if gaps.size > 1 else (np.nan, 0)
    if columns or df is None or df < 1 or not spread >= 0:
        raise ValueError(f"at least 2 gaps, or a standard deviation >= 0 with its df >= 1, needed; found df={df}")
    return float(spread) * _bound(df, fraction(confidence)), configurations, comparisons


def _of_frame(
    frame: pd.DataFrame, confidence: float, comparisons: int, value: str, by: str = "configuration",
    baseline: Any = None, seed: str = "seed", configuration: Any = None,
) -> tuple[float, int, int]:  # fmt: skip
    table = seed_table(frame, value, by, seed).dropna()
    labels = list(table.columns)
    if wrong := [one for one in (baseline, configuration) if one is not None and one not in labels]:
        raise ValueError(f"no {by} {wrong[0]!r}; {known(labels)}")
    first = labels.index(baseline) if baseline is not None else 0
    rows = [{place: 1.0, first: -1.0} for place, label in enumerate(labels) if place != first
            and configuration in (None, label)]  # fmt: skip
    if not rows or len(table) < 2:
        raise ValueError(f"2 levels of {by!r} with 2 common seeds needed, found {len(labels)} with {len(table)}")
    found = measured(table.to_numpy(), Rows.of(rows), 0.0, 1)
    upper = found.error * np.sqrt(found.n) * [_bound(df, confidence) for df in found.df]
    return float(upper.max()), len(labels), max(comparisons, len(labels) - 1)


def _bound(df: float, confidence: float) -> float:
    return 1.0 if np.isinf(df) else float(np.sqrt(df / stats.chi2.ppf(1 - confidence, df)))


@cache
def _found(n: int, configurations: int, comparisons: int, power: float, level: float) -> float:
    """The difference that is found, in standard deviations of a gap."""
    if n > _MOST_SIMULATED:
        level = level / comparisons / 2  # the other side is next to never found
        most = 1.2 * (stats.t.isf(level, n - 1) + stats.norm.isf(1 - power)) / np.sqrt(n)
        return float(brentq(lambda gap: TTestPower().power(gap, n, level, alternative="larger") - power, 0, most))
    shape = (min(20_000, _VALUES // 2**n), n, min(configurations, _WIDEST))
    tables = np.random.default_rng(n).normal(0, np.sqrt(0.5), shape)
    gaps = measured(tables, Rows.of([{1: 1.0, 0: -1.0}]), level, comparisons)
    return float(np.quantile(-gaps.interval(np.full(1, level / comparisons))[0], power))
