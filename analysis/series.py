"""What was measured and what was reported, by configuration, seed and task, as plain frames.

The tables, the sentences and the pictures take their numbers from here, so that they cannot disagree. Accuracies are
fractions in [0, 1], tasks count from 0.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.metrics import metric_info, metrics_of
from analysis.records import Run

REPLICA = ["trial_id", "seed"]


@dataclass(frozen=True)
class Reported:
    """A run that was reported elsewhere: one seed, not measured here.

    ``accuracy`` has one fraction per task of *its* protocol; ``ablation`` maps fast, slow, combined (and frozen, where
    given) to the accuracy after the last task; ``metrics`` maps final metrics, by the names that this project gives
    them, to their values, accuracies as fractions.
    """

    configuration: str
    label: str
    accuracy: list[float]
    ablation: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        return f"{self.configuration} {self.label}".strip() + " — reported (1 run)"


def configurations(run: Run) -> list[str]:
    """Labels in display order; the first is the baseline."""
    return list(dict.fromkeys([*(run.study.get("configurations") or {}), *run.trials["configuration"]]))


def task_count(run: Run) -> int:
    """T of the study; where it was not recorded, the tasks that were reached."""
    reached = run.metrics["task"].max()
    return int(run.study.get("tasks") or (0 if pd.isna(reached) else reached + 1))


def replicas(run: Run, configuration: str) -> pd.DataFrame:
    """Rows of trials.parquet of one configuration, whatever became of them."""
    return run.of(configuration)


def final_values(run: Run, configuration: str, metric: str) -> "pd.Series[float]":
    """A final metric by seed over the finished replicas that have it; a seed that was run twice counts once: its mean.

    Args:
        metric: name of the final metric, without ``metric.``.
    """
    rows = replicas(run, configuration)
    rows = rows[rows["status"] == "finished"]
    if f"metric.{metric}" not in rows:
        return pd.Series(dtype=float)
    return rows.dropna(subset=f"metric.{metric}").groupby("seed")[f"metric.{metric}"].mean().astype(float)


def objective_metric(run: Run) -> str:
    """The final metric that the study judges configurations by."""
    return str(run.study["objective"]["metric"])


def judged_metric(run: Run) -> str:
    """The study's objective where it is a fraction, which is shown in per cent and points; else the first that is."""
    metric, known = objective_metric(run), run.study.get("metrics")
    if metric_info(known, metric).fraction:
        return metric
    columns = (one.name for one in metrics_of(run.study) if one.fraction and f"metric.{one.name}" in run.trials)
    return next(columns, metric)


def boundary_kind(run: Run) -> str:
    """What replicas report after: ``task`` or ``epoch``, the name of the column in the metric rows."""
    return str(run.study.get("boundary") or "task")


def finals_of(run: Run, metric: str) -> "dict[str, pd.Series[float]]":
    """``final_values`` of every configuration at once, in display order; empty series where there are none."""
    table = final_table(run, metric)
    none = pd.Series(dtype=float)
    return {label: table.loc[label].dropna() if label in table.index else none for label in configurations(run)}


def accuracy_by_boundary(run: Run) -> pd.DataFrame:
    """Accuracy on the test set after every boundary (task or epoch) that was reached, of every replica.

    Returns:
        columns configuration, status, trial_id, seed, boundary (counted from 0), accuracy (a fraction); rows sorted by
        trial, seed and boundary. Empty where a study measures no such thing.
    """
    position, frame = boundary_kind(run), measured(run, "eval")
    name = next((name for name in ("accuracy", "top1") if (frame["name"] == name).any()), "")
    frame = frame[(frame["name"] == name) & frame[position].notna()]
    frame = frame.rename(columns={position: "boundary", "value": "accuracy"}).astype({"boundary": int})
    frame = frame[["configuration", "status", *REPLICA, "boundary", "accuracy"]]
    return frame.drop_duplicates([*REPLICA, "boundary"], keep="last").sort_values([*REPLICA, "boundary"])


def final_table(run: Run, metric: str) -> pd.DataFrame:
    """A final metric of the finished replicas of all configurations: a row for each, a column per seed, NaN for none.

    A seed that was run twice counts once: its mean. Only configurations with a value have a row, in display order.
    """
    column = f"metric.{metric}"
    if column not in run.trials:
        return pd.DataFrame(dtype=float)
    rows = run.trials.loc[run.trials["status"] == "finished", ["configuration", "seed", column]].dropna()
    table = rows.pivot_table(index="configuration", columns="seed", values=column, aggfunc="mean").astype(float)
    present = set(table.index)
    return table.reindex([label for label in configurations(run) if label in present])


