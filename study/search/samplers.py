"""Optuna's samplers as a pure function: what is known -> the next point.

A fresh Optuna study in memory is shown the history for each suggestion and thrown away. So a suggestion depends only on
the seed, the trial's number and the history; values may be refined as seeds arrive; nothing is left RUNNING; and,
because the history is a window (the best half and the latest half), a suggestion costs the same at trial 10,000.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from search_spaces.dimensions import Choice, Dimension, Fixed, Float
from search_spaces.space import Space, is_single
from study.search.candidates import Configuration
from trainables.errors import InputError

optuna.logging.set_verbosity(optuna.logging.WARNING)

GROUP = "lora_study.samplers"
Factory = Callable[[int, list[str]], BaseSampler]
"""(seed, directions, ``maximize`` or ``minimize``) -> Optuna's sampler. It is called anew, with another seed, for every
suggestion: what the sampler is to find again it keeps in system attributes of its trials and of the study."""
Direction = Literal["maximize", "minimize"]
EPOCH = datetime(2000, 1, 1)
"""Optuna wants times of its trials; no sampler reads them."""


@dataclass(frozen=True)
class Kind:
    """What a sampler can do.

    Attributes:
        max_objectives: more are refused.
        window: configurations it is shown.
        make: (sampler's settings, seed) -> Optuna's sampler.
        keeps: it finds its own state again in attributes of its trials and of the study.
        outside: an installed package has it.
    """

    max_objectives: int
    window: int
    make: Callable[["Sampler", int], BaseSampler]
    keeps: bool = False
    outside: bool = False


def _tpe(settings: "Sampler", seed: int) -> BaseSampler:
    conditional = any(dimension.when for dimension in settings.space.dimensions.values())
    joint = len(settings.directions) == 1  # Optuna's own choice: dimensions apart where there are several
    return TPESampler(
        seed=seed, n_startup_trials=settings.startup, multivariate=joint, group=joint and conditional
    )  # fmt: skip


def _gp(settings: "Sampler", seed: int) -> BaseSampler:
    return GPSampler(
        seed=seed, n_startup_trials=settings.startup, deterministic_objective=False, warn_independent_sampling=False
    )


KINDS: dict[str, Kind] = {
    "tpe": Kind(4, 500, _tpe),
    "nsga2": Kind(3, 200, lambda own, seed: NSGAIISampler(seed=seed, population_size=own.population), keeps=True),
    "nsga3": Kind(8, 200, lambda own, seed: NSGAIIISampler(seed=seed, population_size=own.population), keeps=True),
    "gp": Kind(3, 150, _gp),
    "random": Kind(8, 0, lambda own, seed: RandomSampler(seed=seed)),
}
"""NSGA-II's crowding distance says little beyond 3 objectives (use nsga3); the Gaussian process (stochastic objective:
its noise is fitted) grows with the cube of the window, its hypervolume improvement with the number of objectives. The
genetic ones need the latest generations and the best, and choose the parents of each anew."""
if find_spec("cmaes"):
    KINDS["cmaes"] = Kind(
        1, 500, lambda own, seed: CmaEsSampler(seed=seed, warn_independent_sampling=False), keeps=True
    )


def sampler_factory(name: str) -> Factory | None:
    """What an installed package has under a name in the entry point group ``lora_study.samplers``.

    Raises:
        InputError: it does not load.
    """
    for entry in entry_points(group=GROUP, name=name):
        try:
            return entry.load()
        except Exception as error:
            raise InputError(f"sampler {name} (entry point {entry.value}): {_reason(error)}") from error
    return None


def kind_of(name: str, objectives: int) -> Kind:
    """A sampler of the project or of an installed package.

    Raises:
        InputError: unknown, does not load, or more objectives than it takes.
    """
    kind = KINDS.get(name)
    if kind is None and (factory := sampler_factory(name)) is not None:
        return Kind(objectives, 500, lambda own, seed: factory(seed, list(own.directions)), keeps=True, outside=True)
    if kind is None:
        allowed = sorted(set(entry_points(group=GROUP).names) - set(KINDS))
        raise InputError(f"sampler {name!r}: unknown; allowed: {', '.join([*KINDS, *allowed])}")
    if objectives > kind.max_objectives:
        able = [other for other, kind in KINDS.items() if kind.max_objectives >= objectives]
        raise InputError(
            f"sampler {name}: takes at most {kind.max_objectives} objectives, {objectives} are given; "
            f"allowed: {', '.join(able) or 'fewer objectives'}"
        )
    return kind


class Shown(FrozenTrial):
    """A trial that no study changes, so that giving it to the next one takes no deep copy."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shown":
        new = Shown.__new__(Shown)
        vars(new).update(vars(self))
        return new


