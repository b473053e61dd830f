"""What training a pack has in common whatever the method: rows, timings, divergence, checkpoints, resuming."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from trainables.metrics.diagnostics import StepClock, peak_memory_mib
from trainables.metrics.finals import FINAL, epoch_finals
from trainables.packs.checkpoint import Checkpoints, Row
from trainables.packs.device import device
from trainables.packs.optim import BankOptimizer

if TYPE_CHECKING:  # timm
    from trainables.packs.replicas import Replicas

Report = Callable[[dict[int, list[Row]]], None]
"""Takes the new rows of every replica, seed -> rows, once per task or epoch."""

OPTIMIZER = "optimizer."
"""Prefix of the optimizer's tensors in a checkpoint."""


class PackRun(ABC):
    """State of K replicas between two boundaries (tasks or epochs).

    A subclass sets ``config``, ``boundaries``, ``data_s`` when data and weights are there, ``pack`` unless it has a
    ``state`` of its own, and ``optimizer`` where one lives on over boundaries.

    Raises:
        InputError: data, backbone or configuration do not fit each other.

    Attributes:
        boundaries: how many tasks or epochs a run has.
        boundary: after what replicas report and leave a checkpoint.
        rows: seed -> everything that the replica has reported.
        steps: training steps that each replica has done, int64 (K,).
        finite: replicas that still train, bool (K,).
        eval_s: seconds since the last boundary that were spent on evaluating.
    """

    boundary: ClassVar[Literal["task", "epoch"]]
    boundaries: int
    pack: "Replicas"
    optimizer: BankOptimizer | None = None

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.device = device()
        self.clock = StepClock(self.device)
        self.rows: dict[int, list[Row]] = {seed: [] for seed in seeds}
        self.began = time.monotonic()
        self.data_s = self.eval_s = 0.0
        self.steps = torch.zeros(len(seeds), dtype=torch.long)
        self.finite = torch.ones(len(seeds), dtype=torch.bool)

    @classmethod
    def train(cls, config: Any, seeds: Sequence[int], report: Report, checkpoints: Checkpoints) -> None:
        """Train K replicas of one configuration, from their last common checkpoint if there is one.

        Args:
            seeds: of the replicas, trained together; a replica's numbers do not depend on its neighbours.
            report: called after every boundary, and once for the rows of a resumed run's checkpoint.
            checkpoints: where the state of every replica goes at every boundary.
        """
        run = cls(config, seeds)  # type: ignore[call-arg]
        done = checkpoints.last_common(run.seeds)
        if done is not None:
            run.restore(checkpoints, done)
            if not any(row["phase"] == FINAL for rows in run.rows.values() for row in rows):  # of an earlier version
                run.log_finals(done)
                run.save(checkpoints, done)
            report({seed: list(run.rows[seed]) for seed in run.seeds})
        for position in range(0 if done is None else done + 1, run.boundaries):
            if not bool(run.finite.any()):
                break
            before = {seed: len(run.rows[seed]) for seed in run.seeds}
            run.advance(position)
            start = time.monotonic()
            run.save(checkpoints, position)
            run.log_timing("checkpoint_s", time.monotonic() - start, position)
            report({seed: run.rows[seed][before[seed] :] for seed in run.seeds})

    @abstractmethod
    def training(self, position: int) -> Iterator[None]:
        """Train through one task or epoch, step by step; a step is done when its turn of the iterator is."""

    @abstractmethod
    def measure(self, position: int) -> None:
        """Everything that is measured after one task or epoch."""

    def finals(self, k: int, position: int) -> dict[str, float]:
        """Final metrics of replica k if it ended with this task or epoch, by the names that its method declares."""
        return epoch_finals(self.rows[self.seeds[k]], position + 1)

    def state(self, k: int) -> dict[str, Tensor]:
        """Everything that replica k's future depends on, but for ``steps``, ``finite`` and ``optimizer``."""
        return self.pack.bank.state(k)

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Undo ``state``."""
        self.pack.bank.load(k, state)

    def advance(self, position: int) -> None:
        """Train through one task or epoch, measure, and log what both took."""
        start = time.monotonic()
        for _ in self.training(position):
            pass
        trained = time.monotonic()
        during = self.eval_s
        self.measure(position)
        evaluated = time.monotonic()
        if self.data_s:  # loading belongs to the first boundary of this process
            self.log_timing("data_s", self.data_s, position)
        self.log_timing("train_s", trained - start - during, position)
        self.log_timing("eval_s", evaluated - trained + during, position)
        self.data_s = self.eval_s = 0.0
        self._log_costs(position)
        self.log_finals(position)

    def log_finals(self, position: int) -> None:
        """Add the final metrics of every replica, as if it ended with this task or epoch."""
        for k in self.alive():
            self.log_values(k, FINAL, self.finals(k, position), position, step=False)

    def at(self, position: int) -> dict[str, int]:
        """Where a row belongs that is about a whole task or epoch."""
        return {self.boundary: position}

    def log(
        self, k: int, phase: str, name: str, value: float, task: int | None = None, epoch: int | None = None,
        step: int | None = None,
    ) -> None:  # fmt: skip
        """Add a row to replica k."""
        self.rows[self.seeds[k]].append(
            {"phase": phase, "task": task, "epoch": epoch, "step": step, "name": name, "value": float(value),
             "wall_s": round(time.monotonic() - self.began, 3)}
        )  # fmt: skip

    def log_values(self, k: int, phase: str, values: Mapping[str, float], position: int, step: bool = True) -> None:
        """Add a row for every value of replica k after a task or epoch; ``step``: with the number of its steps."""
        for name, value in values.items():
            self.log(k, phase, name, value, **self.at(position), step=int(self.steps[k]) if step else None)

    def log_step(
        self, logged: Tensor, loss: Tensor, rates: Tensor, groups: Sequence[str],
        more: Callable[[], Mapping[str, Tensor]], epoch: int, task: int | None = None,
    ) -> None:  # fmt: skip
        """Add rows of phase ``train`` for every finite value of a step.

        Args:
            logged: replicas that get rows, bool (K,).
            loss: (K,).
            rates: learning rates (K, G) of the optimizer's ``groups``.
            more: further values, (K,) each; asked for only where there are rows to write.
        """
        if not bool(logged.any()):
            return
        values = {"loss": loss, **{f"lr/{group}": rates[:, g] for g, group in enumerate(groups)}, **more()}
        for k in torch.nonzero(logged).flatten().tolist():
            for name, value in values.items():
                if bool(value[k].isfinite()):
                    self.log(k, "train", name, float(value[k]), task, epoch, int(self.steps[k]))

    def log_scores(
        self, phase: str, logits: Sequence[Tensor], targets: Sequence[Tensor], epoch: int,
        score: Callable[[Tensor, Tensor], Mapping[str, float]],
    ) -> None:  # fmt: skip
        """Add what ``score`` says of every replica's logits (n_k, C) and labels (n_k,); one whose logits are not finite
        has diverged."""
        self.mark_diverged(torch.stack([own.isfinite().all() for own in logits]), epoch=epoch)
        for k in self.alive():
            self.log_values(k, phase, score(logits[k], targets[k]), epoch)

    def log_references(self, values: Mapping[str, float], position: int) -> None:
        """Add reference lines, the same for every replica, after the last task or epoch; none before."""
        for k in self.alive() if position == self.boundaries - 1 else ():
            self.log_values(k, "reference", values, position)

    def log_timing(self, name: str, seconds: float, position: int) -> None:
        """Seconds of the pack, shared equally by its replicas."""
        for k in range(len(self.seeds)):
            self.log(k, "timing", name, seconds / len(self.seeds), **self.at(position))

    def _log_costs(self, position: int) -> None:
        """Median wall time of a step since the last boundary, of the pack and a replica's share of it, the number of
        replicas that shared it, and the peak memory of all."""
        step_s = self.clock.median()
        costs = {"peak_memory_mib": peak_memory_mib(self.device), "pack": float(len(self.seeds))}
        if step_s is not None:
            costs |= {"step_time_s": step_s, "step_share_s": step_s / len(self.seeds)}
        for k in range(len(self.seeds)):
            self.log_values(k, "timing", costs, position, step=False)

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
            if self.optimizer:
                own |= {f"{OPTIMIZER}{name}": value for name, value in self.optimizer.state(k).items()}
            checkpoints.save(seed, position, self.state(k) | own, self.rows[seed])

    def restore(self, checkpoints: Checkpoints, position: int) -> None:
        for k, seed in enumerate(self.seeds):
            saved = checkpoints.load(seed, position)
            tensors = saved.tensors
            self.load(k, tensors)
            if self.optimizer:
                own = {name.removeprefix(OPTIMIZER): tensors[name] for name in tensors if name.startswith(OPTIMIZER)}
                self.optimizer.load(k, own)
            self.steps[k], self.finite[k] = tensors["steps"][0], tensors["finite"][0]
            self.rows[seed] = saved.rows
        longest = max((row["wall_s"] for rows in self.rows.values() for row in rows), default=0.0)
        self.began = time.monotonic() - longest
