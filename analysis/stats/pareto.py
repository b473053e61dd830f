"""Which configurations are on the Pareto front, and how sure do the seeds make it?"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.stats.best import true_means
from analysis.stats.frames import FEWEST_SEEDS, Array, seed_table

_MOST_DRAWN = 60  # configurations, of lowest Pareto rank; the others are dominated many times over
_DRAWS = 2_000


def pareto_front(
    frame: pd.DataFrame, objectives: Mapping[str, str], by: str = "configuration", seed: str = "seed"
) -> pd.DataFrame:
    """The front of the means over seeds, and the probability that each configuration is on the true one.

    The probability is the share of draws of the true means (``best.true_means``) in which no other dominates it. Only
    seeds that all configurations have count. An objective without spread, such as a number of parameters, is taken as
    known.

    Coin toss called (%, 3 / 5 / 8 seeds): normal 6.0 / 7.3 / 9.4; skewed 3.6 / 5.1 / 6.8; bimodal 3.9 / 5.7 / 7.9.

    Args:
        frame: one row per configuration and seed, columns ``by`` and ``seed``.
        objectives: column -> "max" or "min", at least 2.

    Returns:
        ``by``, n, a column of means per objective, on_front, probability. The probability is NaN below 3 common seeds,
        and of configurations that more than 60 others precede in Pareto rank.

    Raises:
        ValueError: as ``paired``; fewer than 2 objectives, a direction that is not max or min, no common seed.

    Source: ``moocore.is_nondominated``.
    """
    signs = _signs(list(objectives.values()))
    if len(objectives) < 2:
        raise ValueError(f"at least 2 objectives needed, found {len(objectives)}")
    tables = [seed_table(frame, column, by, seed).dropna() for column in objectives]
    values = np.stack([table.to_numpy() for table in tables], axis=-1) * signs  # (n, C, M), less is better
    if not len(values):
        raise ValueError(f"no {seed} that every {by} has")
    costs = values.mean(axis=0)
    probability = np.full(len(costs), np.nan)
    drawn = np.sort(np.argsort(moocore.pareto_rank(costs), kind="stable")[:_MOST_DRAWN])
    if len(values) >= FEWEST_SEEDS:
        draws = true_means(values[:, drawn], np.random.default_rng(0), _DRAWS)
        probability[drawn] = np.mean([moocore.is_nondominated(one, keep_weakly=True) for one in draws], axis=0)
    means = dict(zip(objectives, (costs * signs).T, strict=True))
    found = pd.DataFrame({by: list(tables[0].columns), "n": len(values), **means})
    return found.assign(on_front=moocore.is_nondominated(costs, keep_weakly=True), probability=probability)


def hypervolume(points: ArrayLike, reference: ArrayLike, directions: Sequence[str]) -> float:
    """Volume that points (P, M) dominate up to a reference point (M,), "max" or "min" the direction of each objective.

    Points that are not better than the reference in every objective add nothing.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, a direction is not max or min.

    Source: ``moocore.hypervolume``.
    """
    table, corner, signs = np.asarray(points, np.float64), np.asarray(reference, np.float64), _signs(directions)
    if table.ndim != 2 or not table.shape[1:] == corner.shape == signs.shape:
        raise ValueError(f"points (P, M) and M coordinates and directions needed, found {table.shape}, {corner.shape} "
                         f"and {signs.shape}")  # fmt: skip
    if not (np.isfinite(table).all() and np.isfinite(corner).all()):
        raise ValueError("points and reference must be finite")
    return float(moocore.hypervolume(table * signs, ref=corner * signs))


def _signs(directions: Sequence[str]) -> Array:
    if wrong := [one for one in directions if one not in ("max", "min")]:
        raise ValueError(f"a direction is max or min, found {wrong[0]!r}")
    return np.array([-1.0 if one == "max" else 1.0 for one in directions])
