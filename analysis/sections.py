"""The sections that follow a kind's own part: fronts, instability, sources of variance, the notes, continual learning.

Each takes a run, of which only some configurations may be shown, and the folder for its pictures. What is cheap is
computed over all configurations, the rest over those that are shown; the section says so where that is not the same.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.against_notes import against_notes_sentences, against_notes_tables, levels
from analysis.captions import count
from analysis.cells import Table
from analysis.consolidation import consolidation_sentence, consolidation_table
from analysis.continual_tables import continual_table, forgetting_table, matrix_sentences, matrix_tables
from analysis.departure import departures
from analysis.departure_plots import departure_timeline
from analysis.document import Section
from analysis.early_signals import early_signals
from analysis.instability import stabilities
from analysis.instability_plots import final_values_strip, performance_profiles, variance_components
from analysis.instability_sentences import departure_sentence, signal_sentence, spread_sentences
from analysis.instability_tables import departure_table, signal_table, spread_table
from analysis.objectives import final_objectives
from analysis.pareto import METHODS as PARETO_METHODS
from analysis.pareto_plots import pareto_picture
from analysis.pareto_tables import front_sentences, front_table, fronts, fronts_table
from analysis.pictures import save_pictures
from analysis.power import Noise, noises, power_sentence, power_summary, power_table
from analysis.records import Run
from analysis.reference_lines import reference_table
from analysis.series import accuracy_by_boundary, configurations, judged_metric
from analysis.variance_of_runs import variance_sentence, variance_split, variance_table

INSTABILITY_METHODS = [
    "Spread over seeds: interquartile mean and performance profiles after Agarwal et al. 2021, BCa bootstrap intervals "
    "after Efron 1987, exact binomial intervals after Clopper and Pearson 1934, dip test of Hartigan and Hartigan 1985."
]
DEPARTURE_METHODS = [
    "Bad seeds: diverged, below their own frozen backbone, or set apart by tests for outliers one after the other "
    "(Rosner 1983); they leave where they fall, and stay, below the prediction limit of the others (Hahn 1969). Early "
    "signals: area under the curve within configurations, p by the largest statistic over permuted labels (Westfall "
    "and Young 1993)."
]
VARIANCE_METHODS = [
    "Sources of variance: random-effects model, components by MINQUE(0) (Rao 1971), intervals by inverting a simulated "
    "test (Carpenter 1999). Power: paired t test, noncentral t distribution (Cohen 1988), for one comparison."
]
NOTES_METHODS = [
    "Against the notes: prediction interval for one further seed (Hahn 1969); a reported difference beside those of "
    "two single measured seeds, by counting the measured pairs."
]


def instability_section(run: Run, folder: Path) -> Section:
    """Spread, collapse and modes of the final metric, departures, early signals, and what consolidation destroyed."""
    rng, metric = np.random.default_rng(0), judged_metric(run)
    found = stabilities(run, metric, rng)
    pictures = {
        "final_values.png": final_values_strip(run, found, metric),
        "performance_profiles.png": performance_profiles(run, found, metric)
        if any(one.summary for one in found)
        else None,
    }
    sentences = _left_out(run) + spread_sentences(run, found)
    tables: list[Table | None] = [spread_table(run, found, metric)]
    methods = list(INSTABILITY_METHODS)
    if len(accuracy_by_boundary(run)):
        left = departures(run)
        search = early_signals(run, left, rng)
        pictures["departures.png"] = departure_timeline(run, left) if left else None
        sentences += [departure_sentence(run, left), signal_sentence(search)]
        tables += [departure_table(run, left), signal_table(search)]
        methods += DEPARTURE_METHODS
    if run.study.get("report") == "continual":
        sentences.append(consolidation_sentence(run))
        tables.append(consolidation_table(run))
    shown = [table for table in tables if table]
    return Section("Instability", sentences, shown, save_pictures(folder, pictures), methods)


def variance_section(run: Run, folder: Path) -> Section:
    """What moves the number, over all configurations of the run, and how many seeds a difference takes."""
    metric = judged_metric(run)
    found, noise = variance_split([run.whole], np.random.default_rng(0), metric), noises(run, metric)
    spread = found is not None and any(one.variance for one in found.components)
    pictures = {"variance.png": variance_components(run.whole, found) if spread else None}
    tables = [variance_table(found)] if found and spread else []
    tables += [power_table(noise)] if noise else []
    sentences = [variance_sentence(found), power_summary(noise), *_stated(run, metric, noise)]
    return Section("Sources of variance", sentences, tables, save_pictures(folder, pictures), VARIANCE_METHODS)


def notes_section(run: Run, folder: Path) -> Section | None:
    """Reported numbers beside the measured seed noise; None for a study that has no reported numbers."""
    metric = judged_metric(run)
    sentences = against_notes_sentences(run, metric)
    if not sentences:
        return None
    return Section("Against the notes", sentences, against_notes_tables(run, metric), methods=NOTES_METHODS)


def continual_section(run: Run, folder: Path) -> Section:
    """Reference lines and measures, forgetting and backward transfer by seed and task, and the accuracy matrices."""
    matrices = matrix_tables(run)
    tables = [reference_table(run), continual_table(run), forgetting_table(run), *matrices]
    return Section("Continual learning", matrix_sentences(run, matrices), [table for table in tables if table])


def pareto_section(run: Run, folder: Path) -> Section | None:
    """Fronts over the final metrics in which the configurations differ; None with fewer than two of these."""
    telling, noisy = final_objectives(run.whole)
    found = fronts(run, telling, np.random.default_rng(0))
    pictures = save_pictures(folder, {"pareto.png": pareto_picture(run, found)})
    if not found:
        return None
    tables = [front_table(run, found, noisy), fronts_table(found)]
    return Section("Pareto fronts", front_sentences(found), tables, pictures, PARETO_METHODS)


def _stated(run: Run, metric: str, noise: Sequence[Noise]) -> list[str]:
    """What the smallest reported difference from the first configuration takes; nothing where none is reported."""
    known, found = levels(run, metric), []
    for one in noise:
        own, base = ([level.reported for level in known if level.configuration == label]
                     for label in (one.configuration, one.baseline))  # fmt: skip
        found += [(abs(value - other), one) for value in own for other in base if value != other]
    return [power_sentence(one, gap) for gap, one in sorted(found, key=lambda pair: pair[0])[:1]]


def _left_out(run: Run) -> list[str]:
    hidden = len(configurations(run.whole)) - len(configurations(run))
    if hidden <= 0:
        return []
    return [
        f"Over the {count(len(configurations(run)), 'shown configuration')} only: {hidden:,} more were neither "
        "bootstrapped nor searched for bad seeds."
    ]
