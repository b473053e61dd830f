"""What a change is worth: contrasts between configurations, paired by seed and tested together.

A contrast is a metric summed over some configurations minus its sum over others, seed by seed. Student's t gives the
interval and the p-value, Holm's method corrects the p-values over all contrasts of a study. A diverged or failed seed
counts with the worst value that any seed of the run has.

Error rates, measured in 20,000 simulated studies of 6 contrasts with 3, 5 and 8 seeds (``tests/test_contrasts.py``).
Studies in which a contrast is decided although no change does anything, and how often the interval of one contrast
holds its true value:

    accuracies                                       wrong (%)         covered (%)
    normal                                           4.8 / 4.6 / 4.6   95.0 / 95.0 / 95.0
    skewed (exponential)                             3.1 / 2.3 / 2.5   96.7 / 96.6 / 96.0
    bimodal (1 seed in 5 collapses)                  4.7 / 1.2 / 1.3   97.5 / 97.8 / 96.6
    normal, 1 seed in 10 lost                        4.9 / 4.4 / 4.6   95.0 / 95.0 / 94.9
    normal, 200 images: steps of half a deviation    1.7 / 4.1 / 4.5   96.2 / 95.1 / 94.9

That no undecided effect is larger than the largest end of their intervals is wrong in at most 2 % of studies. Where one
side alone collapses, in 1 of 5 seeds, and both sides have the same mean, a single contrast is decided wrongly in
16 / 22 / 16 %: beside effects of configurations that collapse, read the rates.

Sources: Holm 1979; paired t, Student 1908.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.differences import CONFIDENCE, FEWEST_SEEDS, holm
from analysis.permutation import smallest_permutation_p

POINTS = 100.0  # of a fraction
_EQUAL = 1e-10  # points: what differs by less differs by rounding

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """The metric summed over the labels ``plus`` minus that over ``minus``; ``group``: heading it is listed under."""

    name: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    group: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.plus, *self.minus)


@dataclass(frozen=True)
class Effect:
    """What a contrast comes to over ``n`` common seeds, in points; ``lost`` of these diverged or failed in one of its
    configurations.

    ``mean``: None without a seed. ``low``, ``high``: t interval at level ``CONFIDENCE`` of this contrast alone, None
    below 2 seeds and where all seeds give the same value, which tells nothing of the spread. ``p``: paired t test, of
    equal values the sign test. ``p_holm``: corrected over the contrasts of the study.
    """

    name: str
    group: str
    n: int
    lost: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def decided(self) -> bool:
        return self.n >= FEWEST_SEEDS and self.p_holm is not None and self.p_holm < 1 - CONFIDENCE

    @property
    def verdict(self) -> str:
        """``raises`` | ``lowers`` | ``undecided``."""
        return "undecided" if not self.decided or self.mean is None else "raises" if self.mean > 0 else "lowers"

    @property
    def hidden(self) -> float | None:
        """The largest effect, of either sign, that the interval leaves possible."""
        return None if self.low is None or self.high is None else max(abs(self.low), abs(self.high))


def effects(
    values: pd.DataFrame, lost: pd.DataFrame, contrasts: Sequence[Contrast], minimise: bool = False
) -> list[Effect]:
    """Estimate and test contrasts.

    Args:
        values: a metric, a fraction; a row per seed, a column per configuration, shape (S, L); NaN where a replica has
            none.
        lost: bool, shape (S, L) with the same labels: replicas that diverged or failed, whose value is not used.
        contrasts: their labels are columns of ``values``.
        minimise: whether less is better, so that the worst value is the largest.

    Returns:
        one effect per contrast, in their order.

    Raises:
        ValueError: a label that is no column.
    """
    if unknown := {label for one in contrasts for label in one.labels} - set(values.columns):
        raise ValueError(f"contrasts of unknown configurations: {', '.join(sorted(unknown))}")
    kept = values.mask(lost)
    worst = kept.max(axis=None) if minimise else kept.min(axis=None)
    filled = kept.mask(lost, worst)
    found = [_effect(filled, lost, one) for one in contrasts]
    return [replace(one, p_holm=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def paired_t(gaps: ArrayLike) -> tuple[Array, Array, Array, Array]:
    """Means of paired differences, the ends of their t intervals at level ``CONFIDENCE``, and p-values.

    Equal differences have no interval: accuracies of a few hundred images agree by chance, so they do not show that
    there is no spread. Their p-value is that of the sign test; 1 where all are 0.

    Args:
        gaps: shape (..., n), n >= 1.

    Returns:
        mean, low, high and p, shape (...) each; low, high and p are NaN where they cannot be said.
    """
    table = np.asarray(gaps, dtype=np.float64)
    n, mean = table.shape[-1], table.mean(axis=-1)
    if n < 2:
        none = np.full_like(mean, np.nan)
        return mean, none, none, none
    equal = np.ptp(table, axis=-1) <= _EQUAL
    error = np.where(equal, np.nan, table.std(axis=-1, ddof=1) / np.sqrt(n))
    reach = stats.t.isf((1 - CONFIDENCE) / 2, n - 1) * error
    of_equal = np.where(np.abs(mean) <= _EQUAL, 1.0, smallest_permutation_p(n))
    p = np.where(equal, of_equal, 2 * stats.t.sf(np.abs(mean) / error, n - 1))
    return mean, mean - reach, mean + reach, p


def _effect(filled: pd.DataFrame, lost: pd.DataFrame, contrast: Contrast) -> Effect:
    plus, minus = (filled[list(side)].sum(axis=1, skipna=False) for side in (contrast.plus, contrast.minus))
    gaps = (plus - minus).dropna()
    affected = int(lost.loc[gaps.index, list(contrast.labels)].any(axis=1).sum())
    result = Effect(contrast.name, contrast.group, len(gaps), affected)
    if gaps.empty:
        return result
    mean, *known = (float(one) for one in paired_t(POINTS * gaps))
    low, high, p = (value if np.isfinite(value) else None for value in known)
    return replace(result, mean=mean, low=low, high=high, p=p)
