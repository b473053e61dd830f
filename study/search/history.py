"""The part of a search that its sampler sees: the best and the latest configurations, with current estimates."""

import numpy as np
from optuna.trial import FrozenTrial

from study.search.candidates import Configuration, Estimate, Estimates
from study.search.order import order
from study.search.samplers import Sampler

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
        self.window = sampler.kind.window
        self.pool: dict[int, Configuration] = {}  # in order of their last change
        self._frozen: dict[int, tuple[Estimate | None, FrozenTrial]] = {}

    def changed(self, configuration: Configuration) -> None:
        """A configuration is new or has new results."""
        if self.window and self.sampler.models(configuration.point):
            self.pool.pop(configuration.number, None)
            self.pool[configuration.number] = configuration
            if len(self.pool) > SLACK * self.window:
                self._prune()

    def trials(self) -> list[FrozenTrial]:
        """The window as Optuna trials, oldest first. Left out: those of which nothing but failures is known yet."""
        pool = [(self.pool[number], self._estimate(self.pool[number])) for number in sorted(self.pool)]
        valued = [(c, e) for c, e in pool if e is not None and e.values is not None and c.state != "pruned"]
        values: dict[int, list[float]] = {}
        if valued:
            found = [estimate for _, estimate in valued]
            table = self.estimates.predicted(found) if self.shrunk else np.array([e.values for e in found])
            values = {c.number: row for (c, _), row in zip(valued, table.tolist(), strict=True)}
            worst = self.estimates.signs * (self.estimates.signs * table).max(axis=0)
            values |= {c.number: worst.tolist() for c, _ in pool if c.state == "infeasible"}
        shown = []
        for configuration, estimate in pool:
            if configuration.number in values or configuration.rung < 0 and configuration.state == "running":
                shown.append(self._trial(configuration, estimate, values.get(configuration.number)))
            elif configuration.state == "pruned" and estimate is not None and estimate.values is not None:
                shown.append(self._trial(configuration, estimate, None))
        return shown

    def _estimate(self, configuration: Configuration) -> Estimate | None:
        running = configuration.rung < 0 and configuration.state == "running"
        return None if running else self.estimates.of(configuration, configuration.rung)

    def _trial(
        self, configuration: Configuration, estimate: Estimate | None, values: list[float] | None
    ) -> FrozenTrial:  # fmt: skip
        cached = self._frozen.get(configuration.number)
        if cached is None or cached[0] is not estimate:
            names = [constraint.text for constraint in self.estimates.constraints]
            found = zip(names, estimate.violations, strict=True) if estimate else ()
            violations = {f"{i}:{name}": min(value, MAX_VIOLATION) for i, (name, value) in enumerate(found)}
            cached = (estimate, self.sampler.frozen(configuration, values, violations))
            self._frozen[configuration.number] = cached
        if values is not None:
            cached[1].values = values
        return cached[1]

    def _prune(self) -> None:
        numbers = list(self.pool)
        half = self.window // 2
        kept = set(numbers[-half:])
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
