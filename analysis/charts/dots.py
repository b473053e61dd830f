"""Every seed a dot: a value by configuration, its mean with the interval, and reference lines."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from analysis.charts.chart import Chart, chosen, colours, highlights, made

ROW = 30  # pixels of a configuration
MOST_DOTS = 4_000


def dots(
    name: str, title: str, reading: str, seeds: pd.DataFrame, means: pd.DataFrame, axis: str,
    references: Mapping[str, float] | None = None, order: Sequence[str] = (),
) -> Chart:  # fmt: skip
    """Seeds as dots, means as ticks with the line of their interval.

    Args:
        seeds: columns configuration, seed, value, status; in the unit that is shown.
        means: columns configuration, estimate, low, high (NaN where there is no interval).
        axis: title of the axis of the values.
        references: name -> value of the lines.
        order: configurations from top to bottom; as in ``means`` where it is empty.
    """
    order = list(order) or means["configuration"].tolist()
    parameters = highlights()
    sorting = alt.param(
        name="sorting", value="study",
        bind=alt.binding_radio(options=["study", "mean"], name="order of rows: "),  # type: ignore[call-arg]
    )  # fmt: skip
    places = pd.DataFrame({"configuration": order, "in_study": range(len(order))}).merge(
        means[["configuration", "estimate"]].rename(columns={"estimate": "by_mean"}), how="left"
    )
    seeds, means = seeds.merge(places), means.merge(places)
    shown = seeds.groupby("configuration", sort=False).head(max(1, MOST_DOTS // max(1, len(order))))
    rows = alt.Y(
        "configuration:N", title=None,
        sort=alt.EncodingSortField(field="place", op="min", order="ascending"),
    )  # fmt: skip
    place = "sorting == 'mean' ? -datum.by_mean : datum.in_study"
    values = alt.X("value:Q", title=axis, scale=alt.Scale(zero=False))
    hover = [alt.Tooltip("configuration:N"), alt.Tooltip("seed:N"), alt.Tooltip("value:Q", format=".4~f")]
    drawn = (
        alt.Chart(shown)
        .transform_calculate(place=place)
        .mark_circle(size=55)
        .encode(
            x=values, y=rows, color=colours(order, legend=None), opacity=chosen(parameters),
            tooltip=[*hover, alt.Tooltip("status:N")],
        )
        .add_params(*parameters, sorting)
    )  # fmt: skip
    base = alt.Chart(means.rename(columns={"estimate": "value"})).transform_calculate(place=place)
    line = base.mark_rule(strokeWidth=2, opacity=0.85).encode(
        x=alt.X("low:Q", title=axis, scale=alt.Scale(zero=False)), x2="high:Q", y=rows,
        color=colours(order, legend=None),
        tooltip=[hover[0], *(alt.Tooltip(f"{one}:Q", format=".4~f") for one in ("value", "low", "high"))],
    )  # fmt: skip
    tick = base.mark_tick(thickness=3, size=ROW * 0.6).encode(x=values, y=rows, color=colours(order, legend=None))
    layers = [line, tick, drawn]
    if references:
        known = pd.DataFrame({"reference": list(references), "value": list(references.values())})
        rule = alt.Chart(known).mark_rule(strokeDash=[5, 4], opacity=0.8, color="#7F7F7F").encode(
            x=values, tooltip=["reference:N", alt.Tooltip("value:Q", format=".4~f")]
        )  # fmt: skip
        known["row"] = [-4 - 13 * (number % 3) for number in range(len(known))]
        text = [
            alt.Chart(known[known["row"] == row])
            .mark_text(align="left", dx=3, fontSize=11, color="#7F7F7F", baseline="bottom")
            .encode(x=values, y=alt.value(int(row)), text="reference:N")
            for row in sorted(set(known["row"]))
        ]  # fmt: skip
        layers = [rule, *text, *layers]
    behind = means.drop(columns=["in_study", "by_mean"])
    return made(name, title, reading, alt.layer(*layers), behind, height=ROW * max(2, len(order)))
