"""A search as an Optuna study in a storage, for optuna-dashboard; a copy, from which nothing is read back.

One Optuna trial per configuration whose fate is known: COMPLETE with the objectives over its seeds, or PRUNED.
"""

import warnings
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from search_spaces.space import is_single
from study.resolved import ResolvedStudy
from study.search.candidates import Configuration
from study.search.plan import label_of
from study.search.samplers import distribution
from study.search.seed_search import SeedSearch
from study.search.statistics import label, sense

FILE = "optuna.db"


def build_mirror(study: ResolvedStudy, search: SeedSearch, folder: Path) -> str:
    """Write ``FILE`` anew into a folder; returns the URL of the storage."""
    (folder / FILE).unlink(missing_ok=True)
    url = f"sqlite:///{folder / FILE}"
    directions = [sense(objective) for objective in search.objectives]
    mirror = optuna.create_study(storage=url, study_name=study.study, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        mirror.set_metric_names([label(objective) for objective in search.objectives])
    ended = ("completed", "eliminated", "pruned")
    mirror.add_trials([_trial(study, search, one) for one in search.configurations.values() if one.state in ended])
    return url


def _trial(study: ResolvedStudy, search: SeedSearch, configuration: Configuration) -> FrozenTrial:
    assert study.search is not None
    estimate = search.contest.estimates.of(configuration, configuration.rung)
    complete = configuration.state != "pruned" and estimate.values is not None
    attributes = {
        "trial": configuration.number, "state": configuration.state, "seeds": len(configuration.results),
        "configuration": label_of(study.search, configuration.number),
    }  # fmt: skip
    # Optuna holds no value outside a distribution: an enqueued one that is never drawn is an attribute
    drawn, beside = {}, {}
    for name, value in configuration.point.items():
        dimension = search.contest.space.dimensions[name]
        if is_single(dimension) or not search.sampler.models({name: value}):
            beside[name] = value
        else:
            drawn[name] = (value, distribution(dimension))
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        values=list(estimate.values) if complete and estimate.values else None,
        params={name: value for name, (value, _) in drawn.items()},
        distributions={name: found for name, (_, found) in drawn.items()},
        user_attrs={**attributes, **beside},
        intermediate_values=dict(configuration.intermediate),
    )
