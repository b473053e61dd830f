"""The closing report: what it answers, what it counts, and that every state of a run gets an honest page."""

import csv
import json

import pandas as pd
import pytest
from synthetic import make_run, make_tuning_run, seeded_finals
from synthetic_rank import make_rank_run
from synthetic_search import make_search_run
from synthetic_sema import make_sema_run
from synthetic_theory import make_theory_run

from analysis.io.records import RecordsError, read_run
from analysis.report import build_report
from analysis.report.findings import findings
from analysis.report.kinds import KINDS
from analysis.report.phrases import MOST_WORDS, fits
from study.cli import main

TUNED = {"norm": 0.86, "lora": 0.87, "deep_lora": 0.88}
RANKS = {"head": 0.6, "r=1": 0.7, "r=2": 0.72, "r=1 fixed": 0.7}


def plain_run(folder):
    """A run of which no more is known than its metrics."""
    return make_run(folder, seeded_finals({"baseline": 0.44, "b": 0.45}, 5), report="plain")


RUNS = {
    "continual": lambda folder: make_run(folder, seeded_finals({"baseline": 0.44, "b <&> c": 0.45}, 5)),
    "tuning": lambda folder: make_tuning_run(folder, seeded_finals(TUNED, 3)),
    "rank": lambda folder: make_rank_run(folder, seeded_finals(RANKS, 3)),
    "theory": make_theory_run,
    "sema": make_sema_run,
    "search": make_search_run,
    "plain": plain_run,
}


def test_every_kind_is_tried():
    assert set(RUNS) == set(KINDS)


