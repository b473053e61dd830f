"""Optuna's samplers as a pure function: what is known -> the next point.

A fresh Optuna study in memory is shown the history for each suggestion and thrown away. So a suggestion depends only on
the seed, the trial's number and the history; values may be refined as seeds arrive; nothing is left RUNNING; and,
because the history is a window (the best half and the latest half), a suggestion costs the same at trial 10,000.
"""

import copy
import warnings
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from search_spaces.dimensions import Choice, Dimension, Fixed, Float
from search_spaces.space import Space, is_single
from trainables.errors import InputError

optuna.logging.set_verbosity(optuna.logging.WARNING)

Direction = Literal["maximize", "minimize"]
EPOCH = datetime(2000, 1, 1)
"""Optuna wants times of its trials; no sampler reads them."""


@dataclass(frozen=True)
class Kind:
    """What a sampler can do.

    Attributes:
        max_objectives: more are refused.
        window: configurations it is shown.
    """

    max_objectives: int
    window: int


KINDS: dict[str, Kind] = {
    "tpe": Kind(max_objectives=4, window=500),
    "nsga2": Kind(max_objectives=3, window=500),
    "nsga3": Kind(max_objectives=8, window=500),
    "gp": Kind(max_objectives=3, window=150),
    "random": Kind(max_objectives=8, window=0),
}
"""NSGA-II's crowding distance says little beyond 3 objectives (use nsga3); the Gaussian process (stochastic objective:
its noise is fitted) grows with the cube of the window, its hypervolume improvement with the number of objectives."""


def check_sampler(name: str, objectives: int) -> None:
    """Raises InputError for an unknown sampler or more objectives than it takes."""
    if name not in KINDS:
        raise InputError(f"sampler {name!r}: unknown; allowed: {', '.join(KINDS)}")
    if objectives > KINDS[name].max_objectives:
        able = [other for other, kind in KINDS.items() if kind.max_objectives >= objectives]
        raise InputError(
            f"sampler {name}: takes at most {KINDS[name].max_objectives} objectives, {objectives} are given; "
            f"allowed: {', '.join(able) or 'fewer objectives'}"
        )


class _Window(InMemoryStorage):
    """The history, seen by Optuna as the trials of a study; new trials come after it."""

    def __init__(self, past: list[FrozenTrial]) -> None:
        super().__init__()
        self.past = past

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        past = self.past if states is None else [trial for trial in self.past if trial.state in states]
        own = super().get_all_trials(study_id, deepcopy, states)
        return [*(copy.deepcopy(past) if deepcopy else past), *own]


class Sampler:
    """Suggests points of a space.

    Args:
        directions: of the objectives.
        seed: with it and the trial's number every suggestion has random numbers of its own.
        population: of the genetic samplers.
        startup: configurations with results before the sampler models anything; random until then.
    """

    def __init__(
        self, name: str, space: Space, directions: Sequence[Direction], seed: int, population: int, startup: int
    ) -> None:
        check_sampler(name, len(directions))
        self.name, self.space, self.directions = name, space, list(directions)
        self.seed, self.population, self.startup = seed, population, startup
        self.distributions = {n: distribution(d) for n, d in space.dimensions.items() if not is_single(d)}
        self.parents: dict[str, list[int]] = {}  # generation -> parents, of the genetic samplers

    @property
    def genetic(self) -> bool:
        return self.name in ("nsga2", "nsga3")

    def suggest(
        self, number: int, attempt: int, history: list[FrozenTrial], anyhow: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Next point, and what must be kept about it (see ``remember``).

        Args:
            attempt: counts repeated suggestions for one trial (duplicates).
            anyhow: at random, whatever the sampler.
        """
        state = np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)
        # a Gaussian process of small matrices on all threads, beside busy workers, takes ten times as long as on one
        with warnings.catch_warnings(), threadpool_limits(1) if self.name == "gp" else nullcontext():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._sampler("random" if anyhow else self.name, int(state[0]))
            storage = _Window(history)
            study = optuna.create_study(storage=storage, sampler=sampler, directions=self.directions)
            if self.genetic:
                for key, parents in self.parents.items():
                    storage.set_study_system_attr(study._study_id, key, parents)
            trial = study.ask()
            point: dict[str, Any] = {}
            for name, dimension in self.space.dimensions.items():
                if self.space.active(name, point):
                    point[name] = _draw(trial, name, dimension)
        memory: dict[str, Any] = {}
        if self.genetic:
            found = storage.get_study_system_attrs(study._study_id)
            memory = {
                "trial": storage.get_trial(trial._trial_id).system_attrs,
                "parents": {key: parents for key, parents in found.items() if key not in self.parents},
            }
        return point, memory

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over the generation that a suggestion has opened; only the last two matter."""
        self.parents = dict([*self.parents.items(), *memory.get("parents", {}).items()][-2:])

    def indispensable(self) -> set[int]:
        """Trials that must stay in the window: parents of the current generations."""
        return {number - 1 for parents in self.parents.values() for number in parents}

    def frozen(
        self,
        number: int,
        point: Mapping[str, Any],
        memory: Mapping[str, Any],
        values: Sequence[float] | None,
        violations: Mapping[str, float],
        intermediate: Mapping[int, float],
        pruned: bool,
    ) -> FrozenTrial:
        """A configuration as Optuna sees it: COMPLETE with its estimate, PRUNED, or RUNNING while there is none."""
        state = TrialState.PRUNED if pruned else TrialState.RUNNING if values is None else TrialState.COMPLETE
        searched = [name for name in point if name in self.distributions]
        trial = FrozenTrial(
            number=number + 1,  # the trial that is asked for is number 0 of its throw-away study
            trial_id=number + 1,
            state=state,
            value=None,
            values=list(values) if state == TrialState.COMPLETE and values is not None else None,
            params={name: point[name] for name in searched},
            distributions={name: self.distributions[name] for name in searched},
            user_attrs={},
            system_attrs=dict(memory.get("trial", {})),
            intermediate_values=dict(intermediate) if pruned else {},
            datetime_start=EPOCH,
            datetime_complete=None if state == TrialState.RUNNING else EPOCH,
        )
        for key, violation in violations.items():
            trial.set_constraint(key, violation)
        return trial

    def models(self, point: Mapping[str, Any]) -> bool:
        """False for an enqueued point with a value that is never drawn."""
        return all(
            not isinstance(dimension := self.space.dimensions[name], Float) or dimension.low <= value <= dimension.high
            for name, value in point.items()
        )

    def _sampler(self, name: str, state: int) -> BaseSampler:
        if name == "tpe":
            conditional = any(dimension.when for dimension in self.space.dimensions.values())
            joint = len(self.directions) == 1  # Optuna's own choice: dimensions apart where there are several
            return TPESampler(
                seed=state, n_startup_trials=self.startup, multivariate=joint, group=joint and conditional
            )
        if name == "gp":
            return GPSampler(
                seed=state,
                n_startup_trials=self.startup,
                deterministic_objective=False,
                warn_independent_sampling=False,
            )
        if name == "nsga2":
            return NSGAIISampler(seed=state, population_size=self.population)
        if name == "nsga3":
            return NSGAIIISampler(seed=state, population_size=self.population)
        return RandomSampler(seed=state)


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of a dimension that varies."""
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    assert not isinstance(dimension, Fixed)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _draw(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choice):
        return dimension.options[0] if is_single(dimension) else trial.suggest_categorical(name, dimension.options)
    if is_single(dimension):
        return dimension.low
    if isinstance(dimension, Float):
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
