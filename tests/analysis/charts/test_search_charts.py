"""Charts of a search: valid whatever the labels, without a place for what is absent, and alive in a browser."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import vl_convert

from analysis.charts.parallel import BELOW, Axis, parallel
from analysis.charts.search import history, search_front, slices

DRAWN = True
LABELS = ["own", "</script><b>x", "$\\alpha_1$ & 50%", "naïve 🚀", "a.b[0]'\""]
TRIALS = pd.DataFrame(
    {
        "configuration": LABELS, "trial": range(5), "value": [50.0, 52, 51, 55, 40], "seeds": [8, 8, 2, 8, 4],
        "state": ["completed", "completed", "eliminated", "completed", "pruned"],
        "enqueued": [True, False, False, False, False], "feasible": [True, True, True, False, True],
        "front": [True, False, False, True, False], "goal1": [100.0, 200, 300, 400, 500],
        "lr": [0.0, 0.01, 0.1, 1.0, 0.001], "reset": ["zero", None, "naïve 🚀", "zero", None],
        "alpha": [0.5, None, 0.1, 0.9, None],
    }
)  # fmt: skip
LR = Axis("lr", "lr 'slow' / \"fast\"", 0.001, 1.0, log=True)
PARAMETERS = [LR, Axis("reset", "reset.how[0]", options=("zero", "naïve 🚀")), Axis("alpha", "α")]
GOAL, SIZE = Axis("value", "accuracy (%)", 40.0, 55.0), Axis("goal1", "parameters", 100.0, 500.0)


def all_charts():
    return [
        history("history", "Title", "reading", TRIALS, "accuracy (%)", True),
        slices("slices", "Title", "reading", TRIALS, PARAMETERS, GOAL),
        parallel("parallel", "Title", "reading", TRIALS, [*PARAMETERS, SIZE, GOAL], True),
        search_front("front", "Title", "reading", TRIALS, (GOAL, SIZE)),
    ]


@pytest.mark.parametrize("chart", all_charts(), ids=lambda chart: chart.name)
def test_a_chart_is_valid_and_its_labels_are_text(chart, tmp_path):
    json.loads(chart.as_json, parse_constant=pytest.fail)
    assert "</script" not in chart.as_json and len(chart.behind)
    chart.save(tmp_path)
    svg = (tmp_path / f"{chart.name}.svg").read_text()
    assert svg.startswith("<svg") and "<b>x" not in svg
    assert (tmp_path / f"{chart.name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        (Axis("a", "a", 1e-4, 1.0, log=True), 1e-2, 0.5),
        (Axis("a", "a", 1e-4, 1.0, log=True), 0.0, None),
        (Axis("a", "a", 0.0, 4.0), 1, 0.25),
        (Axis("a", "a", 0.0, 4.0), 5, None),
        (Axis("a", "a", 3.0, 3.0), 3, 0.5),
        (Axis("a", "a", options=("x", "y", "z")), "y", 0.5),
        (Axis("a", "a", options=("none", "y")), "none", 0.0),
        (Axis("a", "a", options=("x", "y")), None, None),
        (Axis("a", "a"), float("nan"), None),
    ],
)
def test_places_on_an_axis(axis, value, place):
    (found,) = axis.places(pd.Series([value]))
    assert found == pytest.approx(np.nan if place is None else place, nan_ok=True)


def test_lines_pass_below_the_axes_that_they_have_no_place_on():
    spec = parallel("parallel", "Title", "reading", TRIALS, [*PARAMETERS, GOAL], True).spec
    rows = {row["configuration"]: row for data in spec["datasets"].values() for row in data if "configuration" in row}
    assert rows["own"]["at0"] == BELOW and rows["own"]["v0"] == "0" and rows["own"]["at2"] == 0.5
    assert rows[LABELS[1]]["at2"] == BELOW and rows[LABELS[1]]["v2"] == "none"
    texts = [row["text"] for data in spec["datasets"].values() for row in data if row.get("place", 0) < BELOW]
    assert sorted(texts) == ["0", "none", "none"]


@pytest.mark.parametrize(("maximise", "last"), [(True, LABELS[3]), (False, LABELS[4])])
def test_the_best_line_is_drawn_on_top(maximise, last):
    spec = parallel("parallel", "Title", "reading", TRIALS, [*PARAMETERS, GOAL], maximise).spec
    (rows,) = (data for data in spec["datasets"].values() if "configuration" in data[0])
    assert rows[-1]["configuration"] == last


def test_the_best_so_far_is_of_feasible_ones_with_the_most_seeds():
    spec = history("history", "Title", "reading", TRIALS, "accuracy (%)", True).spec
    (line,) = (data for data in spec["datasets"].values() if "configuration" not in data[0])
    assert [(row["trial"], row["value"]) for row in line] == [(0, 50.0), (1, 52.0), (4, 52.0)]


def test_the_data_of_many_panels_stands_in_the_page_once():
    one, three = (slices("slices", "Title", "reading", TRIALS, PARAMETERS[:n], GOAL) for n in (1, 3))
    assert len(one.spec["datasets"]) == len(three.spec["datasets"]) == 1


def test_one_configuration_and_equal_values_are_drawn():
    for table in (TRIALS.head(1), TRIALS.assign(value=50.0)):
        axes = [*PARAMETERS, Axis("value", "accuracy", 50.0, 50.0)]
        for chart in (parallel("p", "T", "r", table, axes, True), history("h", "T", "r", table, "accuracy", True)):
            vl_convert.vegalite_to_vega(chart.spec)


@pytest.mark.browser
def test_a_click_singles_out_a_line_and_a_drag_at_the_last_axis_keeps_a_range(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra browser)")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("chromium is not installed")
    spec = parallel("parallel", "Title", "reading", TRIALS, [*PARAMETERS, GOAL], True).as_json
    embed = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")
    page_file = tmp_path / "page.html"
    page_file.write_text(
        f"<div id='here'></div><script type='module'>{embed}</script>"
        f"<script type='module'>vegaEmbed('#here', {spec}, {{renderer: 'svg', actions: false}})</script>"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, said = browser.new_page(), []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.goto(page_file.as_uri())
        page.locator(".mark-line path").first.wait_for()
        opacities = "[...document.querySelectorAll('.mark-line path')].map(one => one.getAttribute('stroke-opacity'))"

        def strong(*lines):
            held = [str(0.75 if number in lines else 0.05) for number in range(len(TRIALS))]
            page.wait_for_function(f"{opacities}.join() === '{','.join(held)}'", timeout=9_000)

        place = page.evaluate(
            """() => { const line = document.querySelectorAll('.mark-line path')[4], to = line.getScreenCTM();
                 for (let share = 0.1; share < 1; share += 0.02) {
                   const at = line.getPointAtLength(share * line.getTotalLength());
                   const x = at.x * to.a + to.e, y = at.y * to.d + to.f;
                   if (document.elementFromPoint(x, y) === line) return [x, y]; } }"""
        )
        page.mouse.move(*place, steps=2)
        page.mouse.click(*place)
        strong(4)
        page.mouse.dblclick(*place)
        strong(0, 1, 2, 3, 4)
        ends = page.evaluate(
            """[...document.querySelectorAll('.mark-symbol path')].map(one => {
                 const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })"""
        )
        ends = sorted((y, x) for x, y in ends if x > max(end[0] for end in ends) - 2)
        page.mouse.move(ends[0][1] + 3, ends[0][0] - 15)
        page.mouse.down()
        page.mouse.move(ends[0][1] + 3, ends[0][0], steps=3)
        page.mouse.move(ends[0][1] + 3, (ends[1][0] + ends[2][0]) / 2, steps=5)
        page.mouse.up()
        strong(3, 4)  # the best two, which are drawn last
        assert said == []
        browser.close()
