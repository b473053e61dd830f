"""Tables as plain data, and the tables of a class-incremental study."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis import series
from analysis.captions import count, measured_caption, reported_caption
from analysis.differences import FEWEST_SEEDS_PERMUTATION, PairedDifference, smallest_permutation_p
from analysis.records import STATUSES, Run
from analysis.series import Reported

EMPTY = "–"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (ddof 1; None for one seed) over ``n`` of ``planned`` seeds, in per cent."""

    mean: float
    std: float | None
    n: int
    planned: int

    @classmethod
    def of(cls, fractions: NDArray[np.float64], planned: int) -> "Spread | None":
        """The spread of one fraction per seed, shape (n,); None when there is none."""
        if fractions.size == 0:
            return None
        std = float(100 * fractions.std(ddof=1)) if fractions.size > 1 else None
        return cls(float(100 * fractions.mean()), std, fractions.size, planned)

    def __str__(self) -> str:
        text = f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"
        return f"{text} (n={self.n})" if self.n < self.planned else text


@dataclass(frozen=True)
class Change:
    """Before and after consolidation; written once where it changed nothing."""

    before: Spread | None
    after: Spread | None

    def __str__(self) -> str:
        before, after = (EMPTY if side is None else str(side) for side in (self.before, self.after))
        return after if before == after else f"{before} → {after}"


Cell = str | int | float | Spread | Change | None


@dataclass(frozen=True)
class Table:
    """A table to be shown as text, Markdown or CSV. The first column names the rows."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    caption: str
    name: str = "table"  # of its CSV file
    bold_last_row: bool = False

    def text_rows(self) -> list[list[str]]:
        """The cells as a person reads them."""
        return [[_text(cell) for cell in row] for row in self.rows]

    def to_markdown(self) -> str:
        """A GitHub table under its title, with the caption below."""
        rows = self.text_rows()
        if self.bold_last_row and rows:
            rows[-1] = [cell if cell == EMPTY else f"**{cell}**" for cell in rows[-1]]
        alignment = [":---", *["---:"] * (len(self.columns) - 1)]
        lines = [_markdown_row(row) for row in (self.columns, alignment, *rows)]
        return "\n".join([f"### {self.title}", "", *lines, "", self.caption, ""])

    def write_csv(self, path: Path) -> None:
        """Numbers in full precision: a spread takes columns mean, std and n, a change these before and after."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.columns)
        flat = [part for heading, cells in zip(self.columns, columns, strict=True) for part in _flatten(heading, cells)]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([heading for heading, _ in flat])
            writer.writerows(zip(*(cells for _, cells in flat), strict=True))


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


def stability_table(run: Run) -> Table:
    """How far the seeds of each configuration agree, and what became of them."""
    unfinished = [status for status in STATUSES if status != "finished"]
    shown = [status for status in unfinished if status != "pruned" or (run.trials["status"] == "pruned").any()]
    columns = [
        "configuration",
        "finished",
        "final",
        "min to max",
        "below frozen backbone",
        "destructive boundaries",
        *shown,
    ]
    rows: list[list[Cell]] = []
    for label in series.configurations(run):
        every, final = series.replicas(run, label), series.final_accuracy(run, label)
        compared = final.dropna(subset="frozen")
        destructive, boundaries = series.destructive_boundaries(run, label)
        percent = 100 * series.values(final, "final")
        status = every["status"].value_counts()
        rows.append(
            [
                label,
                f"{status.get('finished', 0)} of {len(every)}",
                Spread.of(series.values(final, "final"), len(final)),
                f"{percent.min():.2f} to {percent.max():.2f}" if len(percent) else EMPTY,
                f"{(compared['final'] < compared['frozen']).sum()} of {len(compared)}" if len(compared) else EMPTY,
                f"{destructive} of {boundaries}" if boundaries else EMPTY,
                *(int(status.get(name, 0)) for name in shown),
            ]
        )
    caption = (
        "Final accuracy in %, over finished seeds. A seed is below the frozen backbone when its final accuracy is less "
        "than that of its own head on the frozen backbone. A boundary is destructive when, after consolidation, slow "
        "alone is worse than the frozen backbone."
    )
    return Table("Stability over seeds", columns, rows, caption, "stability")


def difference_table(found: Sequence[PairedDifference]) -> Table:
    """The paired differences behind the answer, in percentage points."""
    columns = [
        "configuration",
        "common seeds",
        "difference",
        "95 % interval",
        "p (t, Holm)",
        "p (sign flips, Holm)",
        "told apart",
    ]
    rows: list[list[Cell]] = [
        [
            one.configuration,
            one.n,
            f"{100 * one.mean:+.2f}",
            None if one.low is None or one.high is None else f"{100 * one.low:+.2f} to {100 * one.high:+.2f}",
            _p(one.p_t_holm),
            _p(one.p_permutation_holm),
            "yes" if one.survives_correction else "before correction only" if one.told_apart else "no",
        ]
        for one in found
    ]
    if not found:
        return Table("Paired differences", columns, rows, "No two configurations share a finished seed.", "differences")
    caption = (
        f"Final accuracy minus that of {found[0].baseline}, in percentage points, paired by seed. The interval is for "
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


def _flatten(heading: str, cells: Sequence[Cell]) -> Iterable[tuple[str, list[object]]]:
    if any(isinstance(cell, Change) for cell in cells):
        for moment in ("before", "after"):
            yield from _flatten(f"{heading} {moment}", [getattr(cell, moment, None) for cell in cells])
    elif any(isinstance(cell, Spread) for cell in cells):
        for part in ("mean", "std", "n"):
            yield f"{heading} {part}", [getattr(cell, part, None) for cell in cells]
    else:
        yield heading, list(cells)


def _text(cell: Cell) -> str:
    return EMPTY if cell is None else str(cell)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _p(p: float | None) -> str | None:
    if p is None:
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
