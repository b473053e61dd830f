"""What the user sees at the end: the answer and its table, where the time went, where everything is."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from analysis.report import Report
from analysis.report.tables import Table
from study.records.run_directory import RunDirectory
from study.terminal.progress import duration

MIN_WIDTH = 100
PROSE_WIDTH = 110  # longer lines are hard to read
CELL_WIDTH = 32
AT_SPACES: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


@dataclass(frozen=True)
class TimeSplit:
    """Worker-seconds of one session by what they were spent on; they add up to wall-clock times workers."""

    wall_s: float
    workers: int
    spent_s: dict[str, float]

    def line(self) -> str:
        capacity = self.wall_s * self.workers
        parts = ", ".join(f"{name} {seconds / capacity:.1%}" for name, seconds in self.spent_s.items())
        return f"{duration(self.wall_s)} on {self.workers} worker{'s' * (self.workers > 1)}: {parts}"


def split_time(
    started: float,
    first_began: float | None,
    last_ended: float,
    now: float,
    workers: int,
    rows: dict[str, float],
    report_s: float,
) -> TimeSplit:
    """Where the workers' time went.

    Args:
        started, first_began, last_ended, now: seconds since 1970: command, first pack, last pack, now.
        rows: seconds by name (data_s, train_s, eval_s, checkpoint_s) that the packs of this session reported.
        report_s: seconds that packs waited for the driver to record their rows.
    """
    wall = now - started
    first = now if first_began is None else first_began
    spent = {
        "start-up": (first - started) * workers,
        "data": rows.get("data_s", 0.0),
        "training": rows.get("train_s", 0.0),
        "evaluation": rows.get("eval_s", 0.0),
        "tracking": rows.get("checkpoint_s", 0.0) + report_s + max(0.0, now - last_ended) * workers,
    }
    spent["waiting"] = max(0.0, wall * workers - sum(spent.values()))
    return TimeSplit(wall, workers, spent)


def show(report: Report, run: RunDirectory, split: TimeSplit | None, warnings: list[str]) -> None:
    """Print the closing report to stdout."""
    console = Console()
    prose = min(console.width, PROSE_WIDTH) if console.is_terminal else PROSE_WIDTH
    tables = [report.table] if report.table else []
    if not console.is_terminal or console.width < MIN_WIDTH:
        # Nobody can widen a file or a pipe: no cell is broken, and a narrow terminal wraps whole lines.
        console = Console(width=max(MIN_WIDTH, *map(_width, tables)) if tables else MIN_WIDTH)

    def say(line: str) -> None:
        console.print(textwrap.fill(line, prose, **AT_SPACES), highlight=False, markup=False, soft_wrap=True)

    console.print()
    console.print(textwrap.fill(run.study.question, prose, **AT_SPACES), style="bold", highlight=False, markup=False)
    for line in report.answer:
        say(line)
    for table in tables:
        console.print()
        console.print(_rich(table, prose))
    if report.next_step:
        console.print()
        for line in report.next_step:
            say(line)
    console.print()
    for name, value in _places(report, run).items():
        console.print(f"{name:<12} {value}", highlight=False, markup=False, soft_wrap=True)
    if split:
        console.print(f"{'time':<12} {split.line()}", highlight=False, markup=False, soft_wrap=True)
    for line in warnings:
        console.print(f"warning: {line}", style="yellow", highlight=False, soft_wrap=True)


def _places(report: Report, run: RunDirectory) -> dict[str, str]:
    def shown(path: Path) -> str:
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

    more = ", ".join(section.title.lower() for section in report.sections)
    return {
        "page": f"{shown(report.page)}{f' (also: {more})' if more else ''}",
        "pictures": f"{shown(report.folder)}/*.png, *.svg",
        "tables": f"{shown(report.folder)}/tables/*.csv, {shown(report.folder / 'results.parquet')}",
        "Markdown": shown(report.markdown),
        "records": ", ".join(
            shown(path)
            for name in ("trials", "metrics", "search", "importance")
            if (path := run.path / f"{name}.parquet").exists()
        ),
        "MLflow": f"lora-study ui {shown(run.path)}",
        "TensorBoard": f"tensorboard --logdir {shown(run.path / 'tensorboard')}",
    }


def _rich(table: Table, caption_width: int) -> RichTable:
    rich_table = RichTable(title=Text(table.title, style="bold"), title_justify="left", caption_justify="left")
    rich_table.caption = Text(textwrap.fill(table.caption, min(caption_width, _width(table)), **AT_SPACES))
    for index, heading in enumerate(_headings(table)):
        rich_table.add_column(Text(heading), justify="left" if index == 0 else "right")
    for row in table.text_rows():
        rich_table.add_row(*(Text(_wrapped(cell)) for cell in row))
    return rich_table


def _headings(table: Table) -> list[str]:
    """Column headings broken into lines about as wide as the cells below."""
    widths = [max(map(_text_width, cells), default=0) for cells in zip(*table.text_rows(), strict=True)]
    return [
        "\n".join(textwrap.wrap(heading, max(14, width), **AT_SPACES)) or " "
        for heading, width in zip(table.columns, widths or [14] * len(table.columns), strict=True)
    ]


def _wrapped(cell: str) -> str:
    """A cell in lines of at most ``CELL_WIDTH`` characters, as far as its words allow."""
    return "\n".join(textwrap.wrap(cell, CELL_WIDTH, **AT_SPACES)) or cell


def _text_width(cell: str) -> int:
    return max(map(len, _wrapped(cell).split("\n")))


def _width(table: Table) -> int:
    """Width at which no line of a cell has to be broken."""
    rows = [_headings(table), *table.text_rows()]
    lines = [[_text_width(cell) if number else max(map(len, cell.split("\n"))) for cell in row]
             for number, row in enumerate(rows)]  # fmt: skip
    return sum(max(column) + 3 for column in zip(*lines, strict=True)) + 1
