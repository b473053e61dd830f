"""Who goes on: which configurations are given more seeds, and which packs are stopped within a run.

All configurations see the same seeds in the same order, so comparisons are paired.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from study.spec import Frozen, SearchSpec
from trainables.errors import InputError

RUNG_WINDOW = 500
"""Configurations of a rung that compete: the latest ones. Older ones that were never promoted are eliminated."""

DEFAULT_RACE: str = SearchSpec.model_fields["schedule"].default


class SeedSchedule(Frozen):
    """How many seeds a configuration gets.

    Attributes:
        rule: ``fixed``: all at once. ``halving``: asynchronous successive halving over seeds (ASHA, Li et al. 2020,
            with seeds in place of epochs): the best ``keep`` of those that have reached a rung go on to the next.
        rungs: total number of seeds at each rung, rising; ``fixed`` uses the last.
        keep: share that goes on; a third loses more in ``benchmarks/search_regret.py``.
    """

    rule: Literal["fixed", "halving"] = "halving"
    rungs: tuple[int, ...]
    keep: float = Field(0.5, gt=0.0, lt=1.0)

    @field_validator("rungs")
    @classmethod
    def _rungs_rise(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if not rungs or rungs[0] < 1 or any(b <= a for a, b in zip(rungs, rungs[1:], strict=False)):
            raise ValueError(f"rungs {rungs}: rising numbers of seeds >= 1 are allowed")
        return rungs

    @classmethod
    def parse(cls, text: str) -> "SeedSchedule":
        """``fixed:8``, ``halving:2,4,8``; without rungs those of ``DEFAULT_RACE``.

        Raises:
            InputError: not of this form.
        """
        rule, separator, rungs = text.partition(":")
        if not separator:
            rungs = DEFAULT_RACE.partition(":")[2]
        try:
            return cls.model_validate({"rule": rule, "rungs": [int(rung) for rung in rungs.split(",")]})
        except ValueError as error:
            raise InputError(
                f"schedule {text!r}: fixed:N or halving:N,N,... with rising numbers of seeds is expected, "
                "e.g. halving:2,4,8"
            ) from error

    @property
    def totals(self) -> tuple[int, ...]:
        """Seeds of a configuration after each rung."""
        return self.rungs[-1:] if self.rule == "fixed" else self.rungs


Order = Callable[[Sequence[int], int], list[int]]
"""(trial numbers, rung) -> the same, best first, judged on that rung's seeds alone."""


class Halving:
    """Asynchronous successive halving; of the top rung nobody is promoted, so one rung is ``fixed``."""

    def __init__(self, schedule: SeedSchedule, order: Order) -> None:
        self.keep, self.order = schedule.keep, order
        self.rungs: list[list[int]] = [[] for _ in schedule.totals[:-1]]
        self.promoted: set[tuple[int, int]] = set()
        self._best: dict[int, list[int]] = {}  # rung -> its quota, best first, while the rung is as it was

    def reached(self, trial: int, rung: int) -> list[int]:
        """A configuration has all results of a rung; returns the trials that this eliminates."""
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

    def peek(self, allowed: Callable[[int], bool]) -> tuple[int, int] | None:
        """Next (trial, rung) to start, if any, of the rungs that are allowed."""
        for rung in reversed(range(len(self.rungs))):
            if not allowed(rung + 1):
                continue
            if rung not in self._best:
                quota = int(self.keep * len(self.rungs[rung]))
                self._best[rung] = self.order(self.rungs[rung], rung)[:quota] if quota else []
            for trial in self._best[rung]:
                if (trial, rung) not in self.promoted:
                    return trial, rung + 1
        return None

    def promote(self, trial: int, rung: int) -> None:
        """A waiting configuration goes on to this rung."""
        self.promoted.add((trial, rung - 1))

    def waiting(self) -> list[int]:
        """Trials that would go on if others fell behind, or with seeds to spare: eliminated when the search ends."""
        return [t for rung, members in enumerate(self.rungs) for t in members if (t, rung) not in self.promoted]


class StepSchedule(Frozen):
    """Asynchronous successive halving over steps (tasks or epochs; ASHA, Li et al. 2020, in its stopping form).

    At steps ``grace``, ``grace * reduction``, ... a pack stops unless its configuration's aggregate is among the best
    ``1 / reduction`` of what others with as many seeds had there.

    Attributes:
        metric: reported per step; default: the objective's.
    """

    metric: str | None = None
    grace: int = Field(1, ge=1)
    reduction: int = Field(3, ge=2)

    @classmethod
    def parse(cls, text: str) -> "StepSchedule":
        """``asha:GRACE,REDUCTION``, e.g. ``asha:1,3``.

        Raises:
            InputError: not of this form.
        """
        rule, _, numbers = text.partition(":")
        try:
            grace, reduction = (int(number) for number in numbers.split(","))
            if rule != "asha":
                raise ValueError(rule)
            return cls(grace=grace, reduction=reduction)
        except ValueError as error:
            raise InputError(
                f"early stopping {text!r}: asha:GRACE,REDUCTION with GRACE >= 1 and REDUCTION >= 2 is expected, "
                "e.g. asha:1,3"
            ) from error

    def is_milestone(self, step: int) -> bool:
        if step < self.grace or step % self.grace:
            return False
        ratio = step // self.grace
        while ratio % self.reduction == 0:
            ratio //= self.reduction
        return ratio == 1


class Milestones:
    """What configurations had at each (rung, step); the latest ones count."""

    def __init__(self, schedule: StepSchedule) -> None:
        self.schedule = schedule
        self.seen: dict[tuple[int, int], list[float]] = {}

    def stops(self, rung: int, step: int, value: float) -> bool:
        """Whether a configuration with this aggregate (larger is better) falls behind; takes the value down."""
        seen = self.seen.setdefault((rung, step), [])
        behind = bool(seen) and value < float(np.quantile(seen, 1 - 1 / self.schedule.reduction))
        seen.append(value)
        del seen[:-RUNG_WINDOW]
        return behind
