"""The first screen: at most three sentences, one table, one picture."""

import pandas as pd

from analysis.charts.chart import Chart
from analysis.charts.dots import dots
from analysis.io.values import REFERENCES
from analysis.report import phrases
from analysis.report.document import Kind
from analysis.report.findings import Findings
from analysis.report.tables import EMPTY, Cell, Estimate, Table

MOST_SENTENCES = 3
MOST_SHOWN = 30
"""Configurations of the first screen; of more, the baseline and the best."""


def answer(found: Findings, kind: Kind) -> list[str]:
    """At most three sentences: what the kind of study claims, what is said of every kind, and warnings."""
    if found.seeds.empty and kind.waiting:
        return [kind.waiting(found)]
    if found.seeds.empty:
        ended = int(found.counts[["finished", "diverged", "failed"]].to_numpy().sum())
        left = " and none of them gave a value" if ended else ""
        return [f"No answer yet: {ended} of {phrases.count(int(found.counts['planned'].sum()), 'seed')} ended{left}."]
    said = [
        *(claim(found) for claim in kind.claims),
        phrases.contrast_sentence(found) or phrases.difference_sentence(found),
    ]
    said = [sentence for sentence in dict.fromkeys(said) if sentence] or [phrases.alone_sentence(found)]
    warnings = [
        one
        for one in (phrases.stuck_sentence(found), phrases.lost_sentence(found), phrases.few_seeds_sentence(found))
        if one
    ]
    kept = said[: max(1, MOST_SENTENCES - len(warnings))]
    return [*kept, *warnings, *said[len(kept) :]][:MOST_SENTENCES]


def shown_labels(found: Findings, among: pd.DataFrame | None = None) -> list[str]:
    """All configurations, or, of many, the baseline and the best ones in the order of the study.

    Args:
        among: has a column configuration; others are left out.
    """
    kept = set(found.labels if among is None else among["configuration"])
    if len(found.labels) > MOST_SHOWN:
        best = found.means.sort_values("estimate", ascending=not found.metric.maximise)["configuration"]
        kept &= {found.baseline, *best[: MOST_SHOWN - 1]}
    return [label for label in found.labels if label in kept]


def headline_table(found: Findings) -> Table | None:
    """A row per configuration, then the reference lines; None where nothing has ended."""
    if found.seeds.empty:
        return None
    means, differences = found.means.set_index("configuration"), found.differences.set_index("configuration")
    fallen = found.collapses.set_index("configuration")["collapsed"]
    rows: list[list[Cell]] = []
    for label in shown_labels(found):
        known = found.counts.loc[label]
        lost = int(known["diverged"] + known["failed"])
        planned = f" of {known['planned']}" if known["finished"] + lost < known["planned"] else ""
        seeds = f"{known['finished']}{planned} / {fallen[label] - lost if label in fallen else EMPTY} / {lost}"
        mean = found.cell(means.loc[label]) if label in means.index else None
        gap = found.cell(differences.loc[label], "difference") if label in differences.index else None
        verdict = "baseline" if label == found.baseline else differences["verdict"].get(label)
        rows.append([label, seeds, mean, gap, verdict])
    rows += [[f"({name})", None, Estimate(value, digits=found.digits), None, None]
             for name, value in found.reference_means.items()]  # fmt: skip
    unit = found.metric.difference_unit
    heading = f"difference from {found.baseline}" + (f" ({unit})" if unit else "")
    columns = ["configuration", "seeds finished / collapsed / diverged", found.metric.axis, heading, "verdict"]
    return Table("configurations", "Configurations", columns, rows, _caption(found))


def headline_chart(found: Findings) -> Chart | None:
    """Every seed a dot; None where nothing has ended."""
    if found.seeds.empty:
        return None
    labels = shown_labels(found, found.means)
    seeds, means = (frame[frame["configuration"].isin(labels)] for frame in (found.seeds, found.means))
    reading = "Dots are seeds, ticks their means, lines 95 % intervals of the means."
    reading += " Dashed: reference lines." if found.reference_means else ""
    reading += " Click a configuration to single it out, shift-click a dot for its seed."
    # What learning all classes at once reaches lies so far above that it would press the seeds together.
    lines = {name: value for name, value in found.reference_means.items() if name != REFERENCES["joint"]}
    title = f"{phrases.capital(found.metric.text)} of every seed"
    seeds, means = (
        seeds[["configuration", "seed", "value", "status"]],
        means[["configuration", "estimate", "low", "high"]],
    )
    return dots("seeds", title, reading, seeds, means, found.metric.axis, lines)


def _caption(found: Findings) -> str:
    hidden = len(found.labels) - len(shown_labels(found))
    parts = ["Means with 95 % intervals (Student's t)."]
    if len(found.differences):
        comparisons = phrases.count(len(found.differences), "comparison")
        parts.append(f"Differences are paired by seed; interval and verdict are corrected for {comparisons}.")
        if found.margin is not None:
            parts.append(f"Same: within {phrases.margin_text(found)} by an equivalence test.")
    if len(found.collapses) and found.margin is not None:
        parts.append(f"Collapsed: more than {phrases.margin_text(found)} below the {found.collapses['floor'].iloc[0]}.")
    if found.lost:
        parts.append("Seeds that diverged or failed count with the worst value of the run.")
    if hidden > 0:
        parts.append(
            f"Shown: the baseline and the best; {phrases.count(hidden, 'configuration')} more are in results.parquet."
        )
    return " ".join(parts)
