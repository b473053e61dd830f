"""LoRA as low-rank approximation: gradient training of A and B on linear teachers against the Eckart-Young bound.

The model is y = x (W0 + s B A)^T with W0 frozen and s = alpha / r. All inputs enter every step, so the squared error
depends on them through G = X^T X / n alone: with D = W* - W0 the loss is tr((D - s B A) G (D - s B A)^T) / 2, and a
step costs the same whatever n.

Source: METHODS.md "LoRA rank"; notes seeds/004, part I.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from trainables.configs import TheoryConfig
from trainables.data.materials import Materials
from trainables.data.teachers import draw_gram, draw_update, loss_optima, rank_r_residual, update_rank
from trainables.metrics.finals import gap_finals
from trainables.packs.bank import Bank, Parameter, per_replica
from trainables.packs.run import PackRun
from trainables.packs.seeding import generator

SPECTRA = ("gaussian", "power_law", "exact_rank")
"""Their order fixes the random streams: a teacher's numbers do not depend on which others are trained."""
INPUTS, UPDATE = 0, 1
"""Positions in the stream of a replica's data."""


def materials(configs: Sequence[TheoryConfig], load: bool) -> Materials:
    """Nothing to find: inputs and teachers are drawn from the replica's seed, and there are no classes."""
    return Materials(classes=0)


