"""From a run directory to its closing report: answer, tables, sentences and pictures, on disk and as data."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis.differences import differences
from analysis.plots import ablation_by_task, accuracy_by_task
from analysis.records import STUDY_FILE, RecordsError, Run, read_run
from analysis.sentences import answer_sentences, stability_sentence
from analysis.series import configurations
from analysis.tables import Table, ablation_table, difference_table, stability_table, task_table

REPORT_DIR = "report"


@dataclass(frozen=True)
class Report:
    """What a run says; ``pictures`` are paths of the PNGs, ``markdown`` that of the page with everything in it."""

    question: str
    answer: list[str]
    tables: list[Table]
    sentences: list[str]
    pictures: list[Path]
    markdown: Path


def build_report(run_dir: Path) -> Report:
    """Write ``run_dir/report/`` (report.md, PNGs, tables/*.csv) and return what is in it; works on unfinished runs.

    Raises:
        RecordsError: not a readable run directory, or a kind of report that is not in ``REPORTS``.
    """
    run = read_run(Path(run_dir))
    kind = str(run.study.get("report"))
    if kind not in REPORTS:
        raise RecordsError(f"{run.path / STUDY_FILE}: report {kind!r} is unknown; known: {', '.join(sorted(REPORTS))}")
    folder = run.path / REPORT_DIR
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    report = REPORTS[kind](run, folder)
    for table in report.tables:
        table.write_csv(folder / "tables" / f"{table.name}.csv")
    report.markdown.write_text(_markdown(run, report), encoding="utf-8")
    return report


def continual_report(run: Run, folder: Path) -> Report:
    """The report of a class-incremental study; the pictures are written into ``folder``."""
    found = differences(run)
    pictures = []
    for name, figure in (
        ("accuracy_by_task.png", accuracy_by_task(run)),
        ("ablation_by_task.png", ablation_by_task(run)),
    ):
        figure.savefig(folder / name)
        pictures.append(folder / name)
    tables = [task_table(run), ablation_table(run), stability_table(run)]
    return Report(
        question=str(run.study.get("question") or run.study.get("study") or "Study"),
        answer=answer_sentences(run, found),
        tables=tables + ([difference_table(found)] if found else []),
        sentences=[stability_sentence(run, label) for label in configurations(run)],
        pictures=pictures,
        markdown=folder / "report.md",
    )


REPORTS: dict[str, Callable[[Run, Path], Report]] = {"continual": continual_report}


def _markdown(run: Run, report: Report) -> str:
    sections = [f"# {report.question}", " ".join(report.answer), "## Stability over seeds"]
    sections.append("\n".join(f"- {sentence}" for sentence in report.sentences))
    sections.append("## Tables")
    sections += [table.to_markdown() for table in report.tables]
    sections.append("## Pictures")
    for picture in report.pictures:
        relative = picture.relative_to(report.markdown.parent).as_posix()
        sections.append(f"![{picture.stem.replace('_', ' ')}]({relative})")
    sections += ["## Provenance", _provenance(run)]
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def _provenance(run: Run) -> str:
    """Where the numbers come from, as a list of key and value, nested keys joined by a dot."""
    keys = ("study", "run_id", "profile", "dataset", "backbone", "seeds", "schema_version")
    lines = {key: run.study[key] for key in keys if key in run.study}
    lines.update(_flat("", run.study.get("provenance") or {}))
    lines.update(_flat("configurations.", run.study.get("configurations") or {}, depth=1))
    text = {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in lines.items()}
    return "\n".join(f"- {key}: `{value}`" for key, value in text.items())


def _flat(prefix: str, values: dict[str, object], depth: int = 3) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict) and depth > 1:
            flat.update(_flat(f"{prefix}{key}.", value, depth - 1))
        else:
            flat[prefix + key] = value
    return flat
