"""A value over tasks, epochs or steps: the mean of each configuration, its seeds behind it."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, chosen, colours, highlights, made

HEIGHT = 320
MOST_LINES = 120
"""Replicas whose lines are drawn; of more, the mean and the band alone."""


def curves(
    name: str, title: str, reading: str, measured: pd.DataFrame, labels: Sequence[str], at: str, axis: str
) -> Chart:
    """Lines over boundaries.

    Args:
        measured: columns configuration, seed, at, value; a row per replica and boundary.
        labels: configurations in their order.
        at: title of the axis of boundaries.
        axis: title of the axis of values.
    """
    grouped = measured.groupby(["configuration", "at"], sort=False)["value"]
    means = grouped.agg(value="mean", std="std", n="size").reset_index()
    means["low"], means["high"] = means["value"] - means["std"], means["value"] + means["std"]
    parameters = highlights()
    along = alt.X("at:Q", title=at, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
    values = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False))
    colour = colours(labels)
    mean = (
        alt.Chart(means)
        .mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=35))
        .encode(
            x=along, y=values, color=colour, strokeOpacity=chosen(parameters[:2], 1.0),
            tooltip=["configuration:N", alt.Tooltip("at:Q", title=at), *(
                alt.Tooltip(f"{one}:Q", format=".4~f") for one in ("value", "std")), "n:Q"],
        )
    )  # fmt: skip
    replicas = measured[["configuration", "seed"]].drop_duplicates()
    if len(replicas) <= MOST_LINES:
        behind = (
            alt.Chart(measured[["configuration", "seed", "at", "value"]])
            .mark_line(strokeWidth=1)
            .encode(
                x=along, y=values, color=colour, detail="seed:N", strokeOpacity=chosen(parameters, 0.35, 0.03),
                tooltip=["configuration:N", "seed:N", "at:Q", alt.Tooltip("value:Q", format=".4~f")],
            )
        )  # fmt: skip
    else:
        behind = (
            alt.Chart(means).mark_area().encode(
                x=along, y=alt.Y("low:Q", title=axis), y2="high:Q", color=colour, opacity=chosen(parameters, 0.2, 0.02)
            )
        )  # fmt: skip
    drawn = alt.layer(behind.add_params(*parameters), mean).interactive()
    return made(name, title, reading, drawn, means.drop(columns=["low", "high"]), height=HEIGHT)
