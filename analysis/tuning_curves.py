"""Pictures of how a fine-tuning run went: learning rates and warm-up, calibration, interference."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.captions import measured_setting
from analysis.records import Run
from analysis.series import REPLICA, configurations
from analysis.style import (
    HEIGHT,
    MOST_DRAWN,
    Picture,
    add_legend,
    color_and_marker,
    each_seed,
    new_figure,
    plain_axes,
    say_nothing,
    some_seeds,
    subtitle,
)
from analysis.tuning_sentences import freeze_steps
from analysis.tuning_series import by_epoch, by_step, epoch_count, groups, parameters

GROUP_STYLES: dict[str, dict[str, Any]] = {
    # From wide to narrow, since groups with the same rate lie on each other.
    "head": {"color": "#9A9A9A", "linewidth": 4.5},
    "norm": {"color": "#009E73", "linewidth": 2.4},
    "lora": {"color": "#D55E00", "linewidth": 1.5},
}
GROUP_LINES = {"head": ":", "norm": "--", "lora": "-"}
FLOOR: dict[str, Any] = {"color": "#000000", "linewidth": 1.0, "linestyle": (0, (4, 3))}
FROZEN: dict[str, Any] = {"color": "#0072B2", "alpha": 0.12, "linewidth": 0}
MOST_COLUMNS, MOST_PANELS = 5, 15
SMALLEST_RATE = 1e-6  # below, the axis is linear, so that a rate of 0 is on the page


def learning_rates(run: Run) -> Picture:
    """Per configuration the rate of each group with its floor, and below it how the norm of the LoRA weights moves.

    The steps in which LoRA is to be frozen are shaded: the norm must be level there.
    """
    labels = configurations(run)[:MOST_PANELS]
    bands = -(-max(len(labels), 1) // MOST_COLUMNS)
    columns = -(-max(len(labels), 1) // bands)
    figure = new_figure(run, HEIGHT * (1 if bands == 1 else 0.75 * bands))
    grid = figure.subplots(2 * bands, columns, squeeze=False, sharex="col")
    rates = {group: by_step(run, f"lr/{group}") for group in groups(run, "train", "lr")}
    norms = by_step(run, "weight_norm/lora")
    highest = max((frame["value"].max() for frame in rates.values() if not frame.empty), default=SMALLEST_RATE)
    for position, label in enumerate(labels):
        band, column = divmod(position, columns)
        upper, lower = grid[2 * band, column], grid[2 * band + 1, column]
        _rate_panel(upper, {group: frame[frame["configuration"] == label] for group, frame in rates.items()}, highest)
        upper.tick_params(labelleft=column == 0)
        _norm_panel(lower, norms[norms["configuration"] == label])
        upper.set_title(
            textwrap.fill(label, 92 // columns), loc="left", fontsize=10, fontweight="bold", parse_math=False
        )
        known = parameters(run, label)
        if known.get("eta_min"):
            upper.axhline(float(known["eta_min"]), zorder=1, **FLOOR)
        if freeze_steps(run, label) and not norms[norms["configuration"] == label].empty:
            for axes in (upper, lower):
                axes.axvspan(0, freeze_steps(run, label), zorder=0, **FROZEN)
        lower.set_xlabel("step")
        lower.tick_params(labelbottom=True)
        if column == 0:
            upper.set_ylabel("learning rate")
            lower.set_ylabel("norm of the LoRA weights,\nchange since the first record")
    for position in range(len(labels), bands * columns):
        band, column = divmod(position, columns)
        for row in (2 * band, 2 * band + 1):
            grid[row, column].remove()
    handles: list[Any] = [Line2D([], [], label=group, **_group_style(group)) for group in rates]
    handles += [Line2D([], [], label="floor (eta_min)", **FLOOR), Patch(label="LoRA to be frozen", **FROZEN)]
    note = f"{measured_setting(run)}; lines: {each_seed(run)}"
    hidden = len(configurations(run)) - MOST_PANELS
    note += f"; {hidden} more configurations are not drawn" if hidden > 0 else ""
    add_legend(
        figure, handles, loc="outside lower center", ncols=len(handles), fontsize=10, title=note, title_fontsize=10
    )
    caption = "Learning rate of each group of parameters, and the norm of the LoRA weights since its first record"
    curves = {f"lr/{group}": frame for group, frame in rates.items()} | {"weight_norm/lora": norms}
    return figure.showing(_long(curves, labels), f"{caption}; steps in which LoRA is frozen are shaded. {note}.")


def calibration(run: Run) -> Picture:
    """ECE per epoch, and at the end before and after temperature scaling; mean over seeds, each seed faint."""
    figure = new_figure(run)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    ece = by_epoch(run, "eval", "ece")
    sides = {moment: by_epoch(run, "calibration", f"ece_{moment}") for moment in ("before", "after")}
    labels = configurations(run)[:MOST_DRAWN]
    handles = _epoch_lines(left, ece, labels)
    _epoch_axis(left, max((epoch_count(run, label) for label in labels), default=1))
    left.set_ylabel("expected calibration error (15 bins)")
    left.set_ylim(bottom=0)
    subtitle(left, "each epoch, test set", 60)
    if ece.empty:
        say_nothing(left, "no epoch was evaluated")

    plain_axes(right)
    for number, label in enumerate(labels):
        color, marker = color_and_marker(number)
        means = {}
        for moment, frame in sides.items():
            values = frame.loc[frame["configuration"] == label, "value"].to_numpy()
            fill: dict[str, Any] = {"markerfacecolor": "white" if moment == "before" else color}
            faint: dict[str, Any] = {"color": color, "marker": marker, "linestyle": "", "alpha": 0.3}
            right.plot(values, np.full(len(values), number), markersize=5, **faint, **fill)
            if len(values):
                means[moment] = values.mean()
                right.plot(means[moment], number, color=color, marker=marker, markersize=9, zorder=4, **fill)
        if len(means) == 2:
            right.plot([means["before"], means["after"]], [number, number], color=color, linewidth=1.6, zorder=3)
    names = [textwrap.shorten(label, 30, placeholder="...") for label in labels]
    right.set_yticks(range(len(labels)), names, fontsize=9, parse_math=False)
    right.set_ylim(len(labels) - 0.4, -0.6)
    right.set_xlim(left=0)
    right.set_xlabel("expected calibration error")
    subtitle(right, "last epoch, temperature scaling: hollow before, filled after", 46)
    if all(frame.empty for frame in sides.values()):
        say_nothing(right, "no temperature was fitted")
    note = f"{measured_setting(run)}; thick or large: mean over seeds, thin or small: {each_seed(run)}"
    _legend_below(figure, handles, note)
    data = _long({"ece": ece} | {f"ece_{moment}": frame for moment, frame in sides.items()}, labels)
    caption = "Expected calibration error (15 bins) by epoch, and after the last before and after temperature scaling"
    return figure.showing(data, f"{caption}: {note}.")


def interference(run: Run) -> Picture | None:
    """The cosine between what LoRA-only and norm-only updates do to the logits, and gradient norms, per epoch.

    None where no configuration measured it: it needs both groups.
    """
    cosine = by_epoch(run, "diagnostics", "interference")
    if cosine.empty:
        return None
    figure = new_figure(run)
    left, right = figure.subplots(1, 2)
    labels = configurations(run)[:MOST_DRAWN]
    handles = _epoch_lines(left, cosine, labels)
    left.axhline(0, color="#444444", linewidth=1.0)
    left.set_ylim(-1.05, 1.05)
    left.set_ylabel("cosine")
    subtitle(left, "changes of the logits by a LoRA-only and a norm-only update: below 0 they oppose each other", 54)
    both = set(cosine["configuration"])
    shown = []
    curves = {"interference": cosine}
    for group in groups(run, "diagnostics", "grad_norm"):
        frame = by_epoch(run, "diagnostics", f"grad_norm/{group}")
        frame = frame[frame["configuration"].isin(both) & (frame["value"] > 0)]
        shown += [group] if len(frame) else []
        curves[f"grad_norm/{group}"] = frame
        _epoch_lines(right, frame, labels, linestyle=GROUP_LINES.get(group, "-."), seeds=False)
    right.set_yscale("log")
    right.set_ylabel("norm of the gradient")
    subtitle(right, "mean over seeds, by group of parameters", 54)
    epochs = max(epoch_count(run, label) for label in labels)
    for axes in (left, right):
        _epoch_axis(axes, epochs)
    for group in shown:
        style: dict[str, Any] = {"color": "#444444", "linestyle": GROUP_LINES.get(group, "-.")}
        handles.append(Line2D([], [], label=f"gradient of {group}", **style))
    note = f"{measured_setting(run)}; thick: mean over seeds, thin: {each_seed(run)}"
    _legend_below(figure, handles, note)
    caption = (
        "Cosine between the changes of the logits by a LoRA-only and a norm-only update, and norms of the gradient"
    )
    return figure.showing(_long(curves, labels), f"{caption}, by epoch: {note}.")


def _long(curves: dict[str, pd.DataFrame], labels: list[str]) -> pd.DataFrame:
    """The curves of the configurations that are drawn, below each other, with their name in a column."""
    frame = pd.concat([curve.assign(name=name) for name, curve in curves.items()], ignore_index=True)
    return frame[frame["configuration"].isin(labels)].reset_index(drop=True)


def _rate_panel(axes: Axes, rates: dict[str, pd.DataFrame], highest: float) -> None:
    plain_axes(axes)
    axes.set_yscale("symlog", linthresh=SMALLEST_RATE)
    axes.set_ylim(0, 3 * max(highest, SMALLEST_RATE))
    for group, frame in rates.items():
        for _, own in some_seeds(frame).groupby(REPLICA):
            axes.plot(own["step"], own["value"], zorder=2, drawstyle="steps-post", **_group_style(group))
    if all(frame.empty for frame in rates.values()):
        say_nothing(axes, "not recorded")


def _norm_panel(axes: Axes, norms: pd.DataFrame) -> None:
    plain_axes(axes)
    for _, own in some_seeds(norms).groupby(REPLICA):
        # The norms at the start lie further apart from seed to seed than training moves them.
        change = own["value"] - own["value"].iloc[0]
        # In steps: a slope towards the first record after the warm-up would look like a move within it.
        line = {"color": GROUP_STYLES["lora"]["color"], "linewidth": 1.4, "alpha": 0.7, "drawstyle": "steps-post"}
        axes.plot(own["step"], change, **line)
    if norms.empty:
        axes.set_yticks([])
        say_nothing(axes, "no LoRA\nrecorded")


def _epoch_lines(
    axes: Axes, frame: pd.DataFrame, labels: list[str], linestyle: str = "-", seeds: bool = True
) -> list[Line2D]:
    """One line per configuration that has values, each seed faint behind its mean. Returns the legend's handles."""
    handles = []
    for number, label in enumerate(labels):
        own = frame[frame["configuration"] == label]
        if own.empty:
            continue
        color, marker = color_and_marker(number)
        for _, seed in some_seeds(own).groupby(REPLICA) if seeds else ():
            axes.plot(seed["epoch"] + 1, seed["value"], color=color, linewidth=1.0, alpha=0.3, zorder=2)
        mean = own.groupby("epoch")["value"].mean()
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 6.0, "markeredgecolor": "white"}
        axes.plot(mean.index + 1, mean, linewidth=2.2, linestyle=linestyle, zorder=4, **style)
        replicas = own.drop_duplicates(REPLICA).shape[0]
        handles.append(Line2D([], [], linewidth=2.2, label=textwrap.fill(f"{label} (n={replicas})", 36), **style))
    return handles


def _epoch_axis(axes: Axes, epochs: int) -> None:
    plain_axes(axes)
    axes.set_xlim(0.7, max(epochs, 1) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.set_xlabel("epoch")


def _legend_below(figure: Picture, handles: list[Line2D], note: str) -> None:
    layout: dict[str, Any] = {"loc": "outside lower center", "ncols": 3, "title": note, "title_fontsize": 10}
    add_legend(figure, handles, fontsize=10 if len(handles) <= 9 else 8, **layout)


def _group_style(group: str) -> dict[str, Any]:
    return GROUP_STYLES.get(group, {"color": "#CC79A7", "linewidth": 1.5})
