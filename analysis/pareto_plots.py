"""Picture of the Pareto fronts: configurations, the front of their means, and what the seeds attain."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.attainment import attainment_surfaces, staircase
from analysis.captions import measured_setting
from analysis.objectives import Objective, seed_values
from analysis.pareto import Front
from analysis.pareto_tables import pairs, shown_labels
from analysis.records import Run
from analysis.series import configurations
from analysis.style import (
    HEIGHT,
    MOST_DRAWN,
    Picture,
    add_legend,
    color_and_marker,
    new_figure,
    plain_axes,
)

BAND: dict[str, Any] = {"color": "#0072B2", "alpha": 0.13, "linewidth": 0}
MEDIAN: dict[str, Any] = {"color": "#0072B2", "linewidth": 1.2, "linestyle": (0, (4, 2))}
FRONT: dict[str, Any] = {"color": "#444444", "linewidth": 1.6}
KNEE: dict[str, Any] = {"marker": "o", "markersize": 17, "markerfacecolor": "none", "markeredgecolor": "#000000"}
OTHERS: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 3, "color": "#9A9A9A", "rasterized": True}
GRID_POINTS = 400  # of a staircase


def pareto_picture(run: Run, found: Sequence[Front]) -> Picture | None:
    """One panel per front of two objectives; None without any.

    The seeds' attainment surfaces are a band from what the worst seed attains to what the best does, with the median.
    """
    drawn = pairs(found)
    if not drawn:
        return None
    columns = min(len(drawn), 3)
    rows = -(-len(drawn) // columns)
    figure = new_figure(run, HEIGHT * (1 if rows == 1 else 0.8 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    shown = shown_labels(run, found, MOST_DRAWN)
    frames = []
    for axes, (front, objectives) in zip(grid.flat, drawn, strict=False):
        values = seed_values(run.whole, objectives)
        _panel(axes, front, objectives, values, shown)
        frames.append(_frame(front, objectives, values))
    for axes in list(grid.flat)[len(drawn) :]:
        axes.remove()
    handles: list[Any] = [
        Line2D([], [], linestyle="", color=color, marker=marker, markersize=8, label=textwrap.fill(label, 32))
        for label, (color, marker) in zip(shown, map(color_and_marker, range(len(shown))), strict=True)
    ]
    handles += [Line2D([], [], label="front of the means", **FRONT), Line2D([], [], label="knee", linestyle="", **KNEE)]
    handles += [Patch(label="attained, worst to best seed", **BAND), Line2D([], [], label="attained, median", **MEDIAN)]
    note = f"{measured_setting(run.whole)}; large: mean, bars: standard deviation over seeds, small: each seed"
    hidden = len(configurations(run.whole)) - len(shown)
    note += f"; grey: means of {hidden:,} more configurations" if hidden else ""
    layout: dict[str, Any] = {"ncols": 4, "title": textwrap.fill(note, 120), "title_fontsize": 10}
    add_legend(figure, handles, loc="outside lower center", fontsize=9, handlelength=2, **layout)
    caption = "; ".join(
        f"{objectives[0].name} against {objectives[1].name}: on the front are {', '.join(front.members[:6])}"
        + (f" and {len(front.members) - 6} more" if len(front.members) > 6 else "")
        for front, objectives in drawn
    )
    return figure.showing(pd.concat(frames, ignore_index=True), f"Pareto fronts. {caption}.")


def _panel(
    axes: Axes, front: Front, objectives: tuple[Objective, Objective], values: pd.DataFrame, shown: Sequence[str]
) -> None:
    plain_axes(axes)
    reached, cost = objectives
    every = values[cost.column].to_numpy() * cost.scale
    if cost.logarithmic:
        axes.set_xscale("log")
        low, high = every.min() / 1.5, every.max() * 1.5
        grid = np.geomspace(low, high, GRID_POINTS)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.08 * (np.ptp(every) or 1.0)
        low, high = every.min() - margin, every.max() + margin
        grid = np.linspace(low, high, GRID_POINTS)
    grid = np.unique(np.concatenate([grid, every]))
    axes.set_xlim(low, high)

    def stairs(corners: np.ndarray) -> np.ndarray:
        scaled = corners * (reached.scale, cost.scale)
        return staircase(scaled, grid, reached.maximise)

    surfaces = attainment_surfaces(values, objectives)
    if values.index.get_level_values("seed").nunique() > 1 and len(surfaces[0.0]):
        best, median, worst = (stairs(surfaces[level]) for level in (0.0, 50.0, 100.0))
        axes.fill_between(grid, worst, best, step="post", zorder=0, **BAND)
        axes.plot(grid, median, drawstyle="steps-post", zorder=1, **MEDIAN)
    axes.plot(grid, stairs(front.points[front.on_front]), drawstyle="steps-post", zorder=2, **FRONT)
    places = {label: place for place, label in enumerate(front.labels)}
    others = front.points[[place for label, place in places.items() if label not in set(shown)]]
    axes.plot(others[:, 1] * cost.scale, others[:, 0] * reached.scale, zorder=1, **OTHERS)
    for number, label in enumerate(shown):
        if label not in places:
            continue
        color, marker = color_and_marker(number)
        own = values.xs(label, level="configuration")
        x, y = own[cost.column].to_numpy() * cost.scale, own[reached.column].to_numpy() * reached.scale
        axes.plot(x, y, linestyle="", color=color, marker=marker, markersize=4, alpha=0.35, markeredgewidth=0, zorder=3)
        bars: dict[str, Any] = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)} if len(x) > 1 else {}
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 8, "markeredgecolor": "white"}
        axes.errorbar(x.mean(), y.mean(), **bars, elinewidth=1.2, capsize=3, zorder=4, **style)
        if label == front.knee:
            axes.plot(x.mean(), y.mean(), linestyle="", zorder=5, **KNEE)
    axes.set_xlabel(cost.heading)
    axes.set_ylabel(reached.heading)


def _short(x: float, _: object) -> str:
    return f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e3 else f"{x:g}"


def _frame(front: Front, objectives: tuple[Objective, Objective], values: pd.DataFrame) -> pd.DataFrame:
    """The seeds of a panel, with the place of their configuration."""
    frame = values.reset_index()
    names = ["first", "second"]
    frame = frame.rename(columns={one.column: name for one, name in zip(objectives, names, strict=True)})
    on_front = dict(zip(front.labels, front.on_front, strict=True))
    share = {} if front.probability is None else dict(zip(front.labels, front.probability, strict=True))
    return frame.assign(
        first_objective=objectives[0].column,
        second_objective=objectives[1].column,
        on_front=frame["configuration"].map(on_front),
        probability=frame["configuration"].map(share).astype(float),
    )
