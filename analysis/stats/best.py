"""Which configuration is the best, after one has looked for it? And from which level on are all as good as the best?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from analysis.stats.frames import EQUAL, FEWEST_SEEDS, Array, above_zero, fraction, level_of, seed_table
from analysis.stats.gaps import Residuals, Rows, measured

_DRAWS, _MOST_DRAWN = 4_000, 4_000_000
_RIVALS = 20
_GRID = special.expit(np.linspace(-18, 6, 100))  # share of the spread of the means that is error


def best_of(
    frame: pd.DataFrame, value: str, by: str = "configuration", seed: str = "seed", maximize: bool = True,
    confidence: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """How probable each configuration is to be the best, and which cannot be excluded from being it.

    ``probability`` is that of a model in which the true means vary about a common one, by as much as the seeds leave
    possible: it draws all means together, and so corrects for the choice of the largest. ``not_excluded`` holds the
    best with probability ``confidence``: a configuration is excluded where a one-sided test puts it below another,
    corrected for the number of others. Only seeds that all configurations have count.

    Best excluded (%, 3 / 5 / 8 seeds): normal 1.7 / 3.0 / 3.1; skewed 0.8 / 1.2 / 1.6; bimodal 0.6 / 1.2 / 1.9.
    Coin toss called (%, 3 / 5 / 8 seeds): normal 5.3 / 6.2 / 8.7; skewed 5.5 / 6.7 / 6.6; bimodal 6.3 / 7.7 / 8.5.

    Args and errors as in ``paired``; ``maximize``: whether more is better.

    Returns:
        ``by``, n, estimate (mean over those seeds), probability, not_excluded. Below 3 common seeds estimate and
        probability are NaN and nothing is excluded.

    Sources: empirical Bayes for the best of many, Efron 2011; selection of a subset, Gupta 1965.
    """
    table, level, sign = seed_table(frame, value, by, seed), 1 - fraction(confidence), 1 if maximize else -1
    common = sign * table.dropna().to_numpy()
    found = pd.DataFrame({by: list(table.columns), "n": len(common), "estimate": np.nan, "probability": np.nan})
    if len(common) < FEWEST_SEEDS:
        return found.assign(not_excluded=True)
    draws = max(200, min(_DRAWS, _MOST_DRAWN // common.shape[1]))
    means = true_means(common[..., None], np.random.default_rng(0), draws)[..., 0]
    top = means == means.max(axis=1, keepdims=True)
    found["estimate"] = sign * common.mean(axis=0)
    found["probability"] = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return found.assign(not_excluded=kept(common, level))


def kept(table: Array, level: float) -> NDArray[np.bool_]:
    """Which configurations no other is better than, by one-sided tests at ``level`` over all others, shape (..., C).

    Args:
        table: n seeds of C configurations, more is better, shape (..., n, C).
    """
    count = table.shape[-1]
    # Of many only those with the highest means: fewer tests keep more.
    rivals = range(count) if count <= _RIVALS else np.argsort(-table.mean(axis=-2), axis=None)[:_RIVALS].tolist()
    pairs = [(own, other) for own in range(count) for other in rivals if other != own]
    p = measured(table, Rows.of([{other: 1.0, own: -1.0} for own, other in pairs]), level, len(pairs)).below()
    starts = np.flatnonzero(np.diff([own for own, _ in pairs], prepend=-1))
    return np.asarray(np.minimum.reduceat(p, starts, axis=-1) > level / (count - 1))


def saturation(
    frame: pd.DataFrame, value: str, margin: float, order: Sequence[Any], by: str = "configuration", seed: str = "seed",
    confidence: float = 0.95, level: float | None = None, maximize: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Which levels, counted from the largest down, are shown to be within a margin of the best level.

    A level is within the margin of the best where it is within the margin of each other one: nothing is chosen by
    looking. Levels are tested from the largest down, each at the full level, to the first that is not shown: so the
    chance that one of the answer is not within the margin stays below 1 - ``confidence``.

    Too small (%, 3 / 5 / 8 seeds): normal 3.4 / 4.1 / 4.7; skewed 1.9 / 2.6 / 4.5; bimodal 1.5 / 3.1 / 4.8.
    Of six levels, three of them equal, at a spread of 0.3 margins the right one is named in 60 to 66, 93 to 100 and 99
    to 100 % of studies with 3, 5 and 8 seeds.

    Args, and errors, as in ``paired``, besides:
        margin: > 0, in the unit of ``value``.
        order: at least 2 levels of ``by``, the smallest first.
        maximize: whether more is better.

    Returns:
        ``by``, n, difference, low, p, within: a row per level, in order, over the seeds that all levels share.
        ``difference``: mean minus the best of the other means, negative where it is worse. ``low``: its lower bound;
        NaN for levels that were not tested.

    Sources: intersection-union test, Berger 1982; fixed sequence, Maurer, Hothorn and Lehmacher 1995.
    """
    table = seed_table(frame, value, by, seed)
    if len(order) < 2 or (unknown := [str(one) for one in order if one not in table.columns]):
        missing = f"not there: {', '.join(unknown)}" if len(order) > 1 else f"found {len(order)}"
        raise ValueError(f"order: at least 2 levels of {by!r} needed; {missing}")
    spent, margin = level_of(confidence, level), above_zero(margin)
    values = (1.0 if maximize else -1.0) * table[list(order)].dropna().to_numpy()
    found = pd.DataFrame({by: list(order), "n": len(values), "difference": np.nan, "low": np.nan, "p": np.nan})
    if len(values):
        means = values.mean(axis=0)
        found["difference"] = [one - np.delete(means, place).max() for place, one in enumerate(means)]
    if len(values) < FEWEST_SEEDS:
        return found.assign(within=False)
    p, low = behind_best(values, margin, spent)
    within = from_the_top(p, spent)
    tested = (within | np.append(within[1:], True)) & np.isfinite(low)
    return found.assign(low=np.where(tested, low, np.nan), p=np.where(tested, p, np.nan), within=within)


