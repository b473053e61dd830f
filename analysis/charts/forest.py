"""Estimates with their intervals, one under the other: contrasts, importances, components of variance, gaps."""

import altair as alt
import pandas as pd

from analysis.charts.chart import PALETTE, Chart, made

ROW = 24


def forest(
    name: str, title: str, reading: str, estimates: pd.DataFrame, axis: str, zero: bool = True, marked: str = "verdict",
    line: float = 0.0,
) -> Chart:  # fmt: skip
    """A row per estimate.

    Args:
        estimates: columns name, estimate, low, high (NaN where there is no interval), and ``marked``, the kinds that
            get a colour each.
        axis: title of the axis.
        zero: a line where nothing changes.
        marked: name of the column; no colours where it is absent.
        line: where the line is.
    """
    rows = alt.Y("name:N", title=None, sort=estimates["name"].tolist(), axis=alt.Axis(labelLimit=320))
    value = alt.X("estimate:Q", title=axis)
    base = alt.Chart(estimates)
    colour: dict[str, object] = {}
    if marked in estimates:
        kinds = list(dict.fromkeys(estimates[marked]))
        scale = alt.Scale(domain=kinds, range=[PALETTE[number % len(PALETTE)] for number in range(len(kinds))])
        colour = {"color": alt.Color(f"{marked}:N", scale=scale, title=None)}
    hover = [alt.Tooltip("name:N"), *(alt.Tooltip(f"{one}:Q", format=".4~f") for one in ("estimate", "low", "high"))]
    known = alt.Chart(estimates.dropna(subset=["low", "high"]))
    layers = [
        known.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title=axis), x2="high:Q", y=rows, tooltip=hover, **colour
        ),
        base.mark_circle(size=80).encode(x=value, y=rows, tooltip=hover, **colour),
    ]
    if zero:
        at = alt.Chart(pd.DataFrame({"at": [line]})).mark_rule(strokeDash=[5, 4], color="#7F7F7F").encode(x="at:Q")
        layers.insert(0, at)
    return made(name, title, reading, alt.layer(*layers), estimates, height=ROW * max(2, len(estimates)))
