"""Where the methods of a class-incremental study lie: frozen backbone, nearest class mean, joint head, chance.

Whether a seed ended below a reference is counted, with exact intervals; no normal tail is assumed of a few seeds.
"""

import numpy as np
import pandas as pd

from analysis import series
from analysis.captions import count, measured_caption
from analysis.cells import Cell, Spread, Table
from analysis.instability import Collapse, collapses
from analysis.records import Run
from analysis.sentences import MOST_NAMED, joined

# Final metric by column.
MEASURES = {
    "final accuracy": "final_accuracy",
    "frozen backbone (same head)": "final_frozen_accuracy",
    "nearest class mean": "final_ncm_accuracy",
    "joint head": "final_joint_accuracy",
    "recency": "final_recency",
    "old classes": "final_old_accuracy",
    "new classes": "final_new_accuracy",
    "forgetting": "forgetting",
    "backward transfer": "backward_transfer",
    "forward transfer": "forward_transfer",
}
CHANCE, BELOW_FROZEN, BELOW_NCM = "chance", "below frozen, or diverged", "below nearest class mean"
_MEANINGS = {
    "frozen backbone (same head)": "Frozen backbone: the trained head without adapters.",
    "nearest class mean": "Nearest class mean (cosine) and joint head, trained on all classes at once, take the frozen "
    "features.",
    "recency": "Recency: share of the predictions that fall into the newest task.",
    "forgetting": "Forgetting and transfer are in points.",
    BELOW_FROZEN: "Below frozen: seeds that ended below their own frozen backbone or diverged, with the exact 95 % "
    "interval of the rate.",
    BELOW_NCM: "Below nearest class mean: also those that failed.",
}


def reference_table(run: Run) -> Table | None:
    """Reference lines and measures after the last task, by configuration; None without any final accuracy.

    What was measured in no configuration has no column.
    """
    finals = {heading: series.finals_of(run, metric) for heading, metric in MEASURES.items()}
    if not any(len(own) for own in finals["final accuracy"].values()):
        return None
    fallen, below = collapses(run), below_ncm(run)
    chance = _last_chance(run)
    columns: dict[str, list[Cell]] = {"configuration": list(series.configurations(run))}
    for heading, known in finals.items():
        columns[heading] = [
            Spread.of(known[label].to_numpy(np.float64), len(series.replicas(run, label)), digits=1) for label in known
        ]
        if heading == "joint head":
            columns[CHANCE] = [f"{100 * chance[label]:.1f}" if label in chance else None for label in known]
    labels = list(finals["final accuracy"])
    columns[BELOW_FROZEN] = [_rate(fallen[label]) if label in fallen else None for label in labels]
    columns[BELOW_NCM] = [
        f"{below.loc[label, 'below']} of {below.loc[label, 'n']}" if label in below.index else None for label in labels
    ]
    shown = {heading: cells for heading, cells in columns.items() if any(cell is not None for cell in cells)}
    said = " ".join(["In per cent, after the last task.", *(text for key, text in _MEANINGS.items() if key in shown)])
    caption = f"{said} {measured_caption(run)}"
    rows = [list(row) for row in zip(*shown.values(), strict=True)]
    return Table("Reference lines and measures", list(shown), rows, caption, "references")


def below_ncm(run: Run) -> pd.DataFrame:
    """By configuration, columns below and n: seeds that ended below the nearest class mean of their own classes, or
    diverged or failed, of those of which that is known. Empty where it was not measured."""
    columns = ["metric.final_accuracy", "metric.final_ncm_accuracy"]
    rows = run.trials.reindex(columns=["configuration", "status", *columns])
    if rows[columns[1]].isna().all():
        return pd.DataFrame(columns=["below", "n"], dtype=int)
    lost = rows["status"].isin(["diverged", "failed"])
    known = (rows["status"] == "finished") & rows[columns].notna().all(axis=1)
    flags = pd.DataFrame({"below": lost | known & (rows[columns[0]] < rows[columns[1]]), "n": lost | known})
    counts = flags.groupby(rows["configuration"], sort=False).sum().astype(int)
    return counts[counts["n"] > 0]


def ncm_sentence(run: Run) -> str:
    """Where the methods lie against the nearest class mean, in one sentence; empty where it was not measured."""
    run = run.whole
    below, levels = below_ncm(run), 100 * series.final_table(run, "final_ncm_accuracy").to_numpy()
    if below.empty or not levels.size:
        return ""
    low, high = f"{np.nanmin(levels):.1f}", f"{np.nanmax(levels):.1f}"
    level = f"{low} %" if low == high else f"{low} to {high} %"
    start = f"The nearest class mean of the frozen backbone, which trains nothing, ends at {level}: "
    k, n = (int(below[column].sum()) for column in ("below", "n"))
    if k in (0, n):
        return f"{start}{'no' if not k else 'every'} seed of {count(len(below), 'configuration')} ended below it."
    ordered = below.assign(share=below["below"] / below["n"]).sort_values("share", kind="stable", ascending=False)
    named = [f"{row.below or 'none'} of {row.n} of {row.Index}" for row in ordered.head(MOST_NAMED).itertuples()]
    return f"{start}{k} of {n} seeds ended below it ({joined(named, len(ordered))})."


def below_frozen_sentence(run: Run) -> str:
    """How many seeds ended below their frozen backbone, by configuration; empty where that was not measured.

    The intervals are in the table, a row for every configuration: here the highest rates are picked out.
    """
    fallen = collapses(run.whole)
    if not fallen:
        return ""
    total, n = sum(_below(one) for one in fallen.values()), sum(one.n for one in fallen.values())
    if not total:
        rate = 100 * max(one.interval[1] for one in fallen.values())
        return f"No seed of {n} ended below its frozen backbone or diverged; rates up to {rate:.0f} % are not excluded."
    ordered = sorted(fallen.items(), key=lambda item: -item[1].rate)
    named = [f"{_below(one) or 'none'} of {one.n} of {label}" for label, one in ordered[:MOST_NAMED]]
    return f"{total} of {n} seeds ended below their own frozen backbone or diverged: {joined(named, len(ordered))}."


def _below(one: Collapse) -> int:
    return one.below + one.diverged


def _rate(one: Collapse) -> str:
    low, high = (100 * side for side in one.interval)
    return f"{_below(one)} of {one.n} ({low:.0f} to {high:.0f} %)"


def _last_chance(run: Run) -> "dict[str, float]":
    frame = series.references_by_task(run)
    frame = frame[(frame["name"] == "chance") & (frame["task"] == series.task_count(run) - 1)]
    return frame.groupby("configuration")["accuracy"].mean().to_dict()