def behind_best(values: Array, margin: float, level: float) -> tuple[Array, Array]:
    """P-values of the hypothesis that a level is ``margin`` or more behind the best other one, and the lower bounds of
    the differences from it at confidence 1 - ``level``, both (..., C), of values (..., n, C), larger is better."""
    count = values.shape[-1]
    rows = Rows.of([{one: 1.0, other: -1.0} for one in range(count) for other in range(count) if other != one])
    gaps = measured(values, rows, 2 * level, family=1)  # one-sided tests
    low, _ = gaps.interval(np.full(gaps.mean.shape, 2 * level))
    shape = (*gaps.mean.shape[:-1], count, count - 1)
    return gaps.below(-margin).reshape(shape).max(axis=-1), np.nan_to_num(low, nan=-np.inf).reshape(shape).min(axis=-1)


def from_the_top(p: Array, level: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected, tested from the last to the first one that is not, shape of ``p`` (..., C)."""
    passed = np.logical_and.accumulate(p[..., ::-1] <= level, axis=-1)
    return np.asarray(passed[..., ::-1])


def true_means(table: Array, rng: np.random.Generator, draws: int) -> Array:
    """Draws of the true means of C configurations in M numbers, shape (draws, C, M), given n common seeds.

    Errors of a mean as in ``analysis.stats.gaps``, correlated between numbers as the residuals are. The true means are
    normal about a common one; the share of error in their spread is uniform a priori (Strawderman 1971). A number
    without residuals is known.

    Args:
        table: shape (n, C, M), n >= 2, C >= 2.
    """
    n, count, numbers = table.shape
    by_number = np.moveaxis(table, -1, 0)  # (M, n, C)
    residuals = Residuals.of(by_number)
    variance, df = residuals.moderated(residuals.single, residuals.agreement(residuals.single))
    known = np.sqrt(variance) <= EQUAL * np.abs(by_number).max(axis=(1, 2))[:, None]
    variance = np.where(known, 0.0, variance) / n  # of a mean, (M, C)
    chi2 = stats.chi2.ppf(rng.random((draws, 1, 1)), df)
    noise = rng.normal(size=(draws, count, numbers)) @ _correlation(table).T
    found = np.empty((draws, count, numbers))
    for place, (means, own) in enumerate(zip(by_number.mean(axis=1), variance, strict=True)):
        if not own.any():
            found[..., place] = means
            continue
        drawn = own * df[place] / chi2[:, place]  # (draws, C)
        between = _between(means, own, rng.random(draws))[:, None]
        weight = 1 / (between + drawn)
        total = weight.sum(axis=1)
        centre = (weight * means).sum(axis=1) / total + rng.normal(size=draws) / np.sqrt(total)
        share = between * weight
        found[..., place] = share * means + (1 - share) * centre[:, None] + np.sqrt(share * drawn) * noise[..., place]
    return found


def _between(means: Array, variance: Array, uniform: Array) -> Array:
    """Draws of the variance of the true means, shape of ``uniform``."""
    grid = variance.mean() * (1 - _GRID) / _GRID
    weight = 1 / (grid[:, None] + variance)  # (grid, C)
    centre = (weight * means).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    fit = np.log(weight).sum(axis=1) - np.log(weight.sum(axis=1)) - (weight * (means - centre) ** 2).sum(axis=1)
    fit = fit / 2 + np.log(_GRID * (1 - _GRID))  # uniform in the share
    likely = np.cumsum(np.exp(fit - fit.max()))
    return np.asarray(grid[np.searchsorted(likely, uniform * likely[-1])])


def _correlation(table: Array) -> Array:
    """Cholesky factor of the correlation of the residuals between numbers, shape (M, M)."""
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean(axis=(0, 1))
    flat = left.reshape(-1, table.shape[-1])
    flat = flat / np.maximum(np.sqrt((flat**2).sum(axis=0)), np.finfo(float).tiny)
    found = 0.999 * flat.T @ flat
    np.fill_diagonal(found, 1.0)
    return np.asarray(np.linalg.cholesky(found))
