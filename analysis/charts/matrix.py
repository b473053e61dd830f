"""Heat maps: seeds by configurations, and accuracy on each task after each task."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, hover, made

CELL = 24
MOST_SEEDS = 60
MOST_FACETS = 6
LEVEL = alt.Axis(labelAngle=0)


def seed_matrix(name: str, title: str, reading: str, seeds: pd.DataFrame, labels: Sequence[str], axis: str) -> Chart:
    """A value of each seed (columns) in each configuration (rows): columns configuration, seed, value, status."""
    few = seeds[seeds["seed"].isin(sorted(seeds["seed"].unique())[:MOST_SEEDS])]
    rows = alt.Y("configuration:N", title=None, sort=list(labels))
    base = alt.Chart(few).encode(x=alt.X("seed:O", title="seed", axis=LEVEL), y=rows)
    picked = alt.selection_point(name="by_cell", fields=["seed"], on="click")
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", title=axis, scale=alt.Scale(scheme="viridis")),
        opacity=alt.condition(picked, alt.value(1), alt.value(0.25)),
        tooltip=hover(["configuration", "seed", "status"], ["value"]),
    )
    lost = base.transform_filter("datum.status != 'finished'").mark_text(text="×", fontSize=16, color="#D55E00")
    wide = few.pivot_table(index="configuration", columns="seed", values="value", sort=False).round(4).reset_index()
    drawn = alt.layer(cells.add_params(picked), lost)
    return made(name, title, reading, drawn, wide.rename(columns=str), height=CELL * max(2, len(labels)))


def forgetting_matrix(name: str, title: str, reading: str, measured: pd.DataFrame, labels: Sequence[str]) -> Chart:
    """Mean accuracy on a task (columns) after a task (rows), a matrix for each of the first ``MOST_FACETS`` labels.

    Args:
        measured: columns configuration, learned, tested (tasks counted from 1), value (per cent).
    """
    shown = list(labels[:MOST_FACETS])
    rows = measured[measured["configuration"].isin(shown)]
    rows = rows.groupby(["configuration", "learned", "tested"], sort=False, as_index=False)["value"].mean()
    cells = alt.Chart(rows, width=200, height=200).mark_rect().encode(
        x=alt.X("tested:O", title="accuracy on task", axis=LEVEL), y=alt.Y("learned:O", title="after task"),
        color=alt.Color("value:Q", title="%", scale=alt.Scale(scheme="viridis")),
        tooltip=hover(["configuration", "learned", "tested"], ["value"]),
    )  # fmt: skip
    facets = alt.Facet("configuration:N", title=None, sort=shown)
    return made(name, title, reading, cells.facet(facet=facets, columns=3), rows)
