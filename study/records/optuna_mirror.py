"""A search as an Optuna study in a storage, for optuna-dashboard; a copy, from which nothing is read back.

One Optuna trial per configuration, added once its fate is known: COMPLETE with the objectives over its seeds, or
PRUNED.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search_spaces.space import is_single
from study.resolve.space import label_of
from study.search.candidates import Configuration
from study.search.samplers import distribution
from study.search.seed_search import SeedSearch
from study.search.statistics import label, sense
from study.spec import ResolvedStudy
from trainables.errors import InputError

RUN_ID = "run_id"


def check_storage(study: ResolvedStudy) -> None:
    """Create the run's study in its storage.

    Raises:
        InputError: the storage cannot be used, or it holds this study of another run.
    """
    if study.search is not None and study.search.optuna_storage:
        open_mirror(study, study.search.optuna_storage)


def open_mirror(study: ResolvedStudy, url: str) -> optuna.Study:
    """The run's study in a storage; raises InputError as ``check_storage`` does."""
    search = study.search
    assert search is not None
    try:
        mirror = optuna.create_study(
            storage=url, study_name=study.study, load_if_exists=True, directions=[sense(o) for o in search.objectives]
        )
        owner = mirror.user_attrs.get(RUN_ID)
    except Exception as error:  # whatever a database driver raises is about the URL
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--optuna-storage {url}: cannot be used ({reason})") from error
    if owner is None and not mirror.trials:
        mirror.set_user_attr(RUN_ID, study.run_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            mirror.set_metric_names([label(objective) for objective in search.objectives])
    elif owner != study.run_id:
        whose = f"run {owner}" if owner else "no run of this program"
        raise InputError(
            f"--optuna-storage {url}: holds {study.study} of {whose}; a new storage, or that of the run that is "
            "resumed, is allowed"
        )
    return mirror


class Mirror:
    """Keeps the Optuna study up to date.

    Args:
        url: of the storage.
    """

    def __init__(self, study: ResolvedStudy, search: SeedSearch, url: str) -> None:
        self.study, self.search = study, search
        self.optuna = open_mirror(study, url)
        self.known = {trial.user_attrs.get("trial") for trial in self.optuna.trials}

    def update(self) -> None:
        """Add the configurations whose fate is known and that are not there yet."""
        for number, configuration in self.search.configurations.items():
            if number not in self.known and configuration.state in ("completed", "eliminated", "pruned"):
                self.optuna.add_trial(self._trial(configuration))
                self.known.add(number)

    def _trial(self, configuration: Configuration) -> FrozenTrial:
        assert self.study.search is not None
        estimates, space = self.search.contest.estimates, self.search.contest.space
        estimate = estimates.of(configuration, configuration.rung)
        complete = configuration.state != "pruned" and estimate.values is not None
        attributes: Mapping[str, Any] = {
            "trial": configuration.number, "state": configuration.state, "seeds": len(configuration.results),
            "configuration": label_of(self.study.search, configuration.number),
        }  # fmt: skip
        # Optuna holds no value outside a distribution: an enqueued one that is never drawn is an attribute
        drawn, beside = {}, {}
        for name, value in configuration.point.items():
            dimension = space.dimensions[name]
            if is_single(dimension) or not self.search.sampler.models({name: value}):
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
