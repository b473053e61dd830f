"""Pareto fronts against brute force and moocore, their uncertainty against closed forms, and what the report says."""

from itertools import product

import moocore
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from synthetic import make_tuning_run, seeded_finals

from analysis.attainment import attainment_surfaces, staircase
from analysis.objectives import Objective, costs, final_objectives, seed_values
from analysis.pareto import REFERENCE, knee_point, pareto_front, resampled_means
from analysis.pareto_plots import pareto_picture
from analysis.pareto_tables import front_sentences, front_table, fronts, fronts_table
from analysis.records import read_run
from analysis.report import build_report

UP = Objective("up", "gain", maximise=True)
DOWN = Objective("down", "cost")
OTHER = Objective("other", "delay")
GRID = st.integers(0, 6).map(float)  # few values, so that ties and duplicates come up


def frame(table, columns=("up", "down")):
    """Values from an array of shape (C, S, M); configurations c0, c1, ..., seeds from 0."""
    table = np.asarray(table, dtype=float)
    index = [(f"c{number}", seed) for number, seed in product(range(table.shape[0]), range(table.shape[1]))]
    return pd.DataFrame(
        table.reshape(-1, table.shape[2]),
        index=pd.MultiIndex.from_tuples(index, names=["configuration", "seed"]),
        columns=list(columns),
    )


def front(table, objectives=(UP, DOWN), seed=0, resamples=400):
    columns = [objective.column for objective in objectives]
    return pareto_front(frame(table, columns), objectives, np.random.default_rng(seed), resamples)


def better(first, second):
    """Brute-force dominance of points (up, down, other)."""
    gains = [first[0] - second[0], *(second[place] - first[place] for place in range(1, len(first)))]
    return min(gains) >= 0 and max(gains) > 0


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(1, 8), st.just(1), st.integers(2, 3)), elements=GRID))
def test_front_and_dominators_are_those_of_brute_force(table):
    objectives = (UP, DOWN, OTHER)[: table.shape[2]]
    points = table[:, 0]
    found = front(table, objectives)
    expected = [not any(better(other, own) for other in points) for own in points]
    assert list(found.on_front) == expected
    assert sorted(found.members) == [label for label, on in zip(found.labels, expected, strict=True) if on]
    for own, on, dominators in zip(points, expected, found.dominators, strict=True):
        over = {f"c{place}" for place, other in enumerate(points) if expected[place] and better(other, own)}
        assert {label for label, _ in dominators} == over and bool(over) != on
    # One seed each: nothing is said about chance.
    assert found.probability is None and found.interval is None


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(2, 6), st.just(1), st.just(2)), elements=GRID))
def test_hypervolume_is_the_area_that_brute_force_and_moocore_count(table):
    points = costs(table[:, 0], (UP, DOWN))
    span = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
    scaled = (points - points.min(axis=0)) / span
    xs = np.unique([*scaled[:, 0], REFERENCE])
    heights = [REFERENCE - scaled[scaled[:, 0] <= left, 1].min() for left in xs[:-1]]
    area = float(np.diff(xs) @ np.array(heights))
    found = front(table).hypervolume
    assert found == pytest.approx(area / REFERENCE**2)
    assert found == pytest.approx(moocore.hypervolume(scaled, ref=[REFERENCE] * 2) / REFERENCE**2)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(2)), elements=GRID))
def test_attainment_surface_bounds_what_that_share_of_the_seeds_attains(table):
    levels = (0.0, 50.0, 100.0)
    surfaces = attainment_surfaces(frame(table), (UP, DOWN), levels)
    seeds = table.shape[1]
    for level in levels:
        needed = max(1, int(np.ceil(level / 100 * seeds)))
        for up, down in product(range(7), range(7)):
            attained = sum(any(own[0] >= up and own[1] <= down for own in table[:, seed]) for seed in range(seeds))
            under = any(corner[0] >= up and corner[1] <= down for corner in surfaces[level])
            assert under == (attained >= needed)
    grid = np.arange(7.0)
    stairs = staircase(surfaces[0.0], grid, maximise=True)
    best = [max((u for u, d in table.reshape(-1, 2) if d <= at), default=np.nan) for at in grid]
    np.testing.assert_array_equal(stairs, best)


