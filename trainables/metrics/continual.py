"""Class-incremental metrics of one replica, from the rows that its trainable reported.

Tasks are counted from 0; accuracies are fractions in [0, 1]. Row vocabulary used here (phase, name):
``eval``: ``accuracy`` (all classes seen so far, after task ``task``), ``accuracy/task_<i>`` (task i's classes),
``accuracy_old`` and ``accuracy_new`` (images of the earlier tasks, of task ``task``), ``recency`` (share of the
predictions that fall into task ``task``'s classes);
``transfer``: ``before/task_<i>`` (task i among its own classes, after task ``task`` = i - 1), ``initial/task_<i>``
(the same before any training);
``reference``: ``ncm`` (nearest class mean of the frozen backbone's features), ``joint`` (linear head on them, trained
on all classes at once, after the last task), ``chance``;
``val``: ``accuracy``, on training images that were held out;
``ablation``: ``after/frozen``, ``after/fast``, ``after/slow``; ``boundary``: ``destructive``.

Sources: average incremental accuracy, Rebuffi et al. 2017 (iCaRL); forgetting, Chaudhry et al. 2018 (Riemannian walk);
backward and forward transfer, Lopez-Paz and Ranzato 2017 (GEM); nearest class mean as a reference, Zhou et al. 2023
(SimpleCIL).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.metrics.finals import costs

Matrix = NDArray[np.float64]

_TASK_ACCURACY = "accuracy/task_"
# Final metric: phase and name of its row after the last task.
_LAST = {
    "final_recency": ("eval", "recency"),
    "final_old_accuracy": ("eval", "accuracy_old"),
    "final_new_accuracy": ("eval", "accuracy_new"),
    "final_ncm_accuracy": ("reference", "ncm"),
    "final_joint_accuracy": ("reference", "joint"),
    "final_frozen_accuracy": ("ablation", "after/frozen"),
    "final_fast_accuracy": ("ablation", "after/fast"),
    "final_slow_accuracy": ("ablation", "after/slow"),
}


def accuracy_matrix(rows: Iterable[Mapping[str, Any]], tasks: int) -> Matrix:
    """Accuracy on task i's classes after training on task t.

    Args:
        rows: metric rows of one replica; of rows for the same entry the last counts.
        tasks: T, the number of tasks of the study.

    Returns:
        a[t, i], shape (T, T); NaN above the diagonal and where nothing finite was measured.
    """
    matrix = np.full((tasks, tasks), np.nan)
    for task, name, value in _measured(rows, "eval"):
        if name.startswith(_TASK_ACCURACY):
            learned = int(name.removeprefix(_TASK_ACCURACY))
            if learned <= task < tasks:
                matrix[task, learned] = value
    return matrix


def seen_accuracy(rows: Iterable[Mapping[str, Any]], tasks: int, phase: str = "eval") -> Matrix:
    """Accuracy on all classes seen so far after each task, shape (T,); NaN where a task was not reached.

    Args:
        phase: ``eval``: test images; ``val``: held-out training images.
    """
    accuracy = np.full(tasks, np.nan)
    for task, name, value in _measured(rows, phase):
        if name == "accuracy" and task < tasks:
            accuracy[task] = value
    return accuracy


def forgetting(matrix: Matrix) -> float:
    """Mean over the earlier tasks i < T-1 of the max over t < T-1 of a[t, i], minus a[T-1, i].

    Negative where the last task improved the earlier ones.

    Args:
        matrix: shape (T, T), from ``accuracy_matrix``; of an incomplete one, or T < 2, the mean is NaN.
    """
    return float(np.mean(np.nanmax(matrix[:-1, :-1], axis=0) - matrix[-1, :-1])) if _complete(matrix) else math.nan


def backward_transfer(matrix: Matrix) -> float:
    """Mean over the earlier tasks i < T-1 of a[T-1, i] - a[i, i]; negative where they were forgotten.

    Args:
        matrix: as for ``forgetting``.
    """
    return float(np.mean(matrix[-1, :-1] - np.diag(matrix)[:-1])) if _complete(matrix) else math.nan


def forward_transfer(before: Matrix, initial: Matrix) -> float:
    """Mean over the tasks i >= 1 of the accuracy on task i just before it is learned, minus that before any training.

    Args:
        before: accuracy on tasks 1 .. T-1 among their own classes, each after the task before it, shape (T-1,).
        initial: the same before any training, shape (T-1,). Without a task, or one not measured, the mean is NaN.
    """
    return float(np.mean(before - initial)) if before.size else math.nan


def continual_finals(rows: Iterable[Mapping[str, Any]], tasks: int) -> dict[str, float]:
    """Final metrics after ``tasks`` tasks; a metric that was not measured is absent, never NaN, and a value over fewer
    tasks never stands beside values over all of them.

    Args:
        rows: all metric rows of one replica.

    Returns:
        those of ``trainables.metrics.finals.CONTINUAL`` that were measured; final_frozen_accuracy,
        final_fast_accuracy and final_slow_accuracy are ablations at the last boundary, after consolidation,
        destructive_boundaries counts those where slow alone was worse than the frozen backbone.
    """
    rows = list(rows)
    metrics: dict[str, float] = {}
    held_out, accuracy = (seen_accuracy(rows, tasks, phase) for phase in ("val", "eval"))
    if held_out.size and np.isfinite(held_out).all():
        metrics |= {"final_val_accuracy": held_out[-1], "average_incremental_val_accuracy": held_out.mean()}
        metrics |= costs(rows)
    if accuracy.size and np.isfinite(accuracy[-1]):
        metrics |= {"final_accuracy": accuracy[-1], **costs(rows)}
        if destructive := {task: value for task, name, value in _measured(rows, "boundary") if name == "destructive"}:
            metrics["destructive_boundaries"] = sum(destructive.values())
        matrix = accuracy_matrix(rows, tasks)
        metrics |= {
            "average_incremental_accuracy": accuracy.mean(), "forgetting": forgetting(matrix),
            "backward_transfer": backward_transfer(matrix),
            "forward_transfer": forward_transfer(*(_later_tasks(rows, tasks, when) for when in ("before", "initial"))),
        }  # fmt: skip
        last = {
            (phase, name): value
            for phase in ("eval", "reference", "ablation")
            for task, name, value in _measured(rows, phase)
            if task == tasks - 1
        }
        metrics |= {metric: last[place] for metric, place in _LAST.items() if place in last}
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _measured(rows: Iterable[Mapping[str, Any]], phase: str) -> Iterator[tuple[int, str, float]]:
    """Task, name and value of a phase's finite rows; a non-finite value is no measurement."""
    for row in rows:
        if row["phase"] == phase and row["value"] is not None and math.isfinite(row["value"]):
            yield int(row["task"]), str(row["name"]), float(row["value"])


def _later_tasks(rows: Iterable[Mapping[str, Any]], tasks: int, moment: str) -> Matrix:
    """``transfer`` rows of a moment by task 1 .. T-1, shape (T-1,); NaN where there is none."""
    known = {name: value for _, name, value in _measured(rows, "transfer")}
    return np.array([known.get(f"{moment}/task_{task}", np.nan) for task in range(1, tasks)])


def _complete(matrix: Matrix) -> bool:
    """Whether there are two tasks and every entry on or below the diagonal."""
    return len(matrix) > 1 and bool(np.isfinite(matrix[np.tril_indices(len(matrix))]).all())
