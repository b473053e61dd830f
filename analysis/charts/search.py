"""What a search saw: its history, the objective over each parameter, and its front."""

import warnings
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import PALETTE, Chart, made
from analysis.charts.parallel import GREY, Axis

HEIGHT, PANEL, COLUMNS = 320, 200, 3
STATES = {
    "completed": PALETTE[0],
    "eliminated": PALETTE[5],
    "pruned": PALETTE[3],
    "infeasible": PALETTE[1],
    "paused": PALETTE[6],
    "running": PALETTE[6],
}
"""What became of a configuration: its colour."""
HOVER = ["configuration:N", "state:N", "seeds:Q"]


def history(name: str, title: str, reading: str, trials: pd.DataFrame, axis: str, maximise: bool) -> Chart:
    """The objective by trial, and the best so far of those with the most seeds.

    Args:
        trials: columns configuration, trial, value, seeds, state, enqueued and feasible.
        axis: title of the axis of values.
    """
    full = trials[(trials["seeds"] == trials["seeds"].max()) & trials["feasible"]].sort_values("trial")
    best = full["value"].cummax() if maximise else full["value"].cummin()
    line = full[["trial"]].assign(value=best)
    if len(line):
        line = pd.concat([line, pd.DataFrame({"trial": [trials["trial"].max()], "value": [line["value"].iloc[-1]]})])
    shown = trials[["configuration", "trial", "value", "seeds", "state"]]
    whole = alt.Axis(tickMinStep=1, format="d")
    along = alt.X("trial:Q", title="trial", axis=whole, scale=alt.Scale(nice=False, padding=10))
    up = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False))
    picked, chosen = _picks()
    marks = (
        alt.Chart(shown.assign(origin=trials["enqueued"].map({True: "tried first", False: "suggested"})))
        .mark_point(filled=True)
        .encode(
            x=along, y=up, color=_states(trials), size=_sizes(trials), opacity=chosen,
            shape=alt.Shape("origin:N", title=None, scale=alt.Scale(
                domain=["suggested", "tried first"], range=["circle", "diamond"])),
            tooltip=[*HOVER, alt.Tooltip("trial:Q"), alt.Tooltip("value:Q", title=axis, format=".4~f")],
        )
        .add_params(*picked)
    )  # fmt: skip
    steps = alt.Chart(line).mark_line(interpolate="step-after", strokeDash=[5, 4], color=GREY).encode(x=along, y=up)
    return made(name, title, reading, alt.layer(steps, marks).interactive(), shown, height=HEIGHT)


