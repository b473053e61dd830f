"""Where the methods lie: reference lines, how many seeds ended below them, and what each task lost."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import make_run, seeded_finals

from analysis.continual_tables import accuracy_matrices, forgetting_table
from analysis.instability import exact_interval
from analysis.plots import accuracy_by_task
from analysis.records import read_run, write_metrics, write_trials
from analysis.reference_lines import below_frozen_sentence, below_ncm, ncm_sentence, reference_table
from analysis.report import build_report

# The frozen backbone ends at 0.40, the nearest class mean at 0.45.
FINALS = {"above": [0.50, 0.51, 0.52], "between": [0.41, 0.46, 0.42], "below": [0.30, 0.31, 0.44]}


def column(table, heading):
    return [row[table.columns.index(heading)] for row in table.text_rows()]


def without(run_dir, *phases):
    """The same run as an older version would have left it."""
    trials = pd.read_parquet(run_dir / "trials.parquet")
    new = ["recency", "old_accuracy", "new_accuracy", "ncm_accuracy", "joint_accuracy"]
    trials = trials.drop(columns=[f"metric.final_{name}" for name in new] + ["metric.forward_transfer"])
    metrics = pd.read_parquet(run_dir / "metrics.parquet")
    metrics = metrics[~metrics["phase"].isin(phases)].astype(object).where(metrics.notna(), None)
    write_trials(run_dir / "trials.parquet", trials.dropna(axis=1, how="all").to_dict("records"))
    write_metrics(run_dir / "metrics.parquet", metrics.to_dict("records"))
    return run_dir


def test_the_table_has_every_measure_by_configuration(tmp_path):
    table = reference_table(read_run(make_run(tmp_path, FINALS, tasks=3)))
    assert column(table, "configuration") == list(FINALS)
    assert column(table, "final accuracy")[0] == "51.0 ± 1.0"
    assert column(table, "frozen backbone (same head)") == ["40.0 ± 0.0"] * 3
    assert column(table, "nearest class mean") == ["45.0 ± 0.0"] * 3
    assert column(table, "joint head") == ["50.0 ± 0.0"] * 3
    assert column(table, "chance") == ["3.3"] * 3  # 10 classes a task
    assert column(table, "recency") == ["50.0 ± 0.0"] * 3
    assert column(table, "old classes")[0] == "41.0 ± 1.0" and column(table, "new classes")[0] == "90.0 ± 0.0"
    assert column(table, "forgetting")[0] == "7.5 ± 0.0" and column(table, "backward transfer")[0] == "-7.5 ± 0.0"
    assert column(table, "forward transfer")[0] == "6.5 ± 0.0"
    assert column(table, "below frozen, or diverged") == [
        "0 of 3 (0 to 71 %)",
        "0 of 3 (0 to 71 %)",
        "2 of 3 (9 to 99 %)",
    ]
    assert column(table, "below nearest class mean") == ["0 of 3", "2 of 3", "3 of 3"]


@pytest.mark.parametrize("n", [1, 3, 5, 8, 20])
def test_rates_have_the_exact_interval(n):
    for k in range(n + 1):
        known = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
        assert exact_interval(k, n) == pytest.approx((known.low, known.high))


def test_lost_seeds_count_as_below(tmp_path):
    lost = {("above", 0): ("diverged", 2), ("above", 1): ("failed", 3), ("below", 0): ("interrupted", 1)}
    run = read_run(make_run(tmp_path, FINALS, tasks=3, unfinished=lost))
    assert below_ncm(run).loc["above"].tolist() == [2, 3]
    assert below_ncm(run).loc["below"].tolist() == [2, 2]
    assert column(reference_table(run), "below frozen, or diverged")[0] == "1 of 2 (1 to 99 %)"


def test_one_sentence_against_the_nearest_class_mean(tmp_path):
    start = "The nearest class mean of the frozen backbone, which trains nothing, ends at 45.0 %: "
    report = build_report(make_run(tmp_path / "1", FINALS, tasks=3))
    assert report.sentences == [
        f"{start}5 of 9 seeds ended below it (3 of 3 of below, 2 of 3 of between and none of 3 of above)."
    ]
    worse = read_run(make_run(tmp_path / "2", {"a": [0.3, 0.3], "b": [0.2, 0.2]}))
    assert ncm_sentence(worse) == f"{start}every seed of 2 configurations ended below it."
    better = read_run(make_run(tmp_path / "3", {"a": [0.6]}))
    assert ncm_sentence(better) == f"{start}no seed of 1 configuration ended below it."


def test_how_many_ended_below_their_frozen_backbone(tmp_path):
    said = below_frozen_sentence(read_run(make_run(tmp_path / "1", FINALS)))
    assert said == (
        "2 of 9 seeds ended below their own frozen backbone or diverged: 2 of 3 of below, none of 3 of above and none "
        "of 3 of between."
    )
    none = below_frozen_sentence(read_run(make_run(tmp_path / "2", {"a": [0.5] * 5})))
    assert none == "No seed of 5 ended below its frozen backbone or diverged; rates up to 52 % are not excluded."


def test_forgetting_by_task_is_that_of_the_matrices(tmp_path):
    run = read_run(make_run(tmp_path, FINALS, tasks=4, unfinished={("above", 0): ("failed", 2)}))
    table = forgetting_table(run)
    assert table.columns == ["configuration", "task 1", "task 2", "task 3", "mean"]
    assert column(table, "configuration") == list(FINALS)
    # Accuracy on a task falls by 0.05 with every further one.
    assert [cell.mean for cell in table.rows[1][1:]] == pytest.approx([15, 10, 5, 10])
    assert str(table.rows[0][1]) == "15.0 ± 0.0 (n=2)"
    means = run.trials.loc[run.trials["configuration"] == "between", "metric.forgetting"]
    assert table.rows[1][-1].mean == pytest.approx(100 * means.mean())
    assert np.isnan(accuracy_matrices(run, "above")[0][3, 0])


def test_the_picture_has_the_reference_lines_and_their_values(tmp_path):
    picture = accuracy_by_task(read_run(make_run(tmp_path, FINALS, tasks=3)))
    lines = {line.get_linestyle(): line for line in picture.axes[0].lines if line.get_color() == "#444444"}
    np.testing.assert_allclose(lines[":"].get_ydata(), [85.0, 65.0, 45.0])
    assert (lines["None"].get_xdata().tolist(), lines["None"].get_ydata().tolist()) == ([3], pytest.approx([50.0]))
    assert [text.get_text() for text in picture.legends[0].get_texts()][-1] == "chance"
    assert set(picture.data["name"]) == {"accuracy", "ncm", "chance", "joint"}


def test_an_older_run_without_references_is_reported_as_before(tmp_path):
    directory = without(make_run(tmp_path, seeded_finals({"a": 0.4, "b": 0.5}, 3)), "reference", "transfer")
    run = read_run(directory)
    assert ncm_sentence(run) == "" and below_ncm(run).empty
    table = reference_table(run)
    assert table.columns == [
        "configuration", "final accuracy", "frozen backbone (same head)", "forgetting", "backward transfer",
        "below frozen, or diverged",
    ]  # fmt: skip
    assert [text.get_text() for text in accuracy_by_task(run).legends[0].get_texts()] == ["a (n=3)", "b (n=3)"]
    assert build_report(directory).sentences == []


def test_nothing_finished_gives_no_table(tmp_path):
    run = read_run(make_run(tmp_path, {"a": [0.4, 0.5]}, unfinished={("a", s): ("diverged", 2) for s in (0, 1)}))
    assert reference_table(run) is None and forgetting_table(run) is None and ncm_sentence(run) == ""
