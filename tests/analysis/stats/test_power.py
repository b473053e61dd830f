"""Power: against statsmodels, bounds of the spread, and whether what is said to be found is found."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats import paired, seeds_needed, smallest_difference
from benchmarks.error_rates import SEEDS, decided, frame_of, overstated_power

GAPS = np.array([0.01, 0.03, 0.02, 0.05, 0.04])


@pytest.mark.parametrize("n", [3, 5, 20, 200])
def test_a_known_spread_has_the_power_of_a_t_test(n):
    reference = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert smallest_difference(1.0, n, df=np.inf) == pytest.approx(reference, rel=0.02)


@pytest.mark.parametrize("difference", [2.0, 0.4, 0.1])
def test_seeds_needed_is_the_smallest_number_that_finds_it(difference):
    n = seeds_needed(1.0, difference, df=np.inf)
    assert smallest_difference(1.0, n, df=np.inf) <= difference < smallest_difference(1.0, n - 1, df=np.inf)


def test_the_spread_is_taken_at_its_upper_bound():
    upper = GAPS.std(ddof=1) * np.sqrt(4 / stats.chi2.ppf(0.05, 4))
    found = smallest_difference(GAPS, 20)
    assert found == pytest.approx(smallest_difference(upper, 20, df=np.inf))
    assert found == pytest.approx(smallest_difference(GAPS.std(ddof=1), 20, df=4))
    assert smallest_difference(GAPS, 20, confidence=0.5) < found


def test_more_comparisons_need_more():
    assert smallest_difference(GAPS, 5, comparisons=4) > smallest_difference(GAPS, 5)
    assert smallest_difference(GAPS, 5, comparisons=4, configurations=5) < smallest_difference(GAPS, 5, comparisons=4)
    assert seeds_needed(GAPS, 0.01, comparisons=4) > seeds_needed(GAPS, 0.01)


def test_two_seeds_show_nothing():
    assert smallest_difference(GAPS, 2) == np.inf
    assert seeds_needed(0.0, 0.1, df=2) == 3


def test_a_tiny_difference_takes_the_most():
    assert seeds_needed(1.0, 1e-6, df=np.inf) == 100_000


def test_a_frame_brings_its_configurations_and_comparisons():
    values = np.random.default_rng(0).normal(size=(5, 5)) * [1, 1, 1, 1, 4]
    frame = frame_of(values)
    noisy, quiet = (smallest_difference(frame, 5, value="value", configuration=one) for one in (4, 1))
    assert noisy > quiet and smallest_difference(frame, 5, value="value") == noisy
    assert seeds_needed(frame, 1.0, value="value", configuration=1) < seeds_needed(frame, 1.0, value="value")
    assert smallest_difference(frame, 5, value="value", baseline=4, configuration=1) > quiet


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seeds_needed(GAPS, 0), "not 0 needed, found 0"),
        (lambda: seeds_needed(0.1, 0.1), "df"),
        (lambda: smallest_difference([0.1], 5), "at least 2 gaps"),
        (lambda: smallest_difference(GAPS, 5, confidence=1), "confidence"),
        (lambda: smallest_difference(frame_of(np.eye(3)), 5, value="value", baseline=7), "no configuration 7"),
        (lambda: smallest_difference(frame_of(np.eye(3)[:1]), 5, value="value"), "2 common seeds"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("n", SEEDS)
def test_the_power_is_at_least_what_is_said(n):
    assert overstated_power("normal", n, np.random.default_rng(0), 200) <= 0.10  # 0.05 and three standard errors


@pytest.mark.slow
def test_a_study_as_large_as_was_said_finds_the_difference():
    rng, found = np.random.default_rng(0), []
    for _ in range(150):
        n = seeds_needed(frame_of(rng.normal(size=(4, 3))), 2.0, value="value")
        again = rng.normal(size=(n, 3)) + [0, 2.0, 0]
        found.append(paired(frame_of(again), "value")["different"][0])
    assert np.mean(found) >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 150)


@pytest.mark.parametrize("n", SEEDS)
def test_a_known_spread_is_found_as_often_as_is_said(n):
    difference = smallest_difference(np.sqrt(2), n, df=np.inf, configurations=5, comparisons=4)
    values = np.random.default_rng(0).normal(size=(4_000, n, 5)) + np.eye(5)[1] * difference
    power = decided(values, [{place: 1.0, 0: -1.0} for place in range(1, 5)])[0][:, 0].mean()
    assert 0.78 <= power <= 0.84
