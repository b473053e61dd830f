"""What the user sees at the end: the report's tables and sentences, where the time went, where everything is."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from analysis.report import Report
from analysis.tables import Table
from study.progress import duration
from study.rundir import RunDirectory

MIN_WIDTH = 100


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
    if not console.is_terminal or console.width < MIN_WIDTH:
        console = Console(width=max(MIN_WIDTH, _width(report)))
    console.print(f"\n[bold]{run.study.question}[/bold]", highlight=False)
    for line in report.answer:
        console.print(line, highlight=False, markup=False)
    for table in report.tables:
        console.print()
        console.print(_rich(table))
    console.print()
    for line in report.sentences:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
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

    return {
        "picture": ", ".join(shown(path) for path in report.pictures),
        "report": shown(report.markdown),
        "records": f"{shown(run.path / 'trials.parquet')}, {shown(run.path / 'metrics.parquet')}",
        "MLflow": f"mlflow server --host 127.0.0.1 --backend-store-uri {run.study.mlflow_uri}"
        if "://" in run.study.mlflow_uri and not run.study.mlflow_uri.startswith("http")
        else run.study.mlflow_uri,
        "TensorBoard": f"tensorboard --logdir {shown(run.path / 'tensorboard')}",
    }


def _rich(table: Table) -> RichTable:
    rich_table = RichTable(
        title=Text(table.title, style="bold"), caption=Text(table.caption), title_justify="left", caption_justify="left"
    )
    for index, heading in enumerate(_headings(table)):
        rich_table.add_column(Text(heading), justify="left" if index == 0 else "right")
    for row in table.text_rows():
        rich_table.add_row(*map(Text, row))
    return rich_table


def _headings(table: Table) -> list[str]:
    """Column headings broken into lines about as wide as the cells below."""
    widths = [max((len(cell) for cell in cells), default=0) for cells in zip(*table.text_rows(), strict=True)]
    return [
        "\n".join(textwrap.wrap(heading, max(14, width))) or " "
        for heading, width in zip(table.columns, widths or [14] * len(table.columns), strict=True)
    ]


def _width(report: Report) -> int:
    """Width at which no table has to break a cell."""
    widest = 0
    for table in report.tables:
        lines = [[max(map(len, heading.split("\n"))) for heading in _headings(table)]]
        lines += [[len(cell) for cell in row] for row in table.text_rows()]
        widest = max(widest, sum(max(column) + 3 for column in zip(*lines, strict=True)) + 1)
    return widest
