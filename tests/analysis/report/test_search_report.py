"""Reports of searches: the first screen knows fresh seeds alone, names what is shown to be best, and says the gap."""

import json

import pytest
from synthetic_search import Stopped, begin, drive
from written_search import BASE, SIZE, SPACE, VAL, around, write_run

from analysis.io.records import read_run
from analysis.report.findings import findings
from analysis.report.headline import answer, headline_table
from analysis.report.kinds import KINDS
from analysis.report.kinds.search import (
    beaten_sentence,
    best_sentence,
    confirmed_section,
    front_section,
    gap_sentence,
    importance_section,
    parameters_section,
    race_section,
    space_section,
)
from analysis.report.kinds.search_run import MOST_DRAWN, fresh_run, searched
from analysis.report.phrases import fits
from study.records.search_table import export

KIND = KINDS["search"]


def read(folder):
    return findings(fresh_run(read_run(folder)))


def said(folder):
    return answer(read(folder), KIND)


def sections(found):
    return {section.title: section for build in KIND.sections if (section := build(found))}


def confirmed(*means, **more):
    """The study's own configuration and two that were found, all on fresh seeds, and one that was not confirmed."""
    labels = ("own", "trial 1", "trial 2")
    rows = [{"configuration": label, "value": 0.5 + 0.01 * place, "fresh": around(mean, key=place)}
            for place, (label, mean) in enumerate(zip(labels, means, strict=True))]  # fmt: skip
    rows[1] |= more
    return [*rows, {"configuration": "trial 3", "value": 0.9, "state": "eliminated", "seeds": 2, "place": 4}]


def test_the_first_screen_is_about_fresh_seeds_alone(tmp_path):
    whole = read_run(write_run(tmp_path, confirmed(0.4, 0.6, 0.5)))
    found = findings(fresh_run(whole))
    assert found.labels == ["own, fresh seeds", "trial 1, fresh seeds", "trial 2, fresh seeds"]
    assert found.baseline == "own, fresh seeds" and found.metric.name == "final_accuracy"
    assert set(found.seeds["seed"]) == set(range(100, 108)) and found.run.whole is whole
    rows = {row[0]: row for row in headline_table(found).text_rows()}
    assert set(rows) == set(found.labels) and rows["trial 1, fresh seeds"][1] == "8 / – / 0"


def test_of_a_clear_best_the_name_the_value_and_the_gap_are_said(tmp_path):
    first, second, third = said(write_run(tmp_path, confirmed(0.4, 0.6, 0.5)))
    assert first.startswith("trial 1 is the best of 3 configurations on fresh seeds: final accuracy 60.0 (")
    assert second.startswith("2 of 2 configurations beat the study's own own, trial 1 by +20.0 points (+1")
    assert third == (
        "Optimism gap of the search's first choice, own: +2.0 points (-1.0 to +5.0); above 0 the search promised too "
        "much."
    )


def test_of_equal_ones_none_is_named_and_none_beats_the_studys_own(tmp_path):
    first, second, _ = said(write_run(tmp_path, confirmed(0.5, 0.501, 0.499)))
    assert first.startswith("Which of 3 configurations has the best final accuracy on fresh seeds is undecided: ")
    assert second == "None of 2 configurations is shown to beat the study's own own on fresh seeds."


def test_without_the_studys_own_on_fresh_seeds_nothing_is_compared_with_it(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5)
    del rows[0]["fresh"]
    found = read(write_run(tmp_path, rows))
    assert found.baseline == "trial 1, fresh seeds" and beaten_sentence(found) == ""


def test_what_breaks_a_constraint_is_not_the_best(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5, feasible=False, **{"violation.trainable_params<=90": 0.5})
    found = read(write_run(tmp_path, rows, constraints=["trainable_params<=90"]))
    assert best_sentence(found).startswith("trial 2 is the best of 2 configurations")
    tables = {table.name: table for table in space_section(found).tables}
    assert tables["constraints"].rows == [["trainable_params<=90", 0, 1]]
    every = [row | {"feasible": False} for row in rows]
    found = read(write_run(tmp_path / "none", every, constraints=["trainable_params<=90"]))
    assert best_sentence(found) == "No configuration on fresh seeds meets the constraints."


def test_an_objective_to_minimise(tmp_path):
    loss = BASE | {"metric": "nll", "direction": "minimize"}
    rows = confirmed(0.4, 0.6, 0.5)
    folder = write_run(tmp_path, rows, objectives=[loss], objective=BASE | {"metric": "final_accuracy"} | {
        "direction": "minimize"})  # fmt: skip
    found = read(folder)
    assert best_sentence(found).startswith("own is the best of 3 configurations")
    assert beaten_sentence(found).endswith("; 2 are worse.")
    assert "+0.0200 (-0.0100 to +0.0500)" in gap_sentence(found)
    assert searched(found.run).first.maximise is False


def test_lost_fresh_seeds_count_and_are_said(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5, lost=[0, 1])
    lines = said(write_run(tmp_path, rows))
    assert len(lines) == 3 and lines[0].startswith("Which of 3 configurations")
    assert "2 of 24 seeds diverged or failed; they count with the worst value of the run." in lines


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        ([{"configuration": "own", "value": 0.5}], "No answer yet: 1 configuration has results in the search, none on "
         "fresh seeds."),
        ([{"configuration": "own", "value": 0.5, "fresh": [0.5, 0.5], "lost": [0, 1]}], "No answer yet: 1 "
         "configuration has results in the search, none on fresh seeds (2 of these ended without)."),
        ([{"configuration": "own"}, {"configuration": "trial 1"}], "No answer yet: none of 2 configurations has a "
         "result."),
        ([], "No answer yet: none of 0 configurations has a result."),
    ],
)  # fmt: skip
def test_before_fresh_seeds_there_is_no_answer(tmp_path, trials, sentence):
    folder = write_run(tmp_path, trials)
    assert said(folder) == [sentence]
    assert headline_table(read(folder)) is None and space_section(read(folder)).tables
    assert parameters_section(read(folder)) is None or trials[0].get("value")


