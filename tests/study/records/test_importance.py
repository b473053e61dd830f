"""Importance of a search's parameters: closed forms, what chance gives, dimensions that are not always there."""

import math

import numpy as np
import pytest
from scipy import stats

from search_spaces.dimensions import Choice, Float, Int
from search_spaces.space import Space
from study.records.importance import FEWEST, exceeded_by_chance, importances, position, shares
from study.search.racing import SeedSchedule
from study.search.seed_search import SeedSearch
from study.search.simulation import simulate
from study.spec import Objective

SPACE = Space(
    {
        "lr": Float(1e-4, 1e-1, log=True),
        "reset": Choice(("zero", "reinit")),
        "alpha": Float(0.0, 1.0, when={"reset": "zero"}),
        "warmup": Int(0, 20),
    }
)
WIDE = Space(
    {
        "lr": Float(1e-4, 1e-1, log=True),
        "lr_slow": Float(1e-3, 1.0, log=True, ratio_to="lr"),
        "reset": Choice(("zero", "reinit")),
        "alpha": Float(0.0, 1.0, when={"reset": "zero"}),
        "warmup": Int(0, 20),
        "rank": Int(2, 32, log=True),
    }
)
DRAWS, SEARCHES = 19, 40


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.records.importance.DRAWN_TREES", 4)


def searched(
    value, trials: int, enqueue=(), seed: int = 0, space=SPACE, sampler="random", race="fixed:3"
) -> SeedSearch:  # fmt: skip
    """A finished search of an objective (params, seed) -> value."""
    search = SeedSearch(
        space, [Objective(metric="accuracy")], sampler=sampler, schedule=SeedSchedule.parse(race), trials=trials,
        enqueue=enqueue, seed=seed,
    )  # fmt: skip
    simulate(search, lambda params, seed: {"accuracy": value(params, seed)})
    return search


def noise(params, seed: int) -> float:
    return float(np.random.default_rng([seed, int(params["lr"] * 1e12), params["warmup"]]).normal())


def test_positions_follow_the_scale_on_which_a_dimension_is_drawn() -> None:
    assert position(Float(1e-4, 1e-1, log=True), 1e-4) == 0.0
    assert position(Float(1e-4, 1e-1, log=True), 10**-2.5) == pytest.approx(0.5)
    assert position(Int(2, 32, log=True), 8) == pytest.approx(0.5)
    assert position(Int(0, 20, step=2), 5) == 0.25
    assert position(Choice((8, 16)), 16) == 16


def test_a_dimension_that_is_absent_stands_where_it_says_nothing() -> None:
    assert position(Float(0.0, 1.0), None) == position(Int(2, 32, log=True), None) == 0.5
    assert position(Choice(("a", "b")), None) == "a"
    assert position(Choice(("a", None)), None) is None  # an option that is called none


def test_shares_are_those_of_an_additive_function_in_closed_form() -> None:
    # y = 2 x + z with x, z uniform: variances 4/12 and 1/12, no interactions
    rng = np.random.default_rng(0)
    grid = [{"x": float(x), "z": float(z)} for x, z in rng.random((2000, 2))]
    values = np.array([2 * point["x"] + point["z"] for point in grid])
    found = shares(grid, values, {"x": Float(0.0, 1.0), "z": Float(0.0, 1.0)}, 16)
    assert found["x"] == pytest.approx(0.8, abs=0.02) and found["z"] == pytest.approx(0.2, abs=0.02)


def test_an_interaction_belongs_to_no_parameter_alone() -> None:
    options = Choice((-1, 1))
    grid = [{"a": a, "b": b} for a in (-1, 1) for b in (-1, 1)] * 10
    found = shares(grid, np.array([float(p["a"] * p["b"]) for p in grid]), {"a": options, "b": options}, 16)
    assert sum(found.values()) < 0.25


