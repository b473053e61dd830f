"""Two or more runs: what is compared, verdicts, causes that follow from them, the first row that differs."""

import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic import make_run, seeded_finals

from analysis.compare.cause import Cause, cause
from analysis.compare.runs import compare
from analysis.compare.tables import provenance_table, sentences, verdict_table
from analysis.compare.verdicts import BIT_EQUAL, SHIFTED, SPREAD, UNDECIDED
from analysis.io.records import RecordsError, read_run, write_metrics

FINALS = seeded_finals({"x": 0.44, "y": 0.42}, 12)
OTHER = {"provenance": {"git_commit": "1" * 40, "git_dirty": False, "versions": {"torch": "2.6.0"}}}
TASKS = 5


def runs(tmp_path, *finals, **last):
    """Runs of one study; further keys of study.json are those of the last."""
    made = [make_run(tmp_path / f"run{place}", one, TASKS) for place, one in enumerate(finals[:-1])]
    return [read_run(path) for path in [*made, make_run(tmp_path / "last", finals[-1], TASKS, **last)]]


def moved(label, by, noise, seed=0):
    rng = np.random.default_rng(seed)
    return {**FINALS, label: [value + by + rng.normal(0, noise) for value in FINALS[label]]}


def verdicts(pair):
    return {one.configuration: one.verdict for one in pair.verdicts}


def causes(pair):
    return {one.configuration: cause(one, pair) for one in pair.verdicts}


def said(found):
    return " ".join(sentence for pair in found.pairs for sentence in sentences(pair, found.metric))


def test_the_same_run_is_bit_equal_and_nothing_moved(tmp_path):
    path = make_run(tmp_path / "a", FINALS, TASKS)
    shutil.copytree(path, tmp_path / "b")
    found = compare([read_run(path), read_run(tmp_path / "b")])
    (pair,) = found.pairs
    assert verdicts(pair) == {"x": BIT_EQUAL, "y": BIT_EQUAL} and found.runs == ("a", "b")
    assert set(causes(pair).values()) == {Cause.NONE} and pair.provenance == ()
    assert sentences(pair, found.metric) == ["All 2 configurations: bit-equal.", "Nothing moved the number."]


def test_wall_clock_timings_and_memory_are_not_compared(tmp_path):
    first, second = runs(tmp_path, FINALS, FINALS)
    second.metrics["wall_s"] += 5
    more = [second.metrics.iloc[:1].assign(phase="timing", name=name, value=3.0) for name in ("train_s", "memory_mib")]
    second = type(second)(second.path, second.study, second.trials, pd.concat([second.metrics, *more]))
    assert set(verdicts(compare([first, second]).pairs[0]).values()) == {BIT_EQUAL}


def test_a_shift_is_found_and_its_cause_is_what_differs(tmp_path):
    found = compare(runs(tmp_path, FINALS, moved("y", -0.05, 0.005), **OTHER))
    (pair,) = found.pairs
    assert verdicts(pair) == {"x": BIT_EQUAL, "y": SHIFTED}
    test = pair.verdicts[1].gap
    assert test.difference == pytest.approx(-0.05, abs=0.005) and test.low < -0.05 < test.high < 0
    assert causes(pair) == {"x": Cause.NONE, "y": Cause.CODE}
    assert "Shifted: y by -4.99 points (-5.25 to -4.72, 12 seeds)." in said(found)
    assert "Moved by code or environment: y (git_commit and versions.torch differ)." in said(found)


def test_what_was_recorded_alike_and_differs_is_a_rerun(tmp_path):
    rng = np.random.default_rng(4)
    noisy = {label: [value + rng.normal(0, 0.001) for value in values] for label, values in FINALS.items()}
    found = compare(runs(tmp_path, FINALS, noisy))
    (pair,) = found.pairs
    assert set(causes(pair).values()) == {Cause.RERUN} and SHIFTED not in verdicts(pair).values()
    assert (pair.replicas, pair.differing) == (24, 24) and pair.rerun_std == pytest.approx(0.001 / np.sqrt(2), rel=0.3)
    assert "24 of 24 replicas gave other numbers" in said(found)


