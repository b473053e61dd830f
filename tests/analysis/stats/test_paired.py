"""Differences: against scipy and statsmodels, missing seeds, refused input, and how often a claim is wrong."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from analysis.stats import all_pairs, contrasts, equivalence, paired
from analysis.stats.gaps import Rows, holm, measured
from benchmarks.error_rates import (
    BASELINE,
    LAWS,
    PAIRS,
    SEEDS,
    SIX,
    decided,
    differences_covered,
    drawn,
    found_difference,
    frame_of,
    worst_unequal,
    wrong,
    wrongly_same,
)  # fmt: skip

STUDIES = 2_000
AT_MOST = 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)


def study(n, count, seed=0, gap=0.0, spread=1.0):
    values = np.random.default_rng(seed).normal(size=(n, count)) * spread + np.arange(n)[:, None]
    values[:, 1] += gap
    return values


def test_two_configurations_have_the_paired_t_test_of_scipy():
    values = study(5, 2, gap=2)
    reference = stats.ttest_rel(values[:, 1], values[:, 0])
    (row,) = paired(frame_of(values), "value").itertuples()
    interval = reference.confidence_interval(0.95)
    assert (row.configuration, row.baseline, row.n) == (1, 0, 5)
    assert (row.p, row.p_adjusted, row.low, row.high) == pytest.approx(
        (reference.pvalue, reference.pvalue, interval.low, interval.high)
    )
    back = paired(frame_of(values), "value", baseline=1).iloc[0]
    assert (back["difference"], back["low"]) == pytest.approx((-row.difference, -row.high))


def test_equivalence_is_two_one_sided_tests():
    values = study(6, 2, gap=0.3)
    found = equivalence(frame_of(values), "value", 1.5).iloc[0]
    assert found["p"] == pytest.approx(ttost_paired(values[:, 1], values[:, 0], -1.5, 1.5)[0])
    interval = stats.ttest_rel(values[:, 1], values[:, 0]).confidence_interval(0.90)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("n", [8, 11])
def test_many_seeds_have_sign_flips(n):
    values = study(n, 2, gap=0.7, seed=n)
    gaps = values[:, 1] - values[:, 0]
    reference = stats.permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=2**n + 1)
    found = paired(frame_of(values), "value").iloc[0]
    assert found["p"] == pytest.approx(reference.pvalue)
    # The interval holds what the test does not reject.
    for end, inside in ((found["low"], 1e-9), (found["high"], -1e-9)):
        for shift, rejected in ((inside, False), (-inside, True)):
            shifted = frame_of(values - [0, end + shift])
            assert paired(shifted, "value")["different"].item() == rejected


def test_equal_spreads_share_their_error_with_their_degrees_of_freedom():
    values = study(4, 4)
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    gaps = measured(values, Rows.of([{1: 1.0, 0: -1.0}]), 0.05, 3)
    own, total = (values[:, 1] - values[:, 0]).var(ddof=1) / 2, (residuals**2).sum()
    rest, borrowed = (total - 3 * own) / 6, gaps.df.item() - 3
    assert 0 < borrowed <= 6
    assert gaps.error.item() ** 2 == pytest.approx(2 / 4 * (borrowed * rest + 3 * own) / (borrowed + 3))


def test_a_configuration_that_varies_more_keeps_its_own_error():
    values = study(5, 5) * [1, 300, 1, 1, 1]
    found = measured(values, Rows.of(BASELINE), 0.05, 4)
    assert found.df[0] == pytest.approx(4, abs=0.01) and (found.df[1:] > 4).all()


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(0).uniform(size=(5, 6)) ** 4
    adjusted, levels, rejected = holm(p, 0.05)
    for row, own, spent, sure in zip(p, adjusted, levels, rejected, strict=True):
        reference = multipletests(row, 0.05, "holm")
        assert own == pytest.approx(reference[1]) and (sure == reference[0]).all()
        assert ((row <= spent) == sure).all()


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("n", [4, 9])
def test_an_interval_excludes_zero_exactly_where_there_is_a_difference(n, missing):
    rng = np.random.default_rng(n)
    for _ in range(40):
        frame = frame_of(rng.normal(size=(n, 5)) + rng.normal(0, 2, 5))
        frame = frame[rng.random(len(frame)) >= missing]
        for found in (paired(frame, "value"), all_pairs(frame, "value")):
            apart = (found["low"] > 0) | (found["high"] < 0)
            assert (apart == found["different"]).all() and not found["different"][found["n"] < 3].any()
        same = equivalence(frame, "value", 2.5)
        assert (((same["low"] > -2.5) & (same["high"] < 2.5)) == same["same"]).all()


def test_only_common_seeds_count_and_two_decide_nothing():
    frame = frame_of(study(5, 3, gap=50))
    frame = frame[~((frame["configuration"] == 1) & (frame["seed"] > 1))]
    frame = frame[~((frame["configuration"] == 2) & (frame["seed"] == 4))]
    found = paired(frame, "value")
    assert found["n"].tolist() == [2, 4]
    assert not found.loc[0, "different"] and np.isnan(found.loc[0, ["low", "high", "p"]].astype(float)).all()
    # The row of two seeds is no test, so that the other is the only one.
    assert found.loc[1, "p_adjusted"] == found.loc[1, "p"]
    alone = paired(frame[frame["configuration"] != 1], "value")
    assert found.loc[1, "p"] == pytest.approx(alone.loc[0, "p"])
    nothing = frame[(frame["configuration"] == 0) == (frame["seed"] == 0)]
    assert paired(nothing, "value")["n"].tolist() == [0, 0]


def test_more_seeds_of_some_configurations_keep_the_error_of_the_others():
    frame = frame_of(study(8, 4))
    short = frame[(frame["configuration"] < 2) | (frame["seed"] < 5)]
    full, found = paired(frame[frame["seed"] < 5], "value"), paired(short, "value")
    assert found["n"].tolist() == [8, 5, 5]
    assert found.loc[1:, "p"].tolist() == pytest.approx(full.loc[1:, "p"].tolist())


@pytest.mark.parametrize(("n", "different"), [(2, False), (3, False), (5, False), (6, True)])
def test_equal_gaps_have_the_chance_that_the_signs_agree(n, different):
    steps = np.arange(n) / 200
    found = paired(frame_of(np.stack([0.6 + steps, 0.605 + steps], axis=1)), "value").iloc[0]
    assert found["difference"] == pytest.approx(0.005) and np.isnan(found["low"])
    assert found["different"] == different and (n < 3 or found["p"] == 2.0 ** (1 - n))
    same = paired(frame_of(np.stack([0.6 + steps, 0.6 + steps], axis=1)), "value").iloc[0]
    assert (n < 3 or same["p"] == 1) and not same["different"]


def test_rounding_is_no_spread():
    a, b = np.array([0.1, 0.2, 0.3])[:, None], np.array([0.4, 0.1, 0.7, 0.2])
    assert not paired(frame_of(a + b), "value")["different"].any()


def test_contrasts_are_sums_of_configurations():
    values = study(6, 4)
    weights = {"gap": {0: 1, 1: -1}, "gap of gaps": {0: 1, 1: -1, 2: -1, 3: 1}, "alone": {3: 1}}
    found = contrasts(frame_of(values), "value", weights).set_index("contrast")
    sums = values[:, 0] - values[:, 1] - values[:, 2] + values[:, 3]
    assert found.loc["gap of gaps", "difference"] == pytest.approx(sums.mean())
    pair = all_pairs(frame_of(values), "value").iloc[0]
    assert found.loc["gap", "p"] == pytest.approx(pair["p"])
    # The others say nothing of what does not cancel the seeds.
    assert found.loc["alone", "p"] == pytest.approx(stats.ttest_1samp(values[:, 3], 0).pvalue)


def test_all_pairs_are_all():
    found = all_pairs(frame_of(study(3, 4)), "value")
    assert list(zip(found["a"], found["b"], strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_a_level_takes_the_place_of_the_confidence():
    frame = frame_of(study(5, 5, gap=2))
    pd.testing.assert_frame_equal(paired(frame, "value", level=0.01), paired(frame, "value", confidence=0.99))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda frame: paired(frame, "acc"), "no column 'acc'; there are: configuration, seed, value"),
        (lambda frame: paired(frame, "value", baseline="q"), "no configuration 'q'; there are: 0, 1, 2"),
        (lambda frame: paired(frame[:1], "value"), "at least 2 levels of 'configuration' needed"),
        (lambda frame: paired(pd.concat([frame, frame]), "value"), "found several of 0 and 0"),
        (lambda frame: paired(frame.assign(value=np.nan), "value"), "9 of 9 numbers are not finite"),
        (lambda frame: paired(frame, "value", level=0), "level must lie between 0 and 1"),
        (lambda frame: paired(frame["value"], "value"), "a DataFrame"),
        (lambda frame: equivalence(frame, "value", 0), "margin must be above 0"),
        (lambda frame: contrasts(frame, "value", {}), "weights"),
        (lambda frame: contrasts(frame, "value", {"x": {0: 0}}), "not 0"),
        (lambda frame: contrasts(frame, "value", {"x": {"q": 1}}), "contrast 'x': no configuration q"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(frame_of(study(3, 3)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("law", [*LAWS, "coarse"])
@pytest.mark.parametrize("rows", [BASELINE[:1], BASELINE, PAIRS, SIX], ids=["one", "baseline", "pairs", "contrasts"])
def test_a_difference_is_claimed_wrongly_in_at_most_five_per_cent(rows, law):
    rng = np.random.default_rng(0)
    assert all(wrong(rows, law, n, rng, STUDIES) <= AT_MOST for n in SEEDS)


def test_unequal_spreads_do_not_make_differences():
    # The worst of 20 patterns: their largest rate is a little above that of a single one.
    assert all(worst_unequal("here", "normal", n, np.random.default_rng(1), STUDIES) <= AT_MOST for n in SEEDS)


def test_coarse_accuracies_of_few_seeds_are_not_different():
    rng = np.random.default_rng(0)
    for spread in (0.3, 1.0):  # of one image of 200
        values = np.round(200 * 0.6 + spread * rng.normal(size=(STUDIES, 3, 5))) / 200
        assert decided(values, BASELINE)[0].any(axis=1).mean() <= AT_MOST


@pytest.mark.parametrize("law", LAWS)
def test_intervals_hold_the_true_difference(law):
    assert all(differences_covered(law, n, np.random.default_rng(0), STUDIES) >= 0.95 for n in SEEDS)


@pytest.mark.parametrize("law", LAWS)
def test_what_differs_by_the_margin_is_called_the_same_in_at_most_five_per_cent(law):
    assert all(wrongly_same(law, n, np.random.default_rng(0), STUDIES) <= AT_MOST for n in SEEDS)


def test_the_error_of_the_others_finds_more():
    here, alone = (found_difference(one, "normal", 5, np.random.default_rng(0), STUDIES) for one in ("here", "scipy"))
    assert here > alone + 0.15


@pytest.mark.slow
@pytest.mark.parametrize("law", [*LAWS, "coarse"])
def test_error_rates_with_any_number_of_seeds(law):
    for n in (3, 4, 6, 7, 10, 12):
        values = drawn(law, (8_000, n, 5), np.random.default_rng(n))
        parts = np.split(values, 16)
        claims = np.concatenate([decided(part, BASELINE)[0].any(axis=1) for part in parts])
        assert claims.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 8_000), n
