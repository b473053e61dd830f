"""Pictures of a search: its history, its optimism, what mattered."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.search_series import Search
from analysis.style import PALETTE, Picture, add_legend, one_panel, say_nothing, subtitle

STATES = {
    "completed": PALETTE[1],
    "eliminated": PALETTE[5],
    "pruned": PALETTE[2],
    "paused": PALETTE[6],
    "running": PALETTE[6],
}
AREA = 28.0
"""Of a marker, per seed, in points squared."""


def search_history(search: Search) -> Picture:
    """Value of every configuration by trial; the area of a marker is the number of its seeds."""
    figure, axes = one_panel(search.run)
    frame = search.evaluated
    if frame.empty:
        say_nothing(axes, "No configuration has results yet.")
        return figure
    handles = []
    for state, color in STATES.items():
        own = frame[frame["state"] == state]
        if own.empty:
            continue
        for enqueued, marker in ((True, "D"), (False, "o")):
            part = own[own["enqueued"] == enqueued]
            values = [search.value(row) for _, row in part.iterrows()]
            axes.scatter(
                part["trial"], values, s=AREA * part["seeds"].astype(float), c=color, marker=marker, alpha=0.8,
                edgecolors="white", linewidths=0.8, zorder=3,
            )  # fmt: skip
        handles.append(Line2D([], [], color=color, marker="o", linestyle="", label=state))
    again = search.confirmed
    fresh = [search.estimate(row, "fresh").value for _, row in again.iterrows()]
    if fresh:
        axes.scatter(again["trial"], fresh, marker="_", s=160, c=PALETTE[0], linewidths=2.2, zorder=4)
        handles.append(
            Line2D([], [], color=PALETTE[0], marker="_", markersize=12, linestyle="", label="on fresh seeds")
        )
    if frame["enqueued"].any():
        handles.append(Line2D([], [], color="#666666", marker="D", linestyle="", label="tried first"))
    for seeds in sorted(set(frame["seeds"])):
        size = float(np.sqrt(AREA * seeds))
        handles.append(
            Line2D([], [], color="#BBBBBB", marker="o", markersize=size, linestyle="", label=f"{seeds} seeds")
        )
    axes.set_xlabel("trial")
    axes.set_ylabel(_axis(search))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    subtitle(axes, "Every configuration with what the search saw of it; more seeds went to the better ones.")
    add_legend(figure, handles, loc="outside lower center", ncols=5, handlelength=1.5)
    return figure.showing(
        _values(search, frame),
        f"{search.first.readable.capitalize()} by trial; more seeds went to the better configurations.",
    )


def optimism_gap(search: Search) -> Picture | None:
    """What the search saw beside fresh seeds, for the confirmed configurations; None before there are any."""
    frame = search.confirmed
    if frame.empty:
        return None
    figure, axes = one_panel(search.run, 2.4 + 0.6 * len(frame))
    tested = False
    for place, (_, row) in enumerate(frame.iterrows()):
        fresh, y = search.estimate(row, "fresh"), -float(place)
        low, high = (fresh.value if end is None else end for end in (fresh.low, fresh.high))
        if place:
            axes.axhline(y + 0.5, color="#DDDDDD", linewidth=0.7)
        reach = [[fresh.value - low], [high - fresh.value]]
        axes.errorbar(fresh.value, y, xerr=reach, fmt="o", color=PALETTE[1], capsize=4, zorder=3)
        axes.plot(
            search.value(row), y + 0.25, "D", color=PALETTE[2], markerfacecolor="white", markeredgewidth=1.8, zorder=4
        )
        test = search.tested(row)
        if test is not None and search.first.scale == 100.0:
            tested = True
            axes.plot(test.value, y - 0.25, "^", color=PALETTE[3], markersize=7, zorder=3)
    axes.set_yticks([-float(place) for place in range(len(frame))], list(frame["configuration"]))
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(-len(frame) + 0.5, 0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(_axis(search))
    subtitle(axes, "What the search saw, and the same configurations on seeds that it had not seen (95 % interval).")
    handles = [
        Line2D([], [], color=PALETTE[2], marker="D", markerfacecolor="white", linestyle="", label="in the search"),
        Line2D([], [], color=PALETTE[1], marker="o", linestyle="", label="fresh seeds, held-out examples"),
    ]
    if tested:
        handles.append(Line2D([], [], color=PALETTE[3], marker="^", linestyle="", label="fresh seeds, test examples"))
    add_legend(figure, handles, loc="outside lower center", ncols=3, handlelength=1.5)
    return figure.showing(
        _values(search, frame), "What the search saw, and the same configurations on seeds that it had not seen."
    )


def importance_bars(search: Search) -> Picture | None:
    """Importance of the parameters with intervals; None where there were too few configurations."""
    frame = search.records.importance
    if frame.empty:
        return None
    figure, axes = one_panel(search.run, 2.2 + 0.42 * len(frame))
    shares = 100 * frame["importance"].to_numpy()
    low, high = 100 * frame["low"].to_numpy(), 100 * frame["high"].to_numpy()
    places = -np.arange(len(frame))
    axes.barh(places, shares, color=PALETTE[5], height=0.62, zorder=2)
    # the estimate of all seeds may lie outside what draws of them give
    axes.hlines(places, low, high, color=PALETTE[0], linewidth=1.6, zorder=3)
    axes.plot(np.r_[low, high], np.r_[places, places], "|", color=PALETTE[0], markersize=9, zorder=3)
    axes.plot(100 * frame["chance"], places, "D", color=PALETTE[2], markerfacecolor="white", zorder=4)
    axes.set_yticks(places, list(frame["parameter"]))
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the variance over the space, %")
    subtitle(axes, f"fANOVA of {frame['objective'].iloc[0]}, {frame['configurations'].iloc[0]} configurations.")
    handles = [
        Line2D([], [], color=PALETTE[0], marker="|", label="95 % over resampled configurations and seeds"),
        Line2D(
            [], [], color=PALETTE[2], marker="D", markerfacecolor="white", linestyle="", label="95 % of shuffled values"
        ),
    ]
    add_legend(figure, handles, loc="outside lower center", ncols=2, handlelength=1.5)
    return figure.showing(frame, f"Importance of the parameters for the {search.first.readable}.")


def _values(search: Search, frame: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of these configurations, in the units of the records."""
    drawn = [name for name in frame if name.endswith(f".{search.objective}")]
    return frame[["trial", "configuration", "state", "enqueued", "seeds", *drawn]]


def _axis(search: Search) -> str:
    return f"{search.first.readable}{search.first.unit}"
