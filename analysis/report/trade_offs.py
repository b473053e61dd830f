"""Accuracy against what it costs: Pareto fronts over the final metrics in which the configurations differ."""

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.scatter import scatter
from analysis.io.metrics import MetricInfo, metric_info, metrics_of
from analysis.io.values import outcomes
from analysis.report.document import Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.phrases import named
from analysis.report.tables import Cell, Estimate, Table, cell_text

PARAMETERS = "trainable_params"
MOST_AXES = 3
MOST_RESAMPLED = 200
METHODS = [
    "Pareto fronts: of the means over seeds; the probability that a configuration is on the front by redrawing the "
    "means from their sampling distribution."
]


def trade_off_section(found: Findings) -> Section | None:
    """The objective against parameters and the metrics that the study puts on fronts; None with fewer than two axes
    in which the configurations differ, or fewer than two configurations."""
    axes = [one for one in _axes(found) if one.name == PARAMETERS or one.reproducible]
    if len(axes) < 2 or len(found.means) < 2:
        return None
    table = _values(found, axes[:MOST_AXES])
    if table["configuration"].nunique() < 2:
        return None
    goals = {axis.name: "max" if axis.maximise else "min" for axis in axes[:MOST_AXES]}
    front = stats.pareto_front(table, goals, by="configuration").set_index("configuration")
    labels = [label for label in shown_labels(found) if label in front.index]
    charts = []
    for other in axes[1:MOST_AXES]:
        points = _points(table, labels, axes[0], other)
        pair = {axes[0].name: goals[axes[0].name], other.name: goals[other.name]}
        points["front"] = (
            stats.pareto_front(table, pair, by="configuration")
            .set_index("configuration")["on_front"]
            .reindex(labels)
            .to_numpy()
        )
        charts.append(scatter(
            f"front_{other.name}".replace("/", "_"), f"{axes[0].text} against {other.text}",
            "Points are means over seeds with 95 % intervals; dashed: no other configuration is better in both.",
            points, labels, (_axis(other), _axis(axes[0])), logarithmic=other.name == PARAMETERS,
        ))  # fmt: skip
    rows: list[list[Cell]] = []
    for label in labels:
        own = table[table["configuration"] == label]
        cells: list[Cell] = [_cell(own[axis.name].to_numpy(), axis) for axis in axes[:MOST_AXES]]
        probability = front.loc[label, "probability"] if "probability" in front else np.nan
        rows.append([label, *cells, "yes" if front.loc[label, "on_front"] else "no", float(np.round(probability, 2))])
    columns = ["configuration", *(_axis(axis) for axis in axes[:MOST_AXES]), "on the front", "probability"]
    on = [label for label in labels if front.loc[label, "on_front"]]
    said = [f"On the front of the means: {named(on, 6)}."]
    return Section("Trade-offs", said, [Table("front", "Pareto front", columns, rows)], charts, METHODS)


def _axes(found: Findings) -> list[MetricInfo]:
    known = metrics_of(found.run.study)
    wanted = sorted((one for one in known if one.front and one.name != found.metric.name), key=lambda one: one.front)
    parameters = MetricInfo(PARAMETERS, "minimize", "parameters", label="trained parameters")
    kept = [one for one in wanted if f"metric.{one.name}" in found.run.trials and _differs(found, f"metric.{one.name}")]
    return [found.metric, *([parameters] if _differs(found, PARAMETERS) else []), *kept]


def _differs(found: Findings, column: str) -> bool:
    return bool(found.run.trials.groupby("configuration")[column].mean().nunique() > 1)


def _values(found: Findings, axes: list[MetricInfo]) -> pd.DataFrame:
    """A row per replica with a value on every axis, fractions in per cent."""
    table = found.seeds[["configuration", "seed"]].assign(**{axes[0].name: found.seeds["value"]})
    for axis in axes[1:]:
        if axis.name == PARAMETERS:
            own = found.run.trials.groupby("configuration")[PARAMETERS].max().astype(float)
            table[axis.name] = table["configuration"].map(own)
            continue
        about = metric_info(found.run.study.get("metrics"), axis.name)
        own = outcomes(found.run, axis.name).rename(columns={"value": axis.name})
        own[axis.name] *= about.scale
        table = table.merge(own[["configuration", "seed", axis.name]], on=["configuration", "seed"], how="left")
    return table.dropna()


def _points(table: pd.DataFrame, labels: list[str], up: MetricInfo, across: MetricInfo) -> pd.DataFrame:
    sides: dict[str, pd.Series[float]] = {}
    for side, axis in (("y", up), ("x", across)):
        own = stats.mean_interval(table, axis.name, by="configuration").set_index("configuration").reindex(labels)
        sides |= {side: own["estimate"], f"{side}_low": own["low"], f"{side}_high": own["high"]}
    return pd.DataFrame(sides).rename_axis("configuration").reset_index()


def _cell(values: np.ndarray, axis: MetricInfo) -> Cell:
    if axis.name == PARAMETERS:
        return int(values[0])
    shown = stats.mean_interval(values)
    if axis.fraction:
        return Estimate(shown.estimate, shown.low, shown.high)
    return cell_text(float(shown.estimate))


def _axis(axis: MetricInfo) -> str:
    unit = "%" if axis.fraction else axis.unit
    return f"{axis.text} ({unit})" if unit and unit != "parameters" else axis.text
