"""Class-incremental metrics against their closed forms."""

import math

import numpy as np
import pytest
from synthetic import replica_rows

from trainables.metrics.continual import (
    accuracy_matrix,
    backward_transfer,
    continual_finals,
    forgetting,
    forward_transfer,
    seen_accuracy,
)

# After task 0, 1, 2 on the classes of task 0, 1, 2.
MATRIX = np.array([[0.9, np.nan, np.nan], [0.6, 0.8, np.nan], [0.7, 0.5, 0.85]])


def eval_rows(matrix: np.ndarray) -> list[dict]:
    rows = []
    for task, learned in zip(*np.tril_indices(len(matrix)), strict=True):
        name = f"accuracy/task_{learned}"
        rows.append({"phase": "eval", "task": int(task), "name": name, "value": matrix[task, learned]})
    return rows


def test_matrix_has_one_entry_per_learned_task_and_nan_above_the_diagonal():
    np.testing.assert_array_equal(accuracy_matrix(eval_rows(MATRIX), 3), MATRIX)


def test_of_repeated_rows_the_last_counts():
    rows = [{"phase": "eval", "task": 0, "name": "accuracy", "value": value} for value in (0.1, 0.7)]
    assert seen_accuracy(rows, 1) == [0.7]


def test_forgetting_and_backward_transfer_closed_form():
    # Task 0: best before the end 0.9, at the end 0.7; task 1: 0.8 and 0.5.
    assert forgetting(MATRIX) == pytest.approx((0.2 + 0.3) / 2)
    assert backward_transfer(MATRIX) == pytest.approx((0.7 - 0.9 + 0.5 - 0.8) / 2)


def test_forward_transfer_closed_form():
    assert forward_transfer(np.array([0.4, 0.6]), np.array([0.3, 0.2])) == pytest.approx((0.1 + 0.4) / 2)
    for before in ([0.4, np.nan], []):
        assert math.isnan(forward_transfer(np.array(before), np.array([0.3, 0.2][: len(before)])))


def test_forgetting_counts_from_the_best_not_the_first():
    matrix = np.array([[0.5, np.nan, np.nan], [0.9, 0.5, np.nan], [0.4, 0.5, 0.5]])
    assert forgetting(matrix) == pytest.approx((0.9 - 0.4 + 0.0) / 2)
    assert backward_transfer(matrix) == pytest.approx((0.4 - 0.5 + 0.0) / 2)


@pytest.mark.parametrize("metric", [forgetting, backward_transfer])
def test_incomplete_matrices_have_none(metric):
    assert math.isnan(metric(np.array([[0.5]]))) and math.isnan(metric(np.array([[0.5, np.nan], [np.nan, 0.5]])))


def test_final_metrics_of_a_finished_replica():
    metrics = continual_finals(replica_rows("t0", 0, final=0.35, tasks=3, frozen=0.4), tasks=3)
    assert metrics["final_accuracy"] == pytest.approx(0.35)
    assert metrics["average_incremental_accuracy"] == pytest.approx((0.95 + 0.65 + 0.35) / 3)
    assert metrics["forgetting"] == pytest.approx((0.1 + 0.05) / 2)
    assert metrics["backward_transfer"] == pytest.approx(-(0.1 + 0.05) / 2)
    assert metrics["final_frozen_accuracy"] == metrics["final_fast_accuracy"] == pytest.approx(0.4)
    assert metrics["final_slow_accuracy"] == pytest.approx(0.35)
    assert metrics["destructive_boundaries"] == 1.0
    assert metrics["final_recency"] == pytest.approx(0.5)
    assert (metrics["final_old_accuracy"], metrics["final_new_accuracy"]) == pytest.approx((0.25, 0.9))
    assert metrics["forward_transfer"] == pytest.approx((0.06 + 0.07) / 2)
    assert (metrics["final_ncm_accuracy"], metrics["final_joint_accuracy"]) == pytest.approx((0.45, 0.5))


@pytest.mark.parametrize(
    ("missing", "metrics"),
    [
        ("recency", {"final_recency"}),
        ("accuracy_old", {"final_old_accuracy"}),
        ("accuracy_new", {"final_new_accuracy"}),
        ("before/task_2", {"forward_transfer"}),
        ("initial/task_1", {"forward_transfer"}),
        ("ncm", {"final_ncm_accuracy"}),
        ("joint", {"final_joint_accuracy"}),
        ("after/frozen", {"final_frozen_accuracy"}),
        ("accuracy/task_1", {"forgetting", "backward_transfer"}),
    ],
)
@pytest.mark.parametrize("value", [None, math.nan])
def test_what_was_not_measured_is_absent(missing, metrics, value):
    rows = replica_rows("t0", 0, final=0.35, tasks=3)
    left = [row for row in rows if row["name"] != missing]
    left += [] if value is None else [{**row, "value": value} for row in rows if row["name"] == missing]
    assert set(continual_finals(rows, 3)) - set(continual_finals(left, 3)) == metrics


def test_the_rows_of_an_earlier_task_are_not_the_last_ones():
    rows = replica_rows("t0", 0, final=0.35, tasks=3)
    assert continual_finals(rows, 3) == continual_finals(
        [row for row in rows if row["name"] != "recency" or row["task"]], 3
    )


def test_a_replica_that_stopped_early_has_no_final_values():
    rows = replica_rows("t0", 0, final=0.35, tasks=4, reached=3)
    assert set(continual_finals(rows, tasks=4)) == set()
    assert continual_finals([], tasks=4) == {}


def test_a_non_finite_accuracy_is_no_measurement():
    rows = [*replica_rows("t0", 0, final=0.35, tasks=2), {"phase": "eval", "task": 1, "name": "x", "value": math.nan}]
    assert continual_finals(rows, 2) == continual_finals(rows[:-1], 2)
    broken = [{**row, "value": math.nan} if row["name"] == "accuracy" and row["task"] == 1 else row for row in rows]
    assert "final_accuracy" not in continual_finals(broken, 2)


def test_one_task_has_neither_forgetting_nor_transfer():
    metrics = continual_finals(replica_rows("t0", 0, final=0.6, tasks=1), tasks=1)
    assert metrics["final_accuracy"] == pytest.approx(0.6)
    assert not {"forgetting", "backward_transfer", "forward_transfer"} & set(metrics)
    assert "final_old_accuracy" not in metrics and metrics["final_new_accuracy"] == pytest.approx(0.9)
