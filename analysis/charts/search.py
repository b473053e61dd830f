"""What a search saw: its history, the objective over each parameter, and its front."""

import warnings
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import GREY, PALETTE, Chart, hover, made
from analysis.charts.parallel import Axis

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
SAID = ["configuration", "state", "seeds"]


def history(name: str, title: str, reading: str, trials: pd.DataFrame, axis: str, maximise: bool) -> Chart:
    """The objective by trial, and the best so far of those with the most seeds.

    Args:
        trials: columns configuration, trial, value, seeds, state, enqueued and feasible.
    """
    full = trials[(trials["seeds"] == trials["seeds"].max()) & trials["feasible"]].sort_values("trial")
    line = full[["trial"]].assign(value=full["value"].cummax() if maximise else full["value"].cummin())
    line = pd.concat([line, line.tail(1).assign(trial=trials["trial"].max())])
    shown = trials[["configuration", "trial", "value", "seeds", "state"]]
    data = shown.assign(origin=trials["enqueued"].map({True: "tried first", False: "suggested"}))
    whole = alt.Axis(tickMinStep=1, format="d")
    along = alt.X("trial:Q", title="trial", axis=whole, scale=alt.Scale(nice=False, padding=10))
    up = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False))
    shapes = alt.Scale(domain=["suggested", "tried first"], range=["circle", "diamond"])
    marks = _marks(data, mark="point").encode(
        x=along, y=up, color=_states(trials), shape=alt.Shape("origin:N", title=None, scale=shapes),
        tooltip=hover(SAID, {"trial": "trial", "value": axis}),
    )  # fmt: skip
    steps = alt.Chart(line).mark_line(interpolate="step-after", strokeDash=[5, 4], color=GREY).encode(x=along, y=up)
    return made(name, title, reading, alt.layer(steps, marks).interactive(), shown, height=HEIGHT)


def slices(name: str, title: str, reading: str, trials: pd.DataFrame, axes: Sequence[Axis], goal: Axis) -> Chart:
    """The objective over each parameter, a panel each.

    Args:
        trials: columns configuration, seeds, state and those of the axes, missing where a configuration has no such
            one.
    """
    plain = trials[["configuration", "seeds", "state"]].assign(
        goal=trials[goal.column], **{f"v{number}": trials[axis.column] for number, axis in enumerate(axes)}
    )
    base, panels = _marks(plain, orient="top").encode(color=_states(trials, legend=alt.Legend(orient="top"))), []
    up = alt.Scale(domain=[goal.low, goal.high], nice=True, padding=4)
    for number, axis in enumerate(axes):
        field, options, titles = f"v{number}", list(axis.options), {"goal": goal.title}
        across = alt.Scale(domain=[axis.low, axis.high], type="log" if axis.log else "linear", nice=False, padding=8)
        panel = base.transform_filter(
            f"isValid(datum.{field})" + (f" && datum.{field} >= {axis.low!r}" * (not options))
        )
        panels.append(panel.encode(
            x=alt.X(f"{field}:{'N' if options else 'Q'}", title=axis.title,
                    scale=alt.Scale(domain=options) if options else across,
                    axis=alt.Axis(labelAngle=0, tickCount=4, labelOverlap=True)),
            y=alt.Y("goal:Q", title=goal.title if number % COLUMNS == 0 else None, scale=up),
            tooltip=hover([*SAID, *([field] if options else [])], ({} if options else {field: axis.title}) | titles),
        ).properties(width=PANEL, height=PANEL * 0.8))  # fmt: skip
    behind = trials[["configuration", goal.column, *(axis.column for axis in axes)]]
    behind = behind.set_axis(["configuration", goal.title, *(axis.title for axis in axes)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the panels share their selections, as they should
        return made(name, title, reading, alt.concat(*panels, columns=COLUMNS), behind)


def search_front(name: str, title: str, reading: str, trials: pd.DataFrame, goals: tuple[Axis, Axis]) -> Chart:
    """One objective of a search against another (upwards, across), and which configurations are on the front.

    Args:
        trials: columns configuration, seeds, state, front (bool) and those of the objectives.
    """
    where = trials["front"].map({True: "on the front", False: "behind it"})
    values = {side: trials[goal.column] for side, goal in zip(("up", "across"), goals, strict=True)}
    data = trials[["configuration", "seeds", "state"]].assign(**values, on=where)
    colour = alt.Scale(domain=["on the front", "behind it"], range=[PALETTE[1], PALETTE[0]])
    marks = _marks(data, legend="on").encode(
        x=alt.X("across:Q", title=goals[1].title, scale=alt.Scale(zero=False)),
        y=alt.Y("up:Q", title=goals[0].title, scale=alt.Scale(zero=False)),
        color=alt.Color("on:N", title=None, scale=colour),
        tooltip=hover(SAID, {"up": goals[0].title, "across": goals[1].title}),
    )
    behind = trials[["configuration", "front", "seeds", goals[0].column, goals[1].column]]
    behind = behind.set_axis(["configuration", "on the front", "seeds", goals[0].title, goals[1].title], axis=1)
    behind = behind.sort_values("on the front", ascending=False)
    return made(name, title, reading, marks.interactive(), behind, height=HEIGHT)


def _marks(data: pd.DataFrame, legend: str = "state", mark: str = "circle", **more: Any) -> alt.Chart:
    """Marks that are larger with more seeds; a click selects a configuration, the legend a kind."""
    by_mark = alt.selection_point(name="by_mark", fields=["configuration"], on="click", clear="dblclick")
    by_legend = alt.selection_point(name="by_legend", fields=[legend], bind="legend")
    known = sorted({int(one) for one in data["seeds"]})
    size = alt.Size(
        "seeds:Q", scale=alt.Scale(domain=[0, max(known, default=1)], range=[10, 160]),
        legend=alt.Legend(values=known[:6], symbolFillColor=GREY, **more),
    )  # fmt: skip
    opacity = alt.condition(by_mark & by_legend, alt.value(0.85), alt.value(0.07))
    base = alt.Chart(data).encode(size=size, opacity=opacity).add_params(by_mark, by_legend)
    return base.mark_point(filled=True) if mark == "point" else base.mark_circle()


def _states(trials: pd.DataFrame, **more: Any) -> alt.Color:
    known = [state for state in STATES if (trials["state"] == state).any()]
    scale = alt.Scale(domain=known, range=[STATES[state] for state in known])
    return alt.Color("state:N", title="state", scale=scale, **more)