def test_what_moves_the_objective_is_beyond_chance_and_what_does_not_is_not() -> None:
    search = searched(lambda p, s: -abs(math.log10(p["lr"] / 1e-2)) + 0.02 * noise(p, s), trials=40)
    rows = {row["parameter"]: row for row in importances(search, DRAWS)}
    assert list(rows)[0] == "lr" and set(rows) == set(SPACE.dimensions)
    assert rows["lr"]["importance"] > 0.8 > rows["lr"]["chance"] and rows["lr"]["low"] > rows["lr"]["chance"]
    for name in ("reset", "alpha", "warmup"):
        assert rows[name]["importance"] < rows[name]["chance"]
    assert all(0 <= row["low"] <= row["high"] <= 1 and row["configurations"] == 40 for row in rows.values())


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_without_any_effect_some_parameter_is_beyond_chance_in_one_search_of_twenty(monkeypatch, sampler: str) -> None:
    monkeypatch.setattr("study.records.importance.TREES", 4)
    named = 0
    for number in range(SEARCHES):
        rng = np.random.default_rng([1, number])
        shift = rng.normal(size=4)  # of the seeds, which all configurations share
        search = searched(lambda params, seed, rng=rng, shift=shift: float(rng.normal() + shift[seed]), trials=20,
                          seed=number, space=WIDE, sampler=sampler, race="halving:2,4")  # fmt: skip
        rows = importances(search, draws=19)
        named += any(row["importance"] > row["chance"] for row in rows)
    # A level for each parameter alone names one in 48 % of them.
    assert named <= stats.binom.ppf(0.995, SEARCHES, 0.05)


def test_one_more_draw_exceeds_the_level_with_the_probability_that_is_said() -> None:
    assert exceeded_by_chance(range(19)) == 18 and exceeded_by_chance(range(39)) == 37
    assert exceeded_by_chance(range(100)) == 95 and exceeded_by_chance(range(18)) == 1.0


def test_a_ratio_is_named_as_one() -> None:
    space = Space({"lr": Float(1e-4, 1e-1, log=True), "lr_slow": Float(1e-3, 1.0, log=True, ratio_to="lr")})
    rows = importances(searched(lambda p, s: math.log(p["lr_slow"] / p["lr"]), trials=FEWEST, space=space), draws=1)
    assert [row["parameter"] for row in rows] == ["lr_slow / lr", "lr"]


@pytest.mark.slow
def test_the_same_search_gives_the_same_importances() -> None:
    search = searched(lambda p, s: p["warmup"] + noise(p, s), trials=20)
    assert importances(search, DRAWS) == importances(search, DRAWS)


def test_what_was_tried_first_does_not_count_and_too_few_say_nothing() -> None:
    first = [{"lr": 1e-2, "reset": "reinit", "warmup": n} for n in range(5)]
    assert importances(searched(noise, trials=FEWEST + 4, enqueue=first), 1) == []
    rows = importances(searched(noise, trials=FEWEST + 5, enqueue=first), 1)
    assert {row["configurations"] for row in rows} == {FEWEST}


@pytest.mark.parametrize("unit", [0.0, 1e-16])
def test_an_objective_that_never_changes_but_by_rounding_has_no_importance(unit: float) -> None:
    rows = importances(searched(lambda params, seed: 0.5 + unit * params["warmup"], trials=FEWEST), DRAWS)
    assert {row["importance"] for row in rows} == {0.0} and {row["chance"] for row in rows} == {0.0}


def test_the_unit_of_the_objective_does_not_matter() -> None:
    grid = [{"x": float(x)} for x in np.random.default_rng(0).random(50)]
    values = np.array([point["x"] ** 2 for point in grid])
    expected = shares(grid, values, {"x": Float(0.0, 1.0)}, 4)
    assert shares(grid, 1e-10 * values + 3e-10, {"x": Float(0.0, 1.0)}, 4) == pytest.approx(expected)
    assert expected["x"] == pytest.approx(1.0)


def test_of_many_configurations_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.records.importance.MOST", FEWEST)
    assert {row["configurations"] for row in importances(searched(noise, trials=20), 1)} == {FEWEST}
