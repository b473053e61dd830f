"""Looks at a run that is extended: what each of them may spend, and what they say together.

Who adds seeds because a difference is undecided, and looks again, has several chances to be wrong: five looks at 5 %
each find a difference where there is none in 11 to 17 %. So every look spends three quarters of what is left of the
level, 3.75, 0.94, 0.23 ... of 5 %, whatever the number of looks, the reason for them, and the configurations extended.
Three quarters cost little where a run is never extended: with 5 seeds a difference has to be 8 % larger than at 5 %.
Simulated power at looks 1, 2, 3 of 5, 10, 15 seeds, where the mean gap is 1.5 standard deviations: .63, .91, .97,
against .58, .89, .98 with ``6 / (pi look)^2`` and .53, .93, .99 with halves. Bounds that use how looks overlap are
sharper, but hold only where the number of seeds added was not chosen by the data; here that is the margin for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

SHARE = 0.75
"""Of the level that is left, what a look spends."""


def spend(level: float, look: int) -> float:
    """The significance level that a look may use, so that all looks together stay within ``level`` (Bonferroni).

    Measured false differences with the t test of paired gaps, five looks, stopping at the first difference, level 5 %
    (in brackets: each look at 5 %):

        seeds              normal        skewed        bimodal (20 % collapse)
        3, 5, 8, 12, 17    4.5 % (16 %)  2.1 % (11 %)  2.1 % (12 %)
        5, 10, 15, 20, 25  4.4 % (15 %)  1.9 % (11 %)  1.5 % (13 %)
        8, 16, 24, 32, 40  4.3 % (15 %)  2.3 % (12 %)  2.6 % (14 %)

    Where the data decide how many seeds are added, the bound is not proven. An opponent who picks 1 to 8 of them so as
    to be wrong most often gets 4.3 to 4.9 %, with 1 to 64 of them 5.1 to 5.4 %.

    Args:
        level: for the whole run, in (0, 1).
        look: 1 for the first report.

    Raises:
        ValueError: out of range; says what is allowed.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level}: between 0 and 1 is allowed")
    if look < 1:
        raise ValueError(f"look {look}: allowed: 1 or more")
    return level * SHARE * (1 - SHARE) ** (look - 1)


def looks_of(study: Mapping[str, Any]) -> int:
    """How often a run was there to be looked at, from study.json: 1, and one more for each extension."""
    return max(1, len(study.get("looks") or ()))


def seeds_by_look(study: Mapping[str, Any]) -> list[dict[str, tuple[int, ...]]]:
    """For each look the seeds of each configuration that had been asked for by then, from ``looks`` (configuration ->
    number of seeds) and ``trials`` of study.json."""
    seeds = {trial["configuration"]: tuple(trial["seeds"]) for trial in study["trials"]}
    counts = study.get("looks") or [{label: len(own) for label, own in seeds.items()}]
    return [{label: own[: count.get(label, 0)] for label, own in seeds.items()} for count in counts]


def over_looks(
    frame: pd.DataFrame, looks: Sequence[Mapping[str, Sequence[int]]],
    test: Callable[[pd.DataFrame, float], pd.DataFrame], level: float = 0.05,
    by: str = "configuration", seed: str = "seed",
) -> pd.DataFrame:  # fmt: skip
    """What a run says at its last look: each look is tested again on the seeds that it had, at what it may spend.

    What a look has decided stays decided. The interval of a row is what the intervals of its looks have in common;
    where the newest estimate lies outside of it, the looks contradict each other and the newest one counts alone. An
    earlier look at which a configuration had no value is left out.

    Args:
        frame: one row per replica, with columns ``by`` and ``seed``.
        looks: as ``seeds_by_look`` returns them, at least one; else ValueError.
        test: (rows of ``frame``, level) -> a table as ``paired`` returns it: columns that name the row, ``n``,
            ``difference`` or ``estimate``, ``low``, ``high`` and, where it has them, ``p``, ``p_adjusted``, verdicts
            (bool).

    Returns:
        The table of the last look with intervals, p-values, to be compared with ``level``, and verdicts over all looks.
    """
    if not looks:
        raise ValueError("looks: at least one is needed")
    tables = []
    for number, seeds in enumerate(looks, 1):
        known = pd.MultiIndex.from_tuples([(label, one) for label, own in seeds.items() for one in own])
        seen = frame[pd.MultiIndex.from_frame(frame[[by, seed]]).isin(known)]
        if number < len(looks) and seen[by].nunique() < frame[by].nunique():
            continue
        table, spent = test(seen, spend(level, number)), spend(level, number)
        chances = [name for name in ("p", "p_adjusted") if name in table]
        tables.append(table.assign(**{name: np.minimum(1.0, table[name] * level / spent) for name in chances}))
    newest = tables[-1].reset_index(drop=True)
    keys = list(newest.columns[: newest.columns.get_loc("n")])
    same_rows = [newest[keys].merge(table, on=keys, how="left") for table in tables]
    together = newest.copy()
    for name in newest.columns.difference(keys):
        column = [table[name] for table in same_rows]
        if name == "low":
            together[name] = np.fmax.reduce(column)
        elif name in ("high", "p", "p_adjusted"):
            together[name] = np.fmin.reduce(column)
        elif newest[name].dtype == bool:
            together[name] = np.logical_or.reduce([one.eq(True) for one in column])
    estimate = together["difference" if "difference" in together else "estimate"]
    contradicted = (estimate < together["low"]) | (estimate > together["high"])
    return together.where(~contradicted, newest).astype(newest.dtypes)
