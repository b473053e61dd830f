"""Final metrics of epochs against closed forms."""

import pytest
from synthetic import tuning_rows
from synthetic_rank import parameters_of, rank_rows

from trainables.metrics.finals import epoch_finals

PARAMS = {"method": "lora", "eta_min": 0.0, "epochs": 3, "freeze_lora_steps": 0}


def rows(top1, *more):
    given = [{"phase": "eval", "epoch": epoch, "name": "top1", "value": value} for epoch, value in enumerate(top1)]
    return given + [dict(zip(("phase", "epoch", "name", "value"), one, strict=True)) for one in more]


def test_final_metrics_closed_form():
    found = epoch_finals(tuning_rows("t", 0, 0.9, PARAMS), 3)
    ece = [0.045, 0.055, 0.065]
    assert found == pytest.approx(
        {
            "best_top1": 0.91,
            "best_epoch": 1,
            "final_top1": 0.9,
            "ece_near_best": ece[1],
            "ece_batch_near_best": ece[1] + 0.03,
            "final_ece": ece[2],
            "final_ece_batch": ece[2] + 0.03,
            "ece_after_temperature": 0.02,
            "temperature": 1.4,
            "final_nll": 1 / 3,
            "step_share_s": 0.45,  # the median leaves the slow first epoch out
            "step_time_s": 0.45,
            "peak_memory_mib": 702.0,
        }
    )


def test_of_equally_good_epochs_the_first_is_the_best_and_of_repeated_rows_the_last_counts():
    repeated = rows([0.1, 0.7, 0.7], ("eval", 0, "top1", 0.5), ("eval", 1, "ece", 0.3), ("eval", 2, "ece", 0.1))
    found = epoch_finals(repeated, 3)
    assert found == {"best_top1": 0.7, "best_epoch": 1, "final_top1": 0.7, "ece_near_best": 0.3, "final_ece": 0.1}


@pytest.mark.parametrize("top1", [[], [0.5], [0.5, 0.6], [0.5, float("nan"), 0.7]])
def test_an_incomplete_run_has_no_final_metrics(top1):
    assert epoch_finals(rows(top1, ("calibration", 2, "temperature", 1.2)), 3) == {}


def test_what_is_not_finite_or_not_measured_is_absent():
    found = epoch_finals(rows([0.5, 0.6], ("eval", 1, "nll", float("inf"))), 2)
    assert found == {"best_top1": 0.6, "best_epoch": 1, "final_top1": 0.6}


def test_only_a_replica_that_trained_alone_has_a_step_time_to_set_beside_single_runs():
    packed = epoch_finals(tuning_rows("t", 0, 0.9, PARAMS, pack=5), 3)
    assert packed["step_share_s"] == pytest.approx(0.45 / 5) and "step_time_s" not in packed
    rows = tuning_rows("t", 0, 0.9, PARAMS)
    resumed = [{**row, "value": 2.0} if (row["name"], row["epoch"]) == ("pack", 1) else row for row in rows]
    assert "step_time_s" not in epoch_finals(resumed, 3)


def test_those_of_a_rank_study_closed_form():
    rows = rank_rows("t", 0, 0.9, parameters_of("r=4"), 2)
    found = epoch_finals(rows, 2)
    assert found == pytest.approx(
        {"best_top1": 0.9, "best_epoch": 1, "final_top1": 0.9, "ece_near_best": 0.05, "final_ece": 0.05,
         "final_nll": 0.4, "delta_norm": 0.8, "step_share_s": 0.02, "peak_memory_mib": 500.0}
    )  # fmt: skip
    assert "delta_norm" not in epoch_finals(rank_rows("t", 0, 0.9, parameters_of("full"), 2), 2)
    assert epoch_finals(rows[:6], 2) == {}
