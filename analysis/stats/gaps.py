"""Differences over common seeds: their error, p-values, intervals, and Holm's method. Arrays, many studies at once.

Three seeds say little about the error of a difference, and the other configurations say more. The error of a row is
that of its own gaps, moderated by the residuals that the others leave in the table of seeds and configurations: the
two variances are averaged by their degrees of freedom (Smyth 2004). Those of the others count at most min(n - 1, 3)
times the row's own, and the less, the clearer the row, or a configuration in it, varies more than the others (one-sided
F tests): fully from p = min(0.5, 2 / n) on, not at all at p = 0.

Where the level can be reached by sign flips with room to spare (``_FEWEST_PATTERNS``), they take the place of the t
test: the p-value holds for gaps of any symmetric distribution, and the ends of the interval are the order statistics of
the means of all subsets of the gaps that belong to the same test (Hartigan 1969).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.stats.frames import EQUAL, Array

_MOST_FLIPPED = 14  # seeds; the t test of more holds without them
_FEWEST_PATTERNS = 4  # pairs of sign patterns below the level
_MOST_BORROWED = 3


class Gaps(NamedTuple):
    """R rows of a table: mean, its error (0 where no gap differs) and degrees of freedom, shape (..., R) each; sorted
    means of all subsets of the n gaps, shape (..., R, K), where sign flips decide."""

    n: int
    mean: Array
    error: Array
    df: Array
    subsets: Array | None = None

    def below(self, value: float = 0.0) -> Array:
        """P-values of the hypothesis that the true means are at most ``value``, shape (..., R)."""
        if self.subsets is not None:
            count = (self.subsets <= value + EQUAL * np.abs(self.mean)[..., None]).sum(axis=-1)
            return (1.0 + count) / (self.subsets.shape[-1] + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.t.sf((self.mean - value) / self.error, self.df)
        equal = np.where(self.mean > value, 2.0**-self.n, 1.0)  # that n signs agree by chance
        return np.where(self.error > 0, p, equal)

    def above(self, value: float = 0.0) -> Array:
        """P-values of the hypothesis that the true means are at least ``value``, shape (..., R)."""
        subsets = None if self.subsets is None else -self.subsets[..., ::-1]
        return self._replace(mean=-self.mean, subsets=subsets).below(-value)

    def p(self, margin: float | None = None) -> Array:
        """P-values of the hypothesis that the true means are 0, or with a margin > 0 that they are not within it."""
        if margin is not None:
            return np.maximum(self.below(-margin), self.above(margin))
        return np.minimum(1.0, 2 * np.minimum(self.below(), self.above()))

    def interval(self, level: Array) -> tuple[Array, Array]:
        """Ends at confidence 1 - ``level``, a level per row; NaN where no gap differs."""
        if self.subsets is None:
            reach = np.where(self.error > 0, stats.t.isf(level / 2, self.df) * self.error, np.nan)
            return self.mean - reach, self.mean + reach
        count, level = self.subsets.shape[-1], np.broadcast_to(level, self.mean.shape)
        place = np.floor(level / 2 * (count + 1) + 1e-9).astype(int)[..., None]  # patterns that the level allows
        ends = [np.take_along_axis(self.subsets, at, axis=-1)[..., 0] for at in (place - 1, count - place)]
        low, high = (np.where((place[..., 0] > 0) & (self.error > 0), end, np.nan) for end in ends)
        return low, high


class Rows(NamedTuple):
    """R weighted sums of at most K configurations: their places and weights, shape (R, K), filled with weight 0."""

    places: NDArray[np.intp]
    weights: Array

    @classmethod
    def of(cls, rows: Sequence[Mapping[int, float]]) -> "Rows":
        """From place -> weight, one mapping per row."""
        widest = max(map(len, rows))
        filled = [[*row.items(), *[(next(iter(row)), 0.0)] * (widest - len(row))] for row in rows]
        found = np.array(filled, dtype=np.float64)  # (R, K, 2)
        return cls(found[..., 0].astype(np.intp), found[..., 1])


def measured(table: Array, rows: Rows, level: float, family: int) -> Gaps:
    """Mean, error and degrees of freedom of rows of a table.

    Args:
        table: values of n seeds and C configurations, shape (..., n, C).
        rows: where the weights of a row do not add up to 0, the others say nothing of its error.
        level: of the family.
        family: how many rows are tested together.
    """
    n, count = table.shape[-2:]
    gaps = (table[..., rows.places] * rows.weights).sum(axis=-1)  # (..., n, R)
    squares = (rows.weights**2).sum(axis=1)
    scale = EQUAL * np.abs(table).max(axis=(-2, -1))[..., None] * np.sqrt(squares)
    mean = gaps.mean(axis=-2)
    mean = np.where(np.abs(mean) <= scale, 0.0, mean)
    own, df = np.zeros(mean.shape), np.full(mean.shape, max(n - 1.0, 1.0))
    if n > 1:
        own = np.where(np.ptp(gaps, axis=-2) <= scale, 0.0, gaps.var(axis=-2, ddof=1)) / squares
    if n <= _MOST_FLIPPED and 2 ** (n - 1) * level / family >= _FEWEST_PATTERNS:
        subsets = np.sort(np.swapaxes(gaps, -1, -2) @ _subsets(n).T, axis=-1)
        return Gaps(n, mean, np.sqrt(own * squares / n), df, subsets)
    variance = own
    if n > 1 and count > 2:
        contrast = np.abs(rows.weights.sum(axis=1)) <= EQUAL * np.sqrt(squares)
        residuals = Residuals.of(table)
        each = residuals.agreement(residuals.single)[..., rows.places].min(axis=-1)
        part = own * residuals.df
        moderated, more = residuals.moderated(part, np.minimum(residuals.agreement(part), each))
        variance, df = np.where(contrast, moderated, own), np.where(contrast, more, df)
    variance = np.where(np.sqrt(variance * squares) <= scale, 0.0, variance)
    return Gaps(n, mean, np.sqrt(variance * squares / n), df)


class Residuals(NamedTuple):
    """What seeds and configurations leave of a table (..., n, C): sum of squares of each configuration against all
    others, shape (..., C), of all, shape (..., 1), and the degrees of freedom of one."""

    single: Array
    total: Array
    df: int
    configurations: int

    @classmethod
    def of(cls, table: Array) -> "Residuals":
        n, count = table.shape[-2:]
        rows, columns = table.mean(axis=-1, keepdims=True), table.mean(axis=-2, keepdims=True)
        left = table - rows - columns + table.mean(axis=(-2, -1), keepdims=True)
        rounding = np.abs(left) <= EQUAL * np.abs(table).max(axis=(-2, -1), keepdims=True)
        squares = np.where(rounding, 0.0, left) ** 2
        return cls(squares.sum(axis=-2) * count / (count - 1), squares.sum(axis=(-2, -1))[..., None], n - 1, count)

    def agreement(self, own: Array) -> Array:
        """P-values of the F tests that a part of the sum of squares varies no more than the rest, shape (..., R)."""
        rest_df = max(self.configurations - 2, 1) * self.df
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.f.sf(own / self.df / (np.maximum(self.total - own, 0) / rest_df), self.df, rest_df)
        return np.where(np.isnan(p), 1.0, p)

    def moderated(self, own: Array, agreement: Array) -> tuple[Array, Array]:
        """Variances of parts averaged with that of the rest, and their degrees of freedom, shape (..., R) each."""
        if self.configurations < 3:
            return own / self.df, np.full(own.shape, float(self.df))
        rest = np.maximum(self.total - own, 0) / ((self.configurations - 2) * self.df)
        weight = np.minimum(1.0, agreement / min(0.5, 2 / (self.df + 1)))
        borrowed = weight * self.df * min(self.configurations - 2, self.df, _MOST_BORROWED)
        return (borrowed * rest + own) / (borrowed + self.df), borrowed + self.df


@cache
def _subsets(n: int) -> Array:
    """Weights of the means of all subsets of n, shape (2**n - 1, n)."""
    chosen = (np.arange(1, 2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
    return np.asarray(chosen / chosen.sum(axis=1, keepdims=True))


def holm(p: Array, level: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Holm's method over the last axis (Holm 1979): corrected p-values, the level at which each row was decided (for
    those not rejected that of the step where the method stopped), and whether it was rejected, shape (..., m) each."""
    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=-1)
    remaining = np.arange(m, 0, -1)  # open hypotheses at each step
    steps = np.minimum(1.0, np.maximum.accumulate(ordered * remaining, axis=-1))
    passed = np.logical_and.accumulate(ordered <= level / remaining, axis=-1)
    stopped = level / np.maximum(m - passed.sum(axis=-1, keepdims=True), 1)
    spent = np.where(passed, level / remaining, stopped)
    back = np.argsort(order, axis=-1, kind="stable")
    adjusted, levels, rejected = (np.take_along_axis(one, back, axis=-1) for one in (steps, spent, passed))
    return adjusted, levels, rejected
