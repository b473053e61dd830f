"""Estimates with their intervals, one under the other: contrasts, importances, components of variance, gaps."""

import altair as alt
import pandas as pd

from analysis.charts.chart import GREY, PALETTE, Chart, hover, made, palette

ROW = 24


def forest(
    name: str, title: str, reading: str, estimates: pd.DataFrame, axis: str, line: float | None = 0.0, before: str = "",
) -> Chart:  # fmt: skip
    """A row per estimate.

    Args:
        estimates: columns name, estimate, low, high (NaN where there is no interval); ``verdict``, the kinds that get
            a colour each, where there are several.
        axis: title of the axis.
        line: where nothing changes; None for no line.
        before: column of an earlier value, a diamond that a dashed line joins to the estimate.
    """
    shown = estimates[[one for one in ("name", "estimate", "low", "high", "verdict", before) if one in estimates]]
    rows = alt.Y("name:N", title=None, sort=shown["name"].tolist(), axis=alt.Axis(labelLimit=320))
    base = alt.Chart(shown).encode(y=rows, tooltip=hover(["name"], [before, "estimate", "low", "high"]))
    value = alt.X("estimate:Q", title=axis, scale=alt.Scale(zero=line is not None))
    rules = base.mark_rule(strokeWidth=2, color=PALETTE[0])
    circles = base.mark_circle(size=80, opacity=1, color=PALETTE[0])
    layers = [rules.encode(x=alt.X("low:Q", title=axis), x2="high:Q"), circles.encode(x=value)]
    if "verdict" in shown:
        colour = alt.Color("verdict:N", scale=palette(dict.fromkeys(shown["verdict"])), title=None)
        layers = [layer.encode(color=colour) for layer in layers]
    if line is not None:
        at = alt.Chart(pd.DataFrame({"at": [line]})).mark_rule(strokeDash=[5, 4], color=GREY)
        layers.insert(0, at.encode(x="at:Q"))
    if before:
        earlier = alt.X(f"{before}:Q", title=axis)
        layers.insert(0, base.mark_rule(strokeDash=[3, 3], color=GREY).encode(x=earlier, x2="estimate:Q"))
        diamonds = base.mark_point(filled=True, size=90, shape="diamond", opacity=1, color=PALETTE[1])
        layers.append(diamonds.encode(x=earlier))
    return made(name, title, reading, alt.layer(*layers), shown, height=ROW * max(2, len(shown)))
