"""Class-incremental studies: forgetting, and what consolidation does to the slow weights."""

import re

import pandas as pd

from analysis import stats
from analysis.charts.matrix import forgetting_matrix
from analysis.io.values import REPLICA, curve
from analysis.report.document import Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.kind import Kind
from analysis.report.phrases import collapse_sentence, contrast_sentence, difference_sentence
from analysis.report.sections import (
    contrasts_section,
    curves_section,
    metrics_section,
    reported_section,
    seeds_section,
    variance_section,
)
from analysis.report.tables import Cell, Estimate, Table

OF_TASK = re.compile(r"accuracy/task_(\d+)$")


def forgetting_section(found: Findings) -> Section | None:
    """Accuracy on every task after every task; None where it was not measured by task."""
    measured = _by_task(found)
    if measured.empty:
        return None
    labels = [label for label in shown_labels(found) if (measured["configuration"] == label).any()]
    chart = forgetting_matrix(
        "forgetting", "What is left of each task", "Mean accuracy over seeds on the classes of a task, after a task.",
        measured, labels,
    )  # fmt: skip
    tables = [table for table in (_measures(found), _consolidation(found)) if table]
    return Section("Continual learning", [], tables, [chart])


def _by_task(found: Findings) -> pd.DataFrame:
    rows = found.run.metrics[found.run.metrics["phase"] == "eval"]
    names = {name: match for name in rows["name"].unique() if (match := OF_TASK.match(name))}
    parts = [curve(found.run, "eval", name, "task").assign(tested=int(match[1]) + 1) for name, match in names.items()]
    if not parts:
        return pd.DataFrame(columns=[*REPLICA, "learned", "tested", "value"])
    table = pd.concat(parts).rename(columns={"at": "learned"})
    return table.assign(value=100 * table["value"])


def _measures(found: Findings) -> Table | None:
    """Forgetting, backward and forward transfer in points, recency in per cent."""
    names = (
        "forgetting",
        "backward_transfer",
        "forward_transfer",
        "final_old_accuracy",
        "final_new_accuracy",
        "final_recency",
    )
    trials = found.run.trials[found.run.trials["status"] == "finished"]
    known = [name for name in names if f"metric.{name}" in trials and trials[f"metric.{name}"].notna().any()]
    rows: list[list[Cell]] = []
    for label in shown_labels(found):
        own = trials[trials["configuration"] == label]
        cells: list[Cell] = []
        for name in known:
            values = 100 * own[f"metric.{name}"].dropna().to_numpy(float)
            shown = stats.mean_interval(values) if len(values) else None
            cells.append(Estimate(shown.estimate, shown.low, shown.high) if shown else None)
        rows.append([label, *cells])
    headings = [name.removeprefix("final_").replace("_", " ") for name in known]
    caption = "Finished seeds, means with 95 % intervals; forgetting and transfer in points, the others in per cent."
    return Table("continual", "Forgetting and transfer", ["configuration", *headings], rows, caption) if known else None


def _consolidation(found: Findings) -> Table | None:
    """In how many seeds slow alone ended worse than the frozen backbone, before and after the last consolidation."""
    rows: list[list[Cell]] = []
    sides = {moment: {part: curve(found.run, "ablation", f"{moment}/{part}", "task") for part in ("slow", "frozen")}
             for moment in ("before", "after")}  # fmt: skip
    for label in shown_labels(found):
        cells: list[Cell] = []
        for parts in sides.values():
            own = {part: frame[frame["configuration"] == label] for part, frame in parts.items()}
            if own["slow"].empty or own["frozen"].empty:
                cells.append(None)
                continue
            both = own["slow"].merge(own["frozen"], on=["trial_id", "seed", "at"], suffixes=("", "_frozen"))
            both = both[both["at"] == both["at"].max()]
            rate = stats.rate_interval(int((both["value"] < both["value_frozen"]).sum()), len(both))
            cells.append(Estimate(100 * rate.estimate, 100 * rate.low, 100 * rate.high, digits=0))
        if any(cell is not None for cell in cells):
            rows.append([label, *cells])
    caption = (
        "Share of seeds (%) in which slow alone is worse than the frozen backbone after the last task; exact intervals."
    )
    columns = ["configuration", "before consolidation", "after consolidation"]
    return Table("consolidation", "Does consolidation destroy?", columns, rows, caption) if rows else None


CONTINUAL = Kind(
    "continual",
    claims=(contrast_sentence, difference_sentence, collapse_sentence),
    sections=(
        contrasts_section, curves_section, forgetting_section, seeds_section, variance_section, metrics_section,
        reported_section,
    ),
)  # fmt: skip
