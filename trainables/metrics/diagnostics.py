"""Gradients and updates of the parameter groups, how they turn and interfere; time and memory of the steps."""

import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.packs.bank import Bank, per_replica
from trainables.packs.optim import columns_of

WARM_UP_STEPS = 3
"""Steps of a process whose time does not count: allocators and kernels are still warming up."""


class GroupDiagnostics:
    """Gradients and updates of every optimizer group over one epoch, and the mean gradient of the epoch before.

    Attributes:
        start: parameters at the start of the epoch, (K, P).
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.columns = {group: columns_of(bank, group) for group in bank.groups}
        self.previous = torch.zeros_like(bank.flat)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        bank = self.bank
        self.start = bank.flat.clone()
        self.gradient = torch.zeros_like(bank.flat)
        self.steps = torch.zeros(bank.replicas, device=bank.flat.device)
        self.sums = {f"{kind}/{group}": torch.zeros_like(self.steps) for kind in ("grad_norm", "update_norm")
                     for group in self.columns}  # fmt: skip

    def add(self, before: Tensor, trained: Tensor) -> None:
        """Count one step.

        Args:
            before: parameters before the step (K, P); the bank holds its gradient and those after it.
            trained: replicas that took the step, bool (K,).
        """
        bank, trained = self.bank, trained.to(self.steps.device)
        gradient = torch.where(trained.unsqueeze(1), bank.grad, 0.0)
        self.gradient += gradient
        self.steps += trained
        for kind, values in (("grad_norm", gradient), ("update_norm", bank.flat - before)):
            for group, columns in self.columns.items():
                self.sums[f"{kind}/{group}"] += per_replica(torch.linalg.vector_norm, values[:, columns])

    def end_epoch(self) -> dict[str, Tensor]:
        """Means over the epoch's steps of the L2 norms, and the cosine of this and the previous epoch's mean gradient.

        Returns:
            ``grad_norm/<group>``, ``update_norm/<group>`` and ``grad_cosine/<group>``, (K,) each; NaN where there is
            nothing to compare with.
        """
        values = {name: total / self.steps for name, total in self.sums.items()}
        mean = self.gradient / self.steps.clamp(min=1).unsqueeze(1)
        for group, columns in self.columns.items():
            values[f"grad_cosine/{group}"] = cosine(mean[:, columns], self.previous[:, columns])
        self.previous = mean
        return values

    @torch.no_grad()
    def interference(self, outputs: Callable[[], list[Tensor]]) -> Tensor:
        """Cosine between what LoRA's and the norms' updates of this epoch each do alone to ``outputs``, (K,).

        Both are measured from the start of the epoch: f(theta + update of one group) - f(theta). Negative: they work
        against each other. NaN where one of them has no effect.
        """
        bank, end = self.bank, self.bank.flat.clone()
        bank.flat.copy_(self.start)
        base = outputs()
        changes = []
        for group in ("lora", "norm"):
            columns = self.columns[group]
            bank.flat.copy_(self.start)
            bank.flat[:, columns] = end[:, columns]
            changes.append(torch.stack([(own - from_).flatten() for own, from_ in zip(outputs(), base, strict=True)]))
        bank.flat.copy_(end)
        return cosine(*changes)

    def state(self, k: int) -> Tensor:
        """The previous epoch's mean gradient of replica k, (P,)."""
        return self.previous[k].cpu().clone()

    def load(self, k: int, previous: Tensor) -> None:
        """Undo ``state``."""
        self.previous[k] = previous.to(self.previous)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every pair of rows of a and b (K, n), (K,); NaN where a row is zero."""
    norms = per_replica(torch.linalg.vector_norm, a) * per_replica(torch.linalg.vector_norm, b)
    return per_replica(torch.sum, a * b) / torch.where(norms > 0, norms, torch.nan)


class StepClock:
    """Seconds of training steps, with the device brought to a halt before and after each."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seen = device, 0
        self.seconds: list[float] = []

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def add(self, began: float) -> None:
        """Count a step that began at ``began``, unless it is one of this process's first."""
        self.seen += 1
        if self.seen > WARM_UP_STEPS:
            self.seconds.append(self.now() - began)

    def median(self) -> float | None:
        """Median of the steps since the last call, or None if none counted."""
        seconds, self.seconds = self.seconds, []
        return statistics.median(seconds) if seconds else None


def peak_memory_mib(device: torch.device) -> float:
    """Largest memory so far: allocated on the GPU, or of the process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
