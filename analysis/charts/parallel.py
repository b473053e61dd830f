"""Parallel coordinates: every configuration of a search a line over its parameters, coloured by the objective."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, made

HEIGHT, STEP = 320, 82
BELOW = -0.12
"""Where a line passes an axis that its configuration has no place on."""
BAD_TO_GOOD = ["#9A9A9A", "#E69F00", "#D55E00"]
GREY = "#7F7F7F"


class Axis(NamedTuple):
    """A parameter or an objective: a range, or options.

    ``column``: of the frame that is drawn; ``title``: as people read it; ``low``, ``high``: ends of the range;
    ``log``: spaced by the logarithm; ``options``: of a choice, in their order.
    """

    column: str
    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    options: tuple[str, ...] = ()

    def place(self, value: Any) -> float | None:
        """From 0, the low end, to 1; None where the value is missing or lies outside."""
        if self.options:
            known = str(value) in self.options and not _missing(value)
            return self.options.index(str(value)) / max(1, len(self.options) - 1) if known else None
        if _missing(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log(one) if self.log else float(one) for one in (self.low, self.high, value))
        place = (at - low) / (high - low) if high > low else 0.5
        return round(place, 4) if -1e-6 <= place <= 1 + 1e-6 else None


def parallel(
    name: str, title: str, reading: str, table: pd.DataFrame, axes: Sequence[Axis], maximise: bool
) -> Chart:  # fmt: skip
    """A line per configuration. A click singles one out; dragging at the last axis keeps those of a range.

    Args:
        table: columns configuration and those of the axes; missing where a configuration does not have a parameter.
        axes: from left to right, the objective last.
        maximise: whether a high value of the objective is a good one.
    """
    goal = axes[-1]
    ordered = table.sort_values(goal.column, ascending=maximise, kind="stable")  # the best are drawn last, on top
    places = {f"at{number}": [axis.place(one) for one in ordered[axis.column]] for number, axis in enumerate(axes)}
    data = ordered[["configuration"]].assign(
        **{f"v{number}": _texts(ordered[axis.column]) for number, axis in enumerate(axes)},
        **{key: [BELOW if one is None else one for one in place] for key, place in places.items()},
        goal=ordered[goal.column].astype(float),
    )
    keys: list[Any] = list(places)
    last = len(axes) - 1
    across = alt.X(
        "axis:O", title=None, sort=keys, scale=alt.Scale(domain=keys, paddingOuter=0.1),
        axis=alt.Axis(
            labelExpr=f"({json.dumps(dict(zip(keys, (one.title for one in axes), strict=True)))})[datum.value]",
            labelAngle=-20 if len(axes) > 4 else 0, orient="bottom", grid=False, labelLimit=220,
        ),
    )  # fmt: skip
    up = alt.Scale(domain=[BELOW - 0.1, 1.1], nice=False, zero=False)
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
    held = by_line & by_goal
    hover = [alt.Tooltip("configuration:N"), *(
        alt.Tooltip(f"v{number}:N", title=axis.title) for number, axis in enumerate(axes))]  # fmt: skip
    base = alt.Chart(data)
    lines = (
        base.transform_fold(keys, as_=["axis", "place"])
        .mark_line(strokeJoin="round")
        .encode(
            x=across, y=alt.Y("place:Q", title=None, axis=None, scale=up), detail="configuration:N", color=colour,
            strokeOpacity=alt.condition(held, alt.value(0.75), alt.value(0.05)),
            strokeWidth=alt.condition(by_line, alt.value(2), alt.value(1)), tooltip=hover,
        )
        .add_params(by_line)
    )  # fmt: skip
    dots = (
        base.transform_calculate(axis=f"'at{last}'")
        .mark_point(size=45, strokeWidth=2)
        .encode(
            x=alt.X("axis:O", sort=keys), y=alt.Y(f"at{last}:Q", axis=None, scale=up), color=colour,
            strokeOpacity=alt.condition(held, alt.value(0.9), alt.value(0.05)), tooltip=hover,
        )
        .add_params(by_goal)
    )  # fmt: skip
    layers = [_rules(keys, up), lines, dots, *_ends(keys, axes, places, ordered, up)]
    shown = ordered[["configuration", *(axis.column for axis in axes)]].iloc[::-1]
    behind = shown.set_axis(["configuration", *(axis.title for axis in axes)], axis=1)
    drawn = alt.layer(*layers).properties(width=STEP * len(axes), height=HEIGHT)
    return made(name, title, reading, drawn, behind)


def _rules(keys: Sequence[str], up: alt.Scale) -> alt.Chart:
    """The axes."""
    frame = pd.DataFrame({"axis": list(keys), "from": 0.0, "to": 1.0})
    encoded = {"x": alt.X("axis:O", sort=list(keys)), "y": alt.Y("from:Q", axis=None, scale=up), "y2": "to:Q"}
    return alt.Chart(frame).mark_rule(color=GREY, opacity=0.5).encode(**encoded)


def _ends(
    keys: Sequence[str], axes: Sequence[Axis], places: dict[str, list[float | None]], table: pd.DataFrame, up: alt.Scale
) -> list[alt.Chart]:
    """What stands at the ends of the axes, at options, and where lines pass below."""
    rows = []
    for key, axis in zip(keys, axes, strict=True):
        ends = [(axis.place(one), one) for one in axis.options] or [(0.0, _short(axis.low)), (1.0, _short(axis.high))]
        rows += [{"axis": key, "at": at, "text": text, "side": "top" if at == 1.0 else "bottom"} for at, text in ends]
        outside = [value for value, place in zip(table[axis.column], places[key], strict=True) if place is None]
        said = sorted({"none" if _missing(value) else _short(value) for value in outside})
        if said:
            rows.append({"axis": key, "at": BELOW, "text": ", ".join(said[:3]), "side": "bottom"})
    frame = pd.DataFrame(rows)
    drawn = []
    for side, baseline, shift in (("top", "bottom", -5), ("bottom", "top", 5)):
        text = alt.Chart(frame[frame["side"] == side]).mark_text(
            baseline=baseline, dy=shift, fontSize=11, color=GREY  # type: ignore[arg-type]
        )  # fmt: skip
        place = {"x": alt.X("axis:O", sort=list(keys)), "y": alt.Y("at:Q", axis=None, scale=up)}
        drawn.append(text.encode(**place, text="text:N"))
    return drawn


def _texts(values: pd.Series) -> list[str]:
    return ["none" if _missing(value) else _short(value) for value in values]


def _short(value: Any) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
