"""From a run directory to its closing report: the registry of kinds and of the sections that follow them.

A kind is a function ``(run, folder) -> Report`` in ``REPORTS``; a section one ``(run, folder) -> Section | None`` in
``SECTIONS``, None where the run has nothing to say there. Both write their pictures into ``folder`` with
``save_pictures``. Everything else (tables as CSV, Markdown, the page) is done here for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.cells import Table
from analysis.continual_headline import continual_headline
from analysis.contrast_section import contrast_headline, contrast_section, reported_twice_sentence
from analysis.differences import PairedDifference, differences
from analysis.document import Report, Section
from analysis.headline import three_sentences, tuning_headline
from analysis.page import write_pages
from analysis.pictures import save_pictures
from analysis.plain_report import plain_report
from analysis.plots import ablation_by_task, accuracy_by_task
from analysis.rank_headline import rank_headline
from analysis.rank_plots import accuracy_by_rank, accuracy_by_trained_parameters, learning_curves
from analysis.rank_sentences import rank_answer
from analysis.rank_series import FINAL
from analysis.rank_tables import rank_table, saturation_table, scaling_table
from analysis.ranking import floor_effects, rankings
from analysis.records import STUDY_FILE, RecordsError, Run, read_run
from analysis.reference_lines import below_frozen_sentence, ncm_sentence
from analysis.search_plots import importance_bars, optimism_gap, search_history
from analysis.search_sentences import SEARCH_METHODS, race_sentences, search_answer
from analysis.search_series import found_by
from analysis.search_tables import confirmed_table, importance_table, parameter_table, race_table, space_table
from analysis.sections import continual_section, instability_section, notes_section, pareto_section, variance_section
from analysis.selection import shortened
from analysis.sentences import answer_sentences
from analysis.series import configurations
from analysis.style import Picture
from analysis.tables import ablation_table, difference_table, task_table
from analysis.theory_plots import error_by_rank, gap_by_step
from analysis.theory_sentences import spread_sentence, theory_answer, theory_headline
from analysis.theory_series import cases
from analysis.theory_tables import bound_table, theory_scaling_table, worst_table
from analysis.tuning_curves import calibration, interference, learning_rates
from analysis.tuning_plots import accuracy_by_parameters, accuracy_by_step_time
from analysis.tuning_sentences import schedule_sentences, tuning_answer
from analysis.tuning_tables import (
    calibration_table,
    efficiency_table,
    epochs_table,
    floor_table,
    methods_table,
    ranking_table,
)
from analysis.variance_of_runs import variance_split

REPORT_DIR = "report"
DIFFERENCES_METHODS = [
    "Differences: paired by seed over common finished seeds, t interval at 95 % for one comparison, paired t test and "
    "sign-flip permutation test, p-values corrected by Holm over the configurations."
]
ORDER_METHODS = ["Order of methods: share of paired bootstrap samples of the seeds in which the whole order holds."]


def build_report(run_dir: Path) -> Report:
    """Write ``run_dir/report/`` and return what is in it; works on unfinished runs.

    The folder holds index.html (self-contained), report.md, a PNG and an SVG per picture, data/*.parquet (what each
    picture shows) and tables/*.csv.

    Raises:
        RecordsError: not a readable run directory, or a kind of report that is not in ``REPORTS``.
    """
    run = shortened(read_run(Path(run_dir)))
    kind = str(run.study.get("report"))
    if kind not in REPORTS:
        raise RecordsError(f"{run.path / STUDY_FILE}: report {kind!r} is unknown; known: {', '.join(sorted(REPORTS))}")
    folder = run.path / REPORT_DIR
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    report = REPORTS[kind](run, folder)
    answer, left_over = three_sentences(run, report.answer)
    details = [line for line in dict.fromkeys([*left_over, *report.details]) if line not in answer]
    found = [section for build in SECTIONS.get(kind, ()) if (section := build(run, folder))]
    report = replace(report, answer=answer, details=details, sections=[*report.sections, *found])
    for part in report.parts:
        for table in part.tables:
            table.write_csv(folder / "tables" / f"{table.name}.csv")
    write_pages(run, report)
    return report


def continual_report(run: Run, folder: Path) -> Report:
    """The report of a class-incremental study; the pictures are written into ``folder``."""
    found = _beside_the_first(run, "final_accuracy")
    pictures = {"accuracy_by_task.png": accuracy_by_task(run), "ablation_by_task.png": ablation_by_task(run)}
    tables = [task_table(run), ablation_table(run), difference_table(run, found) if found else None]
    split = variance_split([run.whole], np.random.default_rng(0), "final_accuracy")
    headline = continual_headline(run, found, split)
    details = headline[1:] if contrast_headline(run) else answer_sentences(run, found)
    answer = _with_contrasts(run, headline) or details
    said = [sentence for sentence in (ncm_sentence(run),) if sentence]
    return _report(run, folder, tables, pictures, answer, details, said, DIFFERENCES_METHODS)


def tuning_report(run: Run, folder: Path) -> Report:
    """The report of a study that compares ways of fine-tuning; the pictures are written into ``folder``."""
    found = _beside_the_first(run, "final_top1")
    # A report that is built again says the same: the bootstrap has a generator of its own. No order is claimed of the
    # best of many configurations, which would be an order of their luck.
    metrics = ("best_top1", "final_top1")
    orders = rankings(run, metrics, np.random.default_rng(0)) if run.whole is run else []
    floors = {metric: floor_effects(run, metric) if run.whole is run else [] for metric in metrics}
    tables = [
        methods_table(run),
        ranking_table(orders) if orders else None,
        floor_table(run, floors) if any(floors.values()) else None,
        efficiency_table(run),
        epochs_table(run),
        calibration_table(run),
        difference_table(run, found, "Final top-1") if found else None,
    ]
    pictures = {
        "accuracy_by_parameters.png": accuracy_by_parameters(run),
        "accuracy_by_step_time.png": accuracy_by_step_time(run),
        "learning_rates.png": learning_rates(run),
        "calibration.png": calibration(run),
        "interference.png": interference(run),
    }
    details = [] if contrast_headline(run) else tuning_answer(run, found, orders, floors["final_top1"])
    answer = _with_contrasts(run, tuning_headline(run, found, orders, floors["final_top1"])) or details
    methods = DIFFERENCES_METHODS + (ORDER_METHODS if orders else [])
    return _report(run, folder, tables, pictures, answer, details, schedule_sentences(run), methods)


def theory_report(run: Run, folder: Path) -> Report:
    """The report of the linear theory; the pictures are written into ``folder``."""
    every = cases(run)
    details = theory_answer(run, every)
    tables = [bound_table(run, every), worst_table(run, every), theory_scaling_table(run, every)]
    pictures = {"error_by_rank.png": error_by_rank(run, every), "gap_by_step.png": gap_by_step(run, every)}
    spread = [spread_sentence(run, label) for label in configurations(run)]
    return _report(run, folder, tables, pictures, theory_headline(run, every) or details, details, spread)


def search_report(run: Run, folder: Path) -> Report:
    """The report of a search: what its best configurations are worth on seeds that it has not seen."""
    search = found_by(run.whole)
    pictures = {"search_history.png": search_history(search), "optimism_gap.png": optimism_gap(search)}
    pictures["importance.png"] = importance_bars(search)
    paired = search.against_baseline()
    tables = [
        confirmed_table(search),
        parameter_table(search),
        difference_table(search.run, paired, search.test_name.capitalize()) if paired else None,
        race_table(search),
        importance_table(search),
        space_table(search),
    ]
    said = race_sentences(search)
    return _report(run, folder, tables, pictures, search_answer(search), sentences=said, methods=SEARCH_METHODS)


def rank_report(run: Run, folder: Path) -> Report:
    """The report of a study of LoRA's rank; the pictures are written into ``folder``."""
    found = differences(run, FINAL)
    details = rank_answer(run, found)
    tables = [
        rank_table(run),
        scaling_table(run),
        saturation_table(run),
        difference_table(run, found, "Final top-1") if found else None,
    ]
    pictures = {
        "accuracy_by_rank.png": accuracy_by_rank(run),
        "accuracy_by_parameters.png": accuracy_by_trained_parameters(run),
        "learning_curves.png": learning_curves(run),
    }
    return _report(run, folder, tables, pictures, answer=rank_headline(run, found) or details, details=details)


REPORTS: dict[str, Callable[[Run, Path], Report]] = {
    "continual": continual_report,
    "tuning": tuning_report,
    "theory": theory_report,
    "rank": rank_report,
    "search": search_report,
    "plain": plain_report,
}
_OF_SEEDS = [instability_section, variance_section, notes_section]
SECTIONS: dict[str, list[Callable[[Run, Path], Section | None]]] = {
    "continual": [contrast_section, *_OF_SEEDS, continual_section],
    "tuning": [contrast_section, pareto_section, *_OF_SEEDS],
    "theory": [],
    "rank": [pareto_section, *_OF_SEEDS],
    "search": [],
    "plain": [],
}


def _report(
    run: Run, folder: Path, tables: Sequence[Table | None], pictures: Mapping[str, Picture | None], answer: list[str],
    details: Sequence[str] = (), sentences: Sequence[str] = (), methods: Sequence[str] = (),
) -> Report:  # fmt: skip
    """What the kinds have in common; tables and pictures without anything to show are None."""
    question = str(run.study.get("question") or run.study.get("study") or "Study")
    return Report(
        question, answer, [table for table in tables if table], list(sentences), save_pictures(folder, pictures),
        folder / "report.md", details=list(details), methods=list(methods),
    )  # fmt: skip


def _with_contrasts(run: Run, headline: list[str]) -> list[str]:
    """The answer of a study that declares contrasts is about them."""
    first = contrast_headline(run)
    if not first:
        return headline
    beside = [reported_twice_sentence(run), below_frozen_sentence(run)] if run.study["report"] == "continual" else []
    return [*first, *filter(None, beside)]


def _beside_the_first(run: Run, metric: str) -> list[PairedDifference]:
    """Differences from the first configuration; none where the study says itself what is to be compared."""
    return [] if contrast_headline(run) else differences(run, metric)
