"""How often verdicts between two runs are wrong, and how often they find what was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.compare.verdicts import LEVEL, SHIFTED, SPREAD, UNDECIDED, fewest_seeds, judged, spread_p

LAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape),
    "bimodal": lambda rng, shape: 0.3 * rng.normal(size=shape) - 4.0 * (rng.random(shape) < 0.2),
    "half collapse": lambda rng, shape: 0.3 * rng.normal(size=shape) - 4.0 * (rng.random(shape) < 0.5),
}


def verdicts(baseline, run):
    """Of two runs, values of shape (configurations, seeds) each."""
    count, seeds = baseline.shape
    frame = pd.DataFrame(
        {
            "trial_id": np.repeat([f"t{place}" for place in range(count)], seeds),
            "seed": np.tile(np.arange(seeds), count),
            "value_baseline": baseline.ravel(),
            "value_run": run.ravel(),
        }
    )
    return [one.verdict for one in judged([frame])[0].values()]


def wrong(law, configurations, seeds, times, rng):
    """Share of pairs of runs of one law of which any configuration is said to have moved."""
    shape = (configurations, seeds)
    found = [set(verdicts(LAWS[law](rng, shape), LAWS[law](rng, shape))) != {UNDECIDED} for _ in range(times)]
    return np.mean(found)


def most(times):
    """What a rate of 5 % stays below in 999 of 1,000 simulations."""
    return stats.binom.ppf(0.999, times, LEVEL) / times


@pytest.mark.parametrize("law", LAWS)
def test_redrawn_numbers_are_hardly_ever_blamed(law):
    assert wrong(law, 5, 5, 25, np.random.default_rng(5)) <= most(25)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("seeds", "configurations"), [(3, 1), (5, 5), (8, 1), (8, 5)])
def test_redrawn_numbers_are_blamed_in_at_most_5_percent(law, seeds, configurations):
    times = 300
    assert wrong(law, configurations, seeds, times, np.random.default_rng(seeds)) <= most(times)


def test_one_more_jump_than_chance_makes_is_needed_of_few_seeds():
    assert [fewest_seeds(tests) for tests in (1, 2, 6, 7, 25)] == [3, 4, 4, 5, 5]
    # The gaps of five configurations are all the same jump, which three seeds bring about by chance.
    collapsed = np.full((5, 3), -4.0) + 0.01 * np.random.default_rng(0).normal(size=(5, 3))
    assert set(verdicts(np.zeros((5, 3)), collapsed)) == {UNDECIDED}
    assert verdicts(np.zeros((1, 3)), collapsed[:1]) == [SHIFTED]


@pytest.mark.parametrize("seeds", [5, 8])
def test_a_true_shift_is_found_and_the_others_are_left_alone(seeds):
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(20):
        baseline = rng.normal(size=(5, seeds))
        found.append(verdicts(baseline, rng.normal(size=(5, seeds)) + np.array([[6.0], [0], [0], [0], [0]])))
    assert np.mean([one[0] == SHIFTED for one in found]) >= 0.9
    assert np.mean([SHIFTED in one[1:] for one in found]) <= 0.15


def test_a_small_shift_is_found_where_the_seeds_keep_their_numbers():
    """Far below the spread of the seeds, and while another configuration redraws its numbers."""
    rng = np.random.default_rng(0)
    baseline = rng.normal(size=(2, 5))
    run = np.stack([baseline[0] + 0.2 + 0.02 * rng.normal(size=5), rng.normal(size=5)])
    assert verdicts(baseline, run)[0] == SHIFTED


def test_a_planted_collapse_is_found():
    """In the run, not in the baseline, 3 seeds in 4 collapse."""
    rng, found = np.random.default_rng(1), []
    for _ in range(20):
        run = 0.3 * rng.normal(size=(1, 8)) - 4.0 * (rng.random((1, 8)) < 0.75)
        found += verdicts(0.3 * rng.normal(size=(1, 8)), run)
    assert np.mean([one in (SHIFTED, SPREAD) for one in found]) >= 0.8


def test_equal_values_and_rounding_are_no_shift():
    values = np.random.default_rng(0).normal(size=(2, 6))
    assert set(verdicts(values, values)) == {UNDECIDED}
    assert set(verdicts(values, values * (1 + 1e-15))) == {UNDECIDED}


def test_a_changed_spread_is_found_and_is_no_shift():
    rng = np.random.default_rng(0)
    found = [verdicts(rng.normal(size=(1, 12)), 8 * rng.normal(size=(1, 12)))[0] for _ in range(20)]
    assert np.mean([one == SPREAD for one in found]) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_a_shift_does_not_pass_for_a_change_of_the_spread(law, shift):
    rng, times = np.random.default_rng(0), 400
    p = [spread_p(LAWS[law](rng, 8), LAWS[law](rng, 8) + shift) for _ in range(times)]
    assert np.mean(np.array(p) <= LEVEL) <= most(times)


def test_two_pairs_of_runs_are_one_family():
    """What is decided among one pair of runs may not be among ten."""
    rng = np.random.default_rng(2)
    moved = [0.2, 0.5, 0.9, 1.2, 1.4, 1.6]
    frame = pd.DataFrame({"trial_id": "t0", "seed": range(6), "value_baseline": 0.0, "value_run": moved})
    others = [frame.assign(value_run=rng.normal(size=6)) for _ in range(9)]
    alone, among = judged([frame])[0]["t0"], judged([frame, *others])[0]["t0"]
    assert (alone.verdict, among.verdict) == (SHIFTED, UNDECIDED) and among.p == pytest.approx(min(1, 10 * alone.p))
    assert among.high - among.low > alone.high - alone.low and among.low < 0 < among.high
