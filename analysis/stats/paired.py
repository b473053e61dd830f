"""Is a configuration different from another, or is it the seed? And is it the same, within a margin?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.frames import FEWEST_SEEDS, above_zero, known, level_of, seed_table
from analysis.stats.gaps import Gaps, Rows, holm, measured

Weights = Mapping[Any, float]


def paired(
    frame: pd.DataFrame, value: str, by: str = "configuration", baseline: Any = None, seed: str = "seed",
    confidence: float = 0.95, level: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Every configuration minus the baseline over the seeds that both have, tested together by Holm's method.

    Error, test and interval: ``analysis.stats.gaps``. A row below 3 common seeds has no interval and no p-value. Gaps
    that are all equal, with no error to borrow, have no interval, and as p-value the chance that so many signs agree.

    Wrong (%, 3 / 5 / 8 seeds): normal 1.4 / 2.8 / 3.4; skewed 0.9 / 1.1 / 1.6; bimodal 1.4 / 1.5 / 2.0.
    Unequal spreads, the worst of 20, normal 4.8 / 4.7 / 5.2; skewed 10.6 / 9.9 / 8.2; bimodal 15.9 / 26.2 / 16.1.

    Args:
        frame: one row per configuration and seed.
        value, by, seed: columns of the number, of the configuration and of the seed.
        baseline: level of ``by``; the first in the frame where None.
        confidence: that no difference is claimed wrongly in the whole table.
        level: chance of a wrong claim to spend instead of 1 - ``confidence``.

    Returns:
        ``by``, baseline, n, difference, low, high, p, p_adjusted, different. The interval of a row is at the level at
        which Holm's method decided it: it excludes 0 exactly where ``different`` says so.

    Raises:
        ValueError: an unknown column or baseline, a single configuration, NaN, two rows of one configuration and seed.

    Sources: Student 1908; Holm 1979; Smyth 2004; Hartigan 1969.
    """
    return _against(frame, value, by, baseline, seed, level_of(confidence, level))


def all_pairs(
    frame: pd.DataFrame, value: str, by: str = "configuration", seed: str = "seed", confidence: float = 0.95,
    level: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Every configuration against every other, as ``paired``, corrected over all pairs.

    Wrong (%, 3 / 5 / 8 seeds): normal 0.9 / 2.4 / 2.8; skewed 0.6 / 1.0 / 1.2; bimodal 1.2 / 1.0 / 1.5.

    Returns: a, b, n, difference (a minus b), low, high, p, p_adjusted, different.
    """
    table = seed_table(frame, value, by, seed)
    labels = list(table.columns)
    pairs = [(a, b) for place, a in enumerate(labels) for b in labels[place + 1 :]]
    found = _tested(table, [{a: 1.0, b: -1.0} for a, b in pairs], level_of(confidence, level))
    return pd.concat([pd.DataFrame(pairs, columns=["a", "b"]), found], axis=1)


def contrasts(
    frame: pd.DataFrame, value: str, weights: Mapping[str, Weights], by: str = "configuration", seed: str = "seed",
    confidence: float = 0.95, level: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Weighted sums of configurations, seed by seed, tested together; arguments and errors as in ``paired``.

    Wrong (%, 3 / 5 / 8 seeds): normal 0.6 / 2.1 / 2.9; skewed 0.5 / 0.8 / 1.2; bimodal 1.8 / 1.4 / 1.9.

    Args:
        weights: name -> {level of ``by``: weight, not 0}, at least one.

    Returns:
        contrast, n, difference, low, high, p, p_adjusted, different.
    """
    table = seed_table(frame, value, by, seed, fewest=1)
    for name, own in weights.items():
        if unknown := [str(label) for label in own if label not in table.columns]:
            raise ValueError(f"contrast {name!r}: no {by} {', '.join(unknown)}; {known(table.columns)}")
    if not weights or not all(own and all(own.values()) for own in weights.values()):
        raise ValueError(f"contrasts with weights that are not 0 needed, found {dict(weights)}")
    found = _tested(table, list(weights.values()), level_of(confidence, level))
    return pd.concat([pd.DataFrame({"contrast": list(weights)}), found], axis=1)


def equivalence(
    frame: pd.DataFrame, value: str, margin: float, by: str = "configuration", baseline: Any = None,
    seed: str = "seed", confidence: float = 0.95, level: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Which configurations are the same as the baseline within a margin: two one-sided tests, Holm over the table.

    Wrong (%, 3 / 5 / 8 seeds): normal 1.6 / 2.9 / 3.4; skewed 1.3 / 1.6 / 2.3; bimodal 1.3 / 2.1 / 2.7.

    Args and errors as in ``paired``; ``margin`` > 0, in the unit of ``value``.

    Returns:
        ``by``, baseline, n, difference, low, high, p, p_adjusted, same. The interval of a row that Holm's method
        decided at level a has confidence 1 - 2 a: it lies within the margin exactly where ``same`` says so.

    Source: two one-sided tests, Schuirmann 1987.
    """
    found = _against(frame, value, by, baseline, seed, level_of(confidence, level), above_zero(margin))
    return found.rename(columns={"different": "same"})


def _against(
    frame: pd.DataFrame, value: str, by: str, baseline: Any, seed: str, level: float, margin: float | None = None
) -> pd.DataFrame:
    table = seed_table(frame, value, by, seed)
    if baseline is not None and baseline not in table.columns:
        raise ValueError(f"no {by} {baseline!r}; {known(table.columns)}")
    first = table.columns[0] if baseline is None else baseline
    others = [label for label in table.columns if label != first]
    found = _tested(table, [{label: 1.0, first: -1.0} for label in others], level, margin)
    return pd.concat([pd.DataFrame({by: others, "baseline": first}), found], axis=1)


def _tested(table: pd.DataFrame, rows: Sequence[Weights], level: float, margin: float | None = None) -> pd.DataFrame:
    present = table.notna().to_numpy()
    shared = [present[:, table.columns.get_indexer(list(row))].all(axis=1) for row in rows]
    found = pd.DataFrame({"n": [int(own.sum()) for own in shared]})
    found[["difference", "low", "high", "p", "p_adjusted"]] = np.nan
    found["different"] = False
    family = max(int((found["n"] >= FEWEST_SEEDS).sum()), 1)
    same_seeds: dict[bytes, list[int]] = {}
    for number in np.flatnonzero(found["n"]):
        same_seeds.setdefault(shared[number].tobytes(), []).append(int(number))
    parts: list[tuple[list[int], Gaps]] = []
    for own in same_seeds.values():
        complete = table[shared[own[0]]].dropna(axis=1)  # what else these seeds have tells of the error
        place = {label: number for number, label in enumerate(complete)}
        members = Rows.of([{place[label]: weight for label, weight in rows[row].items()} for row in own])
        part = measured(complete.to_numpy(), members, level, family)
        found.loc[own, "difference"] = part.mean
        if part.n >= FEWEST_SEEDS:
            parts.append((own, part))
            found.loc[own, "p"] = part.p(margin)
    tested = found["p"].notna()
    adjusted, spent, decided = holm(found.loc[tested, "p"].to_numpy(), level)
    found.loc[tested, "p_adjusted"], found.loc[tested, "different"] = adjusted, decided
    levels = pd.Series(spent if margin is None else 2 * spent, index=found.index[tested])
    for own, part in parts:
        found.loc[own, "low"], found.loc[own, "high"] = part.interval(levels[own].to_numpy())
    return found