def test_redrawn_numbers_are_put_down_to_the_seed(tmp_path):
    redrawn = {label: values[::-1] for label, values in FINALS.items()}
    (pair,) = compare(runs(tmp_path, FINALS, redrawn, **OTHER)).pairs
    assert set(verdicts(pair).values()) == {UNDECIDED} and set(causes(pair).values()) == {Cause.SEED}
    assert np.isnan(pair.rerun_std)


def test_a_change_of_the_spread(tmp_path):
    mean = np.mean(FINALS["x"])
    wider = {**FINALS, "x": [mean + 8 * (value - mean) for value in np.roll(FINALS["x"], 1)]}
    (pair,) = compare(runs(tmp_path, FINALS, wider, **OTHER)).pairs
    one = pair.verdicts[0]
    assert one.verdict == SPREAD and one.gap.spread_ratio == pytest.approx(8) and cause(one, pair) is Cause.CODE


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(tmp_path, seeds):
    few = {label: values[:seeds] for label, values in FINALS.items()}
    found = compare(runs(tmp_path, few, {label: [0.1] * seeds for label in few}, **OTHER))
    (pair,) = found.pairs
    assert set(verdicts(pair).values()) == {UNDECIDED} and set(causes(pair).values()) == {Cause.OPEN}
    assert "Too few common seeds to say what moved x and y." in said(found)


def test_lost_seeds_count_as_the_worst_value_and_are_counted(tmp_path):
    lost = {("x", seed): ("diverged" if seed % 2 else "failed", 4) for seed in range(10)}
    found = compare(runs(tmp_path, FINALS, FINALS, unfinished=lost, **OTHER))
    (pair,) = found.pairs
    one = pair.verdicts[0]
    assert one.verdict == SHIFTED and one.lost == (0, 10) and len(one.seeds) == 12
    worst = min(map(min, FINALS.values()))
    assert one.gap.difference == pytest.approx(sum(worst - value for value in FINALS["x"][:10]) / 12)
    assert "Diverged or failed: 10 of 24 replicas in last, 0 in run0" in said(found)


def test_seeds_lost_in_both_runs_make_no_gap(tmp_path):
    lost = {("x", seed): ("diverged", 4) for seed in range(12)}
    made = [make_run(tmp_path / name, FINALS | {"y": values}, TASKS, unfinished=lost)
            for name, values in (("a", FINALS["y"]), ("b", [0.1, *FINALS["y"][1:]]))]  # fmt: skip
    (pair,) = compare([read_run(path) for path in made]).pairs
    assert verdicts(pair)["x"] == BIT_EQUAL


def test_the_first_differing_row_is_named(tmp_path):
    first, second = runs(tmp_path, FINALS, FINALS)
    rows = second.metrics
    for task, phase, name in ((4, "train", "loss"), (3, "ablation", "after/slow"), (3, "train", "loss")):
        at = (rows["task"] == task) & (rows["phase"] == phase) & (rows["name"] == name)
        at &= (rows["trial_id"] == "t1") & (rows["seed"] == 2)
        rows.loc[at, "value"] = np.nextafter(rows.loc[at, "value"], 9)
    found = compare([first, second])
    (pair,) = found.pairs
    assert verdicts(pair) == {"x": BIT_EQUAL, "y": UNDECIDED} and pair.differing == 1
    where = pair.verdicts[1].first_difference
    # Within task 4 the step comes before what is measured at the boundary.
    assert where.place == "task 4, epoch 1, step 30, seed 2: train loss" and where.rows == 3
    assert "y first differs at task 4" in said(found)


