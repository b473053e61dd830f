"""Pictures of a study of LoRA's rank: accuracy against rank and against trainable parameters, learning curves."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.captions import measured_setting
from analysis.rank_series import FINAL, Rule, curves, on_front, reference, rules, seed_interval
from analysis.records import Run
from analysis.series import REPLICA, configurations, final_values
from analysis.style import (
    HEIGHT,
    PALETTE,
    Picture,
    add_legend,
    new_figure,
    one_panel,
    plain_axes,
    say_nothing,
    subtitle,
)
from analysis.tuning_series import parameters, trainable_parameters

RULE_STYLES: list[dict[str, Any]] = [
    {"color": PALETTE[1], "marker": "o", "linestyle": "-"},
    {"color": PALETTE[2], "marker": "s", "linestyle": "--"},
    {"color": PALETTE[3], "marker": "^", "linestyle": ":"},
]
REFERENCES: dict[str, dict[str, Any]] = {
    "head": {"color": "#7A7A7A", "marker": "D", "linestyle": (0, (1, 1.5))},
    "full": {"color": "#000000", "marker": "X", "linestyle": (0, (6, 2))},
}
NAMES = {"head": "head alone", "full": "full fine-tuning"}
FRONT: dict[str, Any] = {"color": "#009E73", "linewidth": 6.0, "alpha": 0.25}
DODGE = 1.045  # factor between rules at one place, so that they do not hide each other


def accuracy_by_rank(run: Run) -> Picture:
    """A line per rule for alpha with the seed intervals of every rank; head and full fine-tuning as bands."""
    figure, axes = one_panel(run)
    every, handles = _drawn_rules(run), []
    for number, (rule, style) in enumerate(every):
        shift = DODGE ** (2 * number - len(every) + 1)
        where, means = [], []
        for rank, label in rule.labels.items():
            if _point(axes, run, label, rank * shift, style):
                where.append(rank * shift)
                means.append(100 * final_values(run, label, FINAL).mean())
        axes.plot(where, means, color=style["color"], linestyle=style["linestyle"], linewidth=2.2, zorder=3)
        handles.append(Line2D([], [], linewidth=2.2, label=f"LoRA, {rule.name}", markersize=8, **style))
    ranks = sorted({rank for rule, _ in every for rank in rule.labels})
    for wanted, style in REFERENCES.items():
        handles += _band(axes, run, wanted, style)
    if ranks:
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(ranks) / 1.25, max(ranks) * 1.25)
        axes.set_xticks(ranks, [str(rank) for rank in ranks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        say_nothing(axes, "no LoRA was trained")
    axes.set_xlabel("rank r of LoRA")
    axes.set_ylabel("final top-1 on the test texts (%)")
    note = f"{measured_setting(run)}; large: mean with its 95 % interval over seeds, small: each seed"
    subtitle(axes, note)
    add_legend(figure, handles, loc="outside right center", fontsize=10, labelspacing=0.7)
    return figure.showing(_drawn_finals(run), f"Final top-1 against the rank of LoRA: {note}.")


def accuracy_by_trained_parameters(run: Run) -> Picture:
    """Final top-1 against trainable parameters with seed intervals, and the Pareto front of the means."""
    figure, axes = one_panel(run)
    front, every, handles = _front(axes, run), _drawn_rules(run), []
    for number, (rule, style) in enumerate(every):
        shift = DODGE ** (2 * number - len(every) + 1)
        for rank, label in rule.labels.items():
            at = (trainable_parameters(run, label) or np.nan) * shift
            if _point(axes, run, label, at, style):
                _name(axes, run, label, at, f"r={rank}", style["color"], below=number % 2 == 1)
        handles.append(Line2D([], [], label=f"LoRA, {rule.name}", markersize=8, **(style | {"linestyle": ""})))
    for wanted, style in REFERENCES.items():
        only = reference(run, wanted)
        if only is not None and _point(axes, run, only, trainable_parameters(run, only) or np.nan, style):
            handles.append(Line2D([], [], label=NAMES[wanted], markersize=9, **(style | {"linestyle": ""})))
    if front:
        handles.append(Line2D([], [], label="Pareto front\nof the means", **FRONT))
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        say_nothing(axes, "no seed has finished")
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("final top-1 on the test texts (%)")
    note = f"{measured_setting(run)}; large: mean with its 95 % interval over seeds, small: each seed"
    subtitle(axes, note)
    add_legend(figure, handles, loc="outside right center", fontsize=10, labelspacing=0.7, handlelength=2)
    return figure.showing(_drawn_finals(run), f"Final top-1 against the number of trainable parameters: {note}.")


def learning_curves(run: Run) -> Picture:
    """A panel per rule for alpha: test accuracy by step, a colour per rank, head and full fine-tuning in each."""
    measured, every = curves(run), [rule for rule, _ in _drawn_rules(run)]
    figure = new_figure(run, HEIGHT if len(every) < 2 else HEIGHT * 1.1)
    panels = figure.subplots(1, max(len(every), 1), squeeze=False, sharex=True, sharey=True)[0]
    ranks = sorted({rank for rule in every for rank in rule.labels})
    shades = mpl.colormaps["viridis"](np.linspace(0.95, 0.05, max(len(ranks), 2)))
    colors = dict(zip(ranks, shades, strict=False))
    handles: list[Any] = []
    for wanted, style in REFERENCES.items():
        label = reference(run, wanted)
        if label is not None:
            line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2.0}
            handles.append(Line2D([], [], label=NAMES[wanted], **line))
            for axes in panels:
                _curve(axes, measured, label, line)
    for axes in panels:
        plain_axes(axes)
        axes.set_xlabel("step")
    for axes, rule in zip(panels, every, strict=False):
        axes.set_title(rule.name, loc="left", fontsize=11, fontweight="bold", parse_math=False)
        for rank, label in rule.labels.items():
            _curve(axes, measured, label, {"color": colors[rank], "linewidth": 2.0})
    handles += [Line2D([], [], color=color, linewidth=2.0, label=f"LoRA, r={rank}") for rank, color in colors.items()]
    if measured.empty:
        say_nothing(panels[0], "nothing was evaluated")
    panels[0].set_ylabel("top-1 on the test texts (%)")
    note = f"{measured_setting(run)}; thick: mean over the seeds that got there, thin: each seed"
    add_legend(
        figure, handles, loc="outside lower center", ncols=min(len(handles), 4) or 1, fontsize=10,
        title=note, title_fontsize=10, handlelength=2.2,
    )  # fmt: skip
    frame = measured[measured["configuration"].isin(_drawn(run))]
    return figure.showing(frame, f"Learning curves, top-1 on the test texts by step: {note}.")


def _drawn_rules(run: Run) -> list[tuple[Rule, dict[str, Any]]]:
    return list(zip(rules(run), RULE_STYLES, strict=False))


def _drawn(run: Run) -> dict[str, str]:
    """What is drawn: label -> rule for alpha, or head or full."""
    known = {label: rule.name for rule, _ in _drawn_rules(run) for label in rule.labels.values()}
    return known | {label: wanted for wanted in REFERENCES if (label := reference(run, wanted)) is not None}


def _drawn_finals(run: Run) -> pd.DataFrame:
    front, frames = on_front(run), []
    for label, kind in _drawn(run).items():
        own = final_values(run, label, FINAL)
        frame = pd.DataFrame({"configuration": label, "kind": kind, "seed": own.index, FINAL: own.to_numpy()})
        rank = parameters(run, label).get("rank") if kind not in REFERENCES else None
        trainable = trainable_parameters(run, label)
        frame[["rank", "trainable_params"]] = pd.array([rank, trainable], dtype="Int64")
        frames.append(frame.assign(on_front=front.get(label, False)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["configuration", "kind", "seed"])


def _point(axes: Axes, run: Run, label: str, x: float, style: dict[str, Any]) -> bool:
    """Mean, seed interval and every seed of a configuration at ``x``; whether there is anything to draw."""
    values = 100 * final_values(run, label, FINAL).to_numpy()
    if not len(values) or not np.isfinite(x):
        return False
    color, marker = style["color"], style["marker"]
    faint: dict[str, Any] = {"color": color, "alpha": 0.3, "markeredgewidth": 0}
    axes.plot([x] * len(values), values, linestyle="", marker=marker, markersize=4.5, zorder=2, **faint)
    if bounds := seed_interval(values):
        axes.plot([x, x], bounds, color=color, linewidth=1.4, marker="_", markersize=8, zorder=3)
    axes.plot(
        x, values.mean(), linestyle="", color=color, marker=marker, markersize=8.5, markeredgecolor="white", zorder=5
    )
    return True


def _band(axes: Axes, run: Run, wanted: str, style: dict[str, Any]) -> Sequence[Any]:
    """A horizontal line at the mean of head or full, and its seed interval; the legend's handles."""
    label = reference(run, wanted)
    values = 100 * final_values(run, label, FINAL).to_numpy() if label is not None else np.array([])
    if not len(values):
        return []
    line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.8}
    axes.axhline(values.mean(), zorder=2, **line)
    handles: list[Any] = [Line2D([], [], label=NAMES[wanted], **line)]
    if bounds := seed_interval(values):
        fill: dict[str, Any] = {"color": style["color"], "alpha": 0.1, "linewidth": 0}
        axes.axhspan(*bounds, zorder=1, **fill)
        handles.append(Patch(label=textwrap.fill(f"{NAMES[wanted]}, 95\u00a0% interval", 24), **fill))
    return handles


