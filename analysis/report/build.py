"""From a run directory to its closing report."""

from pathlib import Path

from analysis.export.results import write_results
from analysis.io.records import STUDY_FILE, RecordsError, read_run
from analysis.io.values import configurations
from analysis.report.document import Report
from analysis.report.estimates import estimates
from analysis.report.findings import findings
from analysis.report.headline import answer, headline_chart, headline_table
from analysis.report.kinds import KINDS
from analysis.report.next_step import next_step
from analysis.report.page import write_pages

REPORT_DIR = "report"
OWN = ("*.png", "*.svg", "*.vl.json", "tables/*.csv", "tables/*.tex", "data/*.parquet")


def build_report(run_dir: Path, margin: float | None = None, baseline: str | None = None) -> Report:
    """Write ``run_dir/report/`` and return what is in it; works on unfinished runs.

    The folder holds index.html (self-contained), report.md, every chart as PNG, SVG and Vega-Lite specification,
    tables/* as CSV and LaTeX, and results.parquet: every estimate with its interval.

    Args:
        margin: difference that does not matter, in points of a fraction, else in the unit of the metric.
        baseline: configuration that the others are compared with; the study's first where it is None.

    Raises:
        RecordsError: not a readable run directory, a kind of report that is unknown, or a baseline that was not run.
    """
    run = read_run(Path(run_dir))
    kind = KINDS.get(str(run.study.get("report")))
    if kind is None:
        known = ", ".join(sorted(KINDS))
        raise RecordsError(f"{run.path / STUDY_FILE}: report {run.study.get('report')!r} is unknown; known: {known}")
    run = kind.scope(run)
    if baseline is not None and baseline not in configurations(run):
        labels = configurations(run)
        known = ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
        raise RecordsError(f"--baseline {baseline!r}: not a configuration of this run; allowed: {known}")
    if margin is not None and not margin > 0:
        raise RecordsError(f"--margin {margin:g}: allowed: a number above 0")
    found = findings(run, margin, baseline)
    folder = run.path / REPORT_DIR
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    report = Report(
        question=str(run.study.get("question") or run.study.get("study") or "Study"),
        answer=answer(found, kind),
        table=headline_table(found),
        chart=headline_chart(found),
        sections=[section for build in kind.sections if (section := build(found))],
        folder=folder,
        next_step=next_step(found),
    )
    for pattern in OWN:
        for path in folder.glob(pattern):  # what an earlier report drew and this one does not
            path.unlink()
    for chart in report.charts:
        chart.save(folder)
    for table in report.tables:
        table.write(folder / "tables")
    write_results(folder / "results.parquet", estimates(found))
    write_pages(run, report)
    return report
