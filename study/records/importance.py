"""Which parameters of a search matter: fANOVA (Hutter et al. 2014, ICML), with intervals over configurations and seeds.

A random forest learns the configurations' values; the importance of a parameter is the share of the forest's variance
over the whole space that the parameter explains by itself. What is missing to 1 is interactions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from analysis.io.objective_labels import dimension_label
from search_spaces.dimensions import Choice, Dimension, Float, Int
from study.search.seed_search import SeedSearch
from study.search.statistics import label, summarise

FEWEST, MOST = 12, 300
"""Configurations below which nothing is said, and of how many drawn at random the forest learns where there are more:
what it costs grows with them, with 300 it is half a minute."""
TREES, DEPTH = 64, 6
"""Of the forest. Optuna's 64 levels would be leaves of one configuration each, and slow with thousands of them."""
DRAWN_TREES = 16
"""Of the forests of single draws."""
ROUNDING = 1e-12
"""Values that differ by less, relative to the largest, are the same."""


def importances(search: SeedSearch, draws: int = 100) -> list[dict[str, Any]]:
    """Rows of ``importance.parquet``, for the first objective; none with fewer than ``FEWEST`` configurations.

    The interval says how far the importances depend on the configurations and seeds that there happened to be: both
    are drawn again with replacement. A forest gives some share to any parameter: ``chance``, one level for all of
    them, is what the largest share exceeds in 5 % of the draws when the values are shuffled among the configurations
    (Westfall and Young 1993). A parameter was beyond it in 2-3 % of simulated searches without any effect (6
    parameters; drawn at random, or by TPE with a race over seeds, 20 and 60 configurations); a level for each
    parameter by itself names one in 40-48 % of them.

    Parameters have the names of what was drawn: ``lr_slow / lr_fast`` for a ratio. Enqueued configurations do not take
    part, because what they have in common would pass for what makes them good, nor do those stopped within a run.
    """
    objective, estimates = search.objectives[0], search.contest.estimates
    rng = np.random.default_rng(0)
    taken: list[tuple[Mapping[str, Any], np.ndarray]] = []
    for configuration in search.configurations.values():
        if configuration.rung < 0 or configuration.state == "pruned" or configuration.enqueued:
            continue
        column = estimates.seed_values(configuration, configuration.rung, objective)
        if column is not None:
            taken.append((configuration.point, column))
    if len(taken) < FEWEST:
        return []
    if len(taken) > MOST:
        taken = [taken[row] for row in sorted(rng.choice(len(taken), MOST, replace=False))]
    points, columns = zip(*taken, strict=True)
    dimensions = {
        name: search.sampler.space.dimensions[name]
        for name in search.sampler.distributions
        if any(name in point for point in points)
    }
    placed = [{name: position(dimensions[name], point.get(name)) for name in dimensions} for point in points]
    values = np.array([summarise(column, objective) for column in columns])
    found = shares(placed, values, dimensions, TREES)
    redrawn: list[dict[str, float]] = []
    largest: list[float] = []
    for _ in range(draws):
        rows = rng.integers(len(placed), size=len(placed))
        again = np.array([summarise(rng.choice(columns[row], len(columns[row])), objective) for row in rows])
        redrawn.append(shares([placed[row] for row in rows], again, dimensions, DRAWN_TREES))
        largest.append(max(shares(placed, rng.permutation(values), dimensions, DRAWN_TREES).values()))
    chance = exceeded_by_chance(largest)
    return [
        {
            "objective": label(objective), "parameter": _label(name, dimensions[name]), "importance": share,
            "low": _quantile(redrawn, name, 0.025), "high": _quantile(redrawn, name, 0.975),
            "chance": chance, "configurations": len(placed),
        }
        for name, share in sorted(found.items(), key=lambda item: -item[1])
    ]  # fmt: skip


def exceeded_by_chance(largest: Sequence[float], level: float = 0.05) -> float:
    """What one more draw of the same law exceeds with probability ``level`` at most; 1 with too few draws to say.

    Args:
        largest: share of the first parameter in each of N draws without effect.
    """
    above = int(level * (len(largest) + 1) + 1e-9)
    return float(np.sort(largest)[-above]) if above else 1.0


def position(dimension: Dimension, value: Any) -> Any:
    """Where a value lies in its range, in [0, 1]; an option as it is.

    fANOVA measures a parameter over its whole range as it is given: a rate by its logarithm, as it is drawn. It wants
    every parameter in every configuration: where one is not there it takes the middle (the first option), the same
    everywhere, so nothing is learnt from it (Hutter et al. impute a default).
    """
    if isinstance(dimension, Choice):
        return dimension.options[0] if value is None and None not in dimension.options else value
    assert isinstance(dimension, Float | Int)
    if value is None:
        return 0.5
    low, high, at = (math.log(v) if dimension.log else v for v in (dimension.low, dimension.high, value))
    return (at - low) / (high - low)


def shares(
    points: list[dict[str, Any]], values: np.ndarray, dimensions: Mapping[str, Dimension], trees: int
) -> dict[str, float]:
    """Parameter -> share of the variance that it explains by itself, in [0, 1].

    Args:
        points: parameter -> ``position``, for each of M configurations.
        values: (M,).
    """
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return dict.fromkeys(dimensions, 0.0)
    standardized = (values - values.mean()) / values.std()  # trees do not split what varies by less than about 1e-8
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(dimension.options) if isinstance(dimension, Choice) else FloatDistribution(0, 1)
        for name, dimension in dimensions.items()
    }
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(value=value, params=point, distributions=distributions)
            for point, value in zip(points, standardized.tolist(), strict=True)
        ]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=trees, max_depth=DEPTH, seed=0)
    return {name: float(share) for name, share in evaluator.evaluate(study).items()}


def _label(name: str, dimension: Dimension) -> str:
    return dimension_label({"name": name, "ratio_to": getattr(dimension, "ratio_to", None)})


def _quantile(draws: list[dict[str, float]], name: str, q: float) -> float:
    return float(np.quantile([draw[name] for draw in draws], q))
