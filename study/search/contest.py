"""The configurations of a search: which run, which are given more seeds, which are out, and their final order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces.space import Space
from study.search.candidates import Configuration, Estimate, Estimates, Job, Ranked
from study.search.order import order, pareto_front
from study.search.racing import Halving, SeedSchedule
from study.search.statistics import SeedResult, label

REFUSALS = 10
"""Infeasible configurations that a search passes over, per trial, before it gives up."""


class Contest:
    """State of a search but for its sampler; every change follows from the calls made.

    Args:
        trials: configurations at most, duplicates included, infeasible ones not (at most ``REFUSALS`` times as many).
        replicas: seeds of configurations started at most; None: no bound.
    """

    def __init__(
        self, space: Space, estimates: Estimates, schedule: SeedSchedule, trials: int, replicas: int | None
    ) -> None:
        self.space, self.estimates = space, estimates
        self.trials, self.replicas, self.started, self.refused = trials, replicas, 0, 0
        self.race = Halving(schedule, self._order)
        self.configurations: dict[int, Configuration] = {}
        self.duplicates: dict[int, int] = {}
        self.jobs: dict[int, Job] = {}
        self.finished = False
        self._by_key: dict[str, int] = {}

    @property
    def number(self) -> int:
        """Of the next trial."""
        return len(self.configurations) + len(self.duplicates)

    @property
    def open(self) -> bool:
        """A new configuration may start."""
        left = self.trials - self.number + self.refused
        return left > 0 and self.refused < REFUSALS * self.trials and self._affordable(0)

    def promotion(self) -> tuple[int, int] | None:
        """Who may be given more seeds now, and to which rung; this comes before a new configuration.

        As the race decides, of the rungs that the replicas left allow; where they allow no new configuration either,
        the best that waits.
        """
        found = self.race.peek(self._affordable)
        if found is not None or self.replicas is None or self.open:
            return found
        waiting = {number for number in self.race.waiting() if self._affordable(self.configurations[number].rung + 1)}
        ranked = self.best(len(self.configurations)) if waiting else []
        return next(
            ((n, self.configurations[n].rung + 1) for one in ranked if (n := one.trial_number) in waiting), None
        )

    def known(self, point: Mapping[str, Any]) -> int | None:
        """The trial that has this configuration already."""
        return self._by_key.get(self.space.key(point))

    def start(self, point: dict[str, Any], memory: dict[str, Any], enqueued: bool) -> Job:
        """A new configuration."""
        return self._job(self._add(point, memory, enqueued).number, 0)

    def refuse(
        self, point: dict[str, Any], memory: dict[str, Any], enqueued: bool, known: Mapping[str, float]
    ) -> Configuration:  # fmt: skip
        """A new configuration that is not trained: what is known of it violates a constraint."""
        configuration = self._add(point, memory, enqueued)
        configuration.state, configuration.known = "infeasible", known
        self.refused += 1
        return configuration

    def promote(self, number: int, rung: int) -> Job:
        """More seeds for a configuration that waits.

        Raises:
            ValueError: it does not wait for this rung.
        """
        configuration = self.configurations[number]
        if configuration.state != "paused" or configuration.rung != rung - 1:
            raise ValueError(f"trial {number} does not wait for rung {rung}")
        self.race.promote(number, rung)
        configuration.state, configuration.intermediate = "running", {}
        return self._job(number, rung)

    def duplicate(self, of: int) -> None:
        """The next trial is a configuration that is known: it has that one's results, and no job."""
        self.duplicates[self.number] = of

    def absorb(self, job: Job, results: Mapping[int, SeedResult], pruned: bool) -> None:
        """Results of a job: decide what becomes of its configuration. ``pruned``: it was stopped within the job."""
        del self.jobs[job.trial_number]
        configuration = self.configurations[job.trial_number]
        configuration.results |= results
        if pruned:  # the rungs that are complete count
            configuration.state = "eliminated" if job.rung else "pruned"
            configuration.rung = max(configuration.rung, 0)
            return
        configuration.rung = job.rung
        self.estimates.note(results)
        hopeless = all(result.status in ("failed", "diverged") for result in configuration.results.values())
        last = job.rung == len(self.estimates.rung_seeds) - 1
        if hopeless and not last:
            configuration.state = "eliminated"  # more seeds of what never ran through tell nothing
        else:
            configuration.state = "completed" if last else "paused"
            self._eliminate(self.race.reached(job.trial_number, job.rung))

    def settle(self) -> None:
        """The search is over when nothing runs and nothing can start."""
        if not self.jobs and not self.finished and self.promotion() is None and not self.open:
            self.finished = True
            self._eliminate(self.race.waiting())

    def best(self, k: int) -> list[Ranked]:
        """See ``SeedSearch.best``."""
        groups: dict[tuple[bool, bool, int], list[int]] = {}
        for number, configuration in self.configurations.items():
            if configuration.rung >= 0:
                feasible = self._estimate(number).violation <= 0
                level = 0 if self.estimates.comparable or not feasible else -configuration.rung
                groups.setdefault((configuration.state == "pruned", not feasible, level), []).append(number)
        ranked: list[Ranked] = []
        for group in sorted(groups):
            estimates = [self._estimate(number) for number in groups[group]]
            losses, violations = self._losses(estimates)
            known = [index for index, estimate in enumerate(estimates) if estimate.values is not None]
            if known:
                predicted = self.estimates.predicted([estimates[index] for index in known])
                losses[known] = self.estimates.signs * predicted
            front = pareto_front(losses) & (group == min(groups) and group[:2] == (False, False))
            for index in order(losses, violations)[: k - len(ranked)]:
                predicted = self.estimates.signs * losses[index]
                ranked.append(self._ranked(groups[group][index], predicted.tolist(), bool(front[index])))
        return ranked

    def _add(self, point: dict[str, Any], memory: dict[str, Any], enqueued: bool) -> Configuration:
        number = self.number
        self.configurations[number] = Configuration(number, point, self.space.fields(point), enqueued, memory)
        self._by_key[self.space.key(point)] = number
        return self.configurations[number]

    def _job(self, number: int, rung: int) -> Job:
        seeds = self._new_seeds(rung)
        self.started += len(seeds)
        job = Job(number, self.configurations[number].params, seeds, rung)
        self.jobs[number] = job
        return job

    def _new_seeds(self, rung: int) -> tuple[int, ...]:
        below = len(self.estimates.rung_seeds[rung - 1]) if rung else 0
        return self.estimates.rung_seeds[rung][below:]

    def _affordable(self, rung: int) -> bool:
        return self.replicas is None or self.started + len(self._new_seeds(rung)) <= self.replicas

    def _eliminate(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.configurations[number].state = "eliminated"

    def _estimate(self, number: int) -> Estimate:
        configuration = self.configurations[number]
        return self.estimates.of(configuration, configuration.rung)

    def _losses(self, estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
        losses = np.array([self.estimates.losses(estimate) for estimate in estimates])
        return losses, np.array([estimate.violation for estimate in estimates])

    def _order(self, numbers: Sequence[int], rung: int) -> list[int]:
        estimates = [self.estimates.of(self.configurations[number], rung) for number in numbers]
        return [numbers[index] for index in order(*self._losses(estimates))]

    def _ranked(self, number: int, predicted: Sequence[float], front: bool) -> Ranked:
        configuration, estimate = self.configurations[number], self._estimate(number)
        objectives, constraints = self.estimates.objectives, self.estimates.constraints
        values = estimate.values or (float("nan"),) * len(objectives)
        names = [label(objective) for objective in objectives]
        return Ranked(
            trial_number=number,
            params=configuration.params,
            seeds=self.estimates.rung_seeds[configuration.rung],
            state=configuration.state,
            values=dict(zip(names, values, strict=True)),
            predicted=dict(zip(names, predicted, strict=True)),
            constraints={c.text: value for c, value in zip(constraints, estimate.violations, strict=True)},
            feasible=estimate.violation <= 0,
            front=front,
        )
