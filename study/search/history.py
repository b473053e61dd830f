"""The part of a search that its sampler sees: the best and the latest configurations, with current estimates."""

from collections.abc import Mapping

import numpy as np
from optuna.trial import FrozenTrial

from study.search.candidates import Configuration, Estimate, Estimates
from study.search.order import order
from study.search.samplers import KINDS, Sampler

MAX_VIOLATION = 10.0
"""Relative violations beyond this, and unknown ones, are shown as this: models of constraints want finite values."""
SLACK = 1.2


class History:
    """Keeps a window of configurations and shows it as Optuna trials.

    What a configuration's value is at any time: its statistic over the seeds it has. Those with fewer seeds are the
    ones that did badly at first (racing) or are new, so plain values are biased: the losers' low, and among equals the
    luckiest two seeds look best. With ``shrunk``, means and IQMs are shown as ``Estimates.predicted`` has them.
    """

    def __init__(self, sampler: Sampler, estimates: Estimates, shrunk: bool) -> None:
        self.sampler, self.estimates, self.shrunk = sampler, estimates, shrunk
        self.window = KINDS[sampler.name].window
        self.pool: dict[int, Configuration] = {}  # in order of their last change
        self._frozen: dict[int, tuple[Estimate | None, str, FrozenTrial]] = {}

    def changed(self, configuration: Configuration) -> None:
        """A configuration is new or has new results."""
        if self.window and self.sampler.models(configuration.point):
            self.pool.pop(configuration.number, None)
            self.pool[configuration.number] = configuration
            if len(self.pool) > SLACK * self.window:
                self._prune()

    def trials(self) -> list[FrozenTrial]:
        """The window as Optuna trials, oldest first."""
        pool = [self.pool[number] for number in sorted(self.pool)]
        shown: list[FrozenTrial] = []
        complete: list[tuple[FrozenTrial, Estimate]] = []
        for configuration in pool:
            estimate = self._estimate(configuration)
            if estimate is not None and estimate.values is None:
                continue  # nothing but failures, and no value to count them as yet
            trial = self._trial(configuration, estimate)
            shown.append(trial)
            if estimate is not None and configuration.state != "pruned":
                complete.append((trial, estimate))
        if self.shrunk and complete:
            predicted = self.estimates.predicted([estimate for _, estimate in complete])
            for (trial, _), row in zip(complete, predicted, strict=True):
                trial.values = row.tolist()
        return shown

    def _estimate(self, configuration: Configuration) -> Estimate | None:
        return None if configuration.rung < 0 else self.estimates.of(configuration, configuration.rung)

    def _trial(self, configuration: Configuration, estimate: Estimate | None) -> FrozenTrial:
        cached = self._frozen.get(configuration.number)
        pruned = configuration.state == "pruned"
        if cached is None or cached[0] is not estimate or (cached[1] == "pruned") != pruned:
            violations: Mapping[str, float] = {}
            if estimate is not None:
                names = [constraint.text for constraint in self.estimates.constraints]
                violations = {
                    f"{index}:{name}": min(value, MAX_VIOLATION)
                    for index, (name, value) in enumerate(zip(names, estimate.violations, strict=True))
                }
            trial = self.sampler.frozen(
                configuration.number,
                configuration.point,
                configuration.memory,
                None if estimate is None else estimate.values,
                violations,
                configuration.intermediate,
                pruned,
            )
            cached = (estimate, configuration.state, trial)
            self._frozen[configuration.number] = cached
        return cached[2]

    def _prune(self) -> None:
        numbers = list(self.pool)
        half = self.window // 2
        kept = set(numbers[-half:]) | self.sampler.indispensable()
        kept |= {number for number in numbers if self.pool[number].state == "running"}
        older = [number for number in numbers if number not in kept]
        estimates = [self.estimates.of(self.pool[number], self.pool[number].rung) for number in older]
        losses = np.array([self.estimates.losses(estimate) for estimate in estimates])
        violations = np.array([estimate.violation for estimate in estimates])
        kept |= {older[index] for index in order(losses, violations)[:half]}
        for number in numbers:
            if number not in kept:
                del self.pool[number]
                self._frozen.pop(number, None)
