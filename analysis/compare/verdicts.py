"""Did a configuration move between two runs? Tested seed by seed, the code being a fixed effect.

The gap of a common seed is one observation; all configurations and pairs of runs of a comparison are one family (Holm).
The error of a mean gap is that of its own gaps alone: another configuration may have redrawn its numbers where this one
kept them. Where enough seeds are common, a change of the spread is tested at ``SPREAD_LEVEL`` of the 5 %, and the shift
at the rest.

Of two runs of one law whose numbers were redrawn, any configuration is said to have moved in so many per cent: 1 at 3
seeds, 5 at 5 and at 8 (``tests/analysis/compare/test_compare_rates.py``):

    normal                               5.1 / 5.0 / 5.3
    skewed (exponential)                 3.4 / 2.3 / 2.5
    bimodal (1 seed in 5 collapses)      2.4 / 1.2 / 0.9
    bimodal (1 seed in 2 collapses)      3.6 / 2.3 / 4.8
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.stats import contrasts
from analysis.stats.gaps import holm

BIT_EQUAL, SHIFTED, SPREAD, UNDECIDED = "bit-equal", "shifted", "spread changed", "undecided"
LEVEL, SPREAD_LEVEL = 0.05, 0.02
RESAMPLES = 9_999
ROUNDING = 1e-12  # of the values: below, gaps are none
_VALUES = ["value_baseline", "value_run"]


class Gap(NamedTuple):
    """Run minus baseline, in the metric's unit. ``p``, ``p_spread``: corrected; ``low``, ``high``: at the level at
    which the row was decided; ``spread_ratio``: standard deviation in the run over that in the baseline. NaN: no value.
    """

    verdict: str
    difference: float
    low: float
    high: float
    p: float
    spread_ratio: float
    p_spread: float


def fewest_seeds(tests: int) -> int:
    """Common seeds below which nothing is decided among so many configurations and pairs of runs: in runs of one law n
    gaps can all be the same jump between two modes, which a t test takes for a shift, with probability 2 * 4**-n at
    most."""
    return max(3, int(np.ceil(np.log(2 * tests / LEVEL) / np.log(4))))


def judged(pairs: Sequence[pd.DataFrame]) -> list[dict[str, Gap]]:
    """Verdicts by trial, for every pair of runs.

    Args:
        pairs: common replicas of what is not bit-equal: trial_id, seed, value_baseline, value_run (NaN where not
            known).
    """
    frame = pd.concat([pair.assign(pair=place) for place, pair in enumerate(pairs)]).dropna(subset=_VALUES)
    cells = [rows for _, rows in frame.groupby(["pair", "trial_id"], sort=False)]
    enough = [place for place, rows in enumerate(cells) if len(rows) >= fewest_seeds(len(cells))]
    # Of fewer seeds there are too few ways to exchange the values for a p-value to reach the level.
    wide = [place for place in enough if len(cells) * 2.0 ** (1 - len(cells[place])) <= SPREAD_LEVEL / 2]
    shifts = _shifts({place: cells[place] for place in enough}, LEVEL - SPREAD_LEVEL if wide else LEVEL)
    spreads = [spread_p(*(cells[place][name].to_numpy() for name in _VALUES)) for place in wide]
    p_spreads = dict(zip(wide, holm(np.array(spreads), SPREAD_LEVEL)[0], strict=True)) if wide else {}
    found: list[dict[str, Gap]] = [{} for _ in pairs]
    for place, rows in enumerate(cells):
        different, low, high, p = shifts.get(place, (False, np.nan, np.nan, np.nan))
        p_spread = float(p_spreads.get(place, np.nan))
        verdict = SHIFTED if different else SPREAD if p_spread <= SPREAD_LEVEL else UNDECIDED
        before, after = (rows[name] for name in _VALUES)
        ratio = float(after.std() / before.std()) if len(rows) > 1 and before.std() > 0 else np.nan
        gap = Gap(verdict, float((after - before).mean()), low, high, p, ratio, p_spread)
        found[int(rows["pair"].iloc[0])][str(rows["trial_id"].iloc[0])] = gap
    return found


def spread_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """p-value of the hypothesis that values paired by seed, shape (n,) each, have the same spread.

    The two values of a seed are exchanged (in all ways, or 9,999 random ones), which is exact for two runs of one law;
    and again after each run's median is taken off, lest a shift passes for a spread. The larger p-value counts.
    """

    def ratio(a: NDArray[np.float64], b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        tiny = np.finfo(float).tiny
        return np.abs(np.log((a.std(axis=axis) + tiny) / (b.std(axis=axis) + tiny)))

    def p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        rng = np.random.default_rng(0)
        found = stats.permutation_test(
            (a, b), ratio, permutation_type="samples", alternative="greater", n_resamples=RESAMPLES, rng=rng
        )
        return float(found.pvalue)

    return max(p(first, second), p(first - np.median(first), second - np.median(second)))


def _shifts(cells: Mapping[int, pd.DataFrame], level: float) -> dict[int, tuple[bool, float, float, float]]:
    """Whether the mean gap is not 0, the ends of its interval and its corrected p-value."""
    if not cells:
        return {}
    frame = pd.concat([rows.assign(cell=str(place)) for place, rows in cells.items()])
    gap, size = frame["value_run"] - frame["value_baseline"], frame[_VALUES].abs().max(axis=1)
    frame["gap"] = gap.where(gap.abs() > ROUNDING * size, 0.0)
    # A cell alone, no contrast of several: its error is that of its own gaps.
    table = contrasts(frame, "gap", {cell: {cell: 1.0} for cell in map(str, cells)}, by="cell", level=level)
    rows = table[["different", "low", "high", "p_adjusted"]].itertuples(index=False, name=None)
    return dict(zip(cells, rows, strict=True))
