"""Pictures of a class-incremental study."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import series
from analysis.captions import measured_setting
from analysis.records import Run
from analysis.series import configurations, reported, task_count
from analysis.style import (
    MOST_DRAWN,
    MOST_PANELS,
    Picture,
    add_legend,
    color_and_marker,
    each_seed,
    new_figure,
    plain_axes,
    say_nothing,
    some_seeds,
)

PARTS: dict[str, dict[str, Any]] = {
    "frozen": {"color": "#7A7A7A", "linestyle": "-", "linewidth": 1.8, "zorder": 3},
    # Wide, since combined lies on it wherever consolidation emptied fast.
    "slow": {"color": "#56B4E9", "linestyle": "-", "linewidth": 5.0},
    "combined": {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8},
}
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "ncm": ("nearest class mean\n(frozen backbone)", {"color": "#444444", "linestyle": ":", "linewidth": 2.2}),
    "joint": (
        "joint head on all classes\n(frozen backbone)",
        {"color": "#444444", "linestyle": "", "marker": "*", "markersize": 13},
    ),
    "chance": ("chance", {"color": "#888888", "linestyle": "-.", "linewidth": 0.8}),
}


def accuracy_by_task(run: Run) -> Picture:
    """One line per configuration, every seed faint behind its mean, reported runs dashed.

    The mean is over the seeds that reached the task. Reported runs are drawn only where their protocol has as many
    tasks. Reference lines are means over all replicas, since they depend on data and backbone alone.
    """
    figure, measured, tasks = new_figure(run), series.accuracy_by_task(run), task_count(run)
    labels = configurations(run)
    axes = figure.subplots()
    _task_axis(axes, tasks)
    axes.set_ylabel("accuracy on all classes seen so far (%)")
    handles = []
    for number, label in enumerate(labels[:MOST_DRAWN]):
        color, marker = color_and_marker(number)
        own = measured[measured["configuration"] == label]
        for _, seed in some_seeds(own).groupby(["trial_id", "seed"]):
            seed = seed.sort_values("task")
            axes.plot(seed["task"] + 1, 100 * seed["accuracy"], color=color, linewidth=1.0, alpha=0.3, zorder=2)
        mean = 100 * own.groupby("task")["accuracy"].mean()
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 6.0, "markeredgecolor": "white"}
        axes.plot(mean.index + 1, mean, linewidth=2.2, zorder=4, **style)
        seeds = own.drop_duplicates(["trial_id", "seed"]).shape[0]
        suffix = f" (n={seeds})" if seeds else " (no task finished)"
        handles.append(Line2D([], [], linewidth=2.2, label=textwrap.fill(label + suffix, 28), **style))
        for order, entry in enumerate(reported(run, label)):
            if len(entry.accuracy) == tasks:
                dashes = (0, (6, 2)) if order == 0 else (0, (2, 2))
                line: dict[str, Any] = {"color": color, "linewidth": 1.6, "linestyle": dashes}
                axes.plot(range(1, tasks + 1), [100 * value for value in entry.accuracy], zorder=3, **line)
                name = textwrap.fill(f"{label} {entry.label}".strip(), 28) + ",\nreported (1 run)"
                handles.append(Line2D([], [], label=name, **line))
    if measured.empty:
        say_nothing(axes, "no seed has finished a task")
    references = series.references_by_task(run)
    for reference, (name, style) in REFERENCES.items():
        level = 100 * references[references["name"] == reference].groupby("task")["accuracy"].mean()
        if len(level):
            axes.plot(level.index + 1, level, zorder=3, **style)
            handles.append(Line2D([], [], label=name, **style))
    hidden = len(labels) - MOST_DRAWN
    note = f"; {hidden} more configurations in the table" if hidden > 0 else ""
    subtitle = f"{measured_setting(run)}; thick: mean over seeds, thin: {each_seed(run)}{note}"
    axes.set_title(subtitle, loc="left", fontsize=10, color="#444444", parse_math=False)
    # In the middle, below the title's lines, which take the whole width.
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    size = 10 if lines <= 22 else 7
    add_legend(figure, handles, loc="outside right center", fontsize=size, labelspacing=0.7)
    caption = f"Accuracy on all classes seen so far, task by task: {subtitle}."
    return figure.showing(pd.concat([measured.assign(name="accuracy"), references], ignore_index=True), caption)


def ablation_by_task(run: Run) -> Picture:
    """One panel per configuration: frozen backbone, slow only and combined, after consolidation, over the seeds."""
    measured, tasks = series.ablation_by_task(run), task_count(run)
    measured = measured[measured["moment"] == "after"]
    labels = configurations(run)[:MOST_PANELS]
    columns = min(3 if len(labels) <= 9 else 4, max(len(labels), 1))
    figure = new_figure(run)
    grid = figure.subplots(-(-max(len(labels), 1) // columns), columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for position, (label, axes) in enumerate(zip(labels, panels, strict=False)):
        _ablation_panel(axes, measured[measured["configuration"] == label], tasks)
        heading = textwrap.fill(label, 92 // columns)
        axes.set_title(heading, loc="left", fontsize=10, fontweight="bold", parse_math=False)
        # The panel below may be one of the unused ones, which are taken out.
        lowest = position + columns >= len(labels)
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel("task" if lowest else "")
    for axes in panels[max(len(labels), 1) :]:
        axes.remove()
    names = {"frozen": "frozen backbone", "slow": "slow only", "combined": "slow + fast"}
    handles = [Line2D([], [], label=names[part], **style) for part, style in PARTS.items()]
    note = f"After consolidation; {measured_setting(run)}; line: mean over seeds, band: their range"
    add_legend(figure, handles, loc="outside lower center", ncols=3, fontsize=11, title=note, title_fontsize=10)
    figure.supylabel("accuracy on all classes seen so far (%)", fontsize=11)
    caption = "Accuracy of the frozen backbone, of the slow adapter alone and of both, with the same trained head"
    return figure.showing(measured, f"{caption}. {note}.")


def _ablation_panel(axes: Axes, own: pd.DataFrame, tasks: int) -> None:
    _task_axis(axes, tasks)
    for part, style in PARTS.items():
        # In float, since matplotlib's fill_between does not take pandas' own types.
        by_task = 100 * own[own["part"] == part].groupby("task")["accuracy"].agg(["mean", "min", "max"]).astype(float)
        if by_task.empty:
            continue
        axes.fill_between(
            by_task.index + 1, by_task["min"], by_task["max"], color=style["color"], alpha=0.18, linewidth=0
        )
        marker = "o" if len(by_task) == 1 else None
        axes.plot(by_task.index + 1, by_task["mean"], marker=marker, **style)
    if own.empty:
        say_nothing(axes, "not measured")


def _task_axis(axes: Axes, tasks: int) -> None:
    axes.set_xlim(0.7, max(tasks, 1) + 0.3)
    if tasks <= 12:
        axes.set_xticks(range(1, max(tasks, 1) + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlabel("task")
    plain_axes(axes)
