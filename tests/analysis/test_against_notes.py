"""Power, reported numbers beside seed noise, and honest words where little is known."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from synthetic import make_run, make_tuning_run, seeded_finals

from analysis.against_notes import (
    against_notes_sentences,
    against_notes_tables,
    levels,
    predictive_p,
    reported_differences,
    seed_noise,
)
from analysis.continual_tables import accuracy_matrices, continual_table, matrix_tables
from analysis.departure import departures
from analysis.departure_plots import departure_timeline
from analysis.early_signals import early_signals
from analysis.instability import stabilities
from analysis.instability_plots import final_values_strip, performance_profiles, variance_components
from analysis.instability_sentences import departure_sentence, signal_sentence, spread_sentences
from analysis.instability_tables import departure_table, signal_table, spread_table
from analysis.power import (
    noises,
    pairing_noise,
    power_sentence,
    power_summary,
    power_table,
    seeds_needed,
    smallest_difference,
)
from analysis.records import read_run
from analysis.series import objective_metric
from analysis.variance_of_runs import variance_sentence, variance_split
from trainables.metrics.continual import backward_transfer, forgetting

DRAWN = True

FINALS = seeded_finals({"baseline": 0.44, "alpha=0.1": 0.42}, 6)


@pytest.mark.parametrize(("difference", "std"), [(0.02, 0.015), (-0.0019, 0.013), (0.5, 0.1)])
def test_seeds_needed_reach_the_power_and_one_fewer_does_not(difference, std):
    n = seeds_needed(difference, std)
    power = [TTestPower().power(abs(difference) / std, k, 0.05) for k in (n, n - 1)]
    assert power[0] >= 0.8 and (n == 2 or power[1] < 0.8)
    assert smallest_difference(n, std) <= abs(difference)


def test_power_is_what_a_simulation_finds():
    n = seeds_needed(1.0, 1.0)
    draws = np.random.default_rng(0).normal(1.0, 1.0, (4_000, n))
    assert 0.78 <= (stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05).mean() <= 0.86


def test_no_difference_and_no_noise():
    with pytest.raises(ValueError, match="difference of 0"):
        seeds_needed(0, 1)
    assert (seeds_needed(0.1, 0), smallest_difference(5, 0)) == (2, 0.0)
    assert "any difference shows" in power_sentence(pairing_noise("a", "b", [0.5, 0.6], [0.4, 0.5]), 0.01)
    assert pairing_noise("a", "b", [0.5], [0.4]) is None


def test_noise_is_that_of_the_pairs(tmp_path):
    (one,) = noises(read_run(make_run(tmp_path, FINALS)))
    a, b = (np.array(FINALS[label]) for label in ("alpha=0.1", "baseline"))
    assert one.std == pytest.approx((a - b).std(ddof=1)) and one.correlation == pytest.approx(stats.pearsonr(a, b)[0])
    assert one.low < one.std < one.high and "seeds" in power_sentence(one, 0.0019)


def test_prediction_covers_one_more_seed():
    draws = np.random.default_rng(0).normal(0.4, 0.02, (2_000, 6))
    p = np.array([predictive_p(row[5], row[:5])[2] for row in draws])
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    low, high, p = predictive_p(draws[0, :5].mean(), draws[0, :5])
    assert low < draws[0, :5].mean() < high and p == pytest.approx(1)


def test_noise_of_two_single_seeds():
    values = np.array([0.40, 0.42, 0.47])
    # Each about the mean of its configuration: 5 and 7 points from the lowest to the highest.
    std, as_far, pairs = seed_noise(-0.06, values, values + 0.1)
    assert std == pytest.approx(np.sqrt(2) * values.std(ddof=1)) and (as_far, pairs) == (2, 9)
    std, as_far, pairs = seed_noise(0.05, values)
    assert std == pytest.approx(np.sqrt(2) * values.std(ddof=1)) and (as_far, pairs) == (2, 3)


def test_reported_numbers_beside_noise_of_other_data_are_not_compared_in_level(tmp_path):
    run = read_run(make_run(tmp_path, FINALS))
    assert [round(100 * one.reported, 2) for one in levels(run)] == [45.92, 28.01]
    (one,) = reported_differences(run)
    assert one.reported == pytest.approx(0.1791) and (one.as_far, one.pairs) == (0, 36)
    level, _ = against_notes_tables(run)
    assert {row[-1] for row in level.rows} == {"not comparable"}
    assert "not of the reported data" in against_notes_sentences(run)[0]
    setting = {"dataset": "glyphs100", "backbone": "glyph_vit"}
    same = read_run(make_run(tmp_path / "same", FINALS, reported_setting=setting))
    assert "not comparable" not in {row[-1] for row in against_notes_tables(same)[0].rows}
    assert "Same data set and backbone" in against_notes_sentences(same)[0]


def test_too_few_seeds_and_nothing_reported(tmp_path):
    run = read_run(make_run(tmp_path, {"baseline": [0.4, 0.5], "alpha=0.1": [0.4]}))
    assert against_notes_tables(run) == []
    assert "finished seeds of their configurations; at most 2 seeds finished" in against_notes_sentences(run)[0]
    assert "of best_top1, and there are none" in against_notes_sentences(run, "best_top1")[0]
    assert against_notes_sentences(read_run(make_run(tmp_path / "x", FINALS, reported=[]))) == []


def test_continual_metrics_by_seed_are_those_of_the_matrix(tmp_path):
    run = read_run(make_run(tmp_path, {"a": [0.4, 0.5]}, tasks=4))
    matrices = accuracy_matrices(run, "a")
    assert list(matrices) == [0, 1] and matrices[0].shape == (4, 4) and np.isnan(matrices[0][0, 1])
    row = continual_table(run).rows[0]
    assert row[:2] == ["a", "0"]
    assert float(row[4]) == pytest.approx(100 * forgetting(matrices[0]), abs=0.01)
    assert float(row[5]) == pytest.approx(100 * backward_transfer(matrices[0]), abs=0.01)
    (table,) = matrix_tables(run)
    assert table.rows[1][1].mean == pytest.approx(100 * matrices[0][1, 0])


@pytest.mark.parametrize(
    ("finals", "unfinished"),
    [
        ({"a": [0.4]}, {}),
        ({"a": [0.4, 0.5], "b": []}, {}),
        ({"a": [0.4, 0.5, 0.6]}, {("a", seed): ("diverged", 0) for seed in range(3)}),
        ({"a": [0.4, 0.5, 0.6, 0.5]}, {("a", seed): ("failed", 1) for seed in range(4)}),
        ({"a": [0.45] * 6, "b": [0.45] * 6}, {}),
        ({"a": [0.45, 0.46, 0.47, 0.3, 0.1]}, {("a", 0): ("interrupted", 2)}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("make", [make_run, make_tuning_run])
def test_every_state_of_a_run_has_sentences_tables_and_pictures(tmp_path, make, finals, unfinished):
    if make is make_tuning_run:
        names = {"a": "norm", "b": "lora"}
        finals = {names[label]: values for label, values in finals.items()}
        unfinished = {(names[label], seed): state for (label, seed), state in unfinished.items()}
    run = read_run(make(tmp_path, finals, unfinished=unfinished))
    metric, rng = objective_metric(run), np.random.default_rng(0)
    found, left, split = stabilities(run, metric, rng), departures(run), variance_split([run], rng)
    search = early_signals(run, left, rng)
    sentences = [*spread_sentences(run, found), departure_sentence(run, left), signal_sentence(search)]
    sentences += [variance_sentence(split), *against_notes_sentences(run)]
    assert all(text.endswith(".") and "nan" not in text.lower() for text in sentences)
    tables = [spread_table(run, found, metric), departure_table(run, left), signal_table(search)]
    assert all("nan" not in table.to_markdown() for table in tables if table)
    pictures = [final_values_strip(run, found, metric), performance_profiles(run, found, metric)]
    pictures += [variance_components(run, split), departure_timeline(run, left)]
    for number, figure in enumerate(pictures):
        figure.savefig(tmp_path / f"{number}.png", dpi=40)
        assert (tmp_path / f"{number}.png").stat().st_size > 2_000


def test_one_seed_says_what_cannot_be_said(tmp_path):
    run = read_run(make_run(tmp_path, {"a": [0.45]}))
    found = stabilities(run, "final_accuracy", np.random.default_rng(0))
    assert "nothing can be said about spread, modes or intervals: a." in spread_sentences(run, found)[0]
    assert "too few" in departure_sentence(run, [])


def test_sentences_name_what_the_table_of_the_spread_cannot_show(tmp_path):
    finals = {"one": [0.45], "two": [0.45, 0.46], "same": [0.5] * 5, "gone": [0.4, 0.4], "low": [0.3, 0.45, 0.46]}
    states = {("gone", 0): ("diverged", 2), ("gone", 1): ("failed", 1)}
    run = read_run(make_run(tmp_path, finals, unfinished=states))
    found = stabilities(run, "final_accuracy", np.random.default_rng(0))
    assert spread_sentences(run, found) == [
        "Without a final value: gone (of 2 seeds 1 diverged and 1 failed).",
        "Of a single seed nothing can be said about spread, modes or intervals: one.",
        "Too few seeds for an interval, which takes 3: two.",
        "Too few seeds to look for modes, which takes 4: low.",
        "All seeds ended at exactly the same value: same.",
        "Collapsed: 1 of 1 seeds of gone and 1 of 3 seeds of low.",
    ]
    table = spread_table(run, found, "final_accuracy")
    assert table.columns[-2:] == ["diverged", "failed"] and table.rows[3][-2:] == [1, 1]
    assert [row[1] for row in table.rows] == ["1 of 1", "2 of 2", "5 of 5", "0 of 2", "3 of 3"]


def test_power_table_says_what_the_seeds_can_show(tmp_path):
    found = noises(read_run(make_run(tmp_path, FINALS)))
    (row,) = power_table(found).rows
    assert row[0] == "alpha=0.1" and row[1] == 6
    assert row[6:] == [seeds_needed(stated, found[0].std) for stated in (0.005, 0.01, 0.02)]
    assert f"{row[5]} points (alpha=0.1)" in power_summary(found)
    assert "cannot be said" in power_summary([])