class Sampler:
    """Suggests points of a space.

    Args:
        directions: of the objectives.
        seed: with it and the trial's number every suggestion has random numbers of its own.
        population: of the genetic samplers.
        startup: configurations with results before the sampler models anything; random until then.

    Raises:
        InputError: see ``kind_of``; or a sampler from outside fails.
    """

    population: int

    def __init__(
        self, name: str, space: Space, directions: Sequence[Direction], seed: int, population: int, startup: int
    ) -> None:
        self.kind = kind_of(name, len(directions))
        self.name, self.space, self.directions = name, space, list(directions)
        self.seed, self.population, self.startup = seed, population, startup
        self.distributions = {n: distribution(d) for n, d in space.dimensions.items() if not is_single(d)}
        self.attributes: dict[str, Any] = {}  # of the study
        if self.kind.outside:
            self.suggest(0, 0, [])

    def suggest(
        self, number: int, attempt: int, history: list[FrozenTrial], anyhow: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Next point, and what must be kept about it (see ``remember``).

        Args:
            attempt: counts repeated suggestions for one trial (duplicates).
            anyhow: at random, whatever the sampler.
        """
        seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
        try:
            return self._suggest(KINDS["random"] if anyhow else self.kind, seed, history)
        except Exception as error:
            if not self.kind.outside:
                raise
            raise InputError(f"sampler {self.name}: {_reason(error)}") from error

    def _suggest(
        self, kind: Kind, seed: int, history: list[FrozenTrial]
    ) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
        storage = InMemoryStorage()
        # a Gaussian process of small matrices on all threads, beside busy workers, takes ten times as long as on one
        with warnings.catch_warnings(), threadpool_limits(1) if self.name == "gp" else nullcontext():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(storage=storage, sampler=kind.make(self, seed), directions=self.directions)
            for trial in history:  # ``study.add_trials`` without its checks, which take as long as the suggestion
                storage.create_new_trial(study._study_id, trial)
            for key, value in self.attributes.items():
                storage.set_study_system_attr(study._study_id, key, value)
            asked = study.ask()
            point: dict[str, Any] = {}
            for name, dimension in self.space.dimensions.items():
                if self.space.active(name, point):
                    point[name] = _draw(asked, name, dimension)
        if not kind.keeps:
            return point, {}
        # parents of a generation are kept by ids that hold in this study alone; they follow from its trials
        found = {k: v for k, v in storage.get_study_system_attrs(study._study_id).items() if ":parent:" not in k}
        changed = {key: value for key, value in found.items() if self.attributes.get(key) != value}
        memory = {"trial": storage.get_trial(asked._trial_id).system_attrs, "study": changed}
        return point, json.loads(json.dumps(memory))

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what a suggestion has left in the study."""
        self.attributes |= memory.get("study", {})

    def frozen(
        self, configuration: Configuration, values: Sequence[float] | None, violations: Mapping[str, float]
    ) -> FrozenTrial:
        """A configuration as Optuna sees it: COMPLETE with its values, PRUNED, or RUNNING while there are none."""
        pruned = configuration.state == "pruned"
        state = TrialState.PRUNED if pruned else TrialState.RUNNING if values is None else TrialState.COMPLETE
        searched = {name: value for name, value in configuration.point.items() if name in self.distributions}
        trial = Shown(
            number=configuration.number,
            trial_id=configuration.number,
            state=state,
            value=None,
            values=values if state == TrialState.COMPLETE else None,
            params=searched,
            distributions={name: self.distributions[name] for name in searched},
            user_attrs={},
            system_attrs=dict(configuration.memory.get("trial", {})),
            intermediate_values=dict(configuration.intermediate) if pruned else {},
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


def random_fields(space: Space, number: int) -> list[dict[str, Any]]:
    """Configuration fields of random points, the same each time."""
    sampler = Sampler("random", space, ["maximize"], seed=0, population=1, startup=1)
    return [space.fields(sampler.suggest(turn, 0, [])[0]) for turn in range(number)]


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of a dimension that varies."""
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    assert not isinstance(dimension, Fixed)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


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
