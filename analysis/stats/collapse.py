"""Seeds that went wrong: collapsed below a floor, or far below the other seeds of their configuration."""

from math import lgamma

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stats.frames import EQUAL, FEWEST_SEEDS, Array, Columns, checked, fraction, names
from analysis.stats.intervals import rate_interval


def collapse(
    frame: pd.DataFrame, value: str, floor: str | float, margin: float, by: Columns = "configuration",
    maximize: bool = True, confidence: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """How many seeds ended worse than a floor by more than a margin, and what the others do.

    Covers (%, 3 / 5 / 8 seeds): normal 100.0 / 99.6 / 97.6; skewed 98.7 / 98.5 / 99.6; bimodal 99.2 / 99.2 / 98.9.

    Args:
        frame: one row per replica; ValueError for an unknown column or NaN in it.
        floor: what doing nothing gives: a number, or the column that has it for every replica.
        margin: >= 0, in the unit of ``value``: how far below the floor doing nothing can end by chance.
        maximize: whether more is better.

    Returns:
        columns of ``by``, n, collapsed, rate, low, high (exact interval of the rate), mean_of_others, std_of_others
        (NaN where fewer than 1 or 2 are left).

    Source: Clopper and Pearson 1934.
    """
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0, found {margin}")
    rows = checked(frame, [value, floor] if isinstance(floor, str) else [value], names(by))
    below = (rows[floor] if isinstance(floor, str) else floor) - rows[value]
    rows["collapsed"] = (below if maximize else -below) > margin
    found = rate_interval(rows, value="collapsed", by=by, confidence=confidence).rename(columns={"estimate": "rate"})
    others = rows[value].mask(rows["collapsed"]).groupby([rows[name] for name in names(by)], sort=False, dropna=False)
    found.insert(found.columns.get_loc("rate"), "collapsed", (found["n"] - others.count().to_numpy()))
    return found.assign(mean_of_others=others.mean().to_numpy(), std_of_others=others.std().to_numpy())


def bad_seeds(
    frame: pd.DataFrame, value: str, by: Columns = "configuration", seed: str = "seed", maximize: bool = True,
    resolution: float = 0.0, confidence: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Seeds that lie below the others of their configuration by more than chance explains, over all configurations.

    The j lowest of n seeds, j = 1 ... less than half, are bad where both of two tests say so, so that neither normal
    samples nor ones with a long tail have bad seeds. The t test compares the j-th lowest with those above it, times the
    n! / ((j - 1)! (n - j)!) ways to choose it and them. The F test compares its distance from the next with the
    distances of those above, as they are in an exponential sample. Bonferroni over j and over configurations.

    Wrong (%, 3 / 5 / 8 seeds): normal 0.0 / 0.4 / 0.0; skewed 0.0 / 4.0 / 2.7.

    Args:
        frame: one row per replica, with these columns; ValueError for an unknown one or NaN.
        maximize: whether more is better.
        resolution: the smallest standard deviation that is believed, such as one test image. Where the seeds above are
            all equal and it is 0, nothing is called bad.
        confidence: that no seed is called bad by chance in the whole frame.

    Returns:
        columns of ``by``, ``seed``, ``value``, others (mean of those above), p: a row per bad seed, corrected.

    Sources: t with a Bonferroni bound, Grubbs 1950; j at once, Rosner 1983; spacings, Rényi 1953.
    """
    rows, level = checked(frame, [value], [*names(by), seed]), 1 - fraction(confidence)
    every = rows.groupby(names(by), sort=False, dropna=False, observed=True)
    groups = [own.sort_values(value, ascending=maximize) for _, own in every if len(own) > FEWEST_SEEDS]
    found = [rows.iloc[:0].assign(others=0.0, p=0.0)]
    for own in groups:
        values = own[value].to_numpy() * (1 if maximize else -1)
        most = min((len(values) - 1) // 2, len(values) - FEWEST_SEEDS)
        chances = ((j, _apart(values, j, resolution) * most * len(groups)) for j in range(1, most + 1))
        if (first := next(((j, p) for j, p in chances if p <= level), None)) is not None:
            found.append(own[: first[0]].assign(others=own[value].iloc[first[0] :].mean(), p=first[1]))
    return pd.concat(found[1:] or found, ignore_index=True)


def _apart(values: Array, j: int, resolution: float) -> float:
    """P-value of the j lowest of ascending values against those above; 1 where these are all equal."""
    n, above = len(values), values[j:]
    if np.ptp(above) <= EQUAL * np.abs(values).max() and resolution == 0:
        return 1.0
    error = max(float(above.std(ddof=1)), resolution) * np.sqrt(1 + 1 / len(above))
    ways = np.exp(lgamma(n + 1) - lgamma(j) - lgamma(n - j + 1))
    t = ways * stats.t.sf((above.mean() - values[j - 1]) / error, len(above) - 1)
    distances = np.diff(above) * np.arange(j + 1, n)  # of equal mean in an exponential sample
    ratio = j * (values[j] - values[j - 1]) / max(float(distances.mean()), resolution)
    return max(float(t), float(stats.f.sf(ratio, 2, 2 * len(distances))))