def count_parameters(config: TheoryConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica: the factors of all ranks and teachers, and the frozen W0."""
    trainable = len(config.teachers) * sum(config.ranks) * (config.d_in + config.d_out)
    return trainable, trainable + config.d_in * config.d_out


class TheoryRun(PackRun):
    """State of one pack between epochs.

    A bank has one row per seed and teacher, M in all, seed by seed. A rank is a bucket: its factors of all rows are
    multiplied in one batch.

    Attributes:
        updates: target updates W* - W0, fp64 (M, d_out, d_in).
        grams: Gram matrices of the inputs, fp64 (M, d_in, d_in), the same for all teachers of a seed.
    """

    boundary = "epoch"

    def __init__(self, config: TheoryConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config, self.boundaries = config, config.epochs
        parameters = {}
        for rank in config.ranks:  # Kaiming's uniform for A and zeros for B, as LoRA starts
            parameters[f"A.{rank}"] = Parameter((rank, config.d_in), "factors", config.d_in**-0.5)
            parameters[f"B.{rank}"] = Parameter((config.d_out, rank), "factors")
        self.own = list(product(seeds, config.teachers))
        # A batch of one matrix takes another path through the BLAS, with another last bit: it gets company.
        rows = self.own if len(self.own) > 1 else self.own * 2
        self.bank = Bank(parameters, len(rows), self.device)
        for row, (seed, teacher) in enumerate(rows):
            for rank in config.ranks:
                draw = generator(seed, "init", SPECTRA.index(teacher), rank)
                self.bank.reset(row, draw, [f"A.{rank}", f"B.{rank}"])
        grams = {seed: draw_gram(config, generator(seed, "data", INPUTS)) for seed in seeds}
        updates = [
            draw_update(config, teacher, generator(seed, "data", UPDATE, SPECTRA.index(teacher)))
            for seed, teacher in rows
        ]
        self.updates, self.grams = torch.stack(updates), torch.stack([grams[seed] for seed, _ in rows])
        self.bounds = {rank: self._bounds(rank) for rank in config.ranks}
        self.gram = self.grams.float().to(self.device)
        self.target = torch.bmm(self.updates, self.grams).float().to(self.device)  # D G
        self.factors = {rank: self._factors(rank) for rank in config.ranks}
        self.update = self._update()
        self.data_s = time.monotonic() - self.began

    def _factors(self, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A (M, r, d_in), B (M, d_out, r) and their gradients, all views of the bank."""
        leaves = [self.bank.views[f"{factor}.{rank}"] for factor in ("A", "B")]
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        return leaves[0].detach(), leaves[1].detach(), gradients[0], gradients[1]

    def _update(self) -> torch.optim.Optimizer:
        """One fused update of all factors.

        It works element by element, so a replica that diverges leaves the others alone; and the bank's rows are
        multiples of 16 floats, so none of them falls out of the vectors into the slightly different scalar tail.
        """
        flat = self.bank.flat
        flat.grad = self.bank.grad
        if self.config.optimizer == "sgd":
            return torch.optim.SGD([flat], self.config.lr, self.config.momentum, nesterov=True, fused=True)
        return torch.optim.Adam([flat], self.config.lr, fused=True)

    def training(self, epoch: int) -> Iterator[None]:
        for step in range(epoch * self.config.steps_per_epoch, (epoch + 1) * self.config.steps_per_epoch):
            self.step(step)
            yield
        self.steps += self.config.steps_per_epoch
        finite = per_replica(torch.all, self.bank.flat.isfinite())[: len(self.own)].view(len(self.seeds), -1)
        self.mark_diverged(finite.all(1), epoch=epoch)

    def step(self, step: int) -> None:
        """One step of the optimizer on all factors; ``step`` counts from 0."""
        for rank in self.config.ranks:
            self.backward(rank)
        rate = self.config.lr * (1 + math.cos(math.pi * step / self.config.steps)) / 2
        self.update.param_groups[0]["lr"] = rate
        self.update.step()

    def backward(self, rank: int) -> None:
        """Fill the gradients of a rank's factors: dA = B^T R, dB = R A^T with R = -s (D - s B A) G."""
        a, b, grad_a, grad_b = self.factors[rank]
        scale = self.config.scale(rank)
        residual = torch.baddbmm(self.target, b, torch.bmm(a, self.gram), beta=-scale, alpha=scale**2)
        # copies: the BLAS is slower into rows of the bank than into a tensor of its own
        grad_a.copy_(torch.bmm(b.mT, residual))
        grad_b.copy_(torch.bmm(residual, a.mT))

    def learned(self, rank: int) -> Tensor:
        """Learned updates s B A of a rank, fp64 on the CPU, (M, d_out, d_in)."""
        a, b = (factor.double().cpu() for factor in self.factors[rank][:2])
        return self.config.scale(rank) * torch.bmm(b, a)

    def measure(self, epoch: int) -> None:
        """Rows ``error`` and ``gap`` of every teacher and rank, and once, in the first epoch, ``bound``.

        The gap is the error beyond the bound as a fraction of the bound; of ||W* - W0||_F^2 where the bound is 0, which
        is where the rank reaches the teacher's. ``gap_of_optimum``, after the last epoch, is the gap of the
        update of smallest training loss, in closed form: what a finite number of inputs leaves to any training.
        """
        optima = loss_optima(self.updates, self.grams, self.config.ranks) if epoch == self.config.epochs - 1 else {}
        for rank in self.config.ranks:
            errors = per_replica(torch.sum, (self.updates - self.learned(rank)).square())
            for row, (seed, teacher) in enumerate(self.own):
                k = self.seeds.index(seed)
                if not bool(self.finite[k]):
                    continue
                error, bound = float(errors[row]), float(self.bounds[rank][row])
                values = {"error": error, "gap": (error - bound) / (bound or self.config.d_out)}
                if epoch == 0:
                    values["bound"] = bound
                if optima:
                    excess = (self.updates[row] - optima[rank][row]).square().sum() - bound
                    values["gap_of_optimum"] = float(excess) / (bound or self.config.d_out)
                for name, value in values.items():
                    where = f"{name}/{teacher}/r{rank}"
                    self.log(k, "eval", where, value, epoch=epoch, step=int(self.steps[k]))

    def finals(self, k: int, epoch: int) -> dict[str, float]:
        return gap_finals(self.rows[self.seeds[k]], epoch)

    def _bounds(self, rank: int) -> Tensor:
        """Eckart-Young bound of every row, (M,); 0, not rounding noise, from the rank of the teacher on."""
        reached = torch.tensor([rank >= update_rank(self.config, teacher) for _, teacher in self.own])
        return torch.where(reached, 0.0, rank_r_residual(self.updates[: len(self.own)], rank))

    def state(self, k: int) -> dict[str, Tensor]:
        rows = self._rows(k)
        factors = {name: view.detach()[rows].cpu().clone() for name, view in self.bank.views.items()}
        state = self.update.state[self.bank.flat]
        return factors | {f"optimizer.{name}": state[name][rows].cpu().clone() for name in self._moments()}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        rows = self._rows(k)
        for name, view in self.bank.views.items():
            view.detach()[rows] = state[name].to(self.device)
        own = self.update.state[self.bank.flat]
        for name in self._moments():
            own.setdefault(name, torch.zeros_like(self.bank.flat))[rows] = state[f"optimizer.{name}"].to(self.device)
        own["step"] = state["steps"][0].float().to(self.device)

    def _rows(self, k: int) -> slice:
        teachers = len(self.config.teachers)
        return slice(k * teachers, (k + 1) * teachers)

    def _moments(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.config.optimizer == "sgd" else ("exp_avg", "exp_avg_sq")


start, train = TheoryRun, TheoryRun.train
