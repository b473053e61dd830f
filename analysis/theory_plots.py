"""Pictures of the linear theory: error against rank, and the gap to the bound against steps."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.captions import measured_setting
from analysis.records import Run
from analysis.series import REPLICA, configurations
from analysis.style import PALETTE, Picture, add_legend, color_and_marker, new_figure, plain_axes, say_nothing
from analysis.theory_series import TOLERANCE, final_cases, percent, teachers

CASE = ["teacher", "rank"]
MOST_DRAWN = 6  # configurations in one picture
LOWEST_GAP = 1e-4  # of the axis, a fraction
BOUND = "#BBBBBB"


def error_by_rank(run: Run, every: pd.DataFrame) -> Picture:
    """Learned error and bound against rank, one panel per teacher; line: mean, band: range over seeds."""
    final = final_cases(every)
    names = teachers(run, final)
    figure = new_figure(run)
    panels = figure.subplots(1, max(len(names), 1), squeeze=False, sharey=True)[0]
    bottom = final.loc[final["bound"] > 0, "bound"].min() / 2
    labels = configurations(run)[:MOST_DRAWN]
    for name, axes in zip(names, panels, strict=False):
        _rank_panel(axes, final[final["teacher"] == name], labels, bottom)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=11, fontweight="bold")
    if not names:
        plain_axes(panels[0])
        say_nothing(panels[0], "no seed has finished")
    panels[0].set_ylabel("squared Frobenius error of the update")
    handles: list[Any] = [Line2D([], [], color=BOUND, linewidth=6, label="Eckart-Young bound")]
    for number, label in enumerate(labels):
        color, marker = color_and_marker(number + 1)
        handles.append(Line2D([], [], color=color, marker=marker, linewidth=1.4, label=label))
    if (final["bound"] == 0).any():
        handles.append(Line2D([], [], linestyle="", marker="v", color="#666666", label="bound 0, error below the axis"))
    note = f"After the last step; {measured_setting(run)}; line: mean over seeds, band: their range"
    add_legend(figure, handles, loc="outside lower center", ncols=3, fontsize=10, title=note, title_fontsize=10)
    frame = final.loc[final["configuration"].isin(labels), ["configuration", *REPLICA, *CASE, "error", "bound"]]
    return figure.showing(frame, f"Learned error and the smallest possible one against rank. {note}{_hidden(run)}.")


def _rank_panel(axes: Axes, own: pd.DataFrame, labels: list[str], bottom: float) -> None:
    bounds = own.drop_duplicates(["seed", "rank"]).groupby("rank")["bound"].mean()
    positive = bounds[bounds > 0]
    axes.plot(positive.index, positive, color=BOUND, linewidth=7, solid_capstyle="round", zorder=2)
    for number, label in enumerate(labels):
        color, marker = color_and_marker(number + 1)
        errors = own[own["configuration"] == label].groupby("rank")["error"].agg(["mean", "min", "max"]).astype(float)
        shown = errors[errors["mean"] > bottom]
        axes.fill_between(shown.index, shown["min"], shown["max"], color=color, alpha=0.2, linewidth=0, zorder=1)
        style: dict[str, Any] = {"color": color, "marker": marker, "markeredgecolor": "white", "linewidth": 1.4}
        axes.plot(shown.index, shown["mean"], markersize=9 - 1.2 * number, zorder=3 + number, **style)
    axes.set_yscale("log")
    _plain_numbers(axes, (1, 2, 5))
    if below := sorted(set(own.loc[~(own["error"] > bottom), "rank"])):
        axes.plot(below, [bottom * 1.15] * len(below), linestyle="", marker="v", color="#666666", zorder=9)
    if bottom > 0:
        axes.set_ylim(bottom=bottom)
    _rank_axis(axes, sorted(set(own["rank"])))


def _rank_axis(axes: Axes, ranks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("rank")
    plain_axes(axes)


def gap_by_step(run: Run, every: pd.DataFrame) -> Picture:
    """Gap to the bound against steps, a line per rank; a row of panels per teacher, a column per configuration."""
    names, labels = teachers(run, every), configurations(run)[:MOST_DRAWN]
    figure = new_figure(run, height=1.6 + 2.3 * max(len(names), 1))
    panels = figure.subplots(max(len(names), 1), max(len(labels), 1), squeeze=False, sharex=True, sharey=True)
    ranks = sorted(set(every["rank"]))
    if len(every):
        panels[0, 0].set_ylim(100 * LOWEST_GAP, 150 * max(every["gap"].max(), TOLERANCE))
    for row, name in enumerate(names):
        for column, label in enumerate(labels):
            axes = panels[row, column]
            _step_panel(axes, every[(every["teacher"] == name) & (every["configuration"] == label)], ranks)
            if row == 0:
                axes.set_title(textwrap.fill(label, 24), loc="left", fontsize=10, fontweight="bold", parse_math=False)
            if row == len(names) - 1:
                axes.set_xlabel("optimizer steps")
        panels[row, 0].set_ylabel(f"{name.replace('_', ' ')}\ngap (%)")
    handles: list[Any] = [
        Line2D([], [], color=_rank_color(ranks, rank), linewidth=2, label=f"rank {rank}") for rank in ranks
    ]
    handles += [Line2D([], [], color="#666666", linestyle=":", label=percent(TOLERANCE))]
    handles += [Patch(color="#666666", alpha=0.2, label="range over seeds")]
    note = (
        f"{measured_setting(run)}; gap: error beyond the bound as a share of the bound, or of ||W* - W0||² where the "
        f"bound is 0; below {percent(LOWEST_GAP, 2)} drawn at the bottom"
    )
    title = textwrap.fill(note, 110)
    add_legend(figure, handles, loc="outside lower center", ncols=8, fontsize=9, title=title, title_fontsize=9)
    frame = every.loc[every["configuration"].isin(labels), ["configuration", *REPLICA, *CASE, "step", "gap"]]
    return figure.showing(frame, f"Gap to the smallest possible error against steps: {note}{_hidden(run)}.")


def _hidden(run: Run) -> str:
    hidden = len(configurations(run)) - MOST_DRAWN
    return f"; {hidden} more configurations in the table" if hidden > 0 else ""


def _step_panel(axes: Axes, own: pd.DataFrame, ranks: list[int]) -> None:
    for rank in ranks:
        gaps = own[own["rank"] == rank].groupby("step")["gap"].agg(["mean", "min", "max"]).astype(float)
        gaps = 100 * gaps.clip(lower=LOWEST_GAP)
        color = _rank_color(ranks, rank)
        axes.fill_between(gaps.index, gaps["min"], gaps["max"], color=color, alpha=0.1, linewidth=0)
        axes.plot(gaps.index, gaps["mean"], color=color, linewidth=1.6)
    axes.axhline(100 * TOLERANCE, color="#666666", linestyle=":", linewidth=1.2)
    axes.set_yscale("log")
    _plain_numbers(axes, (1,))
    plain_axes(axes)


def _plain_numbers(axes: Axes, digits: tuple[int, ...]) -> None:
    """Ticks of a logarithmic y axis at ``digits`` times powers of ten, without exponents."""
    axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _rank_color(ranks: list[int], rank: int) -> str:
    return PALETTE[ranks.index(rank) % len(PALETTE)]
