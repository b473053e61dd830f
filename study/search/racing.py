"""Which configurations are given more seeds. All see the same seeds in the same order, so comparisons are paired."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, field_validator
from scipy import stats

from study.spec import Frozen
from trainables.errors import InputError

RUNG_WINDOW = 500
"""Configurations of a rung that compete: the latest ones. Older ones that were never promoted are eliminated."""


class SeedSchedule(Frozen):
    """How many seeds a configuration gets.

    Attributes:
        rule: ``fixed``: all at once. ``halving``: asynchronous successive halving over seeds (ASHA, Li et al. 2020,
            with seeds in place of epochs): the best ``keep`` of those that have reached a rung go on to the next.
            ``wilcoxon``: one at a time against the best completed configuration; eliminated at the first rung where a
            one-sided paired signed-rank test over the common seeds has p < ``p_threshold`` (as Optuna's
            WilcoxonPruner). With n seeds p is at least 2**-n: at 0.1 nothing is eliminated before 4 seeds.
        rungs: total number of seeds at each rung, rising; ``fixed`` uses the last.
        keep: share that goes on; a third loses more in ``benchmarks/search_regret.py``.
    """

    rule: Literal["fixed", "halving", "wilcoxon"] = "halving"
    rungs: tuple[int, ...] = (1, 2, 4, 8)
    keep: float = Field(0.5, gt=0.0, lt=1.0)
    p_threshold: float = Field(0.1, gt=0.0, lt=1.0)

    @field_validator("rungs")
    @classmethod
    def _rungs_rise(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if not rungs or rungs[0] < 1 or any(b <= a for a, b in zip(rungs, rungs[1:], strict=False)):
            raise ValueError(f"rungs {rungs}: rising numbers of seeds >= 1 are allowed")
        return rungs

    @classmethod
    def parse(cls, text: str) -> "SeedSchedule":
        """``fixed:8``, ``halving:2,4,8``, ``wilcoxon:2,4,6,8``.

        Raises:
            InputError: not of this form.
        """
        rule, separator, rungs = text.partition(":")
        try:
            content: dict[str, Any] = {"rule": rule}
            if separator:
                content["rungs"] = [int(rung) for rung in rungs.split(",")]
            return cls.model_validate(content)
        except ValueError as error:
            raise InputError(
                f"schedule {text!r}: fixed:N, halving:N,N,... or wilcoxon:N,N,... with rising numbers of seeds "
                "is expected, e.g. halving:2,4,8"
            ) from error

    @property
    def totals(self) -> tuple[int, ...]:
        """Seeds of a configuration after each rung."""
        return self.rungs[-1:] if self.rule == "fixed" else self.rungs


Order = Callable[[Sequence[int], int], list[int]]
"""(trial numbers, rung) -> the same, best first, judged on that rung's seeds alone."""
Paired = Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]
"""(trial a, trial b, rung) -> values per common seed (N,) each, larger is better."""


class Race(Protocol):
    """Decides from the rungs that configurations have reached."""

    def reached(self, trial: int, rung: int) -> list[int]:
        """A configuration has all results of a rung; returns the trials that this eliminates."""

    def peek(self) -> tuple[int, int] | None:
        """Next (trial, rung) to start, if any; stays until ``promote``."""

    def promote(self, trial: int, rung: int) -> None:
        """A waiting configuration goes on to this rung."""

    def waiting(self) -> list[int]:
        """Trials that would go on if others fell behind, or with seeds to spare: eliminated when the search ends."""


class Halving:
    """Asynchronous successive halving; of the top rung nobody is promoted, so one rung is ``fixed``."""

    def __init__(self, schedule: SeedSchedule, order: Order) -> None:
        self.keep, self.order = schedule.keep, order
        self.rungs: list[list[int]] = [[] for _ in schedule.totals[:-1]]
        self.promoted: set[tuple[int, int]] = set()
        self._best: dict[int, list[int]] = {}  # rung -> its quota, best first, while the rung is as it was
        self._next: tuple[int, int] | None = None
        self._stale = False

    def reached(self, trial: int, rung: int) -> list[int]:
        self._stale = True
        if rung == len(self.rungs):
            return []
        members = self.rungs[rung]
        self._best.pop(rung, None)
        members.append(trial)
        if len(members) <= RUNG_WINDOW:
            return []
        oldest = members.pop(0)
        if (oldest, rung) in self.promoted:
            self.promoted.remove((oldest, rung))
            return []
        return [oldest]

    def peek(self) -> tuple[int, int] | None:
        if self._stale:
            self._next, self._stale = self._find(), False
        return self._next

    def _find(self) -> tuple[int, int] | None:
        for rung in reversed(range(len(self.rungs))):
            if rung not in self._best:
                quota = int(self.keep * len(self.rungs[rung]))
                self._best[rung] = self.order(self.rungs[rung], rung)[:quota] if quota else []
            for trial in self._best[rung]:
                if (trial, rung) not in self.promoted:
                    return trial, rung + 1
        return None

    def promote(self, trial: int, rung: int) -> None:
        self.promoted.add((trial, rung - 1))
        self._stale = True

    def waiting(self) -> list[int]:
        return [t for rung, members in enumerate(self.rungs) for t in members if (t, rung) not in self.promoted]


class Wilcoxon:
    """Against the incumbent: the best configuration that has all seeds."""

    def __init__(self, schedule: SeedSchedule, order: Order, paired: Paired) -> None:
        self.last, self.p_threshold = len(schedule.totals) - 1, schedule.p_threshold
        self.order, self.paired = order, paired
        self.incumbent: int | None = None
        self.ready: list[tuple[int, int]] = []

    def reached(self, trial: int, rung: int) -> list[int]:
        if rung == self.last:
            rivals = [trial] if self.incumbent is None else [self.incumbent, trial]
            self.incumbent = self.order(rivals, rung)[0]
            return []
        if self.incumbent is not None and self._worse(trial, rung):
            return [trial]
        self.ready.append((trial, rung + 1))
        return []

    def _worse(self, trial: int, rung: int) -> bool:
        assert self.incumbent is not None
        if self.order([self.incumbent, trial], rung)[0] == trial:
            return False  # the test is about location; a better objective is never thrown away
        own, best = self.paired(trial, self.incumbent, rung)
        return len(own) >= 2 and significantly_worse(own, best, self.p_threshold)

    def peek(self) -> tuple[int, int] | None:
        return self.ready[0] if self.ready else None

    def promote(self, trial: int, rung: int) -> None:
        self.ready.remove((trial, rung))

    def waiting(self) -> list[int]:
        return [trial for trial, _ in self.ready]


def significantly_worse(own: np.ndarray, best: np.ndarray, p_threshold: float) -> bool:
    """One-sided Wilcoxon signed-rank test over paired seeds (N,), larger is better; ties split (``zsplit``)."""
    return bool(stats.wilcoxon(own - best, alternative="less", zero_method="zsplit").pvalue < p_threshold)


def race(schedule: SeedSchedule, order: Order, paired: Paired) -> Race:
    """The rule of a schedule."""
    if schedule.rule == "wilcoxon":
        return Wilcoxon(schedule, order, paired)
    return Halving(schedule, order)
