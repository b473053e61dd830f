"""The first screen: at most three sentences, one table, one picture."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from analysis.charts.chart import Chart
from analysis.charts.dots import dots
from analysis.io.values import REFERENCES
from analysis.report.findings import FEWEST_SEEDS, Findings
from analysis.report.phrases import (
    capital,
    contrast_sentence,
    count,
    difference_sentence,
    lost_sentence,
    margin_text,
    stuck_sentence,
)
from analysis.report.tables import EMPTY, Cell, Estimate, Table

MOST_SENTENCES = 3
MOST_SHOWN = 30
"""Configurations of the first screen; of more, the baseline and the best."""

Claim = Callable[[Findings], str]


def answer(found: Findings, claims: Sequence[Claim] = (), waiting: Claim | None = None) -> list[str]:
    """At most three sentences.

    Args:
        claims: of the kind of study, before what is said of every kind.
        waiting: what its kind says while nothing has a value.
    """
    if found.seeds.empty and waiting:
        return [waiting(found)]
    if found.seeds.empty:
        total = int(found.counts["planned"].sum())
        ended = int(found.counts[["finished", "diverged", "failed"]].to_numpy().sum())
        left = " and none of them gave a value" if ended else ""
        return [f"No answer yet: {ended} of {count(total, 'seed')} ended{left}."]
    said = [*(claim(found) for claim in claims), contrast_sentence(found) or difference_sentence(found)]
    said = [sentence for sentence in dict.fromkeys(said) if sentence] or [alone_sentence(found)]
    warnings = [one for one in (stuck_sentence(found), lost_sentence(found), few_seeds_sentence(found)) if one]
    kept = said[: max(1, MOST_SENTENCES - len(warnings))]
    return [*kept, *warnings, *said[len(kept) :]][:MOST_SENTENCES]


def few_seeds_sentence(found: Findings) -> str:
    """Why nothing is decided with fewer seeds than every verdict takes; "" with enough."""
    table = found.differences
    if table.empty or int(table["n"].max()) >= FEWEST_SEEDS:
        return ""
    return f"Every verdict takes at least {FEWEST_SEEDS} seeds; the configurations share {int(table['n'].max())}."


def alone_sentence(found: Findings) -> str:
    """What is said of the first configuration where no other has a value."""
    row = found.means.iloc[0]
    shown = Estimate(row["estimate"], row["low"], row["high"], digits=found.digits)
    return f"{row['configuration']} has {found.metric.text} {shown} {found.unit}, {count(int(row['n']), 'seed')}."


def shown_labels(found: Findings) -> list[str]:
    """All configurations, or, of many, the baseline and the best ones in the order of the study."""
    if len(found.labels) <= MOST_SHOWN:
        return found.labels
    best = found.means.sort_values("estimate", ascending=not found.metric.maximise)["configuration"]
    kept = {found.baseline, *best[: MOST_SHOWN - 1]}
    return [label for label in found.labels if label in kept]


def headline_table(found: Findings) -> Table | None:
    """A row per configuration, then the reference lines; None where nothing has ended."""
    if found.seeds.empty:
        return None
    means = found.means.set_index("configuration")
    differences = found.differences.set_index("configuration")
    fallen = found.collapses.set_index("configuration")["collapsed"] if len(found.collapses) else {}
    rows: list[list[Cell]] = []
    for label in shown_labels(found):
        known = found.counts.loc[label]
        lost = int(known["diverged"] + known["failed"])
        planned = f" of {known['planned']}" if known["finished"] + lost < known["planned"] else ""
        collapsed = fallen[label] - lost if label in fallen else EMPTY
        seeds = f"{known['finished']}{planned} / {collapsed} / {lost}"
        mean = _estimate(means.loc[label], "estimate", found) if label in means.index else None
        gap = _estimate(differences.loc[label], "difference", found) if label in differences.index else None
        verdict = "baseline" if label == found.baseline else differences["verdict"].get(label)
        rows.append([label, seeds, mean, gap, verdict])
    rows += [[f"({name})", None, Estimate(value, digits=found.digits), None, None]
             for name, value in found.reference_means.items()]  # fmt: skip
    heading = f"difference from {found.baseline}" + (f" ({found.difference_unit})" if found.difference_unit else "")
    columns = ["configuration", "seeds finished / collapsed / diverged", found.axis, heading, "verdict"]
    return Table("configurations", "Configurations", columns, rows, _caption(found))


def headline_chart(found: Findings) -> Chart | None:
    """Every seed a dot; None where nothing has ended."""
    if found.seeds.empty:
        return None
    labels = shown_labels(found)
    seeds, means = (frame[frame["configuration"].isin(labels)] for frame in (found.seeds, found.means))
    order = [label for label in labels if label in set(means["configuration"])]
    reading = "Dots are seeds, ticks their means, lines 95 % intervals of the means."
    reading += " Dashed: reference lines." if found.reference_means else ""
    reading += " Click a configuration to single it out, shift-click a dot for its seed."
    title = f"{capital(found.metric.text)} of every seed"
    # What learning all classes at once reaches lies so far above that it would press the seeds together.
    lines = {name: value for name, value in found.reference_means.items() if name != REFERENCES["joint"]}
    columns = ["configuration", "estimate", "low", "high"]
    return dots(
        "seeds", title, reading, seeds[["configuration", "seed", "value", "status"]], means[columns], found.axis,
        lines, order,
    )  # fmt: skip


def _estimate(row: "pd.Series[Any]", value: str, found: Findings) -> Estimate:
    return Estimate(row[value], row["low"], row["high"], value == "difference", found.digits)


def _caption(found: Findings) -> str:
    hidden = len(found.labels) - len(shown_labels(found))
    parts = ["Means with 95 % intervals (Student's t)."]
    if len(found.differences):
        comparisons = count(len(found.differences), "comparison")
        parts.append(f"Differences are paired by seed; interval and verdict are corrected for {comparisons}.")
        if found.margin is not None:
            parts.append(f"Same: within {margin_text(found)} by an equivalence test.")
    if len(found.collapses):
        parts.append(f"Collapsed: more than {margin_text(found)} below the {found.collapses['floor'].iloc[0]}.")
    if found.lost:
        parts.append("Seeds that diverged or failed count with the worst value of the run.")
    if hidden > 0:
        parts.append(f"Shown: the baseline and the best; {count(hidden, 'configuration')} more are in results.parquet.")
    return " ".join(parts)
