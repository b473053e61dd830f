"""A value along an ordered parameter, such as the rank: a line per series with the intervals of its points."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import GREY, Chart, hover, made, palette, ruled

HEIGHT = 320
PANEL = 210  # pixels of a panel, both ways
MOST_PANELS = 6
DASHES = [[1, 0], [7, 3], [2, 2], [8, 3, 2, 3]]


def along(
    name: str, title: str, reading: str, points: pd.DataFrame, series: Sequence[Any], axes: tuple[str, str],
    seeds: pd.DataFrame | None = None, references: Mapping[str, float] | None = None,
    logarithmic: tuple[bool, bool] = (True, False), shades: str = "", ground: str = "",
) -> Chart:  # fmt: skip
    """Lines through points, in one view or in a panel each.

    Args:
        points: columns series, x, y, low, high (NaN where there is no interval); ``panel`` where there are several.
        series: in the order of the legend.
        axes: titles of both axes.
        seeds: columns series, seed, x, y; the dots behind. In a single view only, as ``references``.
        references: name -> value of a horizontal line.
        logarithmic: x, y; an axis of values that are not all above 0 stays linear.
        shades: title of the legend of numeric series, which get shades of one colour.
        ground: a series that is drawn broad and grey behind the others and has no place in the legend.
    """
    panels = list(dict.fromkeys(points.get("panel", ())))[:MOST_PANELS]
    shown = points[points["panel"].isin(panels)] if panels else points
    kinds: list[Any] = [alt.Undefined if not wanted or (shown[side] <= 0).any() else "log"
             for side, wanted in zip("xy", logarithmic, strict=True)]  # fmt: skip
    ticks = alt.Axis(values=sorted(shown["x"].unique()), format="~d") if shown["x"].nunique() <= 12 else alt.Axis()
    x = alt.X("x:Q", title=axes[0], scale=alt.Scale(type=kinds[0], zero=False, padding=14, nice=False), axis=ticks)
    y = alt.Y("y:Q", title=axes[1], scale=alt.Scale(type=kinds[1], zero=False))
    colour = alt.Color(
        "series:N", title=None, scale=palette(series), legend=alt.Legend(symbolOpacity=1, symbolStrokeWidth=0)
    )
    if shades:
        colour = alt.Color("series:O", title=shades, sort=list(series), scale=alt.Scale(scheme="viridis"))
    picked = alt.selection_point(name="by_legend", fields=["series"], bind="legend")
    faint, half = (alt.condition(picked, alt.value(strong), alt.value(0.06)) for strong in (0.9, 0.35))
    every = alt.Chart(shown).encode(x=x, y=y, tooltip=hover(["series"], {"x": axes[0], "y": axes[1]}))
    base = every.transform_filter(alt.datum.series != ground).encode(color=colour, opacity=faint)
    bounds = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=1.5)
    lines = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45)).add_params(picked)
    if not shades:
        dashes = alt.Scale(domain=list(series), range=[DASHES[place % 4] for place in range(len(series))])
        lines = lines.encode(strokeDash=alt.StrokeDash("series:N", legend=None, scale=dashes))
    layers: list[Any] = [bounds.encode(y=alt.Y("low:Q"), y2="high:Q"), lines]
    if ground:
        behind = every.transform_filter(alt.datum.series == ground)
        layers.insert(0, behind.mark_line(strokeWidth=9, opacity=0.35, color=GREY))
    if panels:
        drawn = alt.layer(*layers).properties(width=PANEL, height=PANEL)
        drawn = drawn.facet(facet=alt.Facet("panel:N", title=None, sort=panels), columns=3)
        return made(name, title, reading, drawn, points)
    if seeds is not None:
        dots = alt.Chart(seeds).mark_circle(size=22).encode(x=x, y=y, color=colour, opacity=half)
        layers.insert(0, dots.encode(tooltip=hover(["series", "seed"], ["x", "y"])))
    layers = [*ruled(references or {}, "y"), *layers]
    return made(name, title, reading, alt.layer(*layers).interactive(), points, height=HEIGHT)
