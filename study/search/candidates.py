"""The records of a search: a configuration with the seeds it has, the job that gives it more, its place at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from study.search.statistics import MEANS, Constraint, SeedResult, early, imputed, predicted_means, sense, summarise
from study.spec import Objective

State = Literal["running", "paused", "completed", "eliminated", "pruned", "infeasible"]
"""paused: has its rung's seeds and may be given more; completed: has all seeds; eliminated: gets no more, its complete
rungs count; pruned: stopped within its first run by its intermediate values; infeasible: never trained, because what is
known of it before training violates a constraint."""


@dataclass(frozen=True)
class Job:
    """Seeds of one configuration to train now, as one pack.

    Attributes:
        params: fields of the trainable's configuration that the search decides.
        seeds: the new seeds of this rung; those of lower rungs are known.
    """

    trial_number: int
    params: dict[str, Any]
    seeds: tuple[int, ...]
    rung: int


@dataclass
class Configuration:
    """One trial.

    Attributes:
        point: what was drawn, see ``search_spaces.space``.
        results: seed -> what it gave.
        known: metrics that it has without being trained; only of infeasible ones.
        rung: highest rung whose results are all in, -1 before the first.
        memory: what the sampler must find again about this trial.
        intermediate: step -> aggregate over the seeds of its latest job.
    """

    number: int
    point: dict[str, Any]
    params: dict[str, Any]
    enqueued: bool
    memory: dict[str, Any] = field(default_factory=dict)
    state: State = "running"
    rung: int = -1
    results: dict[int, SeedResult] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)
    intermediate: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """What is known of a configuration from the seeds of one rung.

    Attributes:
        values: one per objective; None where nothing but failures is known yet.
        violations: one per constraint, <= 0: feasible; ``inf`` where not known.
        columns: metric of every seed per objective, failed ones filled in, (N,) each; None as for ``values``.
        seeds: number of seeds.
    """

    values: tuple[float, ...] | None
    violations: tuple[float, ...]
    columns: tuple[np.ndarray | None, ...]
    seeds: int

    @property
    def violation(self) -> float:
        return sum(max(0.0, value) for value in self.violations)


@dataclass(frozen=True)
class Ranked:
    """A configuration in the final order.

    Attributes:
        values: objective -> statistic over its seeds.
        predicted: objective -> what the order is by (``Estimates.predicted``).
        constraints: constraint -> violation relative to the bound, <= 0: met.
        feasible: every constraint met.
        front: Pareto-optimal among the feasible configurations that it is compared with.
    """

    trial_number: int
    params: dict[str, Any]
    seeds: tuple[int, ...]
    state: State
    values: dict[str, float]
    predicted: dict[str, float]
    constraints: dict[str, float]
    feasible: bool
    front: bool


class Estimates:
    """Statistics of configurations, computed once per rung (again where the worst seen value has changed)."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        seeds: Sequence[int],
        totals: Sequence[int],
        bounds: Mapping[str, tuple[float | None, float | None]],
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.signs = np.array([1.0 if sense(objective) == "minimize" else -1.0 for objective in objectives])
        self.rung_seeds = [tuple(seeds[:total]) for total in totals]
        self.bounds = bounds
        self._measured = [*objectives, *(constraint.objective for constraint in constraints)]
        self._worst: dict[tuple[str, str], float] = {}
        self._version = 0
        self._cache: dict[int, dict[int, tuple[int, Estimate]]] = {}

    def note(self, results: Mapping[int, SeedResult]) -> None:
        """Keep the worst value of every metric that a seed has had."""
        for result in results.values():
            for objective in self._measured:
                value, name = result.value(objective.metric), (objective.metric, objective.direction)
                if value is None:
                    continue
                pick = min if objective.direction == "maximize" else max
                worst = pick(self._worst.get(name, value), value)
                if self._worst.get(name) != worst:
                    self._worst[name] = worst
                    self._version += 1

    def of(self, configuration: Configuration, rung: int) -> Estimate:
        """From the seeds up to ``rung``, which must all be there; of an infeasible one from what is known without."""
        cached = self._cache.setdefault(configuration.number, {})
        if rung not in cached or cached[rung][0] != self._version:
            cached[rung] = (self._version, self._compute(configuration, rung))
        return cached[rung][1]

    def seed_values(self, configuration: Configuration, rung: int, objective: Objective) -> np.ndarray | None:
        """Metric per seed of a rung, failed ones filled in, (N,)."""
        results = [configuration.results[seed] for seed in self.rung_seeds[rung]]
        return imputed(results, objective, self._stand_in(objective))

    def worst_possible(self, objective: Objective) -> float | None:
        """Bound of a metric on its bad side."""
        low, high = self.bounds.get(objective.metric, (None, None))
        return low if objective.direction == "maximize" else high

    def _stand_in(self, objective: Objective) -> float | None:
        """What a failed seed counts as: the worst possible value, else the worst seen."""
        possible = self.worst_possible(objective)
        return self._worst.get((objective.metric, objective.direction)) if possible is None else possible

    def losses(self, estimate: Estimate) -> list[float]:
        """Objectives, all minimized; NaN where there is no value."""
        if estimate.values is None:
            return [np.nan] * len(self.objectives)
        return [sign * value for sign, value in zip(self.signs, estimate.values, strict=True)]

    @property
    def comparable(self) -> bool:
        """Whether configurations with different numbers of seeds can be compared by all objectives."""
        return all(objective.over_seeds in MEANS for objective in self.objectives)

    def predicted(self, estimates: Sequence[Estimate]) -> np.ndarray:
        """Objectives of configurations that may have different numbers of seeds: means and IQMs as the mixed model
        predicts them for all seeds (``mixed_model``), other statistics as they are. All must have values.

        Returns:
            (M, J).
        """
        values = np.array([estimate.values for estimate in estimates], dtype=float)
        for index, objective in enumerate(self.objectives):
            if objective.over_seeds in MEANS:
                columns = [column for estimate in estimates if (column := estimate.columns[index]) is not None]
                table = np.full((len(columns), max(map(len, columns))), np.nan)
                for row, column in zip(table, columns, strict=True):
                    row[: len(column)] = column
                values[:, index] += predicted_means(table) - np.nanmean(table, axis=1)
        return values

    def _compute(self, configuration: Configuration, rung: int) -> Estimate:
        if configuration.state == "infeasible":
            known = configuration.known
            found = [c.violation(known[c.objective.metric]) if early(c) else 0.0 for c in self.constraints]
            return Estimate(None, tuple(found), (), 0)
        columns = [self.seed_values(configuration, rung, objective) for objective in self.objectives]
        there = [column for column in columns if column is not None]
        values = None
        if len(there) == len(columns):
            values = tuple(summarise(c, o) for c, o in zip(there, self.objectives, strict=True))
        results = [configuration.results[seed] for seed in self.rung_seeds[rung]]
        violations = []
        for constraint in self.constraints:
            objective = constraint.objective
            # a mean takes what failed seeds still reported; a collapse rate counts them as collapsed
            column = imputed(results, objective, self._stand_in(objective), constraint=objective.over_seeds == "mean")
            violations.append(
                np.inf if column is None else constraint.violation(summarise(column, objective))
            )  # fmt: skip
        return Estimate(values, tuple(violations), tuple(columns), len(results))
