"""The tables of a class-incremental study, and the table of paired differences."""

from collections.abc import Sequence

from analysis import series
from analysis.captions import count, measured_caption, reported_caption
from analysis.cells import Cell, Change, Spread, Table, p_text
from analysis.differences import FEWEST_SEEDS_PERMUTATION, PairedDifference
from analysis.permutation import smallest_permutation_p
from analysis.records import Run
from analysis.series import Reported


def task_table(run: Run) -> Table:
    """Accuracy on all classes seen so far, task by task, with the reported runs beside their configuration."""
    tasks, measured = series.task_count(run), series.accuracy_by_task(run)
    columns = ["task"]
    cells: list[list[Cell]] = [[task + 1 for task in range(tasks)]]
    for label in series.configurations(run):
        own = measured[measured["configuration"] == label]
        planned = len(series.replicas(run, label))
        columns.append(label)
        cells.append([Spread.of(series.values(own[own["task"] == task], "accuracy"), planned) for task in range(tasks)])
        for entry in series.reported(run, label):
            columns.append(entry.heading)
            cells.append([_reported_cell(entry, tasks, entry.accuracy[task : task + 1]) for task in range(tasks)])
    caption = f"Accuracy (%) on all classes seen so far. {measured_caption(run)}{reported_caption(run)}"
    return Table("Accuracy by task", columns, _transposed(cells), caption, "accuracy_by_task", bold_last_row=True)


def ablation_table(run: Run) -> Table:
    """What each part contributes after the last task, before and after consolidation, over finished seeds."""
    tasks, measured = series.task_count(run), series.ablation_by_task(run)
    measured = measured[measured["task"] == tasks - 1]
    parts = {"fast": "fast only", "slow": "slow only", "combined": "combined", "frozen": "frozen backbone"}
    columns = ["part"]
    cells: list[list[Cell]] = [[*parts.values()]]
    for label in series.configurations(run):
        own = measured[measured["configuration"] == label]
        planned = len(series.replicas(run, label))
        sides = {
            (moment, part): Spread.of(series.values(group, "accuracy"), planned)
            for (moment, part), group in own.groupby(["moment", "part"])
        }
        columns.append(label)
        cells.append([Change(sides.get(("before", part)), sides.get(("after", part))) for part in parts])
        for entry in series.reported(run, label):
            if entry.ablation:
                given = [[entry.ablation[part]] if part in entry.ablation else [] for part in parts]
                columns.append(entry.heading)
                cells.append([_reported_cell(entry, tasks, value) for value in given])
    caption = (
        "Accuracy (%) on all classes after the last task, before → after consolidation with the same trained head; one "
        f"number where both agree. {measured_caption(run)}{reported_caption(run)}"
    )
    return Table("Ablation after the last task", columns, _transposed(cells), caption, "ablation")


def difference_table(run: Run, found: Sequence[PairedDifference], measure: str = "Final accuracy") -> Table:
    """The paired differences behind the answer, in percentage points of ``measure``; a row per shown configuration."""
    shown = set(series.configurations(run))
    columns = ["configuration", "common seeds", "difference", "95 % interval"]
    columns += ["p (t, Holm)", "p (sign flips, Holm)", "told apart"]
    rows: list[list[Cell]] = [
        [
            one.configuration,
            one.n,
            f"{100 * one.mean:+.2f}",
            None if one.low is None or one.high is None else f"{100 * one.low:+.2f} to {100 * one.high:+.2f}",
            p_text(one.p_t_holm),
            p_text(one.p_permutation_holm),
            "yes" if one.survives_correction else "before correction only" if one.told_apart else "no",
        ]
        for one in found
        if one.configuration in shown
    ]
    if not found:
        return Table("Paired differences", columns, rows, "No two configurations share a finished seed.", "differences")
    caption = (
        f"{measure} minus that of {found[0].baseline}, in percentage points, paired by seed. The interval is for "
        f"one comparison; p-values are Holm-corrected over {count(len(found), 'configuration')}."
    )
    tested = [one.n for one in found if one.n >= FEWEST_SEEDS_PERMUTATION]
    if tested:
        caption += (
            f" Before correction, sign flips of {min(tested)} seeds cannot give a p-value below "
            f"{smallest_permutation_p(min(tested)):.2g}."
        )
    return Table("Paired differences", columns, rows, caption, "differences")


def _reported_cell(entry: Reported, tasks: int, fraction: list[float]) -> Cell:
    # With another number of tasks neither the classes seen nor the end of training are the same.
    return Spread(100 * fraction[0], None, 1, 1) if fraction and len(entry.accuracy) == tasks else None


def _transposed(columns: list[list[Cell]]) -> list[list[Cell]]:
    return [list(row) for row in zip(*columns, strict=True)]
