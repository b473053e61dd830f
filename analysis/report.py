"""From a run directory to its closing report: answer, tables, sentences and pictures, on disk and as data."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis.cells import Table
from analysis.differences import differences
from analysis.plots import ablation_by_task, accuracy_by_task
from analysis.ranking import floor_effects, rankings
from analysis.records import STUDY_FILE, RecordsError, Run, read_run
from analysis.search_plots import importance_bars, optimism_gap, search_history
from analysis.search_sentences import race_sentences, search_answer
from analysis.search_series import found_by
from analysis.search_tables import confirmed_table, importance_table, parameter_table, race_table
from analysis.sentences import answer_sentences, stability_sentence
from analysis.series import configurations
from analysis.tables import ablation_table, difference_table, stability_table, task_table
from analysis.tuning_curves import calibration, interference, learning_rates
from analysis.tuning_plots import accuracy_by_parameters, accuracy_by_step_time
from analysis.tuning_sentences import schedule_sentences, tuning_answer, tuning_stability_sentence
from analysis.tuning_tables import (
    efficiency_table,
    floor_table,
    methods_table,
    ranking_table,
    tuning_stability_table,
)

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
    pictures = {"accuracy_by_task.png": accuracy_by_task(run), "ablation_by_task.png": ablation_by_task(run)}
    tables = [task_table(run), ablation_table(run), stability_table(run)]
    return Report(
        question=_question(run),
        answer=answer_sentences(run, found),
        tables=tables + ([difference_table(found)] if found else []),
        sentences=[stability_sentence(run, label) for label in configurations(run)],
        pictures=_saved(folder, pictures),
        markdown=folder / "report.md",
    )


def tuning_report(run: Run, folder: Path) -> Report:
    """The report of a study that compares ways of fine-tuning; the pictures are written into ``folder``."""
    found = differences(run, "final_top1")
    # A report that is built again says the same: the bootstrap has a generator of its own.
    orders = rankings(run, ("best_top1", "final_top1"), np.random.default_rng(0))
    floors = {metric: floor_effects(run, metric) for metric in ("best_top1", "final_top1")}
    tables = [
        methods_table(run),
        ranking_table(orders) if orders else None,
        floor_table(run, floors) if any(floors.values()) else None,
        efficiency_table(run),
        tuning_stability_table(run),
        difference_table(found, "Final top-1") if found else None,
    ]
    pictures = {
        "accuracy_by_parameters.png": accuracy_by_parameters(run),
        "accuracy_by_step_time.png": accuracy_by_step_time(run),
        "learning_rates.png": learning_rates(run),
        "calibration.png": calibration(run),
        "interference.png": interference(run),
    }
    stability = [tuning_stability_sentence(run, label) for label in configurations(run)]
    return Report(
        question=_question(run),
        answer=tuning_answer(run, found, orders, floors["final_top1"]),
        tables=[table for table in tables if table],
        sentences=stability + schedule_sentences(run),
        pictures=_saved(folder, pictures),
        markdown=folder / "report.md",
    )


def search_report(run: Run, folder: Path) -> Report:
    """The report of a search: what its best configurations are worth on seeds that it has not seen."""
    search = found_by(run)
    pictures = {
        "search_history.png": search_history(search),
        "optimism_gap.png": optimism_gap(search),
        "importance.png": importance_bars(search),
    }
    paired = search.against_baseline()
    tables = [
        confirmed_table(search),
        parameter_table(search),
        difference_table(paired, search.test_name.capitalize()) if paired else None,
        race_table(search),
        importance_table(search),
    ]
    return Report(
        question=_question(run),
        answer=search_answer(search),
        tables=[table for table in tables if table],
        sentences=race_sentences(search),
        pictures=_saved(folder, pictures),
        markdown=folder / "report.md",
    )


REPORTS: dict[str, Callable[[Run, Path], Report]] = {
    "continual": continual_report,
    "tuning": tuning_report,
    "search": search_report,
}


def _question(run: Run) -> str:
    return str(run.study.get("question") or run.study.get("study") or "Study")


def _saved(folder: Path, pictures: Mapping[str, Figure | None]) -> list[Path]:
    """Write the pictures that there are; returns their paths."""
    for name, figure in pictures.items():
        if figure is not None:
            figure.savefig(folder / name)
    return [folder / name for name, figure in pictures.items() if figure is not None]


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
