"""What training a pack has in common whatever the method: rows per replica, divergence, checkpoints, resuming."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from trainables.metrics.diagnostics import StepClock, peak_memory_mib
from trainables.packs.checkpoint import Checkpoints, Row

Report = Callable[[dict[int, list[Row]]], None]
"""Takes the new rows of every replica, seed -> rows, once per task or epoch."""


class PackRun(ABC):
    """State of K replicas between two boundaries (tasks or epochs).

    Attributes:
        rows: seed -> everything that the replica has reported.
        steps: training steps that each replica has done, int64 (K,).
        finite: replicas that still train, bool (K,).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.rows: dict[int, list[Row]] = {seed: [] for seed in seeds}
        self.began = time.monotonic()
        self.steps = torch.zeros(len(seeds), dtype=torch.long)
        self.finite = torch.ones(len(seeds), dtype=torch.bool)

    @abstractmethod
    def training(self, position: int) -> Iterator[None]:
        """Train through one task or epoch, step by step; a step is done when its turn of the iterator is."""

    @abstractmethod
    def close(self, position: int) -> None:
        """Everything that is measured after one task or epoch."""

    def train(self, position: int) -> None:
        """Train through one task or epoch."""
        for _ in self.training(position):
            pass

    @abstractmethod
    def state(self, k: int) -> dict[str, Tensor]:
        """Everything that replica k's future depends on, but for ``steps`` and ``finite``."""

    @abstractmethod
    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Undo ``state``."""

    def log(
        self, k: int, phase: str, name: str, value: float, task: int | None = None, epoch: int | None = None,
        step: int | None = None,
    ) -> None:  # fmt: skip
        """Add a row to replica k."""
        self.rows[self.seeds[k]].append(
            {"phase": phase, "task": task, "epoch": epoch, "step": step, "name": name, "value": float(value),
             "wall_s": round(time.monotonic() - self.began, 3)}
        )  # fmt: skip

    def log_timing(self, name: str, seconds: float, task: int | None = None, epoch: int | None = None) -> None:
        """Seconds of the pack, shared equally by its replicas."""
        for k in range(len(self.seeds)):
            self.log(k, "timing", name, seconds / len(self.seeds), task, epoch)

    def log_costs(self, clock: StepClock, task: int | None = None, epoch: int | None = None) -> None:
        """Median wall time of a step since the last call, of the pack and a replica's share of it, the number of
        replicas that shared it, and the peak memory of all."""
        step_s, peak = clock.median(), peak_memory_mib(clock.device)
        costs = {"peak_memory_mib": peak, "pack": float(len(self.seeds))}
        if step_s is not None:
            costs |= {"step_time_s": step_s, "step_share_s": step_s / len(self.seeds)}
        for k in range(len(self.seeds)):
            for name, value in costs.items():
                self.log(k, "timing", name, value, task, epoch)

    def mark_diverged(self, fine: Tensor, task: int | None = None, epoch: int | None = None) -> None:
        """Take replicas that are not ``fine``, bool (K,), out of training; the others stay bit-equal."""
        fine = fine.cpu()
        for k in torch.nonzero(self.finite & ~fine).flatten().tolist():
            self.log(k, "boundary", "diverged", 1.0, task, epoch, int(self.steps[k]))
        self.finite &= fine

    def alive(self) -> list[int]:
        """Positions in the pack of the replicas that still train."""
        return torch.nonzero(self.finite).flatten().tolist()

    def save(self, checkpoints: Checkpoints, position: int) -> None:
        for k, seed in enumerate(self.seeds):
            own = {"steps": self.steps[k : k + 1], "finite": self.finite[k : k + 1]}
            checkpoints.save(seed, position, self.state(k) | own, self.rows[seed])

    def restore(self, checkpoints: Checkpoints, position: int) -> None:
        for k, seed in enumerate(self.seeds):
            saved = checkpoints.load(seed, position)
            self.load(k, saved.tensors)
            self.steps[k], self.finite[k] = saved.tensors["steps"][0], saved.tensors["finite"][0]
            self.rows[seed] = saved.rows
        longest = max((row["wall_s"] for rows in self.rows.values() for row in rows), default=0.0)
        self.began = time.monotonic() - longest


def carry_out(run: PackRun, boundaries: int, report: Report, checkpoints: Checkpoints) -> None:
    """Take a pack through all its tasks or epochs, from its last common checkpoint if there is one.

    Args:
        report: called after every boundary, and once for the rows of a resumed run's checkpoint.
        checkpoints: where the state of every replica goes at every boundary.
    """
    done = checkpoints.last_common(run.seeds)
    if done is not None:
        run.restore(checkpoints, done)
        report({seed: list(run.rows[seed]) for seed in run.seeds})
    for position in range(0 if done is None else done + 1, boundaries):
        if not bool(run.finite.any()):
            break
        before = {seed: len(run.rows[seed]) for seed in run.seeds}
        run.train(position)
        run.close(position)
        start = time.monotonic()
        run.save(checkpoints, position)
        run.log_timing("checkpoint_s", time.monotonic() - start, **{checkpoints.boundary: position})
        report({seed: run.rows[seed][before[seed] :] for seed in run.seeds})
