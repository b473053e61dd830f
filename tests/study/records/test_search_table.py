"""Intervals of a search's table: which statistic has which, and that an optimism gap is covered."""

import math

import numpy as np
import pytest
from scipy import stats

from study.records.search_table import FEWEST_DRAWN, optimism, with_interval
from study.spec import Objective

VALUES = np.random.default_rng(0).normal(0.5, 0.1, 8)


def over(statistic: str, **more: float | str) -> Objective:
    return Objective.model_validate({"metric": "accuracy", "over_seeds": statistic} | more)


def test_each_statistic_has_its_own_interval() -> None:
    mean, low, high = with_interval(VALUES, over("mean"))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 7, mean, stats.sem(VALUES)))
    rate, low, high = with_interval(VALUES, over("collapse_rate", threshold=float(np.median(VALUES))))
    assert rate == 0.5 and (low, high) == pytest.approx(stats.binomtest(4, 8).proportion_ci(0.95, "exact"))
    spread, low, high = with_interval(VALUES, over("spread"))
    assert low < spread < high and high - spread > spread - low
    assert all(map(math.isfinite, with_interval(VALUES, over("iqm"))))


@pytest.mark.parametrize("statistic", ["worst", "cvar", "mean_minus_std"])
def test_a_bootstrap_takes_twenty_seeds(statistic: str) -> None:
    assert math.isnan(with_interval(VALUES, over(statistic))[1])
    many = np.random.default_rng(0).normal(size=FEWEST_DRAWN)
    value, low, high = with_interval(many, over(statistic))
    assert low <= value <= high and low < high


def test_a_gap_is_positive_where_the_search_was_too_good() -> None:
    assert optimism(0.6, (0.5, 0.4, 0.7), over("mean")) == pytest.approx((0.1, -0.1, 0.2))
    lower = over("mean", direction="minimize")
    assert optimism(0.6, (0.5, 0.4, 0.7), lower) == pytest.approx((-0.1, -0.2, 0.1))


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_gap_of_the_best_of_fifteen_is_covered(n: int) -> None:
    rng, covered, goal, draws = np.random.default_rng(n), 0, over("mean"), 500
    for _ in range(draws):
        truth = rng.normal(0.0, 0.5, 15)
        seen = (truth + rng.normal(size=(n, 15))).mean(axis=0)
        best = seen.argmax()
        _, low, high = optimism(float(seen[best]), with_interval(truth[best] + rng.normal(size=n), goal), goal)
        covered += low <= seen[best] - truth[best] <= high
    assert stats.binom.ppf(0.001, draws, 0.95) <= covered <= stats.binom.ppf(0.999, draws, 0.95)
