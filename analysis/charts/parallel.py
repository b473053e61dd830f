"""Parallel coordinates: every configuration of a search a line over its parameters, coloured by the objective."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.chart import GREY, Chart, hover, made

HEIGHT, STEP = 320, 82
BELOW = -0.12
"""Where a line passes an axis that its configuration has no place on."""
BAD_TO_GOOD = ["#9A9A9A", "#E69F00", "#D55E00"]


class Axis(NamedTuple):
    """A parameter or an objective (``column`` of a frame, as people read it ``title``): a range from ``low`` to
    ``high``, spaced by the logarithm where ``log``, or the ``options`` of a choice, in their order."""

    column: str
    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    options: tuple[str, ...] = ()

    def places(self, values: "pd.Series") -> "pd.Series[float]":
        """From 0, the low end, to 1; NaN where a value is missing or lies outside."""
        if self.options:
            return values.map({one: place / max(1, len(self.options) - 1) for place, one in enumerate(self.options)})
        ends = pd.Series([self.low, self.high, *values], [-2, -1, *values.index], dtype=float)
        low, high, *at = np.log(ends.where(ends > 0)) if self.log else ends
        found = pd.Series([(one - low) / (high - low) if high > low else 0.5 + 0 * one for one in at], values.index)
        return found.where(found.between(-1e-6, 1 + 1e-6)).round(4)


def parallel(
    name: str, title: str, reading: str, table: pd.DataFrame, axes: Sequence[Axis], maximise: bool
) -> Chart:  # fmt: skip
    """A line per configuration. A click singles one out; dragging at the last axis keeps those of a range.

    Args:
        table: columns configuration and those of the axes; missing where a configuration does not have a parameter.
        axes: from left to right, the objective last; ``maximise``: whether a high value of it is a good one.
    """
    goal = axes[-1]
    keys: list[Any] = [f"at{number}" for number in range(len(axes))]
    ordered = table.sort_values(goal.column, ascending=maximise, kind="stable")  # the best are drawn last, on top
    places = {key: axis.places(ordered[axis.column]) for key, axis in zip(keys, axes, strict=True)}
    texts = {key: ordered[axis.column].map(_short) for key, axis in zip(keys, axes, strict=True)}
    data = ordered[["configuration"]].assign(
        **{key: place.fillna(BELOW) for key, place in places.items()}, goal=ordered[goal.column].astype(float),
        **{key.replace("at", "v"): text for key, text in texts.items()},
    )  # fmt: skip
    marks = []  # what stands at the ends of the axes, at options, and where lines pass below
    for key, axis in zip(keys, axes, strict=True):
        ends = dict(zip(axis.options, axis.places(pd.Series(axis.options)), strict=True)) if axis.options else {
            _short(axis.low): 0.0, _short(axis.high): 1.0}  # fmt: skip
        marks += [(key, place + (0.05 if place == 1 else -0.05), text) for text, place in ends.items()]
        if outside := sorted(set(texts[key][places[key].isna()])):
            marks.append((key, BELOW - 0.05, ", ".join(outside[:3])))
    titles = json.dumps({key: axis.title for key, axis in zip(keys, axes, strict=True)})
    labels = alt.Axis(labelExpr=f"({titles})[datum.value]", labelAngle=-20 if len(axes) > 4 else 0, orient="bottom",
                      grid=False, labelLimit=220)  # fmt: skip
    across = alt.X("axis:O", title=None, sort=keys, axis=labels, scale=alt.Scale(domain=keys, paddingOuter=0.1))
    up = alt.Scale(domain=[BELOW - 0.1, 1.1], nice=False, zero=False)
    high = alt.Y("place:Q", title=None, axis=None, scale=up)
    stops = data["goal"].quantile([0.0, 0.75, 1.0] if maximise else [1.0, 0.25, 0.0]).tolist()
    colour = alt.Color(
        "goal:Q", title=goal.title, scale=alt.Scale(type="linear", domain=stops, range=BAD_TO_GOOD),
        legend=alt.Legend(orient="top", type="gradient", gradientLength=240, titleLimit=500),
    )  # fmt: skip
    by_line = alt.selection_point(name="by_line", fields=["configuration"], on="click", clear="dblclick")
    by_goal = alt.selection_interval(
        name="by_goal", encodings=["y"], clear="dblclick", mark=alt.BrushConfig(fillOpacity=0.1),
        on=f"[pointerdown[x() > group().width * {1 - 1 / len(axes):.3f}], window:pointerup] > window:pointermove!",
    )  # fmt: skip
    said = [alt.Tooltip(key.replace("at", "v") + ":N", title=axis.title) for key, axis in zip(keys, axes, strict=True)]
    base = alt.Chart(data).encode(x=across, color=colour, tooltip=[*hover(["configuration"]), *said])
    lines = base.transform_fold(keys, as_=["axis", "place"]).mark_line(strokeJoin="round").encode(
        y=high, detail="configuration:N", strokeOpacity=_held(by_line & by_goal, 0.75),
        strokeWidth=alt.condition(by_line, alt.value(2), alt.value(1)),
    )  # fmt: skip
    dots = base.transform_calculate(axis=f"'{keys[-1]}'").mark_point(size=45, strokeWidth=2)
    dots = dots.encode(y=alt.Y(f"{keys[-1]}:Q", axis=None, scale=up), strokeOpacity=_held(by_line & by_goal, 0.9))
    rules = alt.Chart(pd.DataFrame({"axis": keys, "place": 0.0, "to": 1.0})).mark_rule(color=GREY, opacity=0.5)
    text = alt.Chart(pd.DataFrame(marks, columns=["axis", "place", "text"])).mark_text(fontSize=11, color=GREY)
    layers = [rules.encode(x=across, y=high, y2="to:Q"), lines.add_params(by_line), dots.add_params(by_goal),
              text.encode(x=across, y=high, text="text:N")]  # fmt: skip
    shown = ordered[["configuration", *(axis.column for axis in axes)]].iloc[::-1]
    behind = shown.set_axis(["configuration", *(axis.title for axis in axes)], axis=1)
    drawn = alt.layer(*layers).properties(width=STEP * len(axes), height=HEIGHT)
    return made(name, title, reading, drawn, behind)


def _held(by: Any, strong: float) -> Any:
    return alt.condition(by, alt.value(strong), alt.value(0.05))


def _short(value: object) -> str:
    if isinstance(value, str | bool):
        return str(value)
    if value is None or value is pd.NA or value != value:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # type: ignore[arg-type, str-format]
