"""How many more seeds of which configurations would settle what is undecided."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stats.looks import spend

FEWEST = 5
"""Seeds from which a spread says something; where there are fewer than 3, so many are proposed."""
POWER = SURE = 0.8


class NextSeeds(NamedTuple):
    """``seeds`` more of each of ``configurations``; ``seconds`` on the clock; ``beyond``: what needs too many."""

    configurations: tuple[str, ...]
    seeds: int
    seconds: float
    beyond: tuple[str, ...]


def next_seeds(
    differences: pd.DataFrame, margin: float, counts: Mapping[str, int], seconds: Mapping[str, float], look: int,
    at_once: int = 1, most: int = 64, level: float = 0.05, by: str = "configuration",
) -> NextSeeds | None:  # fmt: skip
    """The seeds with which the next look settles the undecided differences: one of ``margin`` is shown to be there, and
    none at all is shown to be within ``margin``, each with power .8 at the upper end of the spread's interval.

    Measured on normal gaps, 3, 5 and 8 seeds before the second look, 4 comparisons: power .89, .90, .91 for the first
    and .82, .85, .88 for the second over all draws, each at least .80 in 81 % of the draws or more.

    Args:
        differences: a row per comparison with a baseline: ``by``, ``baseline``, ``n`` (seeds in common), ``std`` (of
            the gaps between these), ``low``, ``high`` and ``different``; ``same`` where it was tested.
        margin: the difference that matters, > 0 (else ValueError), in the unit of ``std``.
        counts, seconds: configuration -> seeds that it has, and seconds that one replica takes.
        look, at_once: number of the last look, and replicas that run side by side.
        most: seeds that are worth proposing; a difference that needs more is left to ``beyond``.

    Returns:
        None where nothing is undecided, or all that is needs more than ``most`` seeds.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin}: a number > 0 is allowed")
    inside = (differences["low"] > -margin) & (differences["high"] < margin)
    open_ = differences[~(differences["different"] | differences.get("same", inside)).astype(bool)]
    spent = spend(level, look + 1) / max(1, len(differences))  # of Holm's method the strictest step
    needed = [_needed(row.n, row.std, margin, spent, most) for row in open_.itertuples()]
    rows = open_.assign(needed=np.array(needed, dtype=float)).dropna(subset="needed")
    if rows.empty:
        return None
    more = int(rows["needed"].max())
    short = {
        row[side] for _, row in rows.iterrows() for side in ("baseline", by) if counts[row[side]] < row["n"] + more
    }
    chosen = tuple(label for label in counts if label in short)
    each = [seconds.get(label, 0.0) for label in chosen]
    clock = max(more * sum(each) / at_once, *each, 0.0)
    return NextSeeds(chosen, more, clock, tuple(open_[by][~open_.index.isin(rows.index)]))


def _needed(n: int, std: float, margin: float, level: float, most: int) -> int | None:
    """Further seeds for one comparison; None: more than ``most``."""
    if n < 3 or math.isnan(std):
        return max(1, FEWEST - n)
    later = np.arange(n + 1, n + most + 1)
    if std == 0:  # only the signs of the gaps count
        enough = 2.0 ** (1 - later) <= level
    else:
        bound = std * math.sqrt((n - 1) / stats.chi2.ppf(1 - SURE, n - 1))
        shift, degrees = margin * np.sqrt(later) / bound, later - 1
        different = stats.nct.sf(stats.t.isf(level / 2, degrees), degrees, shift)
        within = 2 * stats.nct.sf(stats.t.isf(level, degrees), degrees, shift) - 1
        enough = np.minimum(different, within) >= POWER
    return int(later[enough][0] - n) if enough.any() else None
