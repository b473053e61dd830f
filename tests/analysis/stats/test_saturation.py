"""From which level on more does not help: exact cases, refusals, and the rate at which the level named is too small."""

import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.stats.best import behind_best, from_the_top

LEVELS = ["r=1", "r=2", "r=4", "r=8", "r=16", "r=32"]
SIMULATED, BOUND = 2000, 0.065  # of 2,000 at 5 % more than 6.5 % come in 1 of 500


def frame(means, seeds=5, spread=0.1, draw=0):
    noise = np.random.default_rng(draw).normal(0, spread, (seeds, len(means)))
    rows = [
        (LEVELS[place], seed, mean + noise[seed, place]) for place, mean in enumerate(means) for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["configuration", "seed", "value"])


def start(table):
    return next(iter(table.loc[table["within"], "configuration"]), None)


def test_it_starts_where_all_larger_levels_are_within_the_margin():
    table = stats.saturation(frame([70, 75, 78, 80, 80.2, 80.1]), "value", 1.0, LEVELS)
    assert start(table) == "r=8" and table["within"].tolist() == [False] * 3 + [True] * 3
    assert list(table.columns) == ["configuration", "n", "difference", "low", "p", "within"]
    assert table["difference"].round(0).tolist() == [-10, -5, -2, 0, 0, 0]
    assert (table["low"] <= table["difference"])[3:].all() and (table["low"][3:] > -1).all()
    assert table["low"].notna().tolist() == [False, False, True, True, True, True]  # down to the first that is not


def test_a_gap_above_stops_the_search():
    assert start(stats.saturation(frame([80, 80, 80, 80, 77, 80]), "value", 1.0, LEVELS)) == "r=32"
    assert start(stats.saturation(frame([80, 80, 80, 80, 80, 77]), "value", 1.0, LEVELS)) is None
    assert start(stats.saturation(frame([80, 80, 80, 80, 80, 80]), "value", 1.0, LEVELS)) == "r=1"


def test_less_can_be_better_and_seeds_are_those_of_all_levels():
    table = frame([0.9, 0.5, 0.2, 0.2, 0.2, 0.2], spread=0.01)
    assert start(stats.saturation(table, "value", 0.1, LEVELS, maximize=False)) == "r=4"
    few = table[~((table["configuration"] == "r=1") & (table["seed"] > 1))]
    found = stats.saturation(few, "value", 0.1, LEVELS, maximize=False)
    assert found["n"].tolist() == [2] * 6 and not found["within"].any() and found["low"].isna().all()


def test_equal_gaps_decide_only_where_so_many_signs_do():
    for seeds, decided in ((4, False), (5, True)):
        table = frame([80, 80, 80], seeds, spread=0.0)
        assert stats.saturation(table, "value", 1.0, LEVELS[:3])["within"].all() == decided


def test_gaps_that_differ_by_rounding_alone_decide_nothing():
    means = {"a": 0.4, "b": 0.41, "c": 0.43, "d": 0.47}
    rows = [(label, seed, mean + 0.1 * seed) for label, mean in means.items() for seed in range(3)]
    table = pd.DataFrame(rows, columns=["configuration", "seed", "value"])
    assert not stats.paired(table, "value")["different"].any()
    assert not stats.saturation(table, "value", 0.1, list(means))["within"].any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"margin": 0}, "margin must be above 0"),
        ({"order": ["r=1"]}, "at least 2 levels"),
        ({"order": ["r=1", "r=3"]}, "not there: r=3"),
        ({"value": "accuracy"}, "no column 'accuracy'"),
        ({"level": 2}, "level must lie between"),
    ],
)
def test_what_is_wrong_is_said(settings, words):
    with pytest.raises(ValueError, match=words):
        stats.saturation(frame([1, 2]), **({"value": "value", "margin": 1.0, "order": LEVELS[:2]} | settings))


def drawn(kind, rng, shape):
    """Noise with mean 0 and standard deviation 1."""
    if kind == "normal":
        return rng.normal(size=shape)
    if kind == "skewed":
        return 1 - rng.exponential(size=shape)
    fallen = rng.random(shape) < 0.2
    return (np.where(fallen, -4.0, 0.0) + 0.8 + rng.normal(0, 0.3, shape)) / 1.63


TRUTHS = {  # in margins; the smallest right answer
    "steps to the last": ([-5, -4, -3, -2, -1, 0], 5),
    "a margin to the upper half": ([-1, -1, -1, 0, 0, 0], 3),
    "steps to the upper half": ([-3, -2, -1, 0, 0, 0], 3),
    "harm": ([0, 0, 0, 0, -1, -1], 6),
}


def too_small(truth, kind, seeds, spread, draws, seed=0):
    """Share of draws in which the level named is smaller than the right one, or there is none."""
    means, right = TRUTHS[truth]
    noise = drawn(kind, np.random.default_rng(seed), (draws, seeds, len(means)))
    p, _ = behind_best(np.array(means) + spread * noise, 1.0, 0.05)
    within = from_the_top(p, 0.05)
    named = np.where(within.any(axis=-1), within.argmax(axis=-1), len(means))
    return float((named < right).mean())


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_level_named_is_rarely_too_small(seeds):
    assert too_small("steps to the last", "normal", seeds, 0.3, 600) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("kind", ["normal", "skewed", "bimodal"])
@pytest.mark.parametrize("truth", TRUTHS)
def test_the_level_named_is_too_small_in_5_percent(truth, kind, seeds):
    assert max(too_small(truth, kind, seeds, spread, SIMULATED) for spread in (0.3, 1.0)) <= BOUND