def test_missing_rows_and_new_metrics(tmp_path):
    first, second = runs(tmp_path, FINALS, FINALS)
    rows = second.metrics
    gone = (rows["trial_id"] == "t0") & (rows["seed"] == 1) & (rows["task"] == 4) & (rows["name"] == "loss")
    new = rows[rows["name"] == "loss"].assign(name="norm/slow")
    second = type(second)(second.path, second.study, second.trials, pd.concat([rows[~gone], new]))
    (pair,) = compare([first, second]).pairs
    assert verdicts(pair) == {"x": UNDECIDED, "y": BIT_EQUAL}
    where = pair.verdicts[0].first_difference
    assert (where.second, where.rows) == (None, 1) and where.first is not None
    assert pair.only_metrics == ((), ("train norm/slow",))


def test_nan_equals_nan(tmp_path):
    paths = [make_run(tmp_path / name, FINALS, TASKS) for name in "ab"]
    for path in paths:
        row = {"trial_id": "t0", "seed": 0, "phase": "train", "task": 0, "name": "loss", "value": float("nan")}
        write_metrics(path / "metrics.parquet", [row])
    assert verdicts(compare([*map(read_run, paths)]).pairs[0])["x"] == BIT_EQUAL


def test_what_only_one_run_has_is_listed(tmp_path):
    first = {**FINALS, "z": [0.4, 0.5]}
    second = {**FINALS, "y": FINALS["y"][:-2]}
    found = compare(runs(tmp_path, first, second, unfinished={("x", 3): ("interrupted", 4)}))
    (pair,) = found.pairs
    x, y = pair.verdicts
    assert pair.only == (("z",), ())
    assert (x.only, y.only) == (((3,), ()), ((10, 11), ()))
    # All that both ended is bit-equal; their means differ by their seeds alone.
    assert (x.verdict, y.verdict) == (BIT_EQUAL, BIT_EQUAL) and causes(pair)["y"] is Cause.SEED
    assert "Only run0 has z." in said(found) and "Only run0 ended seed 3 of x and seed 10, 11 of y." in said(found)


def test_a_seed_that_diverged_in_one_run_alone_is_a_difference(tmp_path):
    (pair,) = compare(runs(tmp_path, FINALS, FINALS, unfinished={("x", 3): ("diverged", TASKS)})).pairs
    assert verdicts(pair)["x"] != BIT_EQUAL


def test_differing_provenance_is_listed_and_hashes_are_short(tmp_path):
    first, second = runs(tmp_path, FINALS, FINALS, **OTHER)
    second.study["provenance"]["started_at"] = "later"
    (pair,) = compare([first, second]).pairs
    columns, rows = provenance_table(pair)
    assert columns[0] == "what differs"
    assert rows == [["git_commit", "0" * 12, "1" * 12], ["versions.torch", "2.14.0", "2.6.0"]]


def test_configurations_match_by_parameters_then_by_label_and_say_so(tmp_path):
    first, second = runs(tmp_path, FINALS, moved("y", -0.05, 0.001))
    for frame in (second.trials, second.metrics):
        frame["trial_id"] = "new" + frame["trial_id"].astype(str)
    # A parameter that only the newer version knows is no other value.
    second.trials["param.placement"] = "linear"
    (pair,) = compare([first, second]).pairs
    assert verdicts(pair) == {"x": BIT_EQUAL, "y": SHIFTED} and pair.verdicts[0].parameters == ()
    second.trials["param.lr_fast"] = 0.07
    found = compare([first, second])
    (pair,) = found.pairs
    assert pair.verdicts[1].parameters == ("lr_fast: 0.05 -> 0.07",) and pair.replicas == 0
    assert causes(pair) == {"x": Cause.NONE, "y": Cause.HYPERPARAMETER}
    assert "Moved by hyperparameter: y (lr_fast: 0.05 -> 0.07)." in said(found)


