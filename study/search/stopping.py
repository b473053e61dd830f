"""Early stopping within a run: configurations compared at the same task or epoch by their aggregate over seeds."""

import numpy as np
from pydantic import Field

from study.search.racing import RUNG_WINDOW
from study.spec import Frozen
from trainables.errors import InputError


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
