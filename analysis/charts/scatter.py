"""One value against another by configuration, with intervals, the seeds behind and the Pareto front before."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import GREY, Chart, chosen, colours, highlights, hover, made

HEIGHT = 340


def scatter(
    name: str, title: str, reading: str, points: pd.DataFrame, labels: Sequence[str], axes: tuple[str, str],
    logarithmic: bool = False,
) -> Chart:  # fmt: skip
    """A point per configuration.

    Args:
        points: columns configuration, x, y, and where known y_low, y_high, x_low, x_high; ``front`` (bool) where the
            points of a Pareto front are to be joined.
        axes: titles of both axes.
        logarithmic: the x axis.
    """
    picked = highlights()[:2]
    kind: Any = "log" if logarithmic and (points["x"] > 0).all() else alt.Undefined
    x = alt.X("x:Q", title=axes[0], scale=alt.Scale(zero=False, type=kind))
    y = alt.Y("y:Q", title=axes[1], scale=alt.Scale(zero=False))
    base = alt.Chart(points).encode(x=x, y=y)
    seen = base.encode(color=colours(labels), opacity=chosen(picked))
    layers: list[alt.Chart] = []
    if "front" in points and points["front"].sum() > 1:
        front = base.transform_filter("datum.front").encode(order="x:Q")
        layers.append(front.mark_line(interpolate="step-after", strokeDash=[5, 4], color=GREY, strokeWidth=1.5))
    whiskers: dict[str, Any] = {"y": {"y": alt.Y("y_low:Q"), "y2": "y_high:Q"},
                                "x": {"x": alt.X("x_low:Q"), "x2": "x_high:Q"}}  # fmt: skip
    for side, ends in whiskers.items():
        if f"{side}_low" in points and points[f"{side}_low"].notna().any():
            known = seen.transform_filter(f"isValid(datum.{side}_low) && isValid(datum.{side}_high)")
            layers.append(known.mark_rule(strokeWidth=1.5).encode(**ends))
    marks = seen.mark_circle(size=110).encode(tooltip=hover(["configuration"], {"x": axes[0], "y": axes[1]}))
    drawn = alt.layer(*layers, marks.add_params(*picked)).interactive()
    return made(name, title, reading, drawn, points, height=HEIGHT)
