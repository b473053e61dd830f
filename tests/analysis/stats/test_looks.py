"""Looks at a run that is extended: what they spend, how often they are wrong, what they say together."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.looks import looks_of, over_looks, seeds_by_look, spend

LEVEL = 0.05
SCHEDULES = [(3, 5, 8, 12, 17), (5, 10, 15, 20, 25), (8, 16, 24, 32, 40)]
RUNS = 40_000
SLACK = 3 * (LEVEL * (1 - LEVEL) / RUNS) ** 0.5


def draw(law: str, rng: np.random.Generator, seeds: int) -> np.ndarray:
    """Metrics of configurations that differ in nothing, (RUNS, seeds)."""
    shape = RUNS, seeds
    if law == "skewed":
        return rng.lognormal(0, 1, shape)
    if law == "bimodal":
        return rng.normal(0, 0.1, shape) - (rng.random(shape) < 0.2)
    return rng.normal(size=shape)


def p_values(gaps: np.ndarray, looks: tuple[int, ...]) -> np.ndarray:
    """Of the paired t test at each look, (looks, RUNS)."""
    return np.array([stats.ttest_1samp(gaps[:, :seeds], 0, axis=1).pvalue for seeds in looks])


@pytest.mark.parametrize("law", ["normal", "skewed", "bimodal"])
@pytest.mark.parametrize("looks", SCHEDULES)
def test_five_looks_find_a_difference_that_is_not_there_in_at_most_five_percent(
    law: str, looks: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    p = p_values(draw(law, rng, looks[-1]) - draw(law, rng, looks[-1]), looks)
    spent = np.array([[spend(LEVEL, look)] for look in range(1, 6)])
    assert (p <= spent).any(axis=0).mean() <= LEVEL + SLACK
    assert (p <= LEVEL).any(axis=0).mean() > 2 * LEVEL, "without a correction there would be nothing to correct"


@pytest.mark.parametrize("first", [3, 5, 8])
def test_seeds_added_by_an_opponent_who_sees_the_data(first: int) -> None:
    """At every look up to 8 more seeds, as many as make a false difference most likely."""
    rng = np.random.default_rng(1)
    open_, wrong = np.arange(RUNS), 0
    n, add = np.zeros(RUNS, dtype=int), np.full(RUNS, first)
    total, squares = np.zeros(RUNS), np.zeros(RUNS)
    for look in range(1, 6):
        mean = rng.normal(size=RUNS) / np.sqrt(add)
        inside = np.where(add > 1, rng.chisquare(np.maximum(add - 1, 1)), 0.0)
        n, total, squares = n + add, total + mean * add, squares + inside + add * mean**2
        t = np.abs(total / n) / np.sqrt((squares - total**2 / n) / (n - 1) / n)
        p = 2 * stats.t.sf(t, n - 1)
        found = p[open_] <= spend(LEVEL, look)
        wrong, open_ = wrong + found.sum(), open_[~found]
        z, bound = stats.norm.isf(p / 2), stats.norm.isf(spend(LEVEL, look + 1) / 2)
        chance = [(z * np.sqrt(n) - bound * np.sqrt(n + more)) / np.sqrt(more) for more in range(1, 9)]
        add = 1 + np.argmax(chance, axis=0)
    assert wrong / RUNS <= LEVEL + SLACK


def test_what_looks_spend() -> None:
    assert [spend(LEVEL, look) for look in (1, 2, 3)] == pytest.approx([0.0375, 0.009375, 0.00234375])
    assert sum(spend(LEVEL, look) for look in range(1, 100)) == pytest.approx(LEVEL)


@pytest.mark.parametrize(("level", "look"), [(0.05, 0), (0.0, 1), (1.0, 1)])
def test_what_looks_cannot_spend(level: float, look: int) -> None:
    with pytest.raises(ValueError, match="allowed"):
        spend(level, look)


def test_a_run_knows_its_looks() -> None:
    trials = [{"configuration": "a", "seeds": [0, 1, 2, 3]}, {"configuration": "b", "seeds": [0, 1]}]
    assert looks_of({"trials": trials}) == looks_of({"looks": []}) == 1
    assert seeds_by_look({"trials": trials}) == [{"a": (0, 1, 2, 3), "b": (0, 1)}]
    study = {"trials": trials, "looks": [{"a": 2, "b": 2}, {"a": 4, "b": 2}]}
    assert looks_of(study) == 2
    assert seeds_by_look(study) == [{"a": (0, 1), "b": (0, 1)}, {"a": (0, 1, 2, 3), "b": (0, 1)}]


def against_baseline(rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """A table as ``paired`` returns it: the t test with Bonferroni's correction."""
    wide = rows.pivot(index="seed", columns="configuration", values="value")
    others = [label for label in wide if label != "base"]
    found = []
    for label in others:
        gaps = (wide[label] - wide["base"]).dropna().to_numpy()
        n, mean, error = len(gaps), gaps.mean(), gaps.std(ddof=1) / len(gaps) ** 0.5
        p = 2 * stats.t.sf(abs(mean) / error, n - 1)
        reach = stats.t.isf(level / len(others) / 2, n - 1) * error
        adjusted = min(1.0, p * len(others))
        found.append((label, "base", n, mean, mean - reach, mean + reach, p, adjusted, adjusted <= level))
    columns = ["configuration", "baseline", "n", "difference", "low", "high", "p", "p_adjusted", "different"]
    return pd.DataFrame(found, columns=columns)