@pytest.fixture(scope="module", params=RUNS)
def built(request, tmp_path_factory):
    """Folder and report of a run of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, build_report(RUNS[request.param](folder) or folder)


def test_the_answer_is_three_short_sentences_at_most(built):
    _, report = built
    assert 1 <= len(report.answer) <= 3
    assert all(fits(sentence) and sentence.endswith(".") for sentence in report.answer), report.answer


def test_every_table_and_chart_is_a_file_and_their_names_differ(built):
    _, report = built
    names = [one.name for one in (*report.tables, *report.charts)]
    tables = [table.name for table in report.tables]
    assert len(set(tables)) == len(tables) and len({chart.name for chart in report.charts}) == len(report.charts), names
    for table in report.tables:
        with (report.folder / "tables" / f"{table.name}.csv").open() as file:
            assert len(list(csv.reader(file))) == len(table.rows) + 1
        assert all(len(row) == len(table.columns) for row in table.rows), table.name
    for picture in report.pictures:
        assert picture.is_file() and picture.with_suffix(".svg").is_file()
        assert json.loads(picture.with_suffix(".vl.json").read_text())["$schema"]


def test_a_report_that_is_built_again_is_the_same(built):
    folder, report = built
    page = report.page.read_bytes()
    again = build_report(folder)
    assert again.answer == report.answer and again.page.read_bytes() == page


def test_the_page_has_no_more_words_than_a_reader_takes_in(built):
    _, report = built
    said = [*report.answer, *(line for section in report.sections for line in section.sentences)]
    assert sum(len(line.split()) for line in said) < 250
    house = ("told apart", "the pack", " beside ")
    assert not [line for line in said if any(word in line for word in house)]
    assert all(len(line.split()) <= MOST_WORDS + 10 for line in said), said


def test_what_differs_is_named_with_its_interval(tmp_path):
    report = build_report(make_run(tmp_path, seeded_finals({"baseline": 0.44, "worse": 0.30, "same": 0.44}, 8)))
    assert report.answer[0].startswith("1 of 2 configurations differs from baseline: worse by -1")
    rows = {row[0]: row for row in report.table.text_rows()}
    assert rows["baseline"][-1] == "baseline" and rows["worse"][-1] == "worse" and rows["same"][-1] != "worse"
    assert rows["worse"][1] == "8 / 8 / 0"  # below the frozen backbone, which ends at 40 %
    assert "(frozen backbone)" in rows and "(chance level)" in rows
    values = read_run(tmp_path).trials.query("configuration == 'worse'")["metric.final_accuracy"]
    with (report.folder / "tables" / "configurations.csv").open() as file:
        cells = {row["configuration"]: row for row in csv.DictReader(file)}
    assert float(cells["worse"]["final accuracy (%) value"]) == pytest.approx(100 * values.mean())


def test_lost_seeds_count_and_the_first_screen_says_how_many(tmp_path):
    finals = {"baseline": [0.44, 0.45, 0.46, 0.44, 0.45], "a": [0.49, 0.5, 0.48, 0.5, 0.49]}
    lost = {("a", 3): ("diverged", 1), ("a", 4): ("diverged", 2)}
    report = build_report(make_run(tmp_path, finals, unfinished=lost))
    assert "2 of 10 seeds diverged or failed; they count with the worst value of the run." in report.answer
    rows = {row[0]: row for row in report.table.text_rows()}
    assert rows["a"][1] == "3 / 0 / 2" and rows["a"][-1] == "undecided"
    mean = findings(read_run(tmp_path)).estimate("a")
    assert mean == pytest.approx(100 * (0.49 + 0.5 + 0.48 + 0.44 + 0.44) / 5)


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_decide_nothing(tmp_path, seeds):
    report = build_report(make_run(tmp_path, {"baseline": [0.45, 0.46][:seeds], "a": [0.2, 0.21][:seeds]}))
    assert {row[-1] for row in report.table.text_rows()} <= {"baseline", "undecided", "–"}
    assert any("at least 3 seeds" in line for line in report.answer)


def test_coarse_accuracies_with_equal_gaps_decide_nothing(tmp_path):
    finals = {"baseline": [0.40, 0.41, 0.42], "a": [0.41, 0.42, 0.43]}
    report = build_report(make_run(tmp_path, finals))
    assert {row[-1] for row in report.table.text_rows()} <= {"baseline", "undecided", "–"}


def test_the_objective_of_the_study_is_the_one_of_the_report(tmp_path):
    objective = {"metric": "forgetting", "over_seeds": "mean", "direction": "minimize"}
    report = build_report(make_run(tmp_path, seeded_finals({"baseline": 0.44, "a": 0.3}, 5), objective=objective))
    assert report.table.columns[2] == "forgetting (%)" and "forgetting" in report.chart.title.lower()
    assert not [row for row in report.table.rows if str(row[0]).startswith("(")]  # reference lines are accuracies


def test_another_baseline_and_margin(tmp_path):
    make_run(tmp_path, seeded_finals({"baseline": 0.44, "a": 0.45, "b": 0.3}, 8))
    report = build_report(tmp_path, margin=5, baseline="a")
    rows = {row[0]: row[-1] for row in report.table.text_rows()}
    assert rows["a"] == "baseline" and rows["baseline"] == "same" and rows["b"] == "worse"
    with pytest.raises(RecordsError, match="--baseline 'c': not a configuration of this run; allowed: baseline, a, b"):
        build_report(tmp_path, baseline="c")
    with pytest.raises(RecordsError, match="--margin -1: allowed"):
        build_report(tmp_path, margin=-1)


def test_a_configuration_that_never_leaves_chance_is_warned_of(tmp_path):
    report = build_report(make_run(tmp_path, {"baseline": [0.44, 0.45, 0.43], "a": [0.010, 0.012, 0.009]}))
    assert "Warning: a is not more than 1 point above the chance level in any seed." in report.answer


def test_results_parquet_has_every_estimate(tmp_path):
    report = build_report(make_run(tmp_path, seeded_finals({"baseline": 0.44, "a": 0.42}, 5)))
    table = pd.read_parquet(report.folder / "results.parquet")
    assert set(table["estimate"]) == {"mean", "std", "iqm", "difference", "collapse_rate"}
    mean = table.query("estimate == 'mean' and configuration == 'baseline'").iloc[0]
    assert 0 < mean["low"] < mean["value"] < mean["high"] < 1 and mean["n"] == 5 and pd.isna(mean["baseline"])


def test_contrasts_that_the_study_declares_come_first(tmp_path):
    contrasts = [{"name": "a for b", "plus": ["a"], "minus": ["b"], "group": "what"}]
    finals = seeded_finals({"baseline": 0.44, "a": 0.42, "b": 0.30}, 5)
    report = build_report(make_run(tmp_path, finals, contrasts=contrasts))
    assert report.answer[0].startswith("1 of 1 change moves final accuracy: a for b by +1")
    assert "What each change is worth" in [section.title for section in report.sections]


def test_what_an_earlier_report_drew_does_not_stay(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "pareto.png").write_bytes(b"old")
    build_report(make_run(tmp_path, seeded_finals({"baseline": 0.44, "a": 0.42}, 3)))
    assert not (folder / "pareto.png").exists()


BOTH = {"baseline": [0.44, 0.46], "a": [0.40, 0.41]}
ALL = [(label, seed) for label in BOTH for seed in (0, 1)]


@pytest.mark.parametrize(
    ("finals", "unfinished", "dropped"),
    [
        (BOTH, dict.fromkeys(ALL, ("diverged", 2)), []),
        (BOTH, dict.fromkeys(ALL, ("interrupted", 0)), []),
        (BOTH, {("a", 0): ("failed", 0), ("a", 1): ("diverged", 3)}, []),
        ({"baseline": [0.44]}, {}, []),
        ({"baseline": [0.44] * 3, "a": [0.44] * 3}, {}, []),
        ({"baseline": [float("nan")] * 3, "a": [float("nan")] * 3}, {}, []),
        (BOTH, {}, ["tasks", "seeds", "reported", "reported_source", "provenance", "question", "configurations"]),
        ({"<script>alert(1)</script>": [0.4, 0.5, 0.6], "\\textbf{é} 🚀 100%": [0.5, 0.5, 0.7]}, {}, []),
    ],
)
def test_poor_runs_get_an_honest_page(tmp_path, finals, unfinished, dropped):
    make_run(tmp_path, finals, unfinished=unfinished)
    path = tmp_path / "study.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in dropped}))
    report = build_report(tmp_path)
    assert report.answer and all(map(fits, report.answer))
    assert "<script>alert" not in report.page.read_text()
    assert report.markdown.read_text().startswith("# ")


@pytest.mark.parametrize("kind", ["none", "empty", "newer", "unknown"])
def test_report_of_what_is_not_a_run_is_one_line(tmp_path, capsys, kind):
    if kind != "none":
        make_run(tmp_path, BOTH)
    if kind == "empty":
        (tmp_path / "trials.parquet").write_bytes(b"")
    if kind in ("newer", "unknown"):
        path = tmp_path / "study.json"
        more = {"schema_version": 99} if kind == "newer" else {"report": "gpt"}
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path)])
    err = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and err.count("\n") == 0 and str(tmp_path) in err
