"""Intervals: against scipy and statsmodels, on tidy frames, refused input, and how often they hold the truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats import Interval, iqm_interval, mean_interval, rate_interval, std_interval
from benchmarks.error_rates import SEEDS, covered, rate_covered

SAMPLE = np.random.default_rng(0).normal(0.6, 0.02, 8)
FRAME = pd.DataFrame({"configuration": ["b"] * 3 + ["a"] * 5, "task": 1, "accuracy": SAMPLE, "good": [True, False] * 4})


def test_a_mean_has_the_interval_of_scipy():
    reference = stats.ttest_1samp(SAMPLE, 0).confidence_interval(0.9)
    found = mean_interval(SAMPLE, confidence=0.9)
    assert isinstance(found, Interval) and found.n == 8
    assert found[:3] == pytest.approx((SAMPLE.mean(), reference.low, reference.high))


def test_a_spread_has_the_chi_square_interval():
    ends = np.sqrt(7 * SAMPLE.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 7))
    assert std_interval(SAMPLE)[:3] == pytest.approx((SAMPLE.std(ddof=1), *ends))


@pytest.mark.parametrize("n", [3, 5, 8, 12, 100])
def test_an_interquartile_mean_is_that_of_scipy_inside_its_interval(n):
    sample = np.random.default_rng(n).normal(size=n)
    found = iqm_interval(sample)
    assert found.estimate == pytest.approx(stats.trim_mean(sample, 0.25))
    assert found.low < found.estimate < found.high
    if n == 3:  # nothing is trimmed
        assert found == pytest.approx(mean_interval(sample))


def test_one_far_seed_of_many_moves_the_interquartile_mean_little():
    sample = np.random.default_rng(0).normal(size=20)
    far = np.append(sample[:-1], -1000.0)
    assert np.ptp(iqm_interval(far)[1:3]) < 2 * np.ptp(iqm_interval(sample)[1:3])


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (2, 5), (5, 5), (7, 20)])
def test_a_rate_has_the_exact_interval(successes, n):
    reference = stats.binomtest(successes, n).proportion_ci(0.95, "exact")
    assert rate_interval(successes, n) == pytest.approx((successes / n, reference.low, reference.high, n))


@pytest.mark.parametrize("interval", [mean_interval, std_interval, iqm_interval])
def test_a_frame_has_a_row_per_group_in_order_of_appearance(interval):
    found = interval(FRAME, "accuracy", by=["configuration", "task"])
    assert list(found.columns) == ["configuration", "task", "n", "estimate", "low", "high"]
    assert list(found["configuration"]) == ["b", "a"] and list(found["n"]) == [3, 5]
    for row, own in zip(found.itertuples(), (SAMPLE[:3], SAMPLE[3:]), strict=True):
        assert (row.estimate, row.low, row.high) == pytest.approx(interval(own)[:3])
    assert interval(FRAME, "accuracy") == interval(SAMPLE)


def test_a_frame_of_booleans_has_rates():
    found = rate_interval(FRAME, value="good", by="configuration")
    assert found["estimate"].tolist() == pytest.approx([2 / 3, 2 / 5])
    assert found.loc[1, ["low", "high"]].tolist() == pytest.approx(rate_interval(2, 5)[1:3])
    assert rate_interval(FRAME, value="good") == pytest.approx(rate_interval(4, 8))


@pytest.mark.parametrize("interval", [mean_interval, std_interval, iqm_interval])
@pytest.mark.parametrize("sample", [[0.5], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3, 0.3]])
def test_without_spread_there_is_no_interval(interval, sample):
    found = interval(sample)
    assert np.isnan(found.low) and np.isnan(found.high)
    if len(sample) > 1:
        assert found.estimate == pytest.approx(0.0 if interval is std_interval else 0.5 if sample[0] == 0.5 else 0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least 1 number"),
        (lambda: mean_interval([[1.0, 2.0]]), "one-dimensional"),
        (lambda: mean_interval([1.0, np.nan]), "1 of 2 numbers are not finite"),
        (lambda: mean_interval(["x", "y"]), "numbers needed"),
        (lambda: mean_interval([1.0, 2.0], confidence=95), "confidence must lie between 0 and 1"),
        (lambda: mean_interval([1.0, 2.0], by="seed"), "DataFrame"),
        (lambda: mean_interval(FRAME), "value="),
        (lambda: mean_interval(FRAME, "acuracy"), "no column 'acuracy'; there are: configuration, task, accuracy"),
        (lambda: mean_interval(FRAME, "accuracy", by="seed"), "no column 'seed'"),
        (lambda: mean_interval(FRAME, "configuration"), "'configuration': numbers needed"),
        (lambda: mean_interval(FRAME.iloc[:0], "accuracy", by="task"), "at least 1 row"),
        (lambda: rate_interval(6, 5), "found 6 of 5"),
        (lambda: rate_interval(0, 0), "n >= 1"),
        (lambda: rate_interval(FRAME, value="accuracy", by="task"), "True and False"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("statistic", ["mean", "std", "iqm"])
def test_intervals_cover_on_normal_values(statistic, n):
    assert 0.93 <= covered(statistic, "normal", n, np.random.default_rng(1), 4_000) <= 0.97


@pytest.mark.parametrize("law", ["normal", "skewed", "bimodal"])
def test_the_interquartile_mean_is_covered_whatever_the_values(law):
    assert all(0.92 <= covered("iqm", law, n, np.random.default_rng(1), 4_000) <= 0.98 for n in SEEDS)


def test_exact_intervals_cover_at_least_as_often_as_they_say():
    assert all(rate_covered("bimodal", n, np.random.default_rng(0), 2_000) >= 0.95 for n in SEEDS)
