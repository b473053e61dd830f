"""Heat maps: seeds by configurations, accuracy on each task after each task, and others side by side."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, hover, made

CELL = 24
MOST_SEEDS = 60
MOST_FACETS = 6
LEVEL = alt.Axis(labelAngle=0, grid=False)
SIDE = 200
VIRIDIS = alt.Scale(scheme="viridis")
DOT = alt.Scale(domain=[0, 1], range=[0, 150])
SHARES = alt.Legend(format=".0%", values=[0.2, 0.6, 1])


def seed_matrix(name: str, title: str, reading: str, seeds: pd.DataFrame, labels: Sequence[str], axis: str) -> Chart:
    """A value of each seed (columns) in each configuration (rows): columns configuration, seed, value, status."""
    few = seeds[seeds["seed"].isin(sorted(seeds["seed"].unique())[:MOST_SEEDS])]
    rows = alt.Y("configuration:N", title=None, sort=list(labels))
    base = alt.Chart(few).encode(x=alt.X("seed:O", title="seed", axis=LEVEL), y=rows)
    picked = alt.selection_point(name="by_cell", fields=["seed"], on="click")
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", title=axis, scale=VIRIDIS),
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
    rows = rows.groupby(["configuration", "learned", "tested"])["value"].mean().loc[shown].reset_index()
    sides = {"configuration": "", "tested": "accuracy on task", "learned": "after task"}
    return matrices(name, title, reading, rows, sides, {"value": "%"}, height=SIDE)


def matrices(
    name: str, title: str, reading: str, rows: pd.DataFrame, sides: Mapping[str, str], shown: Mapping[str, str],
    height: int,
) -> Chart:  # fmt: skip
    """Heat maps side by side; hovering says what is known of every cell.

    Args:
        rows: a row per cell.
        sides: columns of the panels, of the x and of the y axis, with titles.
        shown: columns of the colour, and of the share in [0, 1] that is drawn as a dot where there is one, with titles.
        height: pixels of a panel.
    """
    (panel, x, y), (colour, *shares) = sides, shown
    words = [*sides, *rows.select_dtypes(exclude="number").columns.difference([*sides])]
    numbers = [column for column in rows.select_dtypes("number").dropna(axis=1) if column not in sides]
    base = alt.Chart(rows).encode(
        x=alt.X(f"{x}:O", title=sides[x], axis=LEVEL), y=alt.Y(f"{y}:O", title=sides[y], axis=LEVEL),
        tooltip=hover(words, {column: shown.get(column, column) for column in numbers}),
    )  # fmt: skip
    layers = [base.mark_rect().encode(color=alt.Color(f"{colour}:Q", title=shown[colour], scale=VIRIDIS))]
    for share in shares:
        size = alt.Size(f"{share}:Q", title=shown[share], scale=DOT, legend=SHARES)
        dots = base.transform_filter(alt.datum[share] > 0).mark_circle(color="white", stroke="black", opacity=1)
        layers.append(dots.encode(size=size))
    drawn = alt.layer(*layers).properties(width=SIDE, height=height)
    facets = alt.Facet(f"{panel}:N", title=None, sort=list(rows[panel].unique()))
    return made(name, title, reading, drawn.facet(facet=facets, columns=3), rows)
