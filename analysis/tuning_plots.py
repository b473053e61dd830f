"""Pictures of what a fine-tuning method reaches against what it costs: parameters and time of a step."""

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.captions import measured_setting, same_setting
from analysis.records import Run
from analysis.series import Reported, configurations, final_table, reported
from analysis.style import (
    MOST_DRAWN,
    Picture,
    add_legend,
    color_and_marker,
    one_panel,
    say_nothing,
    subtitle,
)
from analysis.tuning_series import finals, trainable_parameters

DODGE = 1.035  # factor between configurations with equally many parameters, so that they do not hide each other


def accuracy_by_parameters(run: Run) -> Picture:
    """Best top-1 against trainable parameters, logarithmic; each seed faint, mean and standard deviation, reported."""
    figure, axes = one_panel(run)
    labels = configurations(run)[:MOST_DRAWN]
    counts = [trainable_parameters(run, label) or np.nan for label in labels]
    same = {
        number: [other for other, value in enumerate(counts) if value == counts[number]]
        for number in range(len(labels))
    }
    shifted = any(len(others) > 1 for others in same.values())

    def place(number: int, own: pd.DataFrame) -> pd.Series:
        rank = same[number].index(number) - (len(same[number]) - 1) / 2 if same[number] else 0.0
        return pd.Series(counts[number] * DODGE**rank, index=own.index)

    drawn = _scatter(figure, axes, run, ["best_top1"], place, "trainable_params")
    axes.set_xscale("log")
    known = [x for x in (*counts, *drawn["x"]) if np.isfinite(x)]
    if known:
        axes.set_xlim(min(known) / 1.6, max(known) * 1.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("trainable parameters")
    note = _explain(
        run,
        axes,
        "trainable_params",
        "configurations with equally many parameters stand side by side" if shifted else "",
    )
    return figure.showing(drawn, f"Best top-1 against trainable parameters, on a logarithmic axis: {note}.")


def accuracy_by_step_time(run: Run) -> Picture:
    """Best top-1 against the time of a training step; each seed faint, mean and standard deviation, reported."""
    figure, axes = one_panel(run)
    # Single-run times of the notes stand beside times of replicas that trained alone, not beside shares of a pack's.
    shares, times = final_table(run, "step_share_s"), final_table(run, "step_time_s")
    time = "step_time_s" if len(times) and times.notna().equals(shares.notna()) else "step_share_s"
    drawn = _scatter(figure, axes, run, ["best_top1", time], lambda _, own: own[time], time)
    if len(drawn):
        axes.set_xlim(0, 1.08 * drawn["x"].max())
    what = "time of a training step" if time == "step_time_s" else "a replica's share of a training step"
    axes.set_xlabel(f"{what}, median over epochs (s)")
    note = _explain(run, axes, time, "")
    return figure.showing(drawn, f"Best top-1 against the time of a training step: {note}.")


def _scatter(
    figure: Picture,
    axes: Axes,
    run: Run,
    metrics: list[str],
    place: Callable[[int, pd.DataFrame], "pd.Series[float]"],
    reported_place: str,
) -> pd.DataFrame:
    """Draw every configuration; ``place`` gives the x of each seed.

    Returns:
        what was drawn: columns configuration, source (measured, or the reported run), seed, x, best_top1.
    """
    axes.set_ylabel("best top-1 on the test set (%)")
    handles: list[Line2D] = []
    drawn: list[dict[str, Any]] = []
    for number, label in enumerate(configurations(run)[:MOST_DRAWN]):
        color, marker = color_and_marker(number)
        own = finals(run, label, *metrics)
        x, y = place(number, own).to_numpy(dtype=float), 100 * own["best_top1"].to_numpy(dtype=float)
        axes.plot(x, y, linestyle="", color=color, marker=marker, markersize=5, alpha=0.3, markeredgewidth=0, zorder=2)
        if len(y):
            spread: dict[str, Any] = {"yerr": y.std(ddof=1), "xerr": x.std(ddof=1)} if len(y) > 1 else {}
            axes.errorbar(x.mean(), y.mean(), **spread, color=color, elinewidth=1.4, capsize=4, zorder=3)
            style: dict[str, Any] = {"color": color, "markersize": 9, "markeredgecolor": "white"}
            axes.plot(x.mean(), y.mean(), linestyle="", marker=marker, zorder=4, **style)
            measured: dict[str, Any] = {"configuration": label, "source": "measured"}
            drawn += [
                {**measured, "seed": seed, "x": at, "best_top1": top1}
                for seed, at, top1 in zip(own.index, x, own["best_top1"], strict=True)
            ]
        name = textwrap.fill(f"{label} (n={len(y)})" if len(y) else f"{label} (nothing finished)", 28)
        handles.append(Line2D([], [], linestyle="", color=color, marker=marker, markersize=9, label=name))
        for entry in _reported(run, label, reported_place):
            at = entry.metrics[reported_place], 100 * entry.metrics["best_top1"]
            hollow: dict[str, Any] = {"linestyle": "", "color": color, "marker": marker, "markersize": 10}
            hollow["markerfacecolor"] = "none"
            axes.plot(*at, zorder=3, **hollow)
            theirs = {"configuration": label, "source": f"reported {entry.label}".strip(), "seed": None}
            drawn.append({**theirs, "x": at[0], "best_top1": entry.metrics["best_top1"]})
            name = textwrap.fill(f"{label} {entry.label}".strip(), 28) + ",\nreported (1 run)"
            handles.append(Line2D([], [], label=name, **hollow))
    if not drawn:
        say_nothing(axes, "no finished seed has these values")
    lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    size = 10 if lines <= 22 else 7
    add_legend(figure, handles, loc="outside right center", fontsize=size, labelspacing=0.7, handlelength=1.5)
    frame = pd.DataFrame(drawn, columns=["configuration", "source", "seed", "x", "best_top1"])
    return frame.astype({"seed": "Int64", "x": float, "best_top1": float})


def _reported(run: Run, label: str, place: str) -> list[Reported]:
    if not same_setting(run):
        return []
    return [entry for entry in reported(run, label) if {"best_top1", place} <= entry.metrics.keys()]


def _explain(run: Run, axes: Axes, reported_place: str, more: str) -> str:
    """Write what is seen above the axes and return it."""
    parts = [measured_setting(run), "large: mean ± standard deviation over seeds, small: each seed"]
    if more:
        parts.append(more)
    given = [entry for label in configurations(run) for entry in reported(run, label)]
    if any(_reported(run, label, reported_place) for label in configurations(run)):
        parts.append("hollow: reported, same data set and backbone")
    elif given and same_setting(run):
        parts.append("the reported numbers lack one of the two values")
    elif given:
        parts.append("reported numbers left out: not known to be of this data set and backbone")
    hidden = len(configurations(run)) - MOST_DRAWN
    if hidden > 0:
        parts.append(f"{hidden} more configurations in the table")
    note = "; ".join(parts)
    subtitle(axes, note)
    return note