def slices(name: str, title: str, reading: str, trials: pd.DataFrame, axes: Sequence[Axis], goal: Axis) -> Chart:
    """The objective over each parameter, a panel each.

    Args:
        trials: columns configuration, seeds, state and those of the axes; a configuration stands in the panels of the
            parameters that it has.
        axes: the parameters.
        goal: the objective.
    """
    plain = trials[["configuration", "seeds", "state"]].assign(
        goal=trials[goal.column], **{f"v{number}": trials[axis.column] for number, axis in enumerate(axes)}
    )
    picked, chosen = _picks()
    panels, up = [], alt.Scale(domain=[goal.low, goal.high], nice=True, padding=4)
    for number, axis in enumerate(axes):
        field, kind = f"v{number}", "N" if axis.options else "Q"
        across = alt.Scale(domain=[axis.low, axis.high], type="log" if axis.log else "linear", nice=False, padding=8)
        across = alt.Scale(domain=list(axis.options)) if axis.options else across
        there = f"isValid(datum.{field})" + (f" && datum.{field} >= {axis.low!r}" if not axis.options else "")
        panel = (
            alt.Chart(plain)
            .transform_filter(there)
            .mark_circle()
            .encode(
                x=alt.X(f"{field}:{kind}", title=axis.title, scale=across,
                        axis=alt.Axis(labelAngle=0, tickCount=4, labelOverlap=True)),
                y=alt.Y("goal:Q", title=goal.title if number % COLUMNS == 0 else None, scale=up),
                color=_states(trials, legend=alt.Legend(orient="top")), size=_sizes(trials, orient="top"),
                opacity=chosen,
                tooltip=[*HOVER, _hover(field, axis),
                         alt.Tooltip("goal:Q", title=goal.title, format=".4~f")],
            )
            .properties(width=PANEL, height=PANEL * 0.8)
        )  # fmt: skip
        panels.append(panel.add_params(*picked))
    behind = trials[["configuration", goal.column, *(axis.column for axis in axes)]]
    behind = behind.set_axis(["configuration", goal.title, *(axis.title for axis in axes)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the panels share their selections, as they should
        return made(name, title, reading, alt.concat(*panels, columns=COLUMNS), behind)


def search_front(name: str, title: str, reading: str, trials: pd.DataFrame, goals: tuple[Axis, Axis]) -> Chart:
    """One objective of a search against another, and which configurations no other one beats in all of them.

    Args:
        trials: columns configuration, seeds, state, front (bool) and those of the objectives.
        goals: upwards and across.
    """
    data = trials[["configuration", "seeds", "state"]].assign(
        up=trials[goals[0].column], across=trials[goals[1].column],
        on=trials["front"].map({True: "on the front", False: "behind it"}),
    )  # fmt: skip
    picked, chosen = _picks("on")
    marks = (
        alt.Chart(data)
        .mark_circle()
        .encode(
            x=alt.X("across:Q", title=goals[1].title, scale=alt.Scale(zero=False)),
            y=alt.Y("up:Q", title=goals[0].title, scale=alt.Scale(zero=False)),
            color=alt.Color("on:N", title=None, scale=alt.Scale(
                domain=["on the front", "behind it"], range=[PALETTE[1], PALETTE[0]])),
            size=_sizes(trials), opacity=chosen,
            tooltip=[*HOVER, *(alt.Tooltip(f"{field}:Q", title=goal.title, format=",.4~f")
                               for field, goal in zip(("up", "across"), goals, strict=True))],
        )
        .add_params(*picked)
        .interactive()
    )  # fmt: skip
    behind = trials[["configuration", "front", "seeds", goals[0].column, goals[1].column]]
    behind = behind.set_axis(["configuration", "on the front", "seeds", goals[0].title, goals[1].title], axis=1)
    return made(name, title, reading, marks, behind.sort_values("on the front", ascending=False), height=HEIGHT)


def _picks(legend: str = "state") -> tuple[list[alt.Parameter], Any]:
    """Selections of a configuration by a click and of a kind by its legend, and the opacity that follows."""
    mark = alt.selection_point(name="by_mark", fields=["configuration"], on="click", clear="dblclick")
    kind = alt.selection_point(name="by_legend", fields=[legend], bind="legend")
    return [mark, kind], alt.condition(mark & kind, alt.value(0.85), alt.value(0.07))


def _states(trials: pd.DataFrame, **more: Any) -> alt.Color:
    known = [state for state in STATES if (trials["state"] == state).any()]
    scale = alt.Scale(domain=known, range=[STATES[state] for state in known])
    return alt.Color("state:N", title="state", scale=scale, **more)


def _sizes(trials: pd.DataFrame, **more: Any) -> alt.Size:
    known = sorted({int(one) for one in trials["seeds"]})
    scale = alt.Scale(domain=[0, max(known, default=1)], range=[10, 160])
    return alt.Size("seeds:Q", scale=scale, legend=alt.Legend(values=known[:6], symbolFillColor=GREY, **more))


def _hover(field: str, axis: Axis) -> alt.Tooltip:
    if axis.options:
        return alt.Tooltip(f"{field}:N", title=axis.title)
    return alt.Tooltip(f"{field}:Q", title=axis.title, format=".4~g")
