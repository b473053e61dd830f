"""Every seed a dot: a value by configuration, its mean with the interval, and reference lines."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, chosen, colours, highlights, hover, made, ruled

ROW = 30  # pixels of a configuration
MOST_DOTS = 4_000


def dots(
    name: str, title: str, reading: str, seeds: pd.DataFrame, means: pd.DataFrame, axis: str,
    references: Mapping[str, float] | None = None,
) -> Chart:  # fmt: skip
    """Seeds as dots, means as ticks with the line of their interval.

    Args:
        seeds: columns configuration, seed, value, status; in the unit that is shown.
        means: columns configuration, estimate, low, high (NaN where there is no interval), from top to bottom.
        axis: title of the axis of the values.
        references: name -> value of the lines.
    """
    picked = highlights()
    radio = alt.binding_radio(options=["study", "mean"], name="order of rows: ")  # type: ignore[call-arg]
    sorting = alt.param(name="sorting", value="study", bind=radio)
    places = means[["configuration"]].assign(in_study=range(len(means)), by_mean=means["estimate"])
    shown = seeds.groupby("configuration", sort=False).head(max(1, MOST_DOTS // max(1, len(means))))
    order = alt.EncodingSortField(field="place", op="min", order="ascending")
    rows: dict[str, Any] = {
        "y": alt.Y("configuration:N", title=None, sort=order),
        "color": colours(means["configuration"].tolist(), legend=None),
    }
    place = "sorting == 'mean' ? -datum.by_mean : datum.in_study"
    values = alt.X("value:Q", title=axis, scale=alt.Scale(zero=False))
    drawn = alt.Chart(shown.merge(places)).transform_calculate(place=place).mark_circle(size=55)
    drawn = drawn.encode(**rows, x=values, opacity=chosen(picked),
                         tooltip=hover(["configuration", "seed", "status"], ["value"]))  # fmt: skip
    base = alt.Chart(means.rename(columns={"estimate": "value"}).merge(places)).transform_calculate(place=place)
    base = base.encode(**rows, tooltip=hover(["configuration"], ["value", "low", "high"]))
    low = alt.X("low:Q", title=axis, scale=alt.Scale(zero=False))
    line = base.mark_rule(strokeWidth=2, opacity=0.85).encode(x=low, x2="high:Q")
    tick = base.mark_tick(thickness=3, size=ROW * 0.6).encode(x=values)
    layers = [*ruled(references or {}, "x"), line, tick, drawn.add_params(*picked, sorting)]
    return made(name, title, reading, alt.layer(*layers), means, height=ROW * max(2, len(means)))