def _front(axes: Axes, run: Run) -> bool:
    """The staircase of the Pareto front; whether there is any."""
    points = sorted((trainable_parameters(run, label) or 0, 100 * final_values(run, label, FINAL).mean())
                    for label, front in on_front(run).items() if front)  # fmt: skip
    if not points:
        return False
    x, y = zip(*points, strict=True)
    widest = max(trainable_parameters(run, label) or 0 for label in configurations(run))
    axes.step([*x, max(widest, x[-1]) * 1.3], [*y, y[-1]], where="post", zorder=1, **FRONT)
    return True


def _name(axes: Axes, run: Run, label: str, x: float, text: str, color: str, below: bool) -> None:
    """The rank beside its point, outside of its interval."""
    values = 100 * final_values(run, label, FINAL).to_numpy()
    bounds = seed_interval(values) or (values.mean(), values.mean())
    y, offset = (min(bounds[0], values.min()), -5) if below else (max(bounds[1], values.max()), 5)
    axes.annotate(
        text, (x, y), xytext=(0, offset), textcoords="offset points", ha="center", va="top" if below else "bottom",
        fontsize=9, color=color,
    )  # fmt: skip


def _curve(axes: Axes, measured: pd.DataFrame, label: str, line: dict[str, Any]) -> None:
    own = measured[measured["configuration"] == label]
    for _, seed in own.groupby(REPLICA):
        axes.plot(seed["step"], 100 * seed["value"], **(line | {"linewidth": 0.8, "alpha": 0.3}), zorder=2)
    mean = 100 * own.groupby("step")["value"].mean()
    axes.plot(mean.index, mean, zorder=4, **line)