def test_only_seeds_that_all_configurations_have_attain():
    values = frame([[[5, 1], [6, 1]], [[7, 3], [8, 3]]]).drop(index=("c1", 1))
    (corners,) = attainment_surfaces(values, (UP, DOWN), (100.0,)).values()
    assert corners.tolist() == [[5, 1], [7, 3]]
    alone = values.drop(index=("c1", 0)).pipe(lambda kept: pd.concat([kept, frame([[[1, 1]]]).rename({"c0": "z"})]))
    alone = alone[alone.index.isin([("c0", 1), ("z", 0)])]
    assert not len(attainment_surfaces(alone, (UP, DOWN), (50.0,))[50.0])
    with pytest.raises(ValueError, match="2 objectives, found 3"):
        attainment_surfaces(values, (UP, DOWN, OTHER))


def test_shared_seeds_are_paired():
    """b is above a for every seed, though the seeds differ far more than a and b do."""
    shared = np.arange(5.0) * 10
    table = [np.stack([shared + gap, np.full(5, 3.0)], axis=1) for gap in (0.0, 0.1)]
    found = front(table)
    assert found.probability is not None and found.probability.tolist() == [0.0, 1.0]
    assert found.dominators == ((("c1", 1.0),), ())
    # The same numbers from other seeds are a matter of chance.
    values = frame(table)
    apart = values.reset_index().assign(seed=lambda rows: rows["seed"] + 10 * (rows["configuration"] == "c1"))
    unpaired = pareto_front(apart.set_index(["configuration", "seed"]), (UP, DOWN), np.random.default_rng(0), 2_000)
    assert unpaired.probability is not None and 0.4 < unpaired.probability[1] < 0.75


def test_resampled_means_have_the_textbook_variance_also_with_missing_seeds():
    rng = np.random.default_rng(4)
    values = frame(rng.normal(size=(2, 4, 1)), ["up"]).drop(index=("c1", 2))
    drawn = resampled_means(values, np.random.default_rng(1), 40_000)[:, :, 0]
    for place, label in enumerate(("c0", "c1")):
        own = values.xs(label)["up"]
        assert drawn[:, place].mean() == pytest.approx(own.mean(), abs=0.01)
        assert drawn[:, place].var() == pytest.approx(own.var(ddof=1) / len(own), rel=0.03)


