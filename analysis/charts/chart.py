"""A chart: a Vega-Lite specification with its title, a sentence on how to read it, and the table behind it."""

import base64
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

# Okabe and Ito 2008, without yellow, which is too light for a line on white paper; both grounds show all of them.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C510A"]
GREY = "#7F7F7F"
WIDTH = 720
"""Pixels of a PNG before it is scaled; in the page a chart is as wide as the page."""
SCALE = 2
LINE = 110
"""Characters of a line of a picture's reading."""
MOST_TABLE_ROWS = 200
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Chart:
    """``name``: of its files; ``title``: what it shows; ``reading``: how it is read and, from the word Click on, what
    can be done with it; ``behind``: its values as a table, for those who do not see it."""

    name: str
    title: str
    reading: str
    spec: dict[str, Any]
    behind: pd.DataFrame

    @property
    def as_json(self) -> str:
        """For a ``<script>`` element: no sequence of characters in a label can end it."""
        text = json.dumps(self.spec, ensure_ascii=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Drawn by Jupyter: alive where it can, else as a picture."""
        png = base64.b64encode(vl_convert.svg_to_png(vl_convert.vegalite_to_svg(self.still), scale=1)).decode("ascii")
        return {"application/vnd.vegalite.v6+json": self.spec, "image/png": png}

    @property
    def still(self) -> dict[str, Any]:
        """The specification of a picture: as wide as ``WIDTH``, on white, with its reading, and not to be zoomed."""
        fixed = self.spec | ({"width": WIDTH} if self.spec.get("width") == "container" else {})
        # What can be zoomed is clipped mark by mark, which takes seconds.
        still = [one for one in self.spec.get("params", ()) if one.get("bind") != "scales"]
        title = {"text": self.title, "subtitle": textwrap.wrap(self.reading.partition("Click")[0], LINE)}
        return fixed | {"title": title, "background": "white", "padding": 12, "params": still}

    def save(self, folder: Path) -> None:
        """Write ``<name>.png``, ``<name>.svg`` and ``<name>.vl.json`` (the specification with its data)."""
        fixed = self.still
        (folder / f"{self.name}.vl.json").write_text(json.dumps(fixed, ensure_ascii=False), encoding="utf-8")
        svg = vl_convert.vegalite_to_svg(fixed)
        (folder / f"{self.name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{self.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))


def made(name: str, title: str, reading: str, drawn: Any, behind: pd.DataFrame, height: int | None = None) -> Chart:
    """A chart from an Altair chart. With a height, in pixels, it is a single view as wide as the page; of several views
    they have widths of their own. ``behind``: the values that are read off it."""
    if height is not None:
        drawn = drawn.properties(width="container", height=height)
    drawn = drawn.configure(font=FONT).configure_axis(grid=True, gridOpacity=0.35, domain=False, ticks=False)
    drawn = drawn.configure_view(stroke=None).configure_legend(labelLimit=260).configure_axisY(labelLimit=240)
    drawn = drawn.configure_title(anchor="start", fontSize=15, offset=10)
    with alt.data_transformers.enable("default", max_rows=None):
        spec = drawn.properties(title=title).to_dict()
    for rows in spec.get("datasets", {}).values():
        for row in rows:
            row.update({key: None for key, value in row.items() if value != value})  # JSON has no NaN
    return Chart(name, title, reading, spec, behind.head(MOST_TABLE_ROWS))


def palette(kinds: Iterable[Any]) -> alt.Scale:
    """A colour for each kind, in their order; beyond the palette colours repeat."""
    return alt.Scale(
        domain=(known := list(kinds)), range=[PALETTE[place % len(PALETTE)] for place in range(len(known))]
    )


def colours(labels: Sequence[str], **more: Any) -> alt.Color:
    """The configurations in their order, each in a colour of its own."""
    return alt.Color("configuration:N", scale=palette(labels), title=None, **more)


def hover(words: Iterable[str], numbers: Iterable[str] | Mapping[str, str] = ()) -> list[alt.Tooltip]:
    """What is said of a mark: fields of words, and of numbers, which may have titles."""
    titles = numbers if isinstance(numbers, Mapping) else {one: one for one in numbers if one}
    shown = [alt.Tooltip(f"{field}:Q", title=title, format=",.4~f") for field, title in titles.items()]
    return [*(alt.Tooltip(f"{one}:N") for one in words), *shown]


def ruled(references: Mapping[str, float], side: str) -> list[alt.Chart]:
    """Dashed lines at the values of one axis, ``x`` or ``y``, and their names in rows that do not cover each other."""
    layers = []
    for number, (name, value) in enumerate(references.items()):
        place: dict[str, Any] = {side: "value:Q"}
        above: Any = {"y": alt.value(-4 - 13 * (number % 3))} if side == "x" else {"x": alt.value(0)}
        base = alt.Chart(pd.DataFrame({"reference": [name], "value": [value]})).encode(**place)
        rule = base.mark_rule(strokeDash=[5, 4], opacity=0.8, color=GREY)
        text = base.mark_text(align="left", baseline="bottom", dx=3, fontSize=11, color=GREY).encode(text="reference:N")
        layers += [rule.encode(tooltip=hover(["reference"], ["value"])), text.encode(**above)]
    return layers


def highlights() -> tuple[alt.Parameter, alt.Parameter, alt.Parameter]:
    """Selections of a configuration, by a click on the legend or a mark, and of a seed by a shift-click."""
    legend = alt.selection_point(name="by_legend", fields=["configuration"], bind="legend")
    mark = alt.selection_point(name="by_mark", fields=["configuration"], on="click[!event.shiftKey]", clear="dblclick")
    seed = alt.selection_point(name="by_seed", fields=["seed"], on="click[event.shiftKey]", clear="dblclick")
    return legend, mark, seed


def chosen(parameters: Sequence[alt.Parameter], strong: float = 0.9, faint: float = 0.08) -> Any:
    """Opacity: strong for what all of the selections hold, which is everything where nothing is selected."""
    return alt.condition(reduce(and_, parameters), alt.value(strong), alt.value(faint))
