"""Two runs of the same study: calibrated tests, verdicts, the first row that differs, planted causes."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import make_run, seeded_finals

from analysis import variance
from analysis.cause import CAUSES, CODE, HYPERPARAMETER, RERUN, SEED, cause_of_runs, cause_sentence, causes
from analysis.comparison import compare
from analysis.comparison_tables import comparison_sentences, comparison_tables
from analysis.comparison_verdicts import IDENTICAL, OTHER, SHIFTED, SPREAD, UNDECIDED, WITHIN_NOISE
from analysis.permutation import sign_flip_p, spread_p
from analysis.records import RecordsError, read_run, write_metrics

CPU = {"resources": {"device": "cpu"}}


@pytest.fixture(autouse=True)
def few_simulations(monkeypatch):
    """No name depends on the limits, which take most of the time."""
    monkeypatch.setattr(variance, "SIMULATIONS", 20)


@pytest.mark.parametrize("n", [3, 7, 10])
def test_sign_flips_are_those_of_scipy(n):
    gaps = np.random.default_rng(n).normal(0.3, 1, (4, n))
    expected = [
        stats.permutation_test((row,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue for row in gaps
    ]
    assert sign_flip_p(gaps) == pytest.approx(expected)


def test_random_sign_flips_are_close_to_exact_ones_and_never_zero():
    gaps = np.random.default_rng(0).normal(0.4, 1, 20)
    assert float(sign_flip_p(gaps)) == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, abs=0.02)
    assert float(sign_flip_p(np.ones(20))) == pytest.approx(1 / 20_001, rel=3)
    assert sign_flip_p(np.zeros(6)) == 1.0


@pytest.mark.parametrize("n", [8, 10, 15])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_false_positives_of_the_shift_test(n, correlation):
    first, second = pairs(2_000, n, correlation, np.random.default_rng(n).normal)
    assert (sign_flip_p(second - first) <= 0.05).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("n", [8, 10, 15])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_false_positives_of_the_spread_test(n, correlation):
    first, second = pairs(2_000, n, correlation, np.random.default_rng(n + 1).normal)
    # A shift is no change in spread.
    assert (spread_p(first, second + 3) <= 0.05).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_spread_test_keeps_its_level_for_heavy_tails(correlation):
    rng = np.random.default_rng(3)
    first, second = pairs(2_000, 12, correlation, lambda size: rng.standard_t(3, size))
    assert (spread_p(first, second) <= 0.05).mean() <= 0.075


def test_the_spread_test_finds_a_spread_that_tripled():
    first, second = pairs(500, 12, 0.5, np.random.default_rng(0).normal)
    assert (spread_p(first, 3 * second) <= 0.05).mean() > 0.8


def pairs(count, n, correlation, draw):
    common = np.sqrt(correlation) * draw(size=(count, n))
    return [common + np.sqrt(1 - correlation) * draw(size=(count, n)) for _ in range(2)]


def two_runs(tmp_path, first, second, **study):
    paths = [make_run(tmp_path / name, finals, **CPU, **study) for name, finals in {"a": first, "b": second}.items()]
    return [read_run(path) for path in paths]


FINALS = seeded_finals({"x": 0.44, "y": 0.42}, 12)


def verdicts(found):
    return [one.verdict for one in found.changes]


def test_the_same_run_is_identical(tmp_path):
    path = make_run(tmp_path / "a", FINALS, **CPU)
    shutil.copytree(path, tmp_path / "b")
    found = compare(read_run(path), read_run(tmp_path / "b"))
    assert verdicts(found) == [IDENTICAL, IDENTICAL] and found.provenance == ()
    assert comparison_sentences(found)[0] == "All 2 configurations: identical."


def test_wall_clock_and_timings_are_not_compared(tmp_path):
    first, second = two_runs(tmp_path, FINALS, FINALS)
    second.metrics["wall_s"] += 5
    timing = second.metrics.iloc[:1].assign(phase="timing", name="train_s", value=3.0)
    second = type(second)(second.path, second.study, second.trials, pd.concat([second.metrics, timing]))
    assert verdicts(compare(first, second)) == [IDENTICAL, IDENTICAL]


def test_a_shift_in_one_configuration(tmp_path):
    rng = np.random.default_rng(0)
    moved = {**FINALS, "y": [value - 0.05 + rng.normal(0, 0.005) for value in FINALS["y"]]}
    found = compare(*two_runs(tmp_path, FINALS, moved))
    assert verdicts(found) == [IDENTICAL, SHIFTED]
    one = found.changes[1]
    assert one.difference.mean == pytest.approx(-0.05, abs=0.005) and one.test == "sign flips"
    gaps = np.subtract(moved["y"], FINALS["y"])
    assert one.difference.p_permutation == pytest.approx(float(sign_flip_p(gaps)))
    assert one.p_shift == pytest.approx(2 * one.difference.p_permutation)  # Holm over two configurations
    assert "Shifted: y (-5.0 points, 12 seeds)." in comparison_sentences(found)


def test_a_change_in_spread(tmp_path):
    mean = np.mean(FINALS["x"])
    wider = {**FINALS, "x": [mean + 6 * (value - mean) for value in FINALS["x"]]}
    one = compare(*two_runs(tmp_path, FINALS, wider)).changes[0]
    assert one.verdict == SPREAD and one.spread_ratio == pytest.approx(6)


@pytest.mark.parametrize(("change", "within"), [(0.001, True), (0.02, False)])
def test_rerun_noise_from_reruns(tmp_path, change, within):
    rng = np.random.default_rng(4)
    noisy = [
        {label: [value + rng.normal(0, std) for value in values] for label, values in FINALS.items()}
        for std in (change, 0.001, 0.001)
    ]
    first, second = two_runs(tmp_path, FINALS, noisy[0])
    reruns = [read_run(make_run(tmp_path / f"rerun{k}", one)) for k, one in enumerate(noisy[1:])]
    found = compare(first, second, reruns)
    # The first run is without noise here, so two of three values scatter.
    assert found.noise.std == pytest.approx(0.001, rel=0.4) and found.noise.freedom == 48
    assert {verdict == WITHIN_NOISE for verdict in verdicts(found)} == {within}


@pytest.mark.slow
def test_on_a_cpu_there_is_no_rerun_noise_and_elsewhere_it_is_not_known(tmp_path):
    rng = np.random.default_rng(0)
    other = {label: [value + rng.normal(0, 1e-4) for value in values] for label, values in FINALS.items()}
    first, second = two_runs(tmp_path, FINALS, other)
    found = compare(first, second)
    assert verdicts(found) == [UNDECIDED, UNDECIDED] and found.noise.std == 0.0 and found.changes[0].p_noise == 0.0
    first.study.pop("resources")
    assert compare(first, second).noise.std is None


def test_few_seeds_are_tested_by_t_and_spread_not_at_all(tmp_path):
    rng = np.random.default_rng(0)
    few = {label: values[:5] for label, values in FINALS.items()}
    moved = {label: [value - 0.05 + rng.normal(0, 0.002) for value in values] for label, values in few.items()}
    one = compare(*two_runs(tmp_path, few, moved)).changes[0]
    assert (one.verdict, one.test, one.p_spread) == (SHIFTED, "paired t test", None)
    single = {label: values[:1] for label, values in FINALS.items()}
    alone = compare(*two_runs(tmp_path / "one", single, {label: [0.1] for label in single})).changes[0]
    assert (alone.verdict, alone.p_shift, alone.spread_ratio) == (UNDECIDED, None, None)


def test_the_first_differing_row_is_named(tmp_path):
    first, second = two_runs(tmp_path, FINALS, FINALS)
    rows = second.metrics
    for task, phase, name in ((4, "train", "loss"), (3, "ablation", "after/slow"), (3, "train", "loss")):
        at = (rows["task"] == task) & (rows["phase"] == phase) & (rows["name"] == name)
        at &= (rows["trial_id"] == "t1") & (rows["seed"] == 2)
        rows.loc[at, "value"] = np.nextafter(rows.loc[at, "value"], 9)
    found = compare(first, second)
    assert verdicts(found) == [IDENTICAL, UNDECIDED]
    where = found.changes[1].first_difference
    # Within task 4 the step comes before what is measured at the boundary.
    assert where.place == "task 4, epoch 1, step 30, seed 2: train loss" and where.rows == 3
    assert any("first differs at task 4" in sentence for sentence in comparison_sentences(found))


def test_missing_rows_and_new_metrics(tmp_path):
    first, second = two_runs(tmp_path, FINALS, FINALS)
    rows = second.metrics
    gone = (rows["trial_id"] == "t0") & (rows["seed"] == 1) & (rows["task"] == 9) & (rows["name"] == "loss")
    new = rows[rows["name"] == "loss"].assign(name="norm/slow")
    second = type(second)(second.path, second.study, second.trials, pd.concat([rows[~gone], new]))
    found = compare(first, second)
    assert verdicts(found) == [UNDECIDED, IDENTICAL]
    where = found.changes[0].first_difference
    assert (where.second, where.rows) == (None, 1) and where.first is not None
    assert found.new_metrics == ("train norm/slow",) and found.gone_metrics == ()


def test_nan_equals_nan(tmp_path):
    paths = [make_run(tmp_path / name, FINALS, **CPU) for name in "ab"]
    for path in paths:
        row = {"trial_id": "t0", "seed": 0, "phase": "train", "task": 0, "name": "loss", "value": float("nan")}
        write_metrics(path / "metrics.parquet", [row])
    assert verdicts(compare(*map(read_run, paths)))[0] == IDENTICAL


def test_what_only_one_run_has_is_listed(tmp_path):
    more = {**FINALS, "z": [0.4, 0.5]}
    unfinished = {("x", 3): ("diverged", 4)}
    first = read_run(make_run(tmp_path / "a", more, **CPU))
    second = read_run(make_run(tmp_path / "b", {**FINALS, "y": FINALS["y"][:-2]}, unfinished=unfinished, **CPU))
    found = compare(first, second)
    assert found.only_first == ("z",) and found.only_second == ()
    x, y = found.changes
    # A seed that diverged in one run alone is a difference, whatever its rows say.
    assert x.only_first == (3,) and x.verdict != IDENTICAL
    assert y.only_first == (10, 11) and y.verdict == IDENTICAL
    text = " ".join(comparison_sentences(found))
    assert "Only a has z." in text and "only a finished seed 10, 11" in text


def test_differing_provenance_is_listed(tmp_path):
    first, second = two_runs(tmp_path, FINALS, FINALS)
    second.study["provenance"] = {"git_commit": "1" * 40, "git_dirty": False, "versions": {"torch": "2.6.0"}}
    second.study["provenance"]["started_at"] = "later"
    found = compare(first, second)
    assert [row[0] for row in found.provenance] == ["git_commit", "versions.torch"]
    assert found.provenance[1][1:] == ("2.14.0", "2.6.0")
    assert [table.name for table in comparison_tables(found)] == ["comparison", "provenance"]


@pytest.mark.slow
def test_configurations_match_by_label_where_the_ids_differ_and_say_so(tmp_path):
    first, second = two_runs(tmp_path, FINALS, FINALS)
    for frame in (second.trials, second.metrics):
        frame["trial_id"] = "new" + frame["trial_id"].astype(str)
    found = compare(first, second)
    assert verdicts(found) == [IDENTICAL, IDENTICAL] and found.changes[0].parameters == ()
    second.trials["param.placement"] = "linear"
    found = compare(first, second)
    # A parameter that only the newer version knows is named, and is no other value.
    assert verdicts(found) == [IDENTICAL, IDENTICAL]
    assert found.changes[0].parameters == ("placement: not recorded -> linear",)
    second.trials["param.lr_fast"] = 0.07
    found = compare(first, second)
    assert verdicts(found) == [OTHER, OTHER]
    assert found.changes[0].parameters[0] == "lr_fast: 0.05 -> 0.07"
    assert any("lr_fast: 0.05 -> 0.07" in sentence for sentence in comparison_sentences(found))


def test_nothing_in_common_is_one_clear_line(tmp_path):
    first, second = two_runs(tmp_path, {"a": [0.4]}, {"b": [0.4]})
    second.trials["trial_id"] = "other"
    with pytest.raises(RecordsError, match="no configuration in common"):
        compare(first, second)


DESIGN = pd.DataFrame(
    [(h, s, v) for h in range(3) for s in range(8) for v in range(2) for _ in range(2)],
    columns=["hyperparameters", "seed", "code"],
)
# Standard deviation of every source, in points; the planted one is added: configurations 3 apart from end to end,
# versions 3 apart, seeds and reruns with a standard deviation of 1.5.
BACKGROUND = 0.4


def planted(cause, rng):
    h, s, v = (DESIGN[name].to_numpy() for name in DESIGN)
    value = BACKGROUND * (
        rng.normal(size=3)[h] + rng.normal(size=8)[s] + rng.choice([-0.5, 0.5]) * (2 * v - 1)
        + rng.normal(size=(3, 8))[h, s] + rng.normal(size=len(DESIGN))
    )  # fmt: skip
    value += {
        HYPERPARAMETER: 1.5 * rng.choice([-1, 1]) * (h - 1),
        SEED: 1.5 * rng.normal(size=8)[s],
        CODE: 3.0 * v,
        RERUN: 1.5 * rng.normal(size=len(DESIGN)),
        "collapse of a seed": -6.0 * (s == rng.integers(8)) * (h == 1),
        "collapse in one version": -6.0 * np.isin(s, rng.choice(8, 2, replace=False)) * (v == 1),
    }[cause]
    return DESIGN.assign(value=value)


PLANTED = {cause: cause for cause in CAUSES} | {"collapse of a seed": SEED, "collapse in one version": CODE}


@pytest.mark.parametrize("cause", PLANTED)
@pytest.mark.slow
def test_planted_causes_are_named(cause):
    named = [causes(planted(cause, np.random.default_rng(case)), np.random.default_rng(0)).named for case in range(100)]
    assert named.count(PLANTED[cause]) >= 95, pd.Series(named).value_counts().to_dict()


def test_a_clear_cause_is_certain_and_noise_is_not():
    clear = causes(planted(CODE, np.random.default_rng(0)), np.random.default_rng(0))
    assert clear.certain and clear.shares[CODE] > 0.8
    even = DESIGN.assign(value=np.random.default_rng(1).normal(size=8)[DESIGN["seed"]] + 1.2 * (DESIGN["code"] - 0.5))
    assert not causes(even, np.random.default_rng(0)).certain


def test_what_was_not_varied_is_unknown_and_what_never_changed_alone_too():
    rng = np.random.default_rng(0)
    one_version = DESIGN[DESIGN["code"] == 0].assign(value=rng.normal(size=48))
    assert causes(one_version, rng).unknown == {CODE: "only one was run"}
    tied = DESIGN[DESIGN["code"] == DESIGN["seed"] % 2].assign(value=rng.normal(size=48))
    found = causes(tied, rng)
    assert found.unknown[CODE] == "it never changed alone" and not found.certain


def test_cause_of_runs(tmp_path):
    rng = np.random.default_rng(0)
    moved = {label: [value - 0.1 + rng.normal(0, 0.001) for value in values] for label, values in FINALS.items()}
    first, second = two_runs(tmp_path, FINALS, moved)
    path = tmp_path / "b" / "study.json"
    description = json.loads(path.read_text())
    description["provenance"]["versions"]["torch"] = "2.6.0"
    path.write_text(json.dumps(description))
    found = cause_of_runs([first, read_run(tmp_path / "b")], np.random.default_rng(0))
    assert found.named == CODE and found.certain and RERUN not in found.unknown
    assert "code change" in cause_sentence(found)
    same = cause_of_runs([first, first], np.random.default_rng(0))
    assert same.shares.get(RERUN, 0) == 0


def test_nothing_moved_and_nothing_known():
    still = causes(DESIGN.assign(value=0.3), np.random.default_rng(0))
    assert cause_sentence(still) == "All 96 replicas agree: nothing moved the number."
    assert "Fewer than three" in cause_sentence(causes(DESIGN[:2].assign(value=0.3), np.random.default_rng(0)))
