"""What runs over epochs have in common: rows of an epoch, its timings, and the state of bank and optimizer."""

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from trainables.metrics.diagnostics import StepClock
from trainables.packs.device import device
from trainables.packs.optim import BankOptimizer
from trainables.packs.run import PackRun
from trainables.packs.tuned import TunedReplicas

OPTIMIZER = "optimizer."
"""Prefix of the optimizer's tensors in a checkpoint."""


class EpochRun(PackRun):
    """State of one pack of ``TunedReplicas`` between epochs.

    A subclass sets ``pack`` and ``optimizer``, and ``data_s`` (seconds until data and weights were there).

    Attributes:
        eval_s: seconds of the current epoch that ``training`` has spent on evaluating.
    """

    pack: TunedReplicas
    optimizer: BankOptimizer
    data_s: float

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.device = device()
        self.clock = StepClock(self.device)
        self.eval_s = 0.0

    def train(self, epoch: int) -> None:
        start = time.monotonic()
        super().train(epoch)
        self.log_timing("train_s", time.monotonic() - start - self.eval_s, epoch=epoch)

    def close(self, epoch: int) -> None:
        start = time.monotonic()
        self.measure(epoch)
        self._log_timings(epoch, time.monotonic() - start + self.eval_s)
        self.eval_s = 0.0

    @abstractmethod
    def measure(self, epoch: int) -> None:
        """Everything that is measured after an epoch."""

    def log_values(self, k: int, phase: str, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.log(k, phase, name, value, epoch=epoch, step=int(self.steps[k]))

    def _log_timings(self, epoch: int, eval_s: float) -> None:
        if self.data_s:  # loading belongs to the first epoch that this process trains
            self.log_timing("data_s", self.data_s, epoch=epoch)
            self.data_s = 0.0
        self.log_timing("eval_s", eval_s, epoch=epoch)
        self.log_costs(self.clock, epoch=epoch)

    def state(self, k: int) -> dict[str, Tensor]:
        optimizer = {f"{OPTIMIZER}{name}": value for name, value in self.optimizer.state(k).items()}
        return self.pack.bank.state(k) | optimizer

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        self.pack.bank.load(k, state)
        own = {name.removeprefix(OPTIMIZER): value for name, value in state.items() if name.startswith(OPTIMIZER)}
        self.optimizer.load(k, own)
