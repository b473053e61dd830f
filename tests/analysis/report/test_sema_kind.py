"""SEMA: the expansion picture, usage, other routings and published numbers, and runs that have little of them."""

import pytest
from synthetic_sema import ADAPTER, GROWS, TASKS, make_sema_run

from analysis.io.records import read_run
from analysis.report import build_report
from analysis.report.findings import findings
from analysis.report.kinds.sema import growth_section, published_section, still_sentence, usage_section
from analysis.report.phrases import fits

STILL = "still, z > 2"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return findings(read_run(make_sema_run(tmp_path_factory.mktemp("sema"))))


def text(table):
    """Rows by their first cell."""
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.text_rows()}


def test_the_expansion_picture_counts_adapters_and_seeds_that_grew(found):
    section = growth_section(found)
    cells = section.charts[0].behind.set_index(["configuration", "task", "block"])
    assert len(cells) == len(GROWS) * TASKS * 2 and set(cells["seeds"]) == {5}
    assert cells.index.get_level_values(0).unique().tolist() == list(GROWS)
    assert cells.loc[("adapter", 1, 9), ["adapters", "grown"]].tolist() == [1, 0]
    assert cells.loc[("adapter", 2, 9), ["adapters", "grown"]].tolist() == [2, 1]
    assert cells.loc[("adapter", 3, 10), ["adapters", "grown"]].tolist() == pytest.approx([1.6, 0.6])  # seeds 0, 2, 4
    assert cells.loc[("adapter", 3, 10), "mean"] == "1.60 (0.92 to 2.28)"
    assert cells.loc[("adapter", 4, 10), ["adapters", "grown"]].tolist() == pytest.approx([1.6, 0])
    assert cells.loc[("nested", 4, 9), ["adapters", "grown"]].tolist() == [3, 0]


def test_adapters_and_parameters_have_intervals_over_seeds(found):
    rows = text(growth_section(found).tables[0])
    # 3 of 5 seeds have one more: 1.6 with a standard deviation of .548, hence +- 2.776 * .548 / sqrt(5)
    assert rows["adapter"]["block 10"] == "1.6 (0.9 to 2.3)" and rows["adapter"]["block 9"] == "2.0"
    assert rows["adapter"]["parameters added"] == "1,600 (920 to 2,280)"
    assert rows["nested"]["adapters grown"] == "3.0" and rows["nested"]["parameters added"] == "3,000"
    assert rows["nested"]["seeds that grew"] == "5 of 5" and rows["nested"]["largest z"] == "3"
    assert rows[STILL]["seeds that grew"] == "0 of 5" and rows[STILL]["adapters grown"] == "0.0"
    assert (rows[STILL]["largest z"], rows[STILL]["threshold"]) == ("1.4", "2")


def test_what_growth_costs_by_task_and_against_accuracy(found):
    _, added, cost = growth_section(found).charts
    known = added.behind.set_index(["configuration", "at"])["value"]
    assert known["adapter"].tolist() == pytest.approx([0, ADAPTER, 1.6 * ADAPTER, 1.6 * ADAPTER])
    points = cost.behind.set_index("configuration")
    assert points["x"].to_dict() == {"adapter": 1600, "nested": 3000, STILL: 0}
    assert points.loc["nested", "y"] == pytest.approx(81.4)


def test_usage_is_over_the_seeds_that_have_the_adapter(found):
    cells = usage_section(found).charts[0].behind.set_index(["panel", "adapter", "task"])
    assert cells["have"].dropna().index.unique("panel").tolist() == ["adapter, block 10"]  # adapter 1 of it
    assert set(cells.index.get_level_values(0)) == {"adapter, block 9", "adapter, block 10", "nested, block 9",
                                                    "nested, block 10"}  # fmt: skip
    assert cells.loc[("nested, block 9", 2, 1), ["weight", "seeds"]].tolist() == pytest.approx([1 / 2, 5])
    assert cells.loc[("adapter, block 10", 1, 4), ["weight", "seeds", "have"]].tolist() == pytest.approx(
        [2 / 3, 3, 0.6]
    )
    # alone in two seeds, one of two in three
    assert cells.loc[("adapter, block 10", 0, 4), "weight"] == pytest.approx((2 * 1 + 3 / 3) / 5)


def test_another_routing_is_compared_seed_by_seed_where_something_grew(found):
    rows = usage_section(found).tables[0].rows
    assert [row[:2] for row in rows] == [[label, routing] for label in ("adapter", "nested")
                                         for routing in ("largest weight alone", "equal weights")]  # fmt: skip
    assert [row[2].value for row in rows] == pytest.approx([-2.2, 0.2, -2.2, 0.2])
    assert [row[3:] for row in rows] == [[5, "worse"], [5, "undecided"]] * 2
    assert all(row[2].low < row[2].value < row[2].high for row in rows)


def test_last_and_average_accuracy_have_the_published_ones_with_them(found):
    final, average = published_section(found).tables
    assert final.title.endswith("final accuracy") and average.title.endswith("average incremental accuracy")
    assert text(final)["adapter paper"]["reported (%)"] == "86.98"
    assert text(final)["adapter paper"]["measured (%)"] == "80.4 (80.0 to 80.8)"
    # accuracy falls in a straight line from .95 to .804
    assert text(average)["adapter paper"]["reported (%)"] == "91.37"
    assert text(average)["adapter paper"]["measured (%)"].startswith("87.7 (")


def test_where_nothing_grew_it_says_how_near_the_scans_came(found, tmp_path):
    assert still_sentence(found) == f"No block of “{STILL}” grew: the largest z was 1.4, the threshold 2."
    assert still_sentence(found, everywhere=True) == ""
    report = build_report(make_sema_run(tmp_path, {"a": lambda seed: (), "b": lambda seed: ()}))
    said = "No block grew in any seed: the largest z, of a, was 1.4, the threshold 2."
    assert report.answer[0] == said and fits(said)
    sections = {section.title: section for section in report.sections}
    assert sections["Growth"].sentences == [said] and not sections["Growth"].charts and "Usage" not in sections


def everywhere(status, reached):
    return {"unfinished": {(label, seed): (status, reached) for label in GROWS for seed in range(5)}}


SOME = {("adapter", 0): ("diverged", 2), ("nested", 1): ("failed", 0), ("nested", 2): ("interrupted", 3)}


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({"bare": True}, set()),
        ({"seeds": 1}, {"Growth", "Usage"}),
        (everywhere("interrupted", 0), set()),
        (everywhere("interrupted", 1), {"Growth"}),
        (everywhere("diverged", 3), {"Growth"}),
        ({"unfinished": SOME}, {"Growth", "Usage"}),
    ],
)
def test_poor_runs_get_an_honest_report(tmp_path, state, shown):
    report = build_report(make_sema_run(tmp_path, **state))
    assert report.answer and all(map(fits, report.answer))
    assert {section.title for section in report.sections} & {"Growth", "Usage"} == shown
    assert not any("No block" in line for line in report.answer)
    if "unfinished" in state and "Usage" in shown:
        rows = text(next(table for table in report.tables if table.name == "growth"))
        assert rows["nested"]["seeds that grew"] == "4 of 4" and rows["nested"]["adapters grown"] == "3.0"


def test_a_run_without_published_numbers_has_no_such_section(tmp_path):
    assert published_section(findings(read_run(make_sema_run(tmp_path, reported=[])))) is None
