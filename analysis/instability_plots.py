"""Pictures of instability: every seed's final value, performance profiles, sources of spread."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis.against_notes import reported_value
from analysis.captions import count, measured_setting
from analysis.instability import Stability, performance_profile
from analysis.records import Run
from analysis.series import reported
from analysis.style import (
    HEIGHT,
    MOST_PANELS,
    PALETTE,
    Picture,
    add_legend,
    color_and_marker,
    new_figure,
    one_panel,
    panel_grid,
    panel_title,
    say_nothing,
    subtitle,
)
from analysis.variance import Split

MOST_ROWS = 30
FEWEST_SEEDS_VIOLIN = 10  # the outline of fewer values is that of the kernel
SEED, REPORTED = "#8A8A8A", PALETTE[2]


def final_values_strip(run: Run, found: Sequence[Stability], metric: str) -> Picture:
    """One row per configuration: every seed, the mean with its interval, reported values as stars.

    Args:
        metric: its final metric, a fraction.
    """
    shown = found[:MOST_ROWS]
    figure, axes = one_panel(run, max(HEIGHT / 2, 1.9 + 0.42 * len(shown)))
    kinds = {"seed": False, "reported": False}
    drawn: list[dict[str, Any]] = []
    for row, one in enumerate(shown):
        color, _ = color_and_marker(row)
        percent = 100 * one.values
        if percent.size >= FEWEST_SEEDS_VIOLIN and np.ptp(percent) > 0:
            violin: Any = axes.violinplot(percent, [row], orientation="horizontal", widths=0.8, showextrema=False)
            violin["bodies"][0].set(facecolor=color, alpha=0.18, edgecolor="none")
        if percent.size:
            # A fixed spread across the row, so that equal values are seen to be several.
            offsets = 0.22 * (np.arange(percent.size) - (percent.size - 1) / 2) / max(percent.size - 1, 1)
            axes.plot(percent, row + offsets, "o", color=color, alpha=0.55, markersize=6, markeredgewidth=0, zorder=3)
            kinds["seed"] = True
        drawn += [{"configuration": one.configuration, "what": "seed", "value": value} for value in one.values]
        if one.summary and "mean" in one.summary.intervals:
            low, high = one.summary.intervals["mean"]
            drawn += [
                {"configuration": one.configuration, "what": "mean, 95 % interval", "value": side}
                for side in (low, high)
            ]
            axes.plot([100 * low, 100 * high], [row, row], color="black", linewidth=2.2, zorder=4)
        if one.summary:
            axes.plot(100 * one.summary.mean, row, "|", color="black", markersize=15, markeredgewidth=2.2, zorder=5)
            drawn.append({"configuration": one.configuration, "what": "mean", "value": one.summary.mean})
        values = [reported_value(run, entry, metric) for entry in reported(run, one.configuration)]
        for value in (value for value in values if value is not None):
            drawn.append({"configuration": one.configuration, "what": "reported", "value": value})
            axes.plot(
                100 * value, row, "*", color="white", markeredgecolor=REPORTED, markersize=14, markeredgewidth=1.6
            )
            kinds["reported"] = True
    axes.set_yticks(range(len(shown)), [textwrap.shorten(one.configuration, 34) for one in shown], parse_math=False)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.set_xlabel(f"{metric.replace('_', ' ')} (%)")
    if not kinds["seed"]:
        say_nothing(axes, "no seed has a final value")
    hidden = f"; {len(found) - len(shown)} more configurations in the table" if len(found) > len(shown) else ""
    note = f"{measured_setting(run)}; not finished seeds are not drawn{hidden}"
    subtitle(axes, note)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=SEED, label="one seed"),
        Line2D([], [], marker="|", color="black", linewidth=2.2, markersize=13, label="mean, 95 % bootstrap interval"),
    ]
    if kinds["reported"]:
        star: dict[str, Any] = {"marker": "*", "linestyle": "", "color": "white", "markeredgecolor": REPORTED}
        handles.append(Line2D([], [], label="reported in the notes (1 run), not measured here", markersize=13, **star))
    add_legend(figure, handles, loc="outside lower center", ncols=3, fontsize=10)
    frame = pd.DataFrame(drawn, columns=["configuration", "what", "value"]).astype({"value": float})
    return figure.showing(frame, f"Every seed's {metric.replace('_', ' ')} by configuration: {note}.")


def performance_profiles(run: Run, found: Sequence[Stability], metric: str) -> Picture:
    """Fraction of seeds above every threshold, one panel per configuration with exact pointwise intervals.

    Args:
        metric: its final metric, a fraction.
    """
    drawn = [(place, one) for place, one in enumerate(found) if one.values.size][:MOST_PANELS]
    figure = new_figure(run)
    panels, columns = panel_grid(figure, len(drawn))
    every = np.concatenate([one.values for _, one in drawn]) if drawn else np.zeros(1)
    margin = 0.08 * max(float(np.ptp(every)), 0.01)
    thresholds = np.linspace(every.min() - margin, every.max() + margin, 400)
    profiles = [performance_profile(one.values, thresholds) for _, one in drawn]
    for number, ((place, one), axes) in enumerate(zip(drawn, panels, strict=False)):
        for fraction, _, _ in profiles:
            axes.plot(100 * thresholds, fraction, color="#BBBBBB", linewidth=0.9, zorder=1)
        color, _ = color_and_marker(place)
        fraction, low, high = profiles[number]
        axes.fill_between(100 * thresholds, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(100 * thresholds, fraction, color=color, linewidth=2.2, zorder=3)
        panel_title(axes, f"{one.configuration} (n={one.values.size})", columns)
    if not drawn:
        say_nothing(panels[0], "no seed has a final value")
    figure.supylabel("fraction of seeds above the threshold", fontsize=11)
    hidden = len(found) - len(drawn)
    note = f"; {hidden} more configurations in the table" if hidden > 0 else ""
    label = f"threshold of {metric.replace('_', ' ')} (%)\n{measured_setting(run)}; grey: the other configurations; "
    figure.supxlabel(f"{label}bands: 95 % exact interval at each threshold{note}", fontsize=10, parse_math=False)
    columns_of = ("fraction", "low", "high")
    frames = [
        pd.DataFrame(
            {"configuration": one.configuration, "threshold": thresholds, **dict(zip(columns_of, own, strict=True))}
        )
        for (_, one), own in zip(drawn, profiles, strict=True)
    ]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["configuration", "threshold"])
    caption = f"Performance profiles: fraction of seeds whose {metric.replace('_', ' ')} is above each threshold"
    return figure.showing(frame, f"{caption}, with 95 % exact intervals; {measured_setting(run)}{note}.")


def variance_components(run: Run, found: Split | None) -> Picture:
    """Standard deviation of every source of spread, with its interval, in percentage points."""
    known = found.components if found else ()
    figure, axes = one_panel(run, max(HEIGHT / 2, 1.9 + 0.6 * len(known)))
    for row, one in enumerate(known):
        low, high = 100 * np.sqrt(one.low), 100 * np.sqrt(one.high)
        axes.barh(row, 100 * one.std, color=PALETTE[1], height=0.55, alpha=0.75, zorder=2)
        axes.plot([low, high], [row, row], color="black", linewidth=1.8, marker="|", markersize=10, zorder=3)
        share = "" if one.share is None else f"{100 * one.share:.0f} % of the variance, "
        text = f"{share}{count(one.levels, 'level')}"
        axes.annotate(text, (max(high, 100 * one.std), row), xytext=(8, 0), textcoords="offset points", va="center")
    names = [textwrap.fill(one.name, 26) for one in known]
    axes.set_yticks(range(len(known)), names, parse_math=False)
    axes.set_ylim(max(len(known), 1) - 0.4, -0.6)
    axes.set_xlabel("standard deviation (percentage points)")
    if known:
        reach = max(100 * np.sqrt(one.high) for one in known)
        axes.set_xlim(0, 1.45 * reach if reach > 0 else 1)
    else:
        say_nothing(axes, "too few finished replicas to split the spread")
    unknown = [f"{name}: {reason}" for name, reason in (found.unidentified if found else {}).items()]
    note = f" Not known: {'; '.join(unknown)}." if unknown else ""
    text = f"{measured_setting(run)}; lines: 95 % interval.{note}"
    subtitle(axes, text)
    drawn = [[one.name, one.std, *np.sqrt([one.low, one.high]), one.share, one.levels] for one in known]
    frame = pd.DataFrame(drawn, columns=["source", "std", "low", "high", "share", "levels"])
    return figure.showing(frame, f"Standard deviation of every source of spread: {text}")
