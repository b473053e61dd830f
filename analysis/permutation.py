"""Sign-flip permutation tests of paired values, for many comparisons at once.

Under the null hypothesis a pair's two values can be exchanged, which flips the sign of their difference. Up to
``MOST_SEEDS_EXACT`` pairs every pattern of signs is tried; beyond, random ones, the observed pattern among them.

Sources: Fisher 1935; random patterns, Phipson and Smyth 2010; spread from absolute deviations, Brown and Forsythe 1974.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

MOST_SEEDS_EXACT = 14  # 2**14 sign patterns
RANDOM_SIGN_PATTERNS = 20_000
_BATCH = 4_000_000  # sums, and signs, held at once


def smallest_permutation_p(n: int) -> float:
    """The smallest two-sided p-value that n sign flips can give: all signs alike, two patterns of 2**n; of
    random patterns the observed one alone."""
    return 2.0 ** (1 - n) if n <= MOST_SEEDS_EXACT else 1.0 / (RANDOM_SIGN_PATTERNS + 1)


def sign_flip_p(gaps: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-values of the hypothesis that differences are as likely positive as negative.

    Args:
        gaps: paired differences, shape (..., n), n >= 1.

    Returns:
        shape (...); 1 where all differences are 0.
    """
    table = np.asarray(gaps, dtype=np.float64)
    n = table.shape[-1]
    flat = table.reshape(-1, n)
    # Sums that differ by rounding only are equal, as scipy.stats.permutation_test has it.
    observed = np.abs(flat.sum(axis=-1)) - 1e-13 * np.abs(flat).sum(axis=-1)
    extreme, tried = np.zeros(len(flat)), 0
    for patterns in _sign_patterns(n):
        tried += len(patterns)
        size = max(1, _BATCH // len(patterns))
        for start in range(0, len(flat), size):
            part = slice(start, start + size)
            extreme[part] += (np.abs(flat[part] @ patterns.T) >= observed[part, None]).sum(axis=-1)
    p = extreme / tried if n <= MOST_SEEDS_EXACT else (extreme + 1) / (tried + 1)
    return p.reshape(table.shape[:-1])


def spread_p(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-values of the hypothesis that paired values have the same spread, whatever their means.

    Sign flips of the difference between the absolute deviations of both from their interquartile means. Deviations from
    the median would be 0 for one seed of every odd number, those from the mean let one far seed move all others; with
    these the test keeps its level for normal and for heavy-tailed values (tests/test_comparison.py).

    Args:
        first: shape (..., n); n >= 7, with fewer the attainable level is far below the nominal one.
        second: the same seeds in the same order, shape (..., n).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return sign_flip_p(_deviations(a) - _deviations(b))


def _deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = np.asarray(stats.trim_mean(values, 0.25, axis=-1), dtype=np.float64)
    return np.asarray(np.abs(values - centre[..., None]), dtype=np.float64)


def _sign_patterns(n: int) -> Iterator[NDArray[np.float64]]:
    """Blocks of shape (patterns, n): all of them, or random ones."""
    if n <= MOST_SEEDS_EXACT:
        yield _all_patterns(n)
        return
    rng = np.random.default_rng(0)
    size = max(1, _BATCH // n)
    for start in range(0, RANDOM_SIGN_PATTERNS, size):
        bits = rng.integers(2, size=(min(size, RANDOM_SIGN_PATTERNS - start), n), dtype=np.int8)
        yield np.asarray(1 - 2 * bits, dtype=np.float64)


@cache
def _all_patterns(n: int) -> NDArray[np.float64]:
    """Of two patterns that are each other's negative one is enough for a two-sided test: shape (2**(n - 1), n)."""
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    return np.asarray(1 - 2 * bits, dtype=np.float64)
