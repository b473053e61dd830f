"""Heat maps: seeds by configurations, and accuracy on each task after each task."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, made

CELL = 24
MOST_SEEDS = 60
MOST_FACETS = 6


def seed_matrix(name: str, title: str, reading: str, seeds: pd.DataFrame, labels: Sequence[str], axis: str) -> Chart:
    """A value of each seed (columns) in each configuration (rows).

    Args:
        seeds: columns configuration, seed, value, status.
    """
    few = seeds[seeds["seed"].isin(sorted(seeds["seed"].unique())[:MOST_SEEDS])]
    base = alt.Chart(few).encode(
        x=alt.X("seed:O", title="seed", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("configuration:N", title=None, sort=list(labels)),
    )
    picked = alt.selection_point(name="by_cell", fields=["seed"], on="click")
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", title=axis, scale=alt.Scale(scheme="viridis")),
        opacity=alt.condition(picked, alt.value(1), alt.value(0.25)),
        tooltip=["configuration:N", "seed:N", alt.Tooltip("value:Q", format=".4~f"), "status:N"],
    )
    lost = base.transform_filter("datum.status != 'finished'").mark_text(text="×", fontSize=16, color="#D55E00")
    wide = few.pivot_table(index="configuration", columns="seed", values="value", sort=False).round(4).reset_index()
    wide.columns = [str(one) for one in wide.columns]
    return made(
        name, title, reading, alt.layer(cells.add_params(picked), lost), wide, height=CELL * max(2, len(labels))
    )


def forgetting_matrix(name: str, title: str, reading: str, measured: pd.DataFrame, labels: Sequence[str]) -> Chart:
    """Mean accuracy on a task (columns) after a task (rows), a matrix per configuration.

    Args:
        measured: columns configuration, learned, tested (tasks counted from 1), value (per cent).
        labels: configurations to show, at most ``MOST_FACETS`` of which are.
    """
    shown = [label for label in labels if (measured["configuration"] == label).any()][:MOST_FACETS]
    rows = measured[measured["configuration"].isin(shown)]
    rows = rows.groupby(["configuration", "learned", "tested"], sort=False, as_index=False)["value"].mean()
    cells = (
        alt.Chart(rows)
        .mark_rect()
        .encode(
            x=alt.X("tested:O", title="accuracy on task", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("learned:O", title="after task"),
            color=alt.Color("value:Q", title="%", scale=alt.Scale(scheme="viridis")),
            tooltip=["configuration:N", "learned:O", "tested:O", alt.Tooltip("value:Q", format=".1f")],
        )
        .properties(width=200, height=200)
        .facet(facet=alt.Facet("configuration:N", title=None, sort=shown), columns=3)
    )
    return made(name, title, reading, cells, rows)