def final_means(run: Run, metric: str) -> "pd.Series[float]":
    """Mean of a final metric over the finished seeds, by configuration; only of those that have one."""
    return final_table(run, metric).mean(axis=1)


def below_frozen(run: Run) -> pd.DataFrame:
    """By configuration, columns below and compared: finished seeds that ended below their frozen backbone, and all
    for which that is known."""
    rows = run.trials[run.trials["status"] == "finished"]
    columns = ["metric.final_accuracy", "metric.final_frozen_accuracy"]
    rows = rows.reindex(columns=["configuration", *columns]).dropna()
    flags = pd.DataFrame({"configuration": rows["configuration"], "below": rows[columns[0]] < rows[columns[1]]})
    counts = flags.groupby("configuration", sort=False)["below"].agg(below="sum", compared="size")
    return counts.reindex([label for label in configurations(run) if label in counts.index]).astype(int)


def accuracy_by_task(run: Run) -> pd.DataFrame:
    """Columns configuration, trial_id, seed, task, accuracy: all classes seen so far, after every task reached.

    The last task counts for finished replicas only, so that it is the final accuracy everywhere.
    """
    frame = _of_tasks(run, "eval")
    frame = frame[frame["name"] == "accuracy"].rename(columns={"value": "accuracy"})
    kept = (frame["task"] < task_count(run) - 1) | (frame["status"] == "finished")
    return frame.loc[kept, ["configuration", *REPLICA, "task", "accuracy"]].reset_index(drop=True)


def references_by_task(run: Run) -> pd.DataFrame:
    """Columns configuration, trial_id, seed, task, name (ncm | joint | chance), accuracy: the reference lines, after
    every task that a replica reached; empty where none was measured."""
    frame = _of_tasks(run, "reference").rename(columns={"value": "accuracy"})
    return frame[["configuration", *REPLICA, "task", "name", "accuracy"]]


def ablation_by_task(run: Run) -> pd.DataFrame:
    """Columns configuration, trial_id, seed, task, moment (before | after), part (frozen | fast | slow | combined),
    accuracy: the ablations at every task boundary."""
    frame = _of_tasks(run, "ablation").rename(columns={"value": "accuracy"})
    # Split once per name, not once per row.
    split = {name: [*name.split("/", 1), ""] for name in frame["name"].unique()}
    frame["moment"] = frame["name"].map({name: parts[0] for name, parts in split.items()})
    frame["part"] = frame["name"].map({name: parts[1] for name, parts in split.items()})
    kept = (frame["task"] < task_count(run) - 1) | (frame["status"] == "finished")
    return frame.loc[kept, ["configuration", *REPLICA, "task", "moment", "part", "accuracy"]].reset_index(drop=True)


def destructive_flags(run: Run) -> pd.DataFrame:
    """Columns configuration and value: whether the slow weights did harm, at every boundary of all replicas."""
    frame = _of_tasks(run, "boundary")
    return frame.loc[frame["name"] == "destructive", ["configuration", "value"]]


def reported(run: Run, configuration: str) -> list[Reported]:
    """The reported runs of one configuration, in the order of study.json."""
    about: tuple[tuple[str, Any], ...] = (("accuracy", []), ("ablation", {}), ("metrics", {}))
    return [
        Reported(configuration, entry.get("label") or "", *(entry.get(key) or none for key, none in about))
        for entry in run.study.get("reported") or []
        if entry.get("configuration") == configuration
    ]


def values(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as float64, shape (rows,)."""
    return frame[column].to_numpy(dtype=np.float64)


def measured(run: Run, phase: str) -> pd.DataFrame:
    """Finite metric rows of one phase with the configuration and status of their replica."""
    frame = run.metrics[(run.metrics["phase"] == phase) & np.isfinite(run.metrics["value"])]
    return frame.merge(run.trials[[*REPLICA, "configuration", "status"]], on=REPLICA, validate="many_to_one")


def _of_tasks(run: Run, phase: str) -> pd.DataFrame:
    """Those of ``measured`` that belong to a task."""
    frame = measured(run, phase)
    return frame[frame["task"].notna()].astype({"task": int})
