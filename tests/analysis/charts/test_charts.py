"""Charts as files: the same specification as page, PNG and SVG, whatever the labels."""

import json

import pandas as pd
import pytest
import vl_convert

from analysis.charts.along import along
from analysis.charts.chart import MOST_TABLE_ROWS
from analysis.charts.curves import MOST_LINES, curves
from analysis.charts.dots import dots
from analysis.charts.forest import forest
from analysis.charts.matrix import forgetting_matrix, matrices, seed_matrix
from analysis.charts.scatter import scatter

DRAWN = True
LABELS = ["baseline", "</script><b>x", "$\\alpha_1$ & 50%", "naïve 🚀", "a.b[0]'\""]
SEEDS = pd.DataFrame(
    [
        {"configuration": label, "seed": seed, "value": 40.0 - place + seed / 10, "status": "finished"}
        for place, label in enumerate(LABELS)
        for seed in range(4)
    ]
)
MEANS = SEEDS.groupby("configuration", sort=False)["value"].mean().rename("estimate").reset_index()
MEANS = MEANS.assign(low=MEANS["estimate"] - 1, high=MEANS["estimate"] + 1)


def all_charts():
    boundaries = pd.concat([SEEDS.assign(at=at, value=SEEDS["value"] + at) for at in (1, 2, 3)])
    tasks = boundaries.rename(columns={"at": "learned"}).assign(tested=1)
    points = MEANS.rename(columns={"estimate": "y", "low": "y_low", "high": "y_high"})
    points = points.assign(x=[1.0, 10, 100, 1000, 10_000], front=[True, False, True, False, True])
    ranks = pd.concat([MEANS.rename(columns={"configuration": "series", "estimate": "y"}).assign(x=x) for x in (1, 8)])
    dotted = boundaries.rename(columns={"configuration": "series", "value": "y", "at": "x"})
    panels = ranks.assign(panel=ranks["series"], series=ranks["x"])
    named = MEANS.rename(columns={"configuration": "name"}).assign(verdict="raises")
    return [
        dots("dots", "Title", "reading", SEEDS, MEANS, "accuracy (%)", {"chance": 1.0, "<i>": 30.0}),
        curves("curves", "Title", "reading", boundaries, LABELS, "task", "accuracy (%)"),
        seed_matrix("seeds", "Title", "reading", SEEDS, LABELS, "%"),
        forgetting_matrix("forgetting", "Title", "reading", tasks, LABELS),
        matrices(
            "matrices",
            "Title",
            "reading",
            tasks.assign(share=0.5),
            {"configuration": "", "learned": "after task", "seed": "<b>"},
            {"value": "%", "share": "<i>"},
            height=100,
        ),
        scatter("scatter", "Title", "reading", points, LABELS, ("parameters", "accuracy (%)"), logarithmic=True),
        forest("forest", "Title", "reading", named, "points"),
        forest("optimism", "Title", "reading", named.assign(seen=41.0), "points", line=None, before="seen"),
        along("along", "Title", "reading", ranks, LABELS, ("rank", "accuracy (%)"), dotted, {"<i>": 30.0}),
        along(
            "panels", "Title", "reading", panels, [1, 8], ("step", "gap (%)"), logarithmic=(False, True), shades="rank"
        ),
        along("ground", "Title", "reading", ranks.assign(panel="a"), LABELS[1:], ("rank", "error"), ground=LABELS[0]),
    ]


@pytest.mark.parametrize("chart", all_charts(), ids=lambda chart: chart.name)
def test_a_chart_is_valid_and_its_labels_are_text(chart, tmp_path):
    vl_convert.vegalite_to_vega(chart.spec)
    assert "</script" not in chart.as_json and json.loads(chart.as_json) == chart.spec
    chart.save(tmp_path)
    assert (tmp_path / f"{chart.name}.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / f"{chart.name}.svg").read_text()
    assert svg.startswith("<svg") and "<b>x" not in svg
    assert len(chart.behind) <= MOST_TABLE_ROWS and len(chart.behind)


def test_of_many_replicas_the_mean_and_a_band_are_drawn():
    many = pd.DataFrame(
        [
            {"configuration": "a", "seed": seed, "at": at, "value": seed}
            for seed in range(MOST_LINES + 1)
            for at in (1, 2)
        ]
    )
    chart = curves("curves", "Title", "reading", many, ["a"], "task", "accuracy")
    assert len(chart.as_json) < 6_000