def test_numbered_trials_of_searches_match_by_parameters_alone(tmp_path):
    first, second = runs(tmp_path, {"trial 0": [0.4], "same": [0.4]}, {"trial 0": [0.5], "same": [0.4]})
    second.trials["trial_id"] = second.trials["trial_id"].replace({"t0": "t9"})
    (pair,) = compare([first, second]).pairs
    assert verdicts(pair) == {"same": BIT_EQUAL} and pair.only == (("trial 0",), ("trial 0",))


def test_nothing_in_common_is_one_clear_line(tmp_path):
    first, second = runs(tmp_path, {"a": [0.4]}, {"b": [0.4]})
    second.trials["trial_id"] = "other"
    with pytest.raises(RecordsError, match="no configuration in common") as raised:
        compare([first, second])
    assert "\n" not in str(raised.value)


def test_three_runs_against_the_first_and_all_pairs(tmp_path):
    noisy = moved("x", 0.0, 0.004)
    three = runs(tmp_path, FINALS, FINALS, noisy | {"y": moved("y", -0.05, 0.005)["y"]}, **OTHER)
    found = compare(three)
    assert [(pair.run, pair.baseline) for pair in found.pairs] == [("run1", "run0"), ("last", "run0")]
    assert verdicts(found.pairs[0]) == {"x": BIT_EQUAL, "y": BIT_EQUAL} and verdicts(found.pairs[1])["y"] == SHIFTED
    every = compare(three, all_pairs=True)
    assert [(pair.run, pair.baseline) for pair in every.pairs][2] == ("last", "run1")
    # Twice as many tests, of the same gaps.
    p = [pair.verdicts[0].gap.p for pair in (found.pairs[1], every.pairs[1])]
    assert p[1] == pytest.approx(min(1, 2 * p[0]))
    columns, rows = verdict_table(every)
    assert columns[:4] == ["configuration", "run", "against", "verdict"] and len(rows) == 6


def test_a_metric_that_is_minimised_and_is_no_fraction(tmp_path):
    objective = {"metric": "nll", "over_seeds": "mean", "direction": "minimize"}
    lost = {("x", 0): ("diverged", 4)}
    first, second = runs(tmp_path, FINALS, FINALS, unfinished=lost)
    for run in (first, second):
        run.study["objective"] = objective
        run.trials["metric.nll"] = np.arange(24) / 4.0
    first.trials["status"] = "finished"
    (pair,) = compare([first, second]).pairs
    assert pair.verdicts[0].gap.difference == pytest.approx((23 / 4) / 12)  # the worst is the largest
    assert "difference" in verdict_table(compare([first, second]))[0]


@pytest.mark.parametrize("seed", range(2))
def test_no_sentence_blames_what_the_verdict_does_not(tmp_path, seed):
    """Any mixture of what can happen to a configuration between two runs."""
    rng = np.random.default_rng(seed)
    label = ["same", "redrawn", "shifted", "lost"]
    first = {name: list(rng.normal(0.4, 0.02, 8)) for name in label}
    second = {
        "same": first["same"],
        "redrawn": list(rng.normal(0.4, 0.02, 8)),
        "shifted": [value - 0.1 + rng.normal(0, 0.005) for value in first["shifted"]],
        "lost": first["lost"],
    }
    other = OTHER if seed % 2 else {}
    found = compare(runs(tmp_path, first, second, unfinished={("lost", 1): ("failed", 2)}, **other))
    (pair,) = found.pairs
    blamed = {Cause.CODE, Cause.HYPERPARAMETER, Cause.HYPERPARAMETER_OR_CODE}
    for one in pair.verdicts:
        what = cause(one, pair)
        assert (what in blamed) == (one.verdict in (SHIFTED, SPREAD) and bool(pair.provenance))
        assert (what is Cause.NONE) == (one.verdict == BIT_EQUAL)
    assert verdicts(pair)["shifted"] == SHIFTED and ("Moved by" in said(found)) == bool(pair.provenance)
