"""What two runs of the same study have in common, as tables and sentences."""

import re
from collections.abc import Sequence

from analysis.captions import count
from analysis.cells import Cell, Table, p_text
from analysis.comparison import Comparison
from analysis.comparison_verdicts import (
    FEWEST_SEEDS_SPREAD,
    IDENTICAL,
    SHIFTED,
    SPREAD,
    WITHIN_NOISE,
    ConfigurationChange,
)
from analysis.sentences import MOST_NAMED, joined

_HASH = re.compile(r"[0-9a-f]{40,}")
_ORDER = (SHIFTED, SPREAD)


def comparison_tables(found: Comparison) -> list[Table]:
    """Verdicts, where rows first differ and what differs in provenance, as far as anything does; in points."""
    columns = [
        "configuration", "verdict", "seeds", "difference", "95 % interval", "p (shift)", "std ratio", "p (spread)",
    ]  # fmt: skip
    tests = ", ".join(dict.fromkeys(one.test for one in found.changes if one.test)) or "none"
    caption = (
        f"{found.metric} of {found.second} minus {found.first}, paired by seed, over seeds that both finished. "
        f"p-values Holm-corrected over {count(len(found.changes), 'configuration')}; test of a shift: {tests}; spread "
        f"is tested from {FEWEST_SEEDS_SPREAD} seeds on. Rerun noise: {found.noise.source}"
    )
    if found.noise.std:
        caption += f", standard deviation {100 * found.noise.std:.3f} points"
    rows = [_row(one) for one in found.changes]
    tables = [Table("Verdict by configuration", columns, rows, f"{caption}.", "comparison")]
    places: list[list[Cell]] = [
        [one.configuration, at.place, _value(at.first), _value(at.second), f"{at.rows:,} of {at.compared:,}"]
        for one in found.changes
        if (at := one.first_difference)
    ]
    if places:
        caption = "In the order of training. Wall-clock, timing and memory are not compared. Rows: how many differ."
        columns = ["configuration", "first row that differs", found.first, found.second, "rows"]
        tables.append(Table("Where the runs part", columns, places, caption, "first_differences"))
    if found.provenance:
        tables.append(provenance_table(found.provenance, found.first, found.second))
    return tables


def provenance_table(differing: Sequence[tuple[str, str, str]], first: str, second: str) -> Table:
    """What differs between the origins of two runs, hashes shortened."""
    rows: list[list[Cell]] = [[_HASH.sub(lambda found: found[0][:12], cell) for cell in row] for row in differing]
    return Table("What differs", ["what", first, second], rows, "Code, versions, hardware and data.", "provenance")


def comparison_sentences(found: Comparison) -> list[str]:
    """The verdicts, what could not be compared, and what differs between the versions."""
    total = len(found.changes)
    sentences = []
    for verdict in dict.fromkeys([*_ORDER, *(one.verdict for one in found.changes)]):
        named = [_named(one) for one in found.changes if one.verdict == verdict]
        if len(named) == total:
            sentences.append(f"All {count(total, 'configuration')}: {verdict}.")
        elif named:
            sentences.append(f"{verdict.capitalize()}: {joined(named[:MOST_NAMED], len(named))}.")
    earliest = next((one for one in found.changes if one.first_difference), None)
    if earliest and earliest.first_difference:
        where = earliest.first_difference
        sentences.append(
            f"{earliest.configuration} first differs at {where.place} ({_value(where.first)} against "
            f"{_value(where.second)}; {where.rows} of {where.compared} rows differ)."
        )
    for label, only in ((found.first, found.only_first), (found.second, found.only_second)):
        if only:
            sentences.append(f"Only {label} has {joined(only[:MOST_NAMED], len(only))}.")
    for one in found.changes:
        for label, seeds in ((found.first, one.only_first), (found.second, one.only_second)):
            if seeds:
                sentences.append(f"{one.configuration}: only {label} finished seed {', '.join(map(str, seeds))}.")
    for parameters in dict.fromkeys(one.parameters for one in found.changes if one.parameters):
        labels = [one.configuration for one in found.changes if one.parameters == parameters]
        same_label = joined(labels[:MOST_NAMED], len(labels))
        sentences.append(f"Other parameters under the same label: {same_label} ({'; '.join(parameters)}).")
    for label, names in ((found.first, found.gone_metrics), (found.second, found.new_metrics)):
        if names:
            sentences.append(f"Only {label} measures {joined(names[:MOST_NAMED], len(names))}.")
    what = [key for key, _, _ in found.provenance]
    known = f"differ in {joined(what[:MOST_NAMED], len(what))}" if what else "have the same recorded provenance"
    sentences.append(f"The runs {known}. Rerun noise: {found.noise.source}.")
    return sentences


def _row(one: ConfigurationChange) -> list[Cell]:
    gap = one.difference
    interval = None if gap is None or gap.low is None or gap.high is None else (100 * gap.low, 100 * gap.high)
    return [
        one.configuration,
        one.verdict,
        len(one.seeds),
        None if gap is None else f"{100 * gap.mean:+.2f}",
        None if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}",
        p_text(one.p_shift),
        None if one.spread_ratio is None else f"{one.spread_ratio:.2f}",
        p_text(one.p_spread),
    ]


def _named(one: ConfigurationChange) -> str:
    if one.difference is None or one.verdict in (IDENTICAL, WITHIN_NOISE):
        return one.configuration
    if one.verdict == SPREAD and one.spread_ratio is not None:
        return f"{one.configuration} ({one.spread_ratio:.2f} times the standard deviation)"
    return f"{one.configuration} ({100 * one.difference.mean:+.1f} points, {count(one.difference.n, 'seed')})"


def _value(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"
