"""The closing report: statistics against scipy, honest sentences, and runs in every state."""

import csv
import json
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import REPORTED_RERUN, make_run, seeded_finals

from analysis.differences import differences, paired_difference
from analysis.plots import accuracy_by_task
from analysis.records import RecordsError, read_run, write_trials
from analysis.report import build_report
from analysis.tables import ablation_table, task_table

RNG = np.random.default_rng(11)


def column(table, heading):
    return [row[table.columns.index(heading)] for row in table.text_rows()]


def test_paired_interval_and_p_value_are_those_of_scipy():
    first, second = RNG.normal(0.45, 0.02, 6), RNG.normal(0.43, 0.02, 6)
    found = paired_difference("a", "b", first, second)
    reference = stats.ttest_rel(first, second)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high, found.p_t) == pytest.approx((interval.low, interval.high, reference.pvalue))
    assert found.mean == pytest.approx(np.mean(first - second))


@pytest.mark.parametrize("n", [5, 7])
def test_permutation_p_value_is_exact(n):
    first, second = RNG.normal(0.45, 0.02, n), RNG.normal(0.44, 0.02, n)
    found = paired_difference("a", "b", first, second).p_permutation
    # Exchanging a seed's two values is the same as flipping the sign of their difference.
    reference = stats.permutation_test(
        (first, second), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    means = [np.mean(np.array(signs) * (first - second)) for signs in product((-1, 1), repeat=n)]
    brute_force = np.mean(np.abs(means) >= abs(np.mean(first - second)) - 1e-12)
    assert found == pytest.approx(reference.pvalue)
    assert found == pytest.approx(brute_force)


def test_the_same_difference_for_every_seed_needs_no_t_statistic():
    equal = paired_difference("a", "b", [0.4] * 5, [0.4] * 5)
    assert (equal.low, equal.high, equal.p_t, equal.told_apart) == (0.0, 0.0, 1.0, False)
    shifted = paired_difference("a", "b", [0.5] * 5, [0.4] * 5)
    assert shifted.told_apart and shifted.low == pytest.approx(0.1)


def test_p_values_are_holm_corrected_over_configurations(tmp_path):
    finals = seeded_finals({"baseline": 0.44, "a": 0.42, "b": 0.40, "c": 0.44}, 6)
    found = differences(read_run(make_run(tmp_path, finals)))
    raw = np.array([one.p_t for one in found])
    order = np.argsort(raw)
    expected = np.empty(3)
    expected[order] = np.minimum(np.maximum.accumulate(raw[order] * [3, 2, 1]), 1)
    assert [one.p_t_holm for one in found] == pytest.approx(expected)


def test_only_common_finished_seeds_are_compared(tmp_path):
    finals = {"baseline": [0.50, 0.40, 0.45, 0.44], "a": [0.90, 0.42, 0.46, 0.10]}
    unfinished = {("baseline", 0): ("diverged", 3), ("a", 3): ("failed", 9)}
    (found,) = differences(read_run(make_run(tmp_path, finals, unfinished=unfinished)))
    assert (found.n, found.mean) == (2, pytest.approx(0.015))


def test_task_table_has_the_reported_run_beside_its_configuration(tmp_path):
    run = read_run(make_run(tmp_path, {"baseline": [0.44, 0.46], "alpha=0.1": [0.30, 0.40]}))
    table = task_table(run)
    assert table.columns == [
        "task", "baseline", "baseline — reported (1 run)", "alpha=0.1", "alpha=0.1 run 2 — reported (1 run)",
    ]  # fmt: skip
    assert column(table, "task") == [str(task) for task in range(1, 11)]
    assert column(table, "baseline")[-1] == "45.00 ± 1.41"
    assert column(table, "alpha=0.1 run 2 — reported (1 run)") == [f"{100 * value:.2f}" for value in REPORTED_RERUN]
    assert "| **10** | **45.00 ± 1.41** | **45.92** |" in table.to_markdown()
    assert "not the same experiment" in table.caption and "seeds/000" in table.caption and "glyphs100" in table.caption


def test_the_same_setting_is_not_called_another_experiment(tmp_path):
    setting = {"dataset": "glyphs100", "backbone": "glyph_vit"}
    table = task_table(read_run(make_run(tmp_path, {"baseline": [0.4, 0.5]}, reported_setting=setting)))
    assert "same data set and backbone as the measured columns" in table.caption


def test_reported_columns_are_empty_with_another_number_of_tasks(tmp_path):
    run = read_run(make_run(tmp_path, {"baseline": [0.44, 0.46], "alpha=0.1": [0.4, 0.4]}, tasks=5))
    assert set(column(task_table(run), "baseline — reported (1 run)")) == {"–"}
    assert set(column(ablation_table(run), "alpha=0.1 run 2 — reported (1 run)")) == {"–"}
    labels = [text.get_text() for text in accuracy_by_task(run).legends[0].get_texts()]
    assert not [label for label in labels if "reported" in label]


def test_cells_say_how_many_seeds_reached_the_task(tmp_path):
    unfinished = {("baseline", 1): ("diverged", 4), ("baseline", 2): ("failed", 10)}
    run = read_run(make_run(tmp_path, {"baseline": [0.44, 0.46, 0.48]}, unfinished=unfinished))
    cells = column(task_table(run), "baseline")
    assert "n=" not in cells[3]
    assert cells[4].endswith("(n=2)")
    # A replica that failed after its last evaluation has no final accuracy anywhere.
    assert cells[9] == "44.00 (n=1)"


def test_the_answer_to_consolidation_the_notes_and_the_seed(tmp_path):
    finals = seeded_finals({"baseline": 0.45, "alpha=0.1": 0.451, "alpha=0.5": 0.449}, 5)
    run = make_run(tmp_path, finals)
    frame = pd.read_parquet(run / "trials.parquet").assign(
        **{"param.consolidation": lambda own: own["trial_id"] != "t0"}
    )
    write_trials(run / "trials.parquet", frame.dropna(axis=1, how="all").to_dict("records"))
    helps, trust, moves = build_report(run).answer
    assert helps.startswith("Consolidation is not shown to help: none of the 2 other configurations can be told apart")
    values = [np.var(own, ddof=1) for own in finals.values()]
    assert f"±{200 * np.sqrt(np.mean(values)):.1f} points" in trust
    assert moves.startswith("The seed (") and "moves the number more than the choice of hyperparameters (" in moves
    noise = (
        "two seeds differ by as much as the reported 45.92 and 28.01 (baseline, alpha=0.1 run 2) in 0 of 25 measured"
    )
    assert noise in moves and "seed noise" not in moves
    assert moves.endswith("as far as noise on other data and another backbone can tell.")


def test_ablation_before_and_after_consolidation(tmp_path):
    table = ablation_table(read_run(make_run(tmp_path, {"alpha=0.1": [0.30, 0.40]})))
    rows = dict(zip(column(table, "part"), column(table, "alpha=0.1"), strict=True))
    assert rows["fast only"] == "34.00 ± 7.07 → 40.00 ± 0.00"
    assert rows["slow only"] == "35.00 ± 7.07"
    assert rows["frozen backbone"] == "40.00 ± 0.00"
    assert column(table, "alpha=0.1 run 2 — reported (1 run)") == ["39.57", "28.01", "28.01", "–"]


def test_answer_tells_what_differs_from_what_cannot_be_told(tmp_path):
    finals = seeded_finals({"baseline": 0.45, "alike": 0.451, "worse": 0.30}, 5)
    report = build_report(make_run(tmp_path, finals))
    short = report.answer
    assert short[0].startswith("Beside baseline, final accuracy changes in points by: worse -1") and len(short) == 3
    assert "; not told apart from baseline with these seeds: alike " in short[0]
    assert short[1].startswith("One run alone is good to about ±") and "15 of 15 replicas finished, 5 of 15" in short[1]
    assert short[2].startswith("The choice of hyperparameters (") and "moves the number more than the seed" in short[2]
    first, second, third = report.details
    assert first.startswith("worse ends 1") and "points below baseline" in first and "5 common seeds" in first
    assert second.startswith("alike (") and second.endswith("cannot be told apart from baseline with 5 seeds.")
    assert third.startswith("15 of 15 replicas finished; 5 of 15 ended below the frozen backbone (5 of worse)")


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_tell_nothing_apart(tmp_path, seeds):
    report = build_report(make_run(tmp_path, {"baseline": [0.45, 0.46][:seeds], "a": [0.2, 0.21][:seeds]}))
    assert f"cannot be told apart from baseline with {seeds} seed" in report.details[0]
    assert report.answer[0].startswith("a cannot be told apart from baseline in final accuracy (-25.0 points, ")
    assert ("single finished seed" in report.answer[1]) == (seeds == 1)
    assert ("of a single seed no spread can be said" in report.tables[0].caption) == (seeds == 1)


def test_report_writes_what_it_returns(tmp_path):
    run = make_run(tmp_path, seeded_finals({"baseline": 0.45, "alpha=0.1": 0.43}, 3))
    report = build_report(run)
    assert sorted(path.name for path in report.pictures) == ["ablation_by_task.png", "accuracy_by_task.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in report.pictures)
    page = (run / "report" / "report.md").read_text()
    for text in (*report.answer, *report.sentences, "(accuracy_by_task.png)", "versions.torch: `2.14.0`"):
        assert text in page
    with open(run / "report" / "tables" / "accuracy_by_task.csv") as file:
        rows = list(csv.DictReader(file))
    values = read_run(run).trials.query("configuration == 'baseline'")["metric.final_accuracy"]
    assert float(rows[-1]["baseline mean"]) == pytest.approx(100 * values.mean())
    assert float(rows[-1]["baseline std"]) == pytest.approx(100 * values.std(ddof=1))
    assert build_report(run) == report


BOTH = {"baseline": [0.44, 0.46], "a": [0.40, 0.41]}
SPARSE = ["tasks", "seeds", "reported", "reported_source", "provenance", "question", "dataset", "configurations"]
ALL = [(label, seed) for label in BOTH for seed in (0, 1)]


@pytest.mark.parametrize(
    ("finals", "unfinished", "dropped", "answer"),
    [
        (
            BOTH,
            dict.fromkeys(ALL, ("diverged", 2)),
            set(),
            "No seed of any configuration has finished (all 4 seeds div",
        ),
        (BOTH, dict.fromkeys(ALL, ("interrupted", 0)), set(), "No seed of any configuration has finished"),
        (BOTH, dict.fromkeys(ALL[:2], ("failed", 1)), set(), "No seed of baseline has finished"),
        (BOTH, {ALL[0]: ("failed", 1), ALL[3]: ("failed", 1)}, set(), "No configuration shares a finished seed"),
        ({"baseline": [0.44, 0.46]}, {}, set(), "Only baseline was run"),
        ({}, {}, set(), "No seed of any configuration has finished (no seed was started)"),
        (BOTH, {}, set(SPARSE), "a cannot be told apart from baseline in final accuracy (-4.5 points, 2 common seeds"),
    ],
)
def test_unfinished_and_sparse_runs_get_an_honest_line(tmp_path, finals, unfinished, dropped, answer):
    run = make_run(tmp_path, finals, unfinished=unfinished)
    written = json.loads((run / "study.json").read_text())
    (run / "study.json").write_text(json.dumps({key: written[key] for key in written if key not in dropped}))
    report = build_report(run)
    assert report.answer[0].startswith(answer) and len(report.answer) == 3
    assert not re.search(r"\bnan\b", report.markdown.read_text(), re.IGNORECASE)


def test_an_unknown_kind_of_report_is_refused(tmp_path):
    with pytest.raises(RecordsError, match="report 'pareto' is unknown; known: continual"):
        build_report(make_run(tmp_path, {"baseline": [0.4]}, report="pareto"))
