"""Which parameters of a search matter: PED-ANOVA, with intervals over the seeds.

PED-ANOVA (Watanabe et al. 2023, IJCAI) asks how the values of a parameter among the best configurations differ from
those among all. Unlike fANOVA's random forest it needs no library beside Optuna, takes dimensions that only some
configurations have, and does not ask 20 points for a regression surface.
"""

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from study.configuration import Configuration
from study.objectives import label, sense, summarise
from study.searcher import SeedSearch

TOP = 0.25
"""Share of the configurations that counts as the best."""
FEWEST = 12
"""Configurations below which nothing is said: the best quarter should have three at least."""
DRAWS = 200


def importances(search: SeedSearch) -> list[dict[str, Any]]:
    """Rows of ``importance.parquet``, for the first objective; none with fewer than ``FEWEST`` configurations.

    The interval says how far the importances depend on the configurations and seeds that there happened to be: both
    are drawn again with replacement. Enqueued configurations do not take part, because what they have in common would
    pass for what makes them good, nor do those that were stopped within a run.
    """
    objective, estimates = search.objectives[0], search.contest.estimates
    taken: list[tuple[Configuration, np.ndarray]] = []
    for configuration in search.configurations.values():
        if configuration.rung < 0 or configuration.state == "pruned" or configuration.enqueued:
            continue
        values = estimates.seed_values(configuration, configuration.rung, objective)
        if values is not None:
            taken.append((configuration, values))
    if len(taken) < FEWEST:
        return []
    found = _importances(search, taken, [summarise(values, objective) for _, values in taken])
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(DRAWS):
        again = [taken[place] for place in rng.integers(len(taken), size=len(taken))]
        redrawn = [summarise(rng.choice(own, len(own)), objective) for _, own in again]
        for name, share in _importances(search, again, redrawn).items():
            drawn[name].append(share)
    return [
        {
            "objective": label(objective), "parameter": name, "importance": share,
            "low": float(np.quantile(drawn[name], 0.025)), "high": float(np.quantile(drawn[name], 0.975)),
            "configurations": len(taken),
        }
        for name, share in found.items()
    ]  # fmt: skip


def _importances(
    search: SeedSearch, taken: list[tuple[Configuration, np.ndarray]], values: list[float]
) -> dict[str, float]:
    """Parameter -> share, largest first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental in Optuna
        study = optuna.create_study(direction=sense(search.objectives[0]))
        for (configuration, _), value in zip(taken, values, strict=True):
            known = {n: v for n, v in configuration.point.items() if n in search.sampler.distributions}
            distributions = {name: search.sampler.distributions[name] for name in known}
            study.add_trial(optuna.trial.create_trial(value=value, params=known, distributions=distributions))
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP))
