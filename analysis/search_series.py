"""What a search found and what became of it on fresh seeds: the numbers behind its tables, sentences and pictures."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.cells import Interval
from analysis.differences import CONFIDENCE, PairedDifference, corrected, difference
from analysis.metrics import MetricInfo, metric_info
from analysis.objective_labels import objective_label
from analysis.records import Run
from analysis.search_records import SearchRecords, read_search
from analysis.series import final_values


@dataclass(frozen=True)
class SearchedObjective:
    """An objective of a search.

    Attributes:
        label: in the columns of search.parquet.
        metric: what it is a statistic of.
        maximized: larger is better.
    """

    label: str
    metric: MetricInfo
    maximized: bool

    @property
    def readable(self) -> str:
        """For a reader."""
        return self.label.replace("_", " ")

    @property
    def scale(self) -> float:
        """From the objective's unit to the one that is shown."""
        return self.metric.scale

    @property
    def unit(self) -> str:
        return ", %" if self.metric.fraction else ""

    @property
    def digits(self) -> int:
        return 1 if self.metric.fraction else 0 if self.metric.unit == "parameters" else 4


@dataclass(frozen=True)
class Search:
    """A search, read.

    Attributes:
        first: objective that the comparisons are about.
        others: the other objectives.
    """

    run: Run
    records: SearchRecords
    first: SearchedObjective
    others: tuple[SearchedObjective, ...] = ()

    @property
    def objective(self) -> str:
        return self.first.label

    @property
    def test_metric(self) -> str:
        return str(self.run.study["objective"]["metric"])

    @property
    def test_name(self) -> str:
        return self.test_metric.replace("_", " ")

    @property
    def test_info(self) -> MetricInfo:
        return metric_info(self.run.study.get("metrics"), self.test_metric)

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """Rows of configurations that have a value, in the order of their trials."""
        frame = self.records.trials
        return frame[self._column("value", frame).notna()]

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """Rows of configurations with values on fresh seeds: feasible ones first, of these the best first."""
        frame = self.records.trials
        frame = frame[self._column("fresh", frame).notna()]
        worth = self._column("fresh", frame) * (-1.0 if self.first.maximized else 1.0)
        infeasible = ~frame["feasible"].fillna(True).astype(bool)
        order = pd.DataFrame({"infeasible": infeasible, "worth": worth}).sort_values(["infeasible", "worth"])
        return frame.loc[order.index]

    @property
    def baseline(self) -> "pd.Series[Any] | None":
        """The first configuration that was tried because the study says so, where it was confirmed."""
        rows = self.confirmed[self.confirmed["enqueued"] & (self.confirmed["trial"] == 0)]
        return None if rows.empty else rows.iloc[0]

    def value(self, row: "pd.Series[Any]") -> float:
        """What the search saw, as shown."""
        return self.first.scale * float(row[f"value.{self.objective}"])

    def estimate(self, row: "pd.Series[Any]", kind: str, of: SearchedObjective | None = None) -> Interval:
        """``fresh`` or ``gap`` with its interval, as shown; no interval of what no seed changes."""
        of = of or self.first
        names = (f"{kind}.{of.label}", f"{kind}_low.{of.label}", f"{kind}_high.{of.label}")
        value, low, high = (of.scale * float(row[name]) for name in names)
        if low == high:
            return Interval(value, None, None, signed=kind == "gap", digits=of.digits)
        return Interval(value, low, high, signed=kind == "gap", digits=of.digits)

    @property
    def front(self) -> list[str]:
        """Configurations that the search calls Pareto-optimal, in its order; of one objective the best alone."""
        frame = self.records.trials
        return list(frame[frame["front"].fillna(False).astype(bool)].sort_values("place")["configuration"])

    def tested(self, row: "pd.Series[Any]") -> Interval | None:
        """Mean of the test metric over the finished fresh seeds, with its t interval; None where none has finished."""
        values = final_values(self.run, row["fresh_configuration"], self.test_metric).to_numpy()
        if not values.size:
            return None
        scale, mean, digits = self.test_info.scale, float(values.mean()), 1 if self.test_info.fraction else 4
        if values.size < 2:
            return Interval(scale * mean, None, None, digits=digits)
        width = stats.t.ppf((1 + CONFIDENCE) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size)
        return Interval(scale * mean, scale * (mean - width), scale * (mean + width), digits=digits)

    def fresh_seeds(self, row: "pd.Series[Any]") -> tuple[int, int]:
        """Fresh seeds that finished, and all of them."""
        rows = self.run.trials[self.run.trials["trial_id"] == row["fresh_trial_id"]]
        return int((rows["status"] == "finished").sum()), len(rows)

    def against_baseline(self) -> list[PairedDifference]:
        """Test metric of the confirmed configurations minus the baseline's, paired by fresh seed."""
        if self.baseline is None:
            return []
        first = self.baseline["fresh_configuration"]
        others = [label for label in self.confirmed["fresh_configuration"] if label != first]
        found = [difference(self.run, label, first, self.test_metric) for label in others]
        return corrected([one for one in found if one is not None])

    def parameters(self, row: "pd.Series[Any]") -> dict[str, Any]:
        """Values of the dimensions that its replicas were trained with; None where it has no such dimension."""
        rows = self.run.trials[self.run.trials["trial_id"] == row["trial_id"]]
        space = self.run.study["search"]["space"]
        names = [entry["name"] for entry in space]
        values = {name: rows[f"param.{name}"].iloc[0] for name in names if f"param.{name}" in rows and len(rows)}
        return {
            entry["name"]: values[entry["name"]] if _met(entry["when"], values) else None
            for entry in space
            if entry["name"] in values and entry["kind"] != "fixed"
        }

    def _column(self, kind: str, frame: pd.DataFrame) -> "pd.Series[float]":
        name = f"{kind}.{self.objective}"
        return frame[name] if name in frame else pd.Series(np.nan, index=frame.index)


def found_by(run: Run) -> Search:
    """Read the search of a run.

    Raises:
        RecordsError: a file of the search is missing or damaged.
    """
    records = read_search(run)
    known = run.study.get("metrics")
    first, *others = (_objective(one, metric_info(known, one["metric"])) for one in run.study["search"]["objectives"])
    return Search(run, records, first, tuple(others))


def _objective(content: dict[str, Any], metric: MetricInfo) -> SearchedObjective:
    """An objective as study.json has it."""
    maximized = content["over_seeds"] not in ("collapse_rate", "spread") and content["direction"] == "maximize"
    return SearchedObjective(objective_label(content), metric, maximized)


def shown(value: Any) -> str:
    """A parameter's value for a reader: four digits of a number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _met(when: dict[str, Any], values: dict[str, Any]) -> bool:
    allowed = {parent: wanted if isinstance(wanted, list) else [wanted] for parent, wanted in when.items()}
    return all(values[parent] in wanted for parent, wanted in allowed.items() if parent in values)
