"""Configurations with different numbers of seeds, compared by the mixed model."""

import numpy as np
import pytest

from study.search.statistics import _predict, predicted_means


def raced(seed: int, configurations: int = 60, of_seeds: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """True means (M,) and a race for 1, 2, 4, 8 seeds: the better half by the seeds so far goes on, (M, 8)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.35, 0.05, configurations)
    noise = rng.normal(0, of_seeds, 8) + rng.normal(0, 0.03, (configurations, 8))
    values = np.full((configurations, 8), np.nan)
    going_on = np.arange(configurations)
    for below, rung in ((0, 1), (1, 2), (2, 4), (4, 8)):
        values[going_on, below:rung] = (truth[:, None] + noise)[going_on, below:rung]
        going_on = going_on[np.argsort(-values[going_on, :rung].mean(axis=1))][: len(going_on) // 2]
    return truth, values


def error(estimates: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared, up to a constant: seeds' own effects cannot be told from the mean."""
    return float(((estimates - estimates.mean() - truth + truth.mean()) ** 2).mean())


def test_predictions_after_a_race_are_nearer_the_truth_than_means() -> None:
    errors = []
    for seed in range(20):
        truth, values = raced(seed)
        errors.append([error(predicted_means(values), truth), error(np.nanmean(values, axis=1), truth)])
    predicted, plain = np.mean(errors, axis=0)
    assert predicted < 0.8 * plain


def test_predictions_agree_with_the_dense_equations() -> None:
    _, values = raced(3, configurations=12)
    there = ~np.isnan(values)
    rows, columns = np.nonzero(there)
    of_rows, of_columns = np.eye(12)[rows], np.eye(8)[columns]
    between, of_seeds, noise = 0.004, 0.002, 0.001
    covariance = between * of_rows @ of_rows.T + of_seeds * of_columns @ of_columns.T + noise * np.eye(len(rows))
    inverse = np.linalg.inv(covariance)
    observed = values[there]
    centre = inverse.sum(axis=0) @ observed / inverse.sum()
    found = _predict(np.where(there, values, 0.0), there, there.sum(axis=1), between, of_seeds, noise)
    assert found[0] == pytest.approx(centre)
    assert found[1] == pytest.approx(between * of_rows.T @ inverse @ (observed - centre))
    assert found[2] == pytest.approx(of_seeds * of_columns.T @ inverse @ (observed - centre))


def test_who_saw_only_hard_seeds_is_not_blamed() -> None:
    rng = np.random.default_rng(0)
    values = 0.5 + np.array([-0.2, -0.2, 0.2, 0.2]) + rng.normal(0, 0.01, (20, 4))
    values[0] += 0.05
    values[0, 2:] = np.nan  # the best configuration has seen the hard seeds alone
    assert np.nanmean(values, axis=1).argmin() == 0
    assert predicted_means(values).argmax() == 0


def test_without_two_seeds_or_noise_means_are_left_alone() -> None:
    single = np.array([[0.1, np.nan], [0.3, np.nan], [0.2, np.nan]])
    assert predicted_means(single) == pytest.approx([0.1, 0.3, 0.2])
    exact = np.array([[0.1, 0.1], [0.3, np.nan], [0.2, 0.2]])
    assert predicted_means(exact) == pytest.approx([0.1, 0.3, 0.2])
    assert predicted_means(exact[:2]) == pytest.approx([0.1, 0.3])
    assert np.isfinite(predicted_means(np.full((5, 4), 0.25))).all()


def test_few_seeds_are_pulled_most() -> None:
    _, values = raced(1)
    plain, predicted = np.nanmean(values, axis=1), predicted_means(values)
    counts = (~np.isnan(values)).sum(axis=1)
    kept = [np.ptp(predicted[counts == n]) / np.ptp(plain[counts == n]) for n in (1, 2, 4)]
    assert kept[0] < kept[1] < kept[2] < 1.0
