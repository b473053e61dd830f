"""Is a configuration different from the baseline, or is it the seed? Paired differences over common seeds.

Replicas with the same seed share the initialisation of what they have in common, the data order and the augmentation,
so the difference within a seed is less noisy than the difference of two means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.permutation import sign_flip_p
from analysis.records import Run
from analysis.series import configurations, final_table, final_values

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # below this an interval exists but says next to nothing
FEWEST_SEEDS_PERMUTATION = 5  # below this the smallest possible p-value is above 0.1


@dataclass(frozen=True)
class PairedDifference:
    """A final metric of ``configuration`` minus the baseline's over ``n`` common seeds, as fractions.

    ``low``, ``high``: t interval at level ``CONFIDENCE`` for one comparison, None below 2 seeds. ``p_t``: paired t
    test. ``p_permutation``: two-sided sign-flip test, None below ``FEWEST_SEEDS_PERMUTATION`` seeds. ``*_holm``:
    corrected over the configurations that were compared.
    """

    configuration: str
    baseline: str
    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    p_t: float | None = None
    p_permutation: float | None = None
    p_t_holm: float | None = None
    p_permutation_holm: float | None = None

    @property
    def told_apart(self) -> bool:
        """Enough seeds, and an interval that excludes 0."""
        if self.n < FEWEST_SEEDS or self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0

    @property
    def survives_correction(self) -> bool:
        """Told apart, and still so by the corrected t test, which rests on the same model as the interval."""
        return self.told_apart and self.p_t_holm is not None and self.p_t_holm < 1 - CONFIDENCE


def paired_difference(configuration: str, baseline: str, first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """Difference ``first - second``, uncorrected.

    Args:
        first: final values of ``configuration``, shape (n,), n >= 1.
        second: those of ``baseline`` for the same seeds in the same order, shape (n,).

    Raises:
        ValueError: no seed, or the shapes differ.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"paired values needed, found shapes {a.shape} and {b.shape}")
    gap = a - b
    result = PairedDifference(configuration, baseline, gap.size, float(gap.mean()))
    if gap.size < 2:
        return result
    if np.allclose(gap, gap[0], rtol=0, atol=1e-12):
        # No spread, so no t statistic: the same gap for every seed, often exactly none.
        equal = abs(gap[0]) <= 1e-12
        mean = 0.0 if equal else result.mean
        result = replace(result, mean=mean, low=mean, high=mean, p_t=1.0 if equal else 0.0)
    else:
        test = stats.ttest_rel(a, b)
        interval = test.confidence_interval(CONFIDENCE)
        result = replace(result, low=float(interval.low), high=float(interval.high), p_t=float(test.pvalue))
    if gap.size >= FEWEST_SEEDS_PERMUTATION:
        result = replace(result, p_permutation=float(sign_flip_p(gap)))
    return result


def differences(run: Run, metric: str = "final_accuracy") -> list[PairedDifference]:
    """Every configuration against the first, where they have a finished seed in common, Holm-corrected.

    Args:
        run: the run; all of its configurations are compared, also those that are not shown.
        metric: the final metric to compare, a fraction.
    """
    labels, table = configurations(run.whole), final_table(run.whole, metric)
    if table.empty or labels[0] != table.index[0]:
        return []
    values = table.to_numpy()
    shared = np.isfinite(values) & np.isfinite(values[0])
    return corrected(
        [
            paired_difference(str(table.index[row]), labels[0], values[row, own], values[0, own])
            for row, own in enumerate(shared)
            if row and own.any()
        ]
    )


def difference(run: Run, configuration: str, baseline: str, metric: str) -> PairedDifference | None:
    """One configuration against another over their common finished seeds, uncorrected; None without such a seed."""
    first, second = final_values(run, configuration, metric), final_values(run, baseline, metric)
    common = second.index.intersection(first.index)
    if not len(common):
        return None
    return paired_difference(configuration, baseline, first.loc[common], second.loc[common])


def corrected(found: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The same differences with their p-values Holm-corrected over all of them."""
    t_holm = holm([one.p_t for one in found])
    permutation_holm = holm([one.p_permutation for one in found])
    return [
        replace(one, p_t_holm=t, p_permutation_holm=permutation)
        for one, t, permutation in zip(found, t_holm, permutation_holm, strict=True)
    ]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values that there are; None stays None."""
    known = [p for p in p_values if p is not None]
    corrected = iter(multipletests(known, method="holm")[1] if known else [])
    return [None if p is None else float(next(corrected)) for p in p_values]
