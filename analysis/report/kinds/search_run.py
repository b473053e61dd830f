"""A search as its report reads it: what was confirmed on fresh seeds, and every configuration with what it was."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.charts.parallel import Axis
from analysis.io.metrics import MetricInfo, metric_info
from analysis.io.objective_labels import dimension_label, objective_label
from analysis.io.records import Run
from analysis.io.search_tables import SearchRecords, read_search
from analysis.report.tables import Estimate

MOST_DRAWN, MOST_BEST = 1_500, 500
"""Configurations that charts show of more: the best ones, and of the others every so many."""


@dataclass(frozen=True)
class Search:
    """A search, read; ``goals``: its objectives, the first one first, named as in the columns of search.parquet."""

    run: Run
    records: SearchRecords
    goals: tuple[MetricInfo, ...]

    @property
    def first(self) -> MetricInfo:
        return self.goals[0]

    @property
    def space(self) -> list[dict[str, Any]]:
        return list(self.run.study["search"]["space"])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """``search.parquet`` without duplicates; ``feasible`` and ``front`` without nulls."""
        frame = self.records.trials[self.records.trials["state"] != "duplicate"].reset_index(drop=True)
        plain = {name: frame[name].fillna(name == "feasible").astype(bool) for name in ("feasible", "front")}
        return frame.assign(**plain, seeds=frame["seeds"].astype(int))

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """Configurations that the search has a value of."""
        return self.trials[self.column("value", self.first).notna()]

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """Configurations with a trial on fresh seeds: the study's own first one, then in the search's order."""
        own = -1 if self.own_first is None else self.own_first["trial"]
        frame = self.trials[self.trials["fresh_trial_id"].notna()]
        order = pd.DataFrame({"others": frame["trial"] != own, "place": frame["place"].astype(float)})
        return frame.loc[order.sort_values(["others", "place"]).index]

    @cached_property
    def own_first(self) -> "pd.Series[Any] | None":
        """The configuration that the study itself tries first; None where it tries none."""
        rows = self.trials[self.trials["enqueued"]].sort_values("trial")
        return None if rows.empty else rows.iloc[0]

    def column(self, kind: str, goal: MetricInfo) -> "pd.Series[float]":
        """``value``, ``fresh``, ``gap``, ... of ``trials``, in the unit that is shown."""
        name = f"{kind}.{goal.name}"
        known = self.trials[name] if name in self.trials else pd.Series(np.nan, index=self.trials.index)
        return goal.scale * known.astype(float)

    def estimate(self, row: "pd.Series[Any]", kind: str, goal: MetricInfo) -> Estimate | None:
        """``value``, ``fresh`` or ``gap`` of a row of ``trials``, the last two with their intervals."""
        columns = [self.column(one, goal) for one in (kind, f"{kind}_low", f"{kind}_high")]
        value, low, high = (float(one.at[row.name]) for one in columns)  # type: ignore[index]
        if np.isnan(value):
            return None
        low = low if low != high else np.nan  # no interval of what no seed changes
        return Estimate(value, low, high, kind == "gap", goal.digits(self.column("value", goal).abs().max()))

    def trained(self, name: str) -> "pd.Series[Any]":
        """The value of a parameter by trial; None where it has none or did not train."""
        known = self.run.trials.drop_duplicates("trial_id").set_index("trial_id").get(f"param.{name}", {})
        return self.trials["trial_id"].map(known)

    @cached_property
    def fields(self) -> pd.DataFrame:
        """What a configuration was trained with, by trial: a column per dimension that varies; None where a condition
        takes the dimension away. Options of a choice are text."""
        ran = self.trials["trial_id"].isin(self.run.trials["trial_id"])
        there: dict[str, pd.Series[bool]] = {}
        found: dict[str, pd.Series[Any]] = {}
        for entry in self.space:
            name, values, choice = entry["name"], self.trained(entry["name"]), entry["kind"] == "choice"
            active = ran & (values.notna() | (choice and None in entry["options"]))
            for parent, wanted in entry["when"].items():
                allowed = [_word(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
                active &= there[parent] & self.trained(parent).map(_word).isin(allowed)
            there[name] = active
            if entry["kind"] != "fixed" and active.any():
                words = values.map(_word).astype(object) if choice else values.astype(float)
                found[name] = words.where(active, None if choice else np.nan)
        return pd.DataFrame(found, index=self.trials.index)

    @cached_property
    def axes(self) -> list[Axis]:
        """The dimensions that were searched, each on the scale on which it is drawn."""
        return [_axis(entry) for entry in self.space if entry["name"] in self.fields]

    @cached_property
    def table(self) -> pd.DataFrame:
        """``evaluated`` as charts show it: the columns of ``trials``, ``value`` of the first objective, ``goal0``,
        ``goal1``, ... of all, and the dimensions as they are drawn: a ratio where one is a ratio."""
        drawn = self.fields.copy()
        for entry in self.space:
            if entry["name"] in drawn and (parent := entry.get("ratio_to")):
                drawn[entry["name"]] /= self.trained(parent).astype(float)
        goals = {f"goal{number}": self.column("value", goal) for number, goal in enumerate(self.goals)}
        table = self.trials.assign(**goals, value=goals["goal0"]).join(drawn.add_prefix("drawn "))
        table = table.loc[self.evaluated.index]
        if len(table) <= MOST_DRAWN:
            return table
        best = table["value"].rank(ascending=not self.first.maximise, method="first") <= MOST_BEST
        others = np.flatnonzero(~best)
        best.iloc[others[:: -(-len(others) // (MOST_DRAWN - MOST_BEST))]] = True
        return table[best]

    @property
    def goal_axes(self) -> list[Axis]:
        """The objectives as axes, from the lowest value to the highest."""
        seen = [self.table[f"goal{number}"] for number in range(len(self.goals))]
        return [
            Axis(str(values.name), goal.axis, float(values.min()), float(values.max()))
            for goal, values in zip(self.goals, seen, strict=True)
        ]


def searched(run: Run) -> Search:
    """The search of a run, or of the whole run of which this is a part; RecordsError where a file is missing or
    damaged."""
    whole = run.whole
    goals = [_goal(one, whole.study.get("metrics")) for one in whole.study["search"]["objectives"]]
    return Search(whole, read_search(whole), tuple(goals))


def fresh_run(run: Run) -> Run:
    """The part of a run that says how good the confirmed configurations are: their replicas on fresh seeds.

    The study's own first configuration comes first, where it was confirmed, then the others in the search's order.
    """
    confirmed = searched(run).confirmed
    own = dict(zip(confirmed["configuration"], confirmed["fresh_configuration"], strict=True))
    reported = [one | {"configuration": own.get(one["configuration"], one["configuration"])}
                for one in run.study.get("reported") or ()]  # fmt: skip
    study = run.study | {"configurations": dict.fromkeys(own.values()), "reported": reported, "contrasts": []}
    ids = confirmed["fresh_trial_id"].tolist()
    trials, metrics = (frame[frame["trial_id"].isin(ids)].reset_index(drop=True) for frame in (run.trials, run.metrics))
    return Run(run.path, study, trials, metrics, run)


def _goal(content: Mapping[str, Any], metrics: Any) -> MetricInfo:
    metric, name = metric_info(metrics, content["metric"]), objective_label(content)
    maximise = content["over_seeds"] not in ("collapse_rate", "spread") and content["direction"] == "maximize"
    text = name.replace(metric.name, metric.text).replace("_", " ")
    return replace(metric, name=name, label=text, direction="maximize" if maximise else "minimize")


def _axis(entry: Mapping[str, Any]) -> Axis:
    column, title = f"drawn {entry['name']}", dimension_label(entry)
    if entry["kind"] == "choice":
        return Axis(column, title, options=tuple(map(_word, entry["options"])))
    return Axis(column, title, float(entry["low"]), float(entry["high"]), bool(entry["log"]))


def _word(value: Any) -> str:
    """A parameter's value as the command line takes it; equal values of one field have equal words."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    return f"{value:.12g}" if isinstance(value, int | float | np.number) else str(value)
