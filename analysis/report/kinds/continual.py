"""Class-incremental studies: forgetting, and what consolidation does to the slow weights."""

import re

import pandas as pd

from analysis import stats
from analysis.charts.matrix import forgetting_matrix
from analysis.io.metrics import MetricInfo
from analysis.io.values import curve
from analysis.report.document import Kind, Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.phrases import collapse_sentence, contrast_sentence, difference_sentence
from analysis.report.sections import EVERY_STUDY, contrasts_section, curves_section, final_means
from analysis.report.tables import Cell, Estimate, Table

OF_TASK = re.compile(r"accuracy/task_(\d+)$")
MEASURES = (
    "forgetting", "backward_transfer", "forward_transfer", "final_old_accuracy", "final_new_accuracy", "final_recency",
)  # fmt: skip


def forgetting_section(found: Findings) -> Section | None:
    """Accuracy on every task after every task; None where it was not measured by task."""
    metrics = found.run.metrics
    names = metrics.loc[metrics["phase"] == "eval", "name"].unique()
    parts = [curve(found.run, "eval", name, "task").assign(tested=int(match[1]) + 1)
             for name in names if (match := OF_TASK.match(name))]  # fmt: skip
    if not parts:
        return None
    measured = pd.concat(parts).rename(columns={"at": "learned"})
    measured["value"] *= 100
    reading = "Mean accuracy over seeds on the classes of a task, after a task."
    labels = shown_labels(found, measured)
    chart = forgetting_matrix("forgetting", "What is left of each task", reading, measured, labels)
    return Section.of("Continual learning", [], [_measures(found), _consolidation(found)], [chart])


def _measures(found: Findings) -> Table | None:
    """Forgetting, backward and forward transfer in points, recency in per cent."""
    means = {name.removeprefix("final_").replace("_", " "): final_means(found, MetricInfo(name, unit="fraction"))
             for name in MEASURES if f"metric.{name}" in found.run.trials}  # fmt: skip
    means = {heading: own for heading, own in means.items() if any(own.values())}
    labels = shown_labels(found) if means else []
    rows = [{"configuration": label, **{heading: own[label] for heading, own in means.items()}} for label in labels]
    caption = "Finished seeds, means with 95 % intervals; forgetting and transfer in points, the others in per cent."
    return Table.of("continual", "Forgetting and transfer", rows, caption)


def _consolidation(found: Findings) -> Table | None:
    """In how many seeds slow alone ended worse than the frozen backbone, before and after the last consolidation."""
    cells: dict[str, dict[str, Cell]] = {}
    for moment in ("before", "after"):
        slow, frozen = (curve(found.run, "ablation", f"{moment}/{part}", "task") for part in ("slow", "frozen"))
        both = slow.merge(frozen, on=["configuration", "trial_id", "seed", "at"], suffixes=("", "_frozen"))
        both = both[both["at"] == both.groupby("configuration")["at"].transform("max")]
        if len(both):
            rates = stats.rate_interval(both.assign(worse=both["value"] < both["value_frozen"]), value="worse",
                                        by="configuration").itertuples()  # fmt: skip
            cells[f"{moment} consolidation"] = {
                row.configuration: Estimate.of(row, digits=0, scale=100) for row in rates
            }
    labels = [label for label in shown_labels(found) if any(label in own for own in cells.values())]
    rows = [{"configuration": label, **{moment: own.get(label) for moment, own in cells.items()}} for label in labels]
    caption = (
        "Share of seeds (%) in which slow alone is worse than the frozen backbone after the last task; exact intervals."
    )
    return Table.of("consolidation", "Does consolidation destroy?", rows, caption)


CONTINUAL = Kind(
    "continual",
    claims=(contrast_sentence, difference_sentence, collapse_sentence),
    sections=(contrasts_section, curves_section, forgetting_section, *EVERY_STUDY),
)
