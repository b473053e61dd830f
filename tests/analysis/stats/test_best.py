"""The best of many, the Pareto front and its volume: closed forms, refused input, and calibrated probabilities."""

import moocore
import numpy as np
import pandas as pd
import pytest

from analysis.stats import best_of, hypervolume, pareto_front
from analysis.stats.best import true_means
from benchmarks.error_rates import (
    LAWS,
    SEEDS,
    best_excluded,
    coin_toss_best,
    coin_toss_front,
    drawn,
    frame_of,
    overstated_best,
)

STUDY = np.array([0.5, 0.6, 0.7]) + np.random.default_rng(0).normal(0, 0.01, (5, 3))
OBJECTIVES = {"value": "max", "cost": "min"}


def priced(values):
    """Accuracies that cost the more, the later the configuration."""
    return frame_of(values, cost=np.broadcast_to(np.arange(values.shape[1]), values.shape))


def test_a_clear_best_is_certain_and_the_others_are_excluded():
    found = best_of(frame_of(STUDY), "value")
    assert found["probability"].tolist() == pytest.approx([0, 0, 1], abs=0.01)
    assert found["not_excluded"].tolist() == [False, False, True]
    assert found["estimate"].tolist() == pytest.approx(STUDY.mean(axis=0))
    least = best_of(frame_of(STUDY), "value", maximize=False)
    assert least["not_excluded"].tolist() == [True, False, False]
    assert least["estimate"].tolist() == found["estimate"].tolist()


def test_probabilities_add_up_and_are_shared_by_equals():
    values = np.random.default_rng(1).normal(size=(4, 3))
    found = best_of(frame_of(values), "value")
    assert found["probability"].sum() == pytest.approx(1) and found["probability"].between(0.01, 0.99).all()
    same = best_of(frame_of(np.full((4, 3), 0.5)), "value")
    assert same["probability"].tolist() == pytest.approx([1 / 3] * 3) and same["not_excluded"].all()


def test_two_seeds_say_nothing():
    found = best_of(frame_of(STUDY[:2]), "value")
    assert found["probability"].isna().all() and found["not_excluded"].all()
    assert pareto_front(priced(STUDY[:2]), OBJECTIVES)["probability"].isna().all()


def test_only_seeds_that_all_have_count():
    frame = frame_of(STUDY).drop(index=0)
    found = best_of(frame, "value")
    assert set(found["n"]) == {4}
    assert found.set_index("configuration")["estimate"][0] == pytest.approx(STUDY[1:, 0].mean())


def test_draws_of_the_means_have_their_errors_and_correlation():
    values = np.random.default_rng(0).normal(size=(6, 4, 2)) @ np.array([[1, 0.9], [0, 0.4]]) * 0.1
    values += 10 * np.arange(4)[:, None]  # so far apart that nothing is shrunk
    draws = true_means(values, np.random.default_rng(0), 20_000)
    assert draws.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.01)
    centred = draws - draws.mean(axis=0)
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean(axis=(0, 1))
    expected = np.corrcoef(residuals.reshape(-1, 2).T)[0, 1]
    assert np.corrcoef(centred[:, 1].T)[0, 1] == pytest.approx(expected, abs=0.05)


def test_the_front_is_that_of_the_means():
    values = np.random.default_rng(0).normal(size=(5, 8))
    found = pareto_front(priced(values), OBJECTIVES)
    points = np.stack([-values.mean(axis=0), np.arange(8)], axis=1)
    assert found["on_front"].tolist() == moocore.is_nondominated(points).tolist()
    assert found["cost"].tolist() == list(range(8)) and found["value"].tolist() == pytest.approx(values.mean(axis=0))
    assert found["probability"].between(0, 1).all() and found.loc[0, "probability"] == 1


def test_a_clear_front_is_certain():
    found = pareto_front(priced(STUDY[:, [0, 2, 1]]), OBJECTIVES)
    assert found["on_front"].tolist() == [True, True, False]
    assert found["probability"].tolist() == pytest.approx([1, 1, 0], abs=0.01)


def test_a_large_search_draws_the_likely_ones():
    values = np.random.default_rng(0).normal(size=(3, 80))
    found = pareto_front(priced(values), OBJECTIVES)
    assert found["probability"].notna().sum() == 60 and found.loc[found["on_front"], "probability"].notna().all()


def test_hypervolume_closed_form():
    assert hypervolume([[1, 2], [2, 1]], [0, 0], ["max", "max"]) == pytest.approx(3)
    assert hypervolume([[0.9, 10], [0.5, 1], [0, 100]], [0, 20], ["max", "min"]) == pytest.approx(0.9 * 10 + 0.5 * 9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_of(frame_of(STUDY[:, :1]), "value"), "at least 2 levels"),
        (lambda: best_of(frame_of(STUDY), "value", confidence=1), "confidence"),
        (lambda: pareto_front(priced(STUDY), {"value": "max"}), "at least 2 objectives needed, found 1"),
        (lambda: pareto_front(priced(STUDY), {"value": "up", "cost": "min"}), "max or min, found 'up'"),
        (lambda: pareto_front(priced(STUDY), {"value": "max", "price": "min"}), "no column 'price'"),
        (lambda: pareto_front(priced(STUDY)[1:5:2], OBJECTIVES), "no seed that every configuration has"),
        (lambda: hypervolume([[1, 2]], [0], ["max"]), "needed, found"),
        (lambda: hypervolume([[np.nan]], [0], ["max"]), "finite"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("law", LAWS)
def test_the_best_is_excluded_in_at_most_five_per_cent(law):
    assert all(best_excluded(law, n, np.random.default_rng(0), 4_000) <= 0.06 for n in SEEDS)


@pytest.mark.parametrize("n", [3, 5])
def test_a_coin_toss_is_not_called_certain(n):
    assert coin_toss_best("normal", n, np.random.default_rng(0), 150) <= 0.17  # 0.10 and three standard errors
    assert coin_toss_front("normal", n, np.random.default_rng(0), 100) <= 0.17


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", SEEDS)
def test_probabilities_are_calibrated(n, law):
    rng = np.random.default_rng(0)
    assert coin_toss_best(law, n, rng, 600) <= 0.14
    assert coin_toss_front(law, n, rng, 400) <= 0.14
    assert overstated_best(law, n, rng, 600) <= 0.05


def test_what_is_said_with_95_per_cent_is_mostly_true():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(120, 1, 4))
    said = [
        best_of(frame_of(one), "value")["probability"].to_numpy() for one in true + drawn("normal", (120, 5, 4), rng)
    ]
    sure = np.max(said, axis=1) >= 0.95
    right = np.argmax(said, axis=1) == true[:, 0].argmax(axis=1)
    assert sure.sum() > 10 and right[sure].mean() >= 0.9


def test_a_constant_objective_beside_a_noisy_one_is_known():
    frame = priced(np.random.default_rng(0).normal(size=(3, 2)))
    assert isinstance(pareto_front(frame, {"cost": "min", "value": "max"}), pd.DataFrame)
