"""``report``: the closing report of a run, written and shown again."""

from pathlib import Path

from analysis.report import build_report
from study.records.run_directory import RunDirectory
from study.records.search_table import export
from study.terminal.summary import show


def report(path: Path, margin: float | None = None, baseline: str | None = None) -> None:
    """Write the Parquet files and the report from what is there now, and print the report."""
    directory = RunDirectory.open(path.expanduser().absolute())
    export(directory)
    show(build_report(directory.path, margin, baseline), directory, None, [])
