"""One value against another by configuration, with intervals, the seeds behind and the Pareto front before."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, chosen, colours, highlights, made

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
    parameters = highlights()[:2]
    kind = "log" if logarithmic and (points["x"] > 0).all() else "linear"
    across = alt.Scale(zero=False, type=kind)  # type: ignore[arg-type]
    up = alt.Scale(zero=False)
    base = alt.Chart(points)
    colour = colours(labels)
    place = {"x": alt.X("x:Q", title=axes[0], scale=across), "y": alt.Y("y:Q", title=axes[1], scale=up)}
    layers: list[alt.Chart] = []
    if "front" in points and points["front"].sum() > 1:
        front = alt.Chart(points[points["front"].astype(bool)]).mark_line(
            interpolate="step-after", strokeDash=[5, 4], color="#7F7F7F", strokeWidth=1.5
        )
        layers.append(front.encode(**place, order="x:Q"))
    for low, high, encoding in (
        ("y_low", "y_high", {"x": place["x"], "y": alt.Y("y_low:Q", title=axes[1], scale=up), "y2": "y_high:Q"}),
        ("x_low", "x_high", {"y": place["y"], "x": alt.X("x_low:Q", title=axes[0], scale=across), "x2": "x_high:Q"}),
    ):
        if low in points and points[low].notna().any():
            known = alt.Chart(points.dropna(subset=[low, high]))
            layers.append(known.mark_rule(strokeWidth=1.5).encode(color=colour, opacity=chosen(parameters), **encoding))
    hover = [alt.Tooltip("configuration:N"), alt.Tooltip("x:Q", title=axes[0], format=",.4~f")]
    marks = base.mark_circle(size=110).encode(
        **place, color=colour, opacity=chosen(parameters),
        tooltip=[*hover, alt.Tooltip("y:Q", title=axes[1], format=",.4~f")],
    ).add_params(*parameters)  # fmt: skip
    return made(name, title, reading, alt.layer(*layers, marks).interactive(), points, height=HEIGHT)