def test_probability_of_being_on_the_front_is_that_of_the_better_mean():
    """Two configurations of equal cost: on the front is whichever mean is higher; in the limit a normal tail."""
    rng = np.random.default_rng(2)
    gap = rng.normal(0.3, 1.0, 60)
    table = [[[0.0, 1.0]] * 60, [[one, 1.0] for one in gap]]
    found = front(table, resamples=4_000)
    from scipy import stats

    expected = stats.norm.cdf(gap.mean() / (gap.std(ddof=1) / np.sqrt(60)))
    assert found.probability is not None and found.probability[1] == pytest.approx(expected, abs=0.02)
    again = front(table, resamples=4_000)
    assert again.probability is not None and again.probability.tolist() == found.probability.tolist()


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0, 1], [0.1, 0.1], [1, 0]], 1),
        ([[0, 10], [2, 3], [1, 5], [10, 0]], 1),  # 0.2 + 0.3 below 0.1 + 0.5
        ([[0, 1], [0.5, 0.5], [1, 0]], None),  # on the line
        ([[0, 1], [0.9, 0.8], [1, 0]], None),  # bulges away
        ([[0, 1], [1, 0]], None),
        ([[1, 1], [1, 1], [1, 1]], None),
    ],
)
def test_knee_lies_farthest_below_the_line_between_the_ends(points, expected):
    points = np.array(points, dtype=float)
    found = knee_point(points)
    assert found == expected
    if expected is not None:
        ends = points[[points[:, 0].argmin(), points[:, 0].argmax()]]
        scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
        line = (ends - points.min(axis=0)) / np.ptp(points, axis=0)
        along = (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
        distance = np.abs(along[0] * (scaled - line[0])[:, 1] - along[1] * (scaled - line[0])[:, 0])
        assert distance.argmax() == expected


def test_counts_are_compared_by_factors_in_knee_and_hypervolume():
    counted = Objective("down", "parameters", logarithmic=True)
    table = [[[0.0, 1e3]], [[0.7, 1e4]], [[1.0, 1e6]]]
    assert front(table, (UP, counted)).knee == "c1"
    assert front(table, (UP, counted)).hypervolume < front(table, (UP, DOWN)).hypervolume


def test_too_few_objectives_or_no_configuration():
    with pytest.raises(ValueError, match="at least 2 objectives"):
        pareto_front(frame([[[1.0, 1.0]]]), (UP,), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 2 objectives and 1 configuration"):
        pareto_front(frame([[[1.0, 1.0]]]).iloc[:0], (UP, DOWN), np.random.default_rng(0))


MEANS = {"head": 0.80, "norm": 0.86, "lora": 0.87, "parallel": 0.85, "deep_lora": 0.88}


def test_a_run_says_who_is_on_which_front_and_who_is_behind_whom(tmp_path):
    run = read_run(make_tuning_run(tmp_path, seeded_finals(MEANS, 5, 0.002)))
    telling, noisy = final_objectives(run)
    assert [one.column for one in telling][:3] == ["metric.final_top1", "trainable_params", "metric.step_share_s"]
    # The synthetic ECE differs more from seed to seed than between the methods.
    assert [one.name for one in noisy] == ["ECE"]
    found = fronts(run, telling, np.random.default_rng(0))
    assert found[0].members == ["deep_lora", "norm", "head"]
    table = front_table(run, found)
    place = table.columns.index("front with trainable parameters")
    assert table.text_rows()[2][place] == "no (0.00), behind deep_lora (1.00)"
    sentence = front_sentences(found)[0]
    assert sentence.startswith("Final top-1 and trainable parameters: on the front are deep_lora (1.00), norm (1.00)")
    assert "parallel is dominated by norm (1.00)" in sentence and sentence.endswith("the knee is norm.")
    assert fronts_table(found).text_rows()[0][1] == "3 of 5: deep_lora, norm, head"
    picture = pareto_picture(run, found)
    assert picture is not None and picture.data is not None
    assert set(picture.data["configuration"]) == set(MEANS) and picture.data["on_front"].any()


def test_an_objective_in_which_only_the_seeds_differ_is_left_out(tmp_path):
    run = read_run(make_tuning_run(tmp_path, seeded_finals(MEANS, 3, 0.002)))
    noise = np.random.default_rng(0).normal(1000, 50, len(run.trials))
    run.trials["metric.peak_memory_mib"] = noise
    telling, noisy = final_objectives(run)
    assert "peak memory" in [one.name for one in noisy] and "peak memory" not in [one.name for one in telling]
    caption = front_table(run, fronts(run, telling, np.random.default_rng(0)), noisy).caption
    assert "since the seeds alone may explain how it differs (analysis of variance): ECE and peak memory" in caption


@pytest.mark.parametrize(
    ("finals", "unfinished", "titles"),
    [
        ({"head": [0.8], "lora": [0.9]}, {}, ["Pareto fronts"]),
        ({"head": [0.8, 0.8], "lora": [0.9, 0.9]}, {("head", 1): ("diverged", 2)}, ["Pareto fronts"]),
        ({"lora": [0.9, 0.8]}, {}, []),
        ({"head": [0.8], "lora": [0.9]}, {("head", 0): ("diverged", 2), ("lora", 0): ("diverged", 2)}, []),
    ],
)
def test_single_seeds_and_runs_without_a_front_are_honest(tmp_path, finals, unfinished, titles):
    report = build_report(make_tuning_run(tmp_path, finals, unfinished=unfinished))
    assert [section.title for section in report.sections if section.title == "Pareto fronts"] == titles
    if titles:
        assert "single seed no probability can be said" in report.sections[0].tables[0].caption
        assert "nan" not in str(report.sections[0].tables[0].text_rows())
    assert (report.page.with_name("pareto.png")).exists() == bool(titles)


def test_constant_metrics_leave_no_front(tmp_path):
    run = read_run(make_tuning_run(tmp_path, {"lora": [0.9, 0.9], "lora 1e-05": [0.9, 0.9]}))
    run.trials.loc[:, [name for name in run.trials if name.startswith("metric.")]] = 0.5
    assert final_objectives(run) == ([], [])
    assert fronts(run, [], np.random.default_rng(0)) == []


def test_a_seed_that_was_run_twice_counts_once(tmp_path):
    run = read_run(make_tuning_run(tmp_path, {"lora": [0.8, 0.9]}))
    run.trials["seed"] = 0
    (objective,) = [Objective("metric.final_top1", "top-1", maximise=True)]
    assert seed_values(run, [objective])["metric.final_top1"].tolist() == pytest.approx([0.85])
