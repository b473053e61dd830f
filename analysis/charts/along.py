"""A value along an ordered parameter, such as the rank: a line per series with the intervals of its points."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from analysis.charts.chart import PALETTE, Chart, made

HEIGHT = 320
PANEL = 210  # pixels of a panel, both ways
MOST_PANELS = 6
GREY = "#7F7F7F"
DASHES = [[1, 0], [7, 3], [2, 2], [8, 3, 2, 3]]


def along(
    name: str, title: str, reading: str, points: pd.DataFrame, series: Sequence[Any], axes: tuple[str, str],
    seeds: pd.DataFrame | None = None, references: Mapping[str, float] | None = None,
    logarithmic: tuple[bool, bool] = (True, False), shades: str = "", ground: str = "",
) -> Chart:  # fmt: skip
    """Lines through points, in one view or in a panel each.

    Args:
        points: columns series, x, y, low, high (NaN where there is no interval); ``panel`` where there are several, of
            which the first ``MOST_PANELS`` are drawn.
        series: in the order of the legend.
        axes: titles of both axes.
        seeds: columns series, seed, x, y; the dots behind. In a single view only.
        references: name -> value of a horizontal line. In a single view only.
        logarithmic: x, y; an axis of values that are not all above 0 stays linear.
        shades: title of the legend of numeric series, which get shades of one colour.
        ground: a series that is drawn broad and grey behind the others and has no place in the legend.
    """
    panels = list(dict.fromkeys(points["panel"]))[:MOST_PANELS] if "panel" in points else []
    shown = points[points["panel"].isin(panels)] if panels else points
    across, up = (
        alt.Scale(type="log" if wanted and (shown[side] > 0).all() else "linear", zero=False, **base)  # type: ignore[arg-type]
        for side, wanted, base in (("x", logarithmic[0], {"padding": 14, "nice": False}), ("y", logarithmic[1], {}))
    )
    ticks = alt.Axis(values=sorted(shown["x"].unique()), format="~d") if shown["x"].nunique() <= 12 else alt.Axis()
    x, y = alt.X("x:Q", title=axes[0], scale=across, axis=ticks), alt.Y("y:Q", title=axes[1], scale=up)
    picked = alt.selection_point(name="by_legend", fields=["series"], bind="legend")
    if shades:
        colour = alt.Color("series:O", title=shades, sort=list(series), scale=alt.Scale(scheme="viridis"))
        dashes: dict[str, Any] = {}
    else:
        palette, kinds = ([every[number % len(every)] for number in range(len(series))] for every in (PALETTE, DASHES))
        legend = alt.Legend(symbolOpacity=1, symbolStrokeWidth=0)
        colour = alt.Color("series:N", title=None, legend=legend, scale=alt.Scale(domain=list(series), range=palette))
        scale = alt.Scale(domain=list(series), range=kinds)
        dashes = {"strokeDash": alt.StrokeDash("series:N", legend=None, scale=scale)}
    faint, half = (alt.condition(picked, alt.value(strong), alt.value(0.06)) for strong in (0.9, 0.35))
    hover = [alt.Tooltip("series:N"), alt.Tooltip("x:Q", title=axes[0])]
    hover += [alt.Tooltip(f"{one}:Q", format=".4~f") for one in ("y", "low", "high")]
    every = alt.Chart(shown)
    base = every.transform_filter(alt.datum.series != ground) if ground else every
    bounds = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=1.5)
    layers: list[Any] = [
        bounds.encode(x=x, y=alt.Y("low:Q", title=axes[1], scale=up), y2="high:Q", color=colour, opacity=faint),
        base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45))
        .encode(x=x, y=y, color=colour, opacity=faint, tooltip=hover, **dashes)
        .add_params(picked),
    ]  # fmt: skip
    if ground:
        behind = every.transform_filter(alt.datum.series == ground).mark_line(strokeWidth=9, opacity=0.35, color=GREY)
        layers.insert(0, behind.encode(x=x, y=y, tooltip=hover))
    if panels:
        drawn = alt.layer(*layers).properties(width=PANEL, height=PANEL)
        drawn = drawn.facet(facet=alt.Facet("panel:N", title=None, sort=panels), columns=3)
        return made(name, title, reading, drawn, points)
    if seeds is not None:
        dots = alt.Chart(seeds).mark_circle(size=22)
        layers.insert(
            0, dots.encode(x=x, y=y, color=colour, opacity=half, tooltip=["series:N", "seed:N", "x:Q", "y:Q"])
        )
    if references:
        known = alt.Chart(pd.DataFrame({"reference": list(references), "y": list(references.values())}))
        layers.insert(0, known.mark_rule(strokeDash=[5, 4], color=GREY).encode(y=y, tooltip=["reference:N", "y:Q"]))
        text = known.mark_text(align="center", dy=-7, fontSize=11, color=GREY)
        layers.append(text.encode(y=y, x=alt.value(alt.expr("width / 2")), text="reference:N"))
    return made(name, title, reading, alt.layer(*layers).interactive(), points, height=HEIGHT)
