"""The picture of bad seeds: where they left the others of their configuration."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.captions import measured_setting
from analysis.departure import Departure
from analysis.records import Run
from analysis.series import REPLICA, accuracy_by_boundary, boundary_kind, task_count
from analysis.style import (
    MOST_PANELS,
    PALETTE,
    Picture,
    add_legend,
    each_seed,
    new_figure,
    panel_grid,
    panel_title,
    say_nothing,
    some_seeds,
)

BAD, GOOD = PALETTE[2], "#8A8A8A"
MOST_NAMED = 8  # bad seeds of one configuration that are named


def departure_timeline(run: Run, found: Sequence[Departure]) -> Picture:
    """Accuracy of every seed at every boundary, a panel per configuration with bad seeds; crosses: where they left."""
    labels = list(dict.fromkeys(one.configuration for one in found))[:MOST_PANELS]
    figure = new_figure(run)
    panels, columns = panel_grid(figure, len(labels))
    kind, boundaries = boundary_kind(run), task_count(run)
    every = accuracy_by_boundary(run)
    curves = some_seeds(every[every["configuration"].isin(labels)])
    drawn = set(zip(curves["trial_id"], curves["seed"], strict=True))
    for label, axes in zip(labels, panels, strict=False):
        own = [one for one in found if one.configuration == label]
        left = {(one.trial_id, one.seed): one for one in own}
        for replica, curve in curves[curves["configuration"] == label].groupby(REPLICA):
            bad = left.get((str(replica[0]), int(replica[1])))
            style: dict[str, Any] = (
                {"color": BAD, "linewidth": 2.0, "zorder": 3} if bad else {"color": GOOD, "linewidth": 1.0}
            )
            line = "--" if bad else "-"
            axes.plot(curve["boundary"] + 1, 100 * curve["accuracy"], linestyle=line, marker=".", **style)
            if bad and len(own) <= MOST_NAMED:
                end = curve.iloc[-1]
                beside: dict[str, Any] = {"xytext": (-4, -12), "textcoords": "offset points", "ha": "right"}
                place = end["boundary"] + 1, 100 * end["accuracy"]
                axes.annotate(f"seed {bad.seed}", place, fontsize=8, color=BAD, **beside)
        for one in (one for one in own if (one.trial_id, one.seed) in drawn):
            if one.boundary is not None and one.fence is not None:
                reached = one.accuracy is not None and one.accuracy == one.accuracy
                height = one.accuracy if reached and one.accuracy is not None else one.fence
                axes.plot(one.boundary + 1, 100 * height, "X", color="black", markersize=9, zorder=5)
        axes.set_xlim(0.7, max(boundaries, 1) + 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_xlabel(kind)
        panel_title(axes, label, columns)
    if not labels:
        say_nothing(panels[0], "no seed diverged, ended below its frozen backbone or far below the others")
    figure.supylabel("accuracy (%)", fontsize=11)
    handles = [
        Line2D([], [], color=BAD, linewidth=2, linestyle="--", marker=".", label="bad seed"),
        Line2D([], [], color=GOOD, marker=".", label="other seeds"),
        Line2D([], [], color="black", marker="X", linestyle="", label="left the pack (at the fence where it diverged)"),
    ]
    more = len({one.configuration for one in found}) - len(labels)
    seeds = each_seed(run)
    parts = [measured_setting(run), *([seeds] if seeds != "each seed" else [])]
    note = "; ".join([*parts, *([f"{more} more configurations in the table"] if more > 0 else [])])
    add_legend(figure, handles, loc="outside lower center", ncols=3, fontsize=10, title=note, title_fontsize=9)
    left_at = {(one.trial_id, one.seed): one.boundary for one in found}
    replicas = list(zip(curves["trial_id"], curves["seed"], strict=True))
    frame = curves.assign(
        bad=[replica in left_at for replica in replicas],
        left_at=pd.array([left_at.get(replica) for replica in replicas], dtype="Int64"),
    )
    return figure.showing(frame, f"Accuracy after every {kind} of the configurations with bad seeds; {note}.")
