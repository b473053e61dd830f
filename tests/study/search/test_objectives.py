"""Statistics over seeds against independent computations; failed seeds always count."""

import math

import numpy as np
import pytest
from scipy import stats

from study.search.order import crowding_distance, order, pareto_front
from study.search.statistics import Constraint, SeedResult, imputed, label, parse_constraint, sense, summarise
from study.spec import Objective, OverSeeds
from trainables.errors import InputError

VALUES = np.random.default_rng(0).normal(0.5, 0.1, 11)
FAILED = SeedResult(status="failed")


def over(statistic: OverSeeds, **more: float | str) -> Objective:
    return Objective.model_validate({"metric": "final_accuracy", "over_seeds": statistic} | more)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 11])
def test_statistics_agree_with_independent_computations(n: int) -> None:
    values = VALUES[:n]
    cut = n // 4
    assert summarise(values, over("mean")) == pytest.approx(sum(values) / n)
    assert summarise(values, over("iqm")) == pytest.approx(np.mean(sorted(values)[cut : n - cut]))
    assert summarise(values, over("worst")) == min(values)
    assert summarise(values, over("spread")) == pytest.approx(stats.tstd(values))
    expected = np.mean(values) - 2 * stats.tstd(values)
    assert summarise(values, over("mean_minus_std", c=2.0)) == pytest.approx(expected)
    assert summarise(values, over("collapse_rate", threshold=0.5)) == sum(v < 0.5 for v in values) / n


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.3, 0.5, 1.0])
def test_cvar_is_the_integral_of_the_quantile_function(fraction: float) -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000 * fraction
    quantiles = np.sort(VALUES)[np.floor(grid * len(VALUES)).astype(int)]
    assert summarise(VALUES, over("cvar", fraction=fraction)) == pytest.approx(quantiles.mean(), abs=1e-5)


@pytest.mark.parametrize("statistic", ["mean", "iqm", "worst", "cvar", "mean_minus_std"])
def test_minimizing_mirrors_maximizing(statistic: OverSeeds) -> None:
    mirrored = summarise(-VALUES, over(statistic, direction="minimize"))
    assert mirrored == pytest.approx(-summarise(VALUES, over(statistic)))


def test_rates_and_spreads_are_minimized_whatever_the_metric() -> None:
    assert sense(over("collapse_rate", threshold=0.1)) == sense(over("spread")) == "minimize"
    assert sense(over("mean")) == "maximize"
    assert label(over("cvar")) == "cvar(0.25) of final_accuracy"


@pytest.mark.parametrize("bad", [FAILED, SeedResult(status="diverged", metrics={"final_accuracy": 0.9}),
                                 SeedResult(metrics={"final_accuracy": math.nan}),
                                 SeedResult(metrics={"final_accuracy": math.inf})])  # fmt: skip
def test_a_failed_seed_never_vanishes_from_the_mean(bad: SeedResult) -> None:
    results = [SeedResult(metrics={"final_accuracy": 0.8}), bad]
    worst_possible = imputed(results, over("mean"), 0.0)
    stated = imputed(results, over("mean", failed_as=0.2), 0.0)
    assert worst_possible is not None and worst_possible.tolist() == [0.8, 0.0]
    assert stated is not None and stated.tolist() == [0.8, 0.2]


def test_a_failed_seed_is_as_bad_as_the_worst_where_that_is_known() -> None:
    loss = Objective(metric="loss", direction="minimize")
    results = [SeedResult(metrics={"loss": 1.0}), FAILED]
    values = imputed(results, loss, 7.0)
    assert values is not None and values.tolist() == [1.0, 7.0]
    assert imputed([FAILED], loss, None) is None


def test_a_failed_seed_has_collapsed() -> None:
    values = imputed([SeedResult(metrics={"final_accuracy": 0.8}), FAILED], over("mean"), 0.0)
    assert values is not None and summarise(values, over("collapse_rate", threshold=0.1)) == 0.5


def test_non_finite_metrics_survive_json() -> None:
    result = SeedResult(metrics={"a": math.nan, "b": 1.0})
    again = SeedResult.model_validate_json(result.model_dump_json())
    assert math.isnan(again.metrics["a"]) and again.metrics["b"] == 1.0 and "NaN" not in result.model_dump_json()


def test_constraints() -> None:
    first = [over("mean", threshold=0.3)]
    rate = parse_constraint("collapse_rate<=0.1", first)
    assert rate.objective == over("collapse_rate", threshold=0.3)
    assert rate.violation(0.1) == 0 and rate.violation(0.2) == pytest.approx(1.0)
    params = parse_constraint(" trainable_params <= 100000", first)
    assert params.violation(150_000) == pytest.approx(0.5) and params.violation(50_000) < 0
    floor = parse_constraint("best_top1>=0.5", first)
    assert isinstance(floor, Constraint) and floor.violation(0.4) > 0 > floor.violation(0.6)


@pytest.mark.parametrize("text", ["", "params", "params<1", "params<=many", "params<=nan", "spread>=0.1"])
def test_unreadable_constraints_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="constraint"):
        parse_constraint(text, [over("mean")])


def test_a_collapse_rate_needs_a_threshold() -> None:
    with pytest.raises(InputError, match="threshold"):
        parse_constraint("collapse_rate<=0.1", [over("mean")])


def test_order_puts_feasible_before_infeasible_before_unknown() -> None:
    losses = np.array([[1.0], [0.0], [np.nan], [2.0], [0.0]])
    assert order(losses, np.array([0.0, 2.0, 0.0, 0.0, 1.0])) == [0, 3, 4, 1, 2]


def test_pareto_order_prefers_the_front_and_its_ends() -> None:
    losses = np.array([[0.0, 1.0], [0.5, 0.5], [0.6, 0.45], [1.0, 0.0], [1.0, 1.0]])
    assert pareto_front(losses).tolist() == [True, True, True, True, False]
    placed = order(losses, np.zeros(5))
    assert set(placed[:2]) == {0, 3} and placed[-1] == 4
    assert crowding_distance(losses[:4])[1] == pytest.approx(0.6 + 0.55)
