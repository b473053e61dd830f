"""Short, plain sentences: how numbers, lists and differences are said."""

from collections.abc import Sequence

import pandas as pd

from analysis.report.findings import BETTER, FEWEST_SEEDS, SAME, UNDECIDED, WORSE, Findings, largest_first

MOST_WORDS = 25
MOST_NAMED = 2


def count(number: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``, ``1,000 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    """The first letter large."""
    return text[:1].upper() + text[1:]


def joined(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else list(parts))


def named(labels: Sequence[str], most: int = MOST_NAMED) -> str:
    """The first labels, and how many more there are."""
    labels = [f"“{label}”" if "," in label else label for label in labels]
    more = len(labels) - most
    return joined(list(labels)) if more <= 0 else f"{', '.join(labels[:most])} and {more:,} more"


def fits(sentence: str) -> bool:
    """Whether a sentence is short enough for the answer."""
    return len(sentence.split()) <= MOST_WORDS


def shortest(*sentences: str) -> str:
    """The first one that is short enough, or the last."""
    return next(filter(fits, sentences), sentences[-1])


def fitting(head: str, clauses: Sequence[str]) -> str:
    """The head with as many clauses as a short sentence holds, the first ones."""
    return shortest(*(f"{head}: {joined(clauses[:number])}." for number in range(len(clauses), 0, -1)), f"{head}.")


def difference_sentence(found: Findings) -> str:
    """What differs from the baseline, the largest difference first; "" without a second configuration."""
    table = found.differences
    if table.empty:
        return ""
    decided = table[table["verdict"].isin((BETTER, WORSE))]
    seeds = count(int(table["n"].min()), "shared seed")
    only = table.iloc[0]
    if decided.empty:
        same = table.loc[table["verdict"] == SAME, "configuration"].tolist()
        if len(same) == len(table):
            return f"{_which(same)} the same as {found.baseline} within {margin_text(found)} ({seeds})."
        if len(table) == 1:
            by = f"differs from {found.baseline} by {found.gap(only)} ({seeds})"
            return f"Undecided: {only['configuration']} {by}."
        return (
            f"No configuration is shown to differ from {found.baseline} ({count(len(table), 'comparison')}, {seeds})."
        )
    if len(table) == 1:
        return f"{only['configuration']} differs from {found.baseline} by {found.gap(only)}."
    head = f"{len(decided)} of {count(len(table), 'configuration')} differ{'s' * (len(decided) == 1)} from"
    return fitting(f"{head} {found.baseline}", clauses(found, decided, "configuration"))


def contrast_sentence(found: Findings) -> str:
    """What the declared changes are worth, the largest decided effect first; "" without any."""
    table = found.contrasts
    if table.empty:
        return ""
    decided, total = table[table["verdict"] != UNDECIDED], count(len(table), "change")
    if decided.empty:
        return f"None of {total} is shown to move {found.metric.text}."
    head = f"{len(decided)} of {total} move{'s' * (len(decided) == 1)} {found.metric.text}"
    return fitting(head, clauses(found, decided, "contrast"))


def clauses(found: Findings, table: pd.DataFrame, name: str) -> list[str]:
    """The largest differences, each with its name."""
    return [f"{row[name]} by {found.gap(row)}" for _, row in largest_first(table).head(MOST_NAMED).iterrows()]


def alone_sentence(found: Findings) -> str:
    """What is said of the first configuration where no other has a value."""
    row = found.means.iloc[0]
    value = f"{found.cell(row)} {found.metric.shown_unit}"
    return f"{row['configuration']} has {found.metric.text} {value}, {count(int(row['n']), 'seed')}."


def lost_sentence(found: Findings) -> str:
    """How many seeds were lost and how they count; "" where none was."""
    if not found.lost:
        return ""
    total, verb = count(len(found.seeds), "seed"), "it counts" if found.lost == 1 else "they count"
    return f"{found.lost} of {total} diverged or failed; {verb} with the worst value of the run."


def few_seeds_sentence(found: Findings) -> str:
    """Why nothing is decided with fewer seeds than every verdict takes; "" with enough."""
    shared = found.differences["n"].max()
    if found.differences.empty or shared >= FEWEST_SEEDS:
        return ""
    return f"Every verdict takes at least {FEWEST_SEEDS} seeds; the configurations share {int(shared)}."


def stuck_sentence(found: Findings) -> str:
    """A warning where training got nowhere; "" where it did."""
    if not found.stuck:
        return ""
    reference = next(iter(found.stuck.values()))
    labels = [label for label, name in found.stuck.items() if name == reference]
    which = _which(labels) if len(labels) <= MOST_NAMED else f"{len(labels)} of {len(found.labels)} configurations are"
    return f"Warning: {which} not more than {margin_text(found)} above the {reference} in any seed."


def collapse_sentence(found: Findings) -> str:
    """How many seeds ended below what training has to leave; "" where none did."""
    table = found.collapses
    if table.empty or not table["collapsed"].sum():
        return ""
    all_below = int((table["collapsed"] == table["n"]).sum())
    text = f"{int(table['collapsed'].sum())} of {int(table['n'].sum())} seeds end below the {table['floor'].iloc[0]}"
    whole = f", all of those of {count(all_below, 'configuration')}" if all_below else ""
    return f"{text}{whole}."


def margin_text(found: Findings) -> str:
    """The margin below which differences do not matter."""
    size = f"{found.margin:g}"
    unit = f"point{'' if size == '1' else 's'}" if found.metric.fraction else found.metric.unit
    return f"{size} {unit}".strip()


def _which(labels: Sequence[str]) -> str:
    return f"{named(labels)} {'is' if len(labels) == 1 else 'are'}"
