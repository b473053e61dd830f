"""Accuracy against what it costs: Pareto fronts over the final metrics in which the configurations differ."""

import pandas as pd

from analysis import stats
from analysis.charts.scatter import scatter
from analysis.io.metrics import MetricInfo, metrics_of
from analysis.report.document import Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.phrases import named
from analysis.report.tables import Cell, Estimate, Table

PARAMETERS = MetricInfo("trainable_params", "minimize", "parameters", label="trained parameters")
MOST_AXES = 3
METHODS = [
    "Pareto fronts: of the means over seeds; the probability that a configuration is on the front by redrawing the "
    "means from their sampling distribution."
]


def trade_off_section(found: Findings) -> Section | None:
    """The objective against parameters and the metrics that the study puts on fronts; None with fewer than two axes
    in which the configurations differ, or fewer than two configurations."""
    axes = _axes(found)
    table = _values(found, axes)
    if len(axes) < 2 or table["configuration"].nunique() < 2:
        return None
    goals = {axis.name: "max" if axis.maximise else "min" for axis in axes}
    front = stats.pareto_front(table, goals).set_index("configuration")
    labels = shown_labels(found, table)
    means = {
        axis.name: stats.mean_interval(table, axis.name, by="configuration").set_index("configuration").loc[labels]
        for axis in axes
    }
    charts = []
    for other in axes[1:]:
        pair = {name: goals[name] for name in (axes[0].name, other.name)}
        on = stats.pareto_front(table, pair).set_index("configuration")["on_front"]
        sides = [means[axis.name][["estimate", "low", "high"]].set_axis([side, f"{side}_low", f"{side}_high"], axis=1)
                 for side, axis in (("y", axes[0]), ("x", other))]  # fmt: skip
        points = pd.concat(sides, axis=1).assign(front=on).rename_axis("configuration").reset_index()
        charts.append(scatter(
            f"front_{other.name}".replace("/", "_"), f"{axes[0].text} against {other.text}",
            "Points are means over seeds with 95 % intervals; dashed: no other configuration is better in both.",
            points, labels, (other.axis, axes[0].axis), logarithmic=other.name == PARAMETERS.name,
        ))  # fmt: skip
    rows: list[dict[str, Cell]] = []
    for label in labels:
        cells: dict[str, Cell] = {
            axis.axis: Estimate.of(means[axis.name].loc[label], digits=axis.digits(means[axis.name]["estimate"].max()))
            for axis in axes
        }
        on_front, probability = front.loc[label, ["on_front", "probability"]]
        rows.append({"configuration": label, **cells, "on the front": "yes" if on_front else "no",
                     "probability": round(probability, 2)})  # fmt: skip
    said = f"On the front of the means: {named([label for label in labels if front.loc[label, 'on_front']], 6)}."
    return Section.of("Trade-offs", [said], [Table.of("front", "Pareto front", rows)], charts, METHODS)


def _axes(found: Findings) -> list[MetricInfo]:
    """The objective, and what configurations differ in."""
    known = sorted((one for one in metrics_of(found.run.study) if one.front), key=lambda one: one.front)
    own = (found.metric.name, PARAMETERS.name)
    kept = [PARAMETERS, *(one for one in known if one.name not in own and one.reproducible)]
    means = found.run.trials.groupby("configuration").mean(numeric_only=True)
    differ = [one for one in kept if (name := _column(one)) in means and means[name].nunique() > 1]
    return [found.metric, *differ][:MOST_AXES]


def _column(axis: MetricInfo) -> str:
    return axis.name if axis.name == PARAMETERS.name else f"metric.{axis.name}"


def _values(found: Findings, axes: list[MetricInfo]) -> pd.DataFrame:
    """A row per replica with a value on every axis, in the unit that is shown."""
    keys = ["configuration", "seed"]
    table = found.seeds[[*keys, "value"]].rename(columns={"value": found.metric.name})
    for axis in axes[1:]:
        if axis.name == PARAMETERS.name:
            own = found.run.trials.groupby("configuration")[PARAMETERS.name].max().astype(float)
            table[axis.name] = table["configuration"].map(own)
        else:
            values = found.outcomes(axis)[[*keys, "value"]].rename(columns={"value": axis.name})
            table = table.merge(values, on=keys, how="left")
    return table.dropna()
