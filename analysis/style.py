"""How every picture looks. Figures are objects: no pyplot, so no state is shared between reports."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.records import Run

WIDTH, HEIGHT, DPI = 10.0, 45 / 7, 140  # inches and dots per inch: 1400 x 900 pixels
# Okabe and Ito 2008, without yellow, which is too light for a line on white paper.
PALETTE = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
MARKERS = "osD^vPX"
MOST_PANELS = 12
MOST_SEEDS = 60  # faint lines of one configuration; the mean before them is over all
MOST_DRAWN = 14  # configurations: beyond two rounds of the palette no line can be told from another


class Picture(Figure):
    """A figure that knows what it shows: ``data``, the values that were drawn, and ``caption``, a sentence or two."""

    data: pd.DataFrame | None = None
    caption: str = ""

    def showing(self, data: pd.DataFrame, caption: str) -> "Picture":
        """The same figure with its data and caption set."""
        self.data, self.caption = data, caption
        return self


def some_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first ``MOST_SEEDS`` replicas of each configuration; columns configuration, trial_id, seed."""
    replicas = frame[["configuration", "trial_id", "seed"]].drop_duplicates()
    kept = replicas[replicas.groupby("configuration").cumcount() < MOST_SEEDS]
    return frame if len(kept) == len(replicas) else frame.merge(kept)


def each_seed(run: Run) -> str:
    """How a note calls the faint lines: ``each seed``, or how many of them are drawn."""
    most = int(run.trials.groupby("configuration").size().max()) if len(run.trials) else 0
    return "each seed" if most <= MOST_SEEDS else f"{MOST_SEEDS} of {most:,} seeds"


def new_figure(run: Run, height: float = HEIGHT) -> Picture:
    """An empty page, ``height`` inches tall, with the study's question as its title."""
    figure = Picture(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    title = textwrap.fill(run.study.get("question") or str(run.study.get("study", "")), 88)
    # A dollar sign in a label is text, not mathematics.
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    return figure


def one_panel(run: Run, height: float = HEIGHT) -> tuple[Picture, Axes]:
    """A page with a single plot."""
    figure = new_figure(run, height)
    axes = figure.subplots()
    plain_axes(axes)
    return figure, axes


def color_and_marker(number: int) -> tuple[str, str]:
    """Those of the configuration at place ``number``, counted from 0; no pair comes twice below ``MOST_DRAWN``."""
    return PALETTE[number % len(PALETTE)], MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]


def plain_axes(axes: Axes) -> None:
    """A light grid behind the data, and no frame above and on the right."""
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def subtitle(axes: Axes, text: str, width: int = 110) -> None:
    """A line of explanation above the axes, broken after ``width`` characters."""
    axes.set_title(textwrap.fill(text, width), loc="left", fontsize=10, color="#444444", parse_math=False)


def add_legend(figure: Figure, handles: Sequence[Artist], **layout: Any) -> None:
    """A legend of the whole page, outside the axes."""
    legend = figure.legend(handles=handles, frameon=False, **{"handlelength": 3, **layout})
    for text in legend.get_texts():
        text.set_parse_math(False)


def say_nothing(axes: Axes, text: str) -> None:
    """Why the axes are empty, in their middle."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#666666", fontsize=12)


def panel_grid(figure: Figure, wanted: int) -> tuple[list[Axes], int]:
    """At least one panel, in a grid with shared axes, and the columns; no numbers at the axes where none is wanted."""
    columns = min(3 if wanted <= 9 else 4, max(wanted, 1))
    grid = figure.subplots(-(-max(wanted, 1) // columns), columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for place, axes in enumerate(panels):
        plain_axes(axes)
        axes.tick_params(
            labelbottom=bool(wanted) and place + columns >= wanted, labelleft=bool(wanted) and not place % columns
        )
    for axes in panels[max(wanted, 1) :]:
        axes.remove()
    return panels[: max(wanted, 1)], columns


def panel_title(axes: Axes, text: str, columns: int) -> None:
    axes.set_title(textwrap.fill(text, 92 // columns), loc="left", fontsize=10, fontweight="bold", parse_math=False)
