"""Configurations compared although they have different numbers of seeds: a mixed model of all that is known."""

import numpy as np

ITERATIONS = 20
SLIGHT = 1e-4
"""Share of the total variance below which no component falls: with 0 a model could not leave it again."""


def predicted_means(values: np.ndarray) -> np.ndarray:
    """Best linear unbiased predictions of configurations' means over all seeds (Henderson 1975; Robinson 1991).

    The model is y_is = mu + a_i + b_s + e_is with a_i ~ N(0, A) for configurations, b_s ~ N(0, B) for seeds and
    e_is ~ N(0, E); the variances are fitted by expectation-maximization. mu + a_i is pulled towards mu, the more the
    fewer seeds a configuration has, which is what keeps two lucky seeds from outranking eight good ones; and a
    configuration that has only seen hard seeds is not blamed for them. That those with more seeds were chosen by
    their first ones does no harm, because these are in the model too (Little and Rubin: ignorable).

    Args:
        values: metric per configuration and seed, NaN where a configuration does not have a seed, (M, N).

    Returns:
        (M,); plain means where no configuration has two seeds or there are fewer than three (nothing to learn the
        variances from).
    """
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    filled = np.where(there, values, 0.0)
    means = filled.sum(axis=1) / counts
    if len(values) < 3 or counts.max() < 2:
        return means
    deviations = np.where(there, values - means[:, None], 0.0)
    within = float((deviations**2).sum() / (counts - 1).sum())
    total = within + float(means.var())
    if total <= 0.0 or within <= 0.0:
        return means
    variances = np.maximum([total - within, within / 2, within / 2], SLIGHT * total)
    for _ in range(ITERATIONS):
        centre, own, seeds, traces = _predict(filled, there, counts, *variances)
        left = np.where(there, values - centre - own[:, None] - seeds, 0.0)
        squares = np.array([(own**2).sum(), (seeds**2).sum(), (left**2).sum()])
        variances = np.maximum((squares + traces) / [len(values), there.shape[1], counts.sum()], SLIGHT * total)
    centre, own, _, _ = _predict(filled, there, counts, *variances)
    return centre + own


def _predict(
    filled: np.ndarray, there: np.ndarray, counts: np.ndarray, between: float, of_seeds: float, noise: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """mu, a (M,), b (N,) given the variances, and what their uncertainty adds to the sums of squares of a, b and e.

    a is eliminated, which leaves equations for mu and b alone: N + 1 of them, whatever M.
    """
    weight = between / (noise + counts * between)  # (M,); a_i = weight * sum over its seeds of what mu, b leave
    design = np.hstack([np.ones((there.shape[1], 1)), np.eye(there.shape[1])])  # (N, N + 1)
    gram = np.diag(there.sum(axis=0)) - (there * weight[:, None]).T @ there
    right = filled.sum(axis=0) - there.T @ (weight * filled.sum(axis=1))
    equations = design.T @ gram @ design + np.diag([0.0] + [noise / of_seeds] * there.shape[1])
    inverse = np.linalg.inv(equations) * noise
    solution = inverse @ (design.T @ right) / noise
    centre, seeds = float(solution[0]), solution[1:]
    own = weight * (filled - there * (centre + seeds)).sum(axis=1)
    # covariance of (mu + b_s) over seeds; of a_i: own part and what comes from not knowing mu and b
    fixed = design @ inverse @ design.T
    inherited = np.einsum("is,st,it->i", there, fixed, there)
    of_own = between * noise / (noise + counts * between) + weight**2 * inherited
    # e = y - mu - b - a: its uncertainty is that of the sum of the three
    of_rest = (there @ np.diag(fixed)) + counts * of_own - 2 * weight * inherited
    return centre, own, seeds, np.array([of_own.sum(), np.diag(inverse)[1:].sum(), of_rest.sum()])
