"""A search as its report reads it: what was confirmed on fresh seeds, and every configuration with what it was."""

from dataclasses import dataclass
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
class Goal:
    """An objective of a search: ``label`` in the columns of search.parquet, and what it is a statistic of."""

    label: str
    metric: MetricInfo
    maximise: bool

    @property
    def text(self) -> str:
        """As people read it."""
        return self.label.replace(self.metric.name, self.metric.text).replace("_", " ")

    @property
    def unit(self) -> str:
        return "%" if self.metric.fraction else self.metric.unit

    @property
    def axis(self) -> str:
        return f"{self.text} (%)" if self.metric.fraction else self.text

    @property
    def difference_unit(self) -> str:
        return "points" if self.metric.fraction else self.metric.unit

    @property
    def digits(self) -> int:
        return 1 if self.metric.fraction else 0 if self.metric.unit == "parameters" else 4


@dataclass(frozen=True)
class Search:
    """A search, read; ``goals``: its objectives, the first one first."""

    run: Run
    records: SearchRecords
    goals: tuple[Goal, ...]

    @property
    def first(self) -> Goal:
        return self.goals[0]

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
        frame = self.trials[self.trials["fresh_trial_id"].notna()]
        own = self.own_first
        first = frame["trial"] != (-1 if own is None else int(own["trial"]))
        order = pd.DataFrame({"first": first, "place": frame["place"].astype(float)}).sort_values(["first", "place"])
        return frame.loc[order.index]

    @cached_property
    def own_first(self) -> "pd.Series[Any] | None":
        """The configuration that the study itself tries first; None where it tries none."""
        rows = self.trials[self.trials["enqueued"]].sort_values("trial")
        return None if rows.empty else rows.iloc[0]

    def column(self, kind: str, goal: Goal) -> "pd.Series[float]":
        """``value``, ``fresh``, ``gap``, ... of ``trials``, in the unit that is shown."""
        name = f"{kind}.{goal.label}"
        known = self.trials[name] if name in self.trials else pd.Series(np.nan, index=self.trials.index)
        return goal.metric.scale * known.astype(float)

    def estimate(self, row: "pd.Series[Any]", kind: str, goal: Goal) -> Estimate | None:
        """``value``, ``fresh`` or ``gap`` of a row of ``trials``, the last two with their intervals."""
        value, low, high = (
            float(self.column(one, goal)[row.name]) for one in (kind, f"{kind}_low", f"{kind}_high")  # type: ignore[index]
        )  # fmt: skip
        if np.isnan(value):
            return None
        known = None if low == high else low, None if low == high else high  # no interval of what no seed changes
        return Estimate(value, *known, signed=kind == "gap", digits=goal.digits)

    @cached_property
    def fields(self) -> pd.DataFrame:
        """What a configuration was trained with, by trial: a column per dimension that varies; None where a condition
        takes the dimension away. Options of a choice are text."""
        trained = self.run.trials.drop_duplicates("trial_id").set_index("trial_id")
        ran = self.trials["trial_id"].isin(trained.index)
        there: dict[str, pd.Series[bool]] = {}
        found: dict[str, pd.Series[Any]] = {}
        for entry in self.space:
            name, column = entry["name"], f"param.{entry['name']}"
            values = self.trials["trial_id"].map(trained[column]) if column in trained else pd.Series(None, ran.index)
            active = ran & (values.notna() | _takes_none(entry))
            for parent, wanted in entry["when"].items():
                allowed = {_word(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
                of_parent = self.trials["trial_id"].map(trained.get(f"param.{parent}", {})).map(_word)
                active &= there[parent] & of_parent.isin(allowed)
            there[name] = active
            if entry["kind"] == "fixed" or not active.any():
                continue
            if entry["kind"] == "choice":
                words = [_word(one) if known else None for one, known in zip(values, active, strict=True)]
                found[name] = pd.Series(words, ran.index, object)
            else:
                found[name] = values.astype(float).where(active)
        return pd.DataFrame(found, index=self.trials.index)

    @cached_property
    def axes(self) -> list[Axis]:
        """The dimensions that were searched, each on the scale on which it is drawn."""
        known = {entry["name"]: entry for entry in self.space}
        return [_axis(known[name]) for name in self.fields]

    @cached_property
    def table(self) -> pd.DataFrame:
        """``evaluated`` as charts show it: the columns of ``trials``, ``value`` of the first objective, ``goal0``,
        ``goal1``, ... of all, and the dimensions as they are drawn: a ratio where one is a ratio."""
        drawn = self.fields.copy()
        for entry in self.space:
            if entry["name"] in drawn and (parent := entry.get("ratio_to")):
                whole = self.run.trials.drop_duplicates("trial_id").set_index("trial_id")[f"param.{parent}"]
                base = self.trials["trial_id"].map(whole).astype(float)
                drawn[entry["name"]] = drawn[entry["name"]].astype(float) / base
        drawn.columns = [f"drawn {name}" for name in drawn]
        goals = {f"goal{number}": self.column("value", goal) for number, goal in enumerate(self.goals)}
        whole = self.trials.assign(**goals, value=goals["goal0"]).join(drawn).loc[self.evaluated.index]
        return whole if len(whole) <= MOST_DRAWN else self._thinned(whole)

    @property
    def goal_axes(self) -> list[Axis]:
        """The objectives as axes, from the lowest value to the highest."""
        seen = [self.table[f"goal{number}"] for number in range(len(self.goals))]
        return [
            Axis(str(values.name), goal.axis, float(values.min()), float(values.max()))
            for goal, values in zip(self.goals, seen, strict=True)
        ]

    @property
    def space(self) -> list[dict[str, Any]]:
        return list(self.run.study["search"]["space"])

    def _thinned(self, table: pd.DataFrame) -> pd.DataFrame:
        best = table["value"].rank(ascending=not self.first.maximise, method="first") <= MOST_BEST
        rest = table.index[~best]
        kept = rest[:: -(-len(rest) // (MOST_DRAWN - MOST_BEST))]
        return table.loc[table.index[best].union(kept)]


def searched(run: Run) -> Search:
    """The search of a run, or of the whole run of which this is a part.

    Raises:
        RecordsError: a file of the search is missing or damaged.
    """
    whole = run.whole
    known = whole.study.get("metrics")
    goals = tuple(_goal(one, metric_info(known, one["metric"])) for one in whole.study["search"]["objectives"])
    return Search(whole, read_search(whole), goals)


def fresh_run(run: Run) -> Run:
    """The part of a run that says how good the confirmed configurations are: their replicas on fresh seeds.

    The study's own first configuration comes first, where it was confirmed, then the others in the search's order.
    """
    confirmed = searched(run).confirmed
    labels = confirmed["fresh_configuration"].tolist()
    ids = confirmed["fresh_trial_id"].tolist()
    own = dict(zip(confirmed["configuration"], labels, strict=True))
    reported = [one | {"configuration": own.get(one["configuration"], one["configuration"])}
                for one in run.study.get("reported") or ()]  # fmt: skip
    study = run.study | {"configurations": dict.fromkeys(labels), "reported": reported, "contrasts": []}
    trials, metrics = (frame[frame["trial_id"].isin(ids)] for frame in (run.trials, run.metrics))
    return Run(run.path, study, trials.reset_index(drop=True), metrics.reset_index(drop=True), run)


def _goal(content: dict[str, Any], metric: MetricInfo) -> Goal:
    maximise = content["over_seeds"] not in ("collapse_rate", "spread") and content["direction"] == "maximize"
    return Goal(objective_label(content), metric, maximise)


def _axis(entry: dict[str, Any]) -> Axis:
    column, title = f"drawn {entry['name']}", dimension_label(entry)
    if entry["kind"] == "choice":
        return Axis(column, title, options=tuple(map(_word, entry["options"])))
    return Axis(column, title, float(entry["low"]), float(entry["high"]), bool(entry["log"]))


def _takes_none(entry: dict[str, Any]) -> bool:
    return entry["kind"] == "choice" and None in entry["options"]


def _word(value: Any) -> str:
    """A parameter's value as the command line takes it; equal values of one field have equal words."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    return f"{value:.12g}" if isinstance(value, int | float | np.number) else str(value)
