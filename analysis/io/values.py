"""What was measured, as tidy frames: outcomes of replicas, curves over boundaries, reference lines.

Accuracies are fractions in [0, 1]; tasks and epochs count from 0.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.io.metrics import MetricInfo, metric_info
from analysis.io.records import Run

ENDED = ("finished", "diverged", "failed")
REPLICA = ["configuration", "trial_id", "seed"]
REFERENCES = {
    "chance": "chance level",
    "majority": "majority class",
    "frozen": "frozen backbone",
    "ncm": "nearest class mean",
    "joint": "head of all classes",
}
"""Reference lines by the names that the trainables give them, worst first, and as people read them."""


def objective(run: Run) -> MetricInfo:
    """The final metric that the study judges configurations by, with the direction that the study gives it."""
    said: dict[str, Any] = run.study.get("objective") or {}
    first = next((name.removeprefix("metric.") for name in run.trials if name.startswith("metric.")), "objective")
    known = metric_info(run.study.get("metrics"), str(said.get("metric") or first))
    return replace(known, direction=str(said.get("direction") or known.direction))


def configurations(run: Run) -> list[str]:
    """Labels in the order of the study; the first is its baseline."""
    return list(dict.fromkeys([*(run.study.get("configurations") or {}), *run.trials["configuration"]]))


def ended(run: Run, about: MetricInfo) -> pd.DataFrame:
    """Replicas that ended: columns configuration, trial_id, seed, status, value (NaN where lost) and lost."""
    rows = run.trials[run.trials["status"].isin(ENDED)]
    value = rows.get(f"metric.{about.name}", pd.Series(np.nan, rows.index)).astype(float)
    value = value.where(rows["status"].eq("finished") & np.isfinite(value))
    return rows[[*REPLICA, "status"]].assign(value=value, lost=value.isna())


def outcomes(run: Run, metric: str | None = None) -> pd.DataFrame:
    """A final metric of every replica that ended, failed ones counted.

    Args:
        metric: without ``metric.``; the study's objective where it is None.

    Returns:
        columns configuration, trial_id, seed, status, value, lost. ``lost``: diverged, failed or not finite; its value
        is the worst one of the run, as in a search. A seed that was run twice counts once, by its mean. Replicas that
        were interrupted or stopped early are absent; so are all where no replica has a finite value.
    """
    about = objective(run)
    if metric is not None and metric != about.name:
        about = metric_info(run.study.get("metrics"), metric)
    found = ended(run, about)
    if found["lost"].all():
        return found.iloc[:0].reset_index(drop=True)
    found["value"] = found["value"].fillna(found["value"].min() if about.maximise else found["value"].max())
    keys = ["configuration", "seed"]
    if found.duplicated(keys).any():
        how = {"trial_id": "first", "status": "first", "value": "mean", "lost": "all"}
        found = found.sort_values("lost", kind="stable").groupby(keys, sort=False, as_index=False).agg(how)
    place = {label: number for number, label in enumerate(configurations(run))}
    found = found.sort_values(keys, key=lambda one: one.map(place) if one.name == keys[0] else one, ignore_index=True)
    return found[[*REPLICA, "status", "value", "lost"]]


def counts(run: Run) -> pd.DataFrame:
    """Replicas by how they ended: a row per configuration, columns finished, diverged, failed, other and planned."""
    table = run.trials.groupby(["configuration", "status"], observed=True).size().unstack(fill_value=0)
    table = table.reindex(index=configurations(run), fill_value=0)
    known = table.reindex(columns=list(ENDED), fill_value=0).astype(int)
    known["other"] = table.sum(axis=1).astype(int) - known.sum(axis=1)
    planned = 0 if run.study.get("search") else len(run.study.get("seeds") or ())
    return known.assign(planned=np.maximum(known.sum(axis=1), planned))


def boundary(run: Run) -> str:
    """What replicas report after, and the column of metric rows that counts it: ``task`` or ``epoch``."""
    return str(run.study.get("boundary") or "task")


def curve(run: Run, phase: str, name: str, at: str | None = None) -> pd.DataFrame:
    """A metric after every boundary: columns configuration, trial_id, seed, at (counted from 1), value.

    Args:
        at: ``task``, ``epoch`` or ``step``; the study's boundary where it is None.
    """
    at = at or boundary(run)
    rows = run.metrics[(run.metrics["phase"] == phase) & (run.metrics["name"] == name) & run.metrics[at].notna()]
    rows = rows.drop_duplicates(["trial_id", "seed", at], keep="last").assign(at=lambda one: one[at].astype(int) + 1)
    return _labelled(run, rows)[[*REPLICA, "at", "value"]].sort_values(["trial_id", "seed", "at"], ignore_index=True)


def evaluated(run: Run) -> str:
    """Name of the accuracy that is measured after every boundary; "" where there is none."""
    names = set(run.metrics.loc[run.metrics["phase"] == "eval", "name"].unique())
    return next((name for name in ("accuracy", "top1") if name in names), min(names, default=""))


def references(run: Run) -> pd.DataFrame:
    """Reference values at the end of every replica: columns configuration, seed, name (of ``REFERENCES``), value."""
    rows = run.metrics[run.metrics["phase"] == "reference"]
    ablated = run.metrics[(run.metrics["phase"] == "ablation") & (run.metrics["name"] == "after/frozen")]
    rows = pd.concat([rows, ablated.assign(name="frozen")]) if len(ablated) else rows
    rows = rows[rows["name"].isin(list(REFERENCES))].sort_values(["task", "epoch", "step"], na_position="first")
    last = rows.drop_duplicates(["trial_id", "seed", "name"], keep="last")
    return _labelled(run, last)[["configuration", "seed", "name", "value"]].reset_index(drop=True)


def final_metrics(run: Run, changing: bool = True) -> list[MetricInfo]:
    """Final metrics of the run in the order of the study; with ``changing`` only those that differ between replicas."""
    names = [name.removeprefix("metric.") for name in run.trials if name.startswith("metric.")]
    kept = [name for name in names if not changing or run.trials[f"metric.{name}"].nunique() > 1]
    return [metric_info(run.study.get("metrics"), name) for name in kept]


def _labelled(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    labels = run.trials.drop_duplicates("trial_id").set_index("trial_id")["configuration"]
    return rows.assign(configuration=rows["trial_id"].map(labels)).dropna(subset="configuration")