def test_long_labels_leave_sentences_short(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5)
    for row in rows:
        row["configuration"] += " with a label of far more words than anybody ought to give to a single configuration"
    assert all(fits(sentence) for sentence in said(write_run(tmp_path, rows)))


def test_parameters_stand_on_the_scale_on_which_they_were_drawn(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5)
    rows[0]["params"] = {"lr": 0.1, "lr_slow": 0.0, "reset": "zero", "alpha": 0.25}
    rows[1]["params"] = {"lr": 0.1, "lr_slow": 0.05, "reset": None, "alpha": 0.25}
    found = read(write_run(tmp_path, rows))
    search = searched(found.run)
    assert [axis.title for axis in search.axes] == ["lr", "lr_slow / lr", "reset", "alpha"]
    drawn = search.table.set_index("configuration").filter(like="drawn")
    assert drawn.loc["trial 1", "drawn lr_slow"] == pytest.approx(0.5) and drawn.loc["own", "drawn lr_slow"] == 0
    assert drawn["drawn reset"].tolist()[:2] == ["zero", "none"]
    assert drawn.loc["own", "drawn alpha"] == 0.25 and drawn.isna().loc["trial 1", "drawn alpha"]
    table = confirmed_section(found).tables[0]
    assert table.columns == ["configuration", "lr", "lr_slow", "reset", "alpha"]
    assert table.rows[1] == ["trial 1", "0.1", "0.05", "none", "–"]
    assert [one["name"] for one in SPACE if one["kind"] == "fixed"][0] not in table.columns


def test_several_objectives_have_a_front(tmp_path):
    rows = [row | {"front": place < 2} for place, row in enumerate(confirmed(0.4, 0.6, 0.5))]
    found = read(write_run(tmp_path, rows, objectives=[VAL, SIZE]))
    section = front_section(found)
    assert section.sentences == ["On the front of the search: own and trial 1."]
    assert len(section.tables[0].rows) == 2 and "trained parameters" in section.tables[0].columns[-1]
    columns = confirmed_section(found).tables[1].columns
    assert "on the front" in columns and "mean of trained parameters, fresh seeds" in columns
    assert front_section(read(write_run(tmp_path / "one", rows))) is None


def importances(*chance):
    names = ("lr_slow / lr", "reset", "alpha")
    return [{"objective": "mean of final_val_accuracy", "parameter": name, "importance": 0.6 / (place + 1), "low": 0.1,
             "high": 0.7, "chance": level, "configurations": 20}
            for place, (name, level) in enumerate(zip(names, chance, strict=True))]  # fmt: skip


def test_parameters_beyond_the_one_chance_level_are_named(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5)
    section = importance_section(read(write_run(tmp_path, rows, importance=importances(0.5, 0.5, 0.5))))
    assert section.sentences == [
        "lr_slow / lr is shown to move mean of validation accuracy (20 configurations, 5 % over all parameters)."
    ]
    section = importance_section(read(write_run(tmp_path, rows, importance=importances(0.7, 0.7, 0.7))))
    assert section.sentences[0].startswith("No parameter is shown to move")


def test_chance_levels_of_an_earlier_version_name_no_parameter(tmp_path):
    rows = confirmed(0.4, 0.6, 0.5)
    section = importance_section(read(write_run(tmp_path, rows, importance=importances(0.5, 0.2, 0.1))))
    assert not section.tables and not section.charts and "earlier version" in section.sentences[0]


def test_of_many_configurations_charts_show_the_best_and_some_others(tmp_path):
    rows = [{"configuration": f"trial {n}", "value": n / 5000, "seeds": 2 + 2 * (n % 2)} for n in range(2000)]
    found = read(write_run(tmp_path, rows))
    table = searched(found.run).table
    assert len(table) <= MOST_DRAWN and {f"trial {n}" for n in range(1500, 2000)} <= set(table["configuration"])
    charts = [*parameters_section(found).charts, *race_section(found).charts]
    assert sum(len(chart.as_json) for chart in charts) < 1_200_000


@pytest.mark.parametrize("jobs", [float("inf"), *(pytest.param(jobs, marks=pytest.mark.slow) for jobs in (0, 3))])
def test_a_replayed_search_has_a_report_in_every_state(tmp_path, jobs):
    run = begin(tmp_path / "run")
    if jobs < float("inf"):
        with pytest.raises(Stopped):
            drive(run, jobs)
    else:
        drive(run, diverging=0.03)
    export(run)
    found, lines = read(run.path), said(run.path)
    assert 1 <= len(lines) <= 3 and all(map(fits, lines)), lines
    built = sections(found)
    assert {"How the seeds were spent", "Space and constraints"} <= set(built)
    names = [one.name for section in built.values() for one in (*section.tables, *section.charts)]
    assert ("slices" in names and "parallel" in names) == (jobs > 0) and len(set(names)) == len(names)
    for section in built.values():
        for chart in section.charts:
            json.loads(chart.as_json, parse_constant=pytest.fail)
    assert lines[0].startswith("No answer yet") == (jobs < float("inf"))
