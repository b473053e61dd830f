"""Class-incremental metrics of one replica, from the rows that its trainable reported.

Tasks are counted from 0; accuracies are fractions in [0, 1]. Row vocabulary used here (phase, name):
``eval``: ``accuracy`` (all classes seen so far, after task ``task``), ``accuracy/task_<i>`` (task i's classes);
``val``: ``accuracy``, on training images that were held out;
``ablation``: ``after/frozen``, ``after/fast``, ``after/slow``; ``boundary``: ``destructive``.

Sources: average incremental accuracy, Rebuffi et al. 2017 (iCaRL); forgetting, Chaudhry et al. 2018 (Riemannian walk);
backward transfer, Lopez-Paz and Ranzato 2017 (GEM).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.tuning import costs

Matrix = NDArray[np.float64]

_TASK_ACCURACY = "accuracy/task_"


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


def average_incremental_accuracy(accuracy: Matrix) -> float:
    """Mean over tasks of the accuracy on the classes seen so far.

    Args:
        accuracy: shape (T,), from ``seen_accuracy``.

    Raises:
        ValueError: a task is missing, so that the mean would be over fewer (and easier) tasks.
    """
    if accuracy.size == 0 or not np.isfinite(accuracy).all():
        raise ValueError("average incremental accuracy needs the accuracy after every task")
    return float(accuracy.mean())


def forgetting(matrix: Matrix) -> float:
    """Mean over the earlier tasks i < T-1 of max over t < T-1 of a[t, i], minus a[T-1, i].

    Negative where the last task improved the earlier ones.

    Args:
        matrix: shape (T, T), from ``accuracy_matrix``.

    Raises:
        ValueError: T < 2, or an entry on or below the diagonal is missing.
    """
    _check_complete(matrix, "forgetting")
    return float(np.mean(np.nanmax(matrix[:-1, :-1], axis=0) - matrix[-1, :-1]))


def backward_transfer(matrix: Matrix) -> float:
    """Mean over the earlier tasks i < T-1 of a[T-1, i] - a[i, i]; negative where they were forgotten.

    Args:
        matrix: shape (T, T), from ``accuracy_matrix``.

    Raises:
        ValueError: T < 2, or an entry on or below the diagonal is missing.
    """
    _check_complete(matrix, "backward transfer")
    return float(np.mean(matrix[-1, :-1] - np.diag(matrix)[:-1]))


def final_metrics(rows: Iterable[Mapping[str, Any]], tasks: int) -> dict[str, float]:
    """Final metrics of one replica, the values of the ``metric.<key>`` columns of its trial row.

    A replica that stopped before task T-1 was evaluated has none but ``destructive_boundaries``: a key is absent, never
    NaN, and a value over fewer tasks never stands beside values over all of them.

    Args:
        rows: all metric rows of the replica.
        tasks: T, the number of tasks of the study.

    Returns:
        final_accuracy, average_incremental_accuracy, forgetting, backward_transfer, final_frozen_accuracy,
        final_fast_accuracy, final_slow_accuracy (ablations at the last boundary, after consolidation),
        destructive_boundaries (boundaries where slow alone was worse than the frozen backbone), and of held-out
        training images final_val_accuracy and average_incremental_val_accuracy, and ``tuning.costs``, each where
        measured.
    """
    rows = list(rows)
    metrics: dict[str, float] = {}
    held_out = seen_accuracy(rows, tasks, "val")
    if held_out.size and np.isfinite(held_out).all():
        metrics["final_val_accuracy"] = float(held_out[-1])
        metrics["average_incremental_val_accuracy"] = average_incremental_accuracy(held_out)
        metrics |= costs(rows)
    destructive = {task: value for task, name, value in _measured(rows, "boundary") if name == "destructive"}
    if destructive:
        metrics["destructive_boundaries"] = float(sum(destructive.values()))

    accuracy = seen_accuracy(rows, tasks)
    if accuracy.size == 0 or math.isnan(accuracy[-1]):
        return metrics
    metrics["final_accuracy"] = float(accuracy[-1])
    metrics |= costs(rows)
    if np.isfinite(accuracy).all():
        metrics["average_incremental_accuracy"] = average_incremental_accuracy(accuracy)
    matrix = accuracy_matrix(rows, tasks)
    if tasks > 1 and _complete(matrix):
        metrics["forgetting"] = forgetting(matrix)
        metrics["backward_transfer"] = backward_transfer(matrix)
    for task, name, value in _measured(rows, "ablation"):
        if task == tasks - 1 and name in ("after/frozen", "after/fast", "after/slow"):
            metrics[f"final_{name.removeprefix('after/')}_accuracy"] = value
    return metrics


def _measured(rows: Iterable[Mapping[str, Any]], phase: str) -> Iterator[tuple[int, str, float]]:
    """Task, name and value of a phase's finite rows; a non-finite value is no measurement."""
    for row in rows:
        if row["phase"] == phase and row["value"] is not None and math.isfinite(row["value"]):
            yield int(row["task"]), str(row["name"]), float(row["value"])


def _complete(matrix: Matrix) -> bool:
    return bool(np.isfinite(matrix[np.tril_indices(len(matrix))]).all())


def _check_complete(matrix: Matrix, metric: str) -> None:
    if len(matrix) < 2:
        raise ValueError(f"{metric} needs at least 2 tasks, found {len(matrix)}")
    if not _complete(matrix):
        raise ValueError(f"{metric} needs the accuracy on every learned task after every task")