def rows(**values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"configuration": label, "seed": seed, "value": value} for label, own in values.items()
         for seed, value in enumerate(own)]
    )  # fmt: skip


BASE = [0.0] * 8


def test_a_difference_stays_decided_where_only_others_get_more_seeds() -> None:
    frame = rows(base=BASE, clear=[1.0, 1.2, 0.9, 1.1, 1.0], open=[0.3, -0.2, 0.4, 0.1, 0.1, 0.5, 0.4, 0.3])
    first = dict.fromkeys(["base", "clear", "open"], tuple(range(5)))
    second = first | {"base": tuple(range(8)), "open": tuple(range(8))}
    table = over_looks(frame, [first, second], against_baseline).set_index("configuration")
    alone = against_baseline(frame[frame["seed"] < 5], spend(0.05, 1)).set_index("configuration")
    assert table["different"].to_dict() == {"clear": True, "open": False}
    assert table.loc["clear", ["low", "high"]].tolist() == alone.loc["clear", ["low", "high"]].tolist()
    assert table.loc["clear", "p_adjusted"] == pytest.approx(alone.loc["clear", "p_adjusted"] / 0.75)
    assert table["n"].to_dict() == {"clear": 5, "open": 8}


def test_verdicts_and_intervals_agree_and_keep_their_level_over_three_looks() -> None:
    rng = np.random.default_rng(2)
    looks = [dict.fromkeys(["base", "a", "b"], tuple(range(seeds))) for seeds in (3, 6, 12)]
    wrong, runs = 0, 250
    for _ in range(runs):
        frame = rows(base=rng.normal(size=12), a=rng.normal(size=12), b=rng.normal(size=12))
        table = over_looks(frame, looks, against_baseline)
        assert ((table["low"] > 0) | (table["high"] < 0)).eq(table["different"]).all()
        assert table["difference"].between(table["low"], table["high"]).all()
        wrong += bool(table["different"].any())
    assert wrong / runs <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / runs) ** 0.5


def test_looks_that_contradict_each_other_leave_the_newest() -> None:
    frame = rows(base=BASE, a=[1.0, 1.01, 0.99, -1.0, -1.1, -0.9, -1.0, -1.0])
    looks = [{"base": tuple(range(n)), "a": tuple(range(n))} for n in (3, 8)]
    table = over_looks(frame, looks, against_baseline)
    newest = against_baseline(frame, spend(0.05, 2))
    assert table[["difference", "low", "high", "different"]].equals(newest[["difference", "low", "high", "different"]])
    assert over_looks(frame, looks[:1], against_baseline)["different"].all()


def test_one_look_is_the_test_itself() -> None:
    frame = rows(base=BASE, a=[0.5, 0.1, 0.2, 0.3, 0.1, 0.0, 0.4, 0.2])
    table = over_looks(frame, [{"base": tuple(range(8)), "a": tuple(range(8))}], against_baseline)
    assert table["low"].tolist() == against_baseline(frame, 0.0375)["low"].tolist()
    with pytest.raises(ValueError, match="at least one"):
        over_looks(frame, [], against_baseline)


def test_a_look_at_which_a_configuration_had_no_value_is_left_out() -> None:
    frame = rows(base=BASE, a=[1.0, 1.1, 0.9, 1.0, 1.2, 1.0, 1.1, 0.9])
    frame = frame[(frame["configuration"] == "base") | (frame["seed"] > 2)]  # the first three were interrupted
    looks = [{"base": tuple(range(n)), "a": tuple(range(n))} for n in (3, 8)]
    table = over_looks(frame, looks, against_baseline)
    assert table["low"].tolist() == against_baseline(frame, spend(0.05, 2))["low"].tolist()
