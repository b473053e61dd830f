"""A value over tasks, epochs or steps: the mean of each configuration, its seeds behind it."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, chosen, colours, highlights, hover, made

HEIGHT = 320
MOST_LINES = 120
"""Replicas whose lines are drawn; of more, the mean and the band alone."""
MOST_TICKS = 20
"""Boundaries that get a tick each; more are ticked where there is room."""


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
    picked = highlights()
    boundaries = sorted(means["at"].unique().tolist())
    ticks = (
        alt.Axis(values=boundaries, format="d")
        if len(boundaries) <= MOST_TICKS
        else alt.Axis(tickMinStep=1, format="d")
    )
    along = alt.X("at:Q", title=at, axis=ticks, scale=alt.Scale(nice=False))
    place: dict[str, Any] = {
        "x": along,
        "y": alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False)),
        "color": colours(labels),
    }
    base = alt.Chart(means).encode(
        **place, tooltip=hover(["configuration"], {"at": at, "value": axis, "std": "std", "n": "n"})
    )
    mean = base.mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=35))
    if measured.groupby(["configuration", "seed"]).ngroups <= MOST_LINES:
        seeds = alt.Chart(measured[["configuration", "seed", "at", "value"]]).mark_line(strokeWidth=1).encode(**place)
        behind = seeds.encode(detail="seed:N", strokeOpacity=chosen(picked, 0.35, 0.03),
                              tooltip=hover(["configuration", "seed"], ["at", "value"]))  # fmt: skip
    else:
        band = base.transform_calculate(low="datum.value - datum.std", high="datum.value + datum.std").mark_area()
        behind = band.encode(y=alt.Y("low:Q", title=axis), y2="high:Q", opacity=chosen(picked, 0.2, 0.02))
    drawn = alt.layer(behind.add_params(*picked), mean.encode(strokeOpacity=chosen(picked[:2], 1.0))).interactive()
    return made(name, title, reading, drawn, means, height=HEIGHT)
