"""Optimizers over a bank: one update for a whole pack, learning rates and update masks per replica and group."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from trainables.packs.bank import Bank

BETAS, EPS = (0.9, 0.999), 1e-8
CHUNK = 65_536
"""Columns that are updated together on a CPU: what an update reads and writes of them stays in the cache."""


class BankOptimizer:
    """SGD with momentum, or AdamW, over the flat parameters (K, P) of a bank.

    Equal to ``torch.optim.SGD(momentum=..., weight_decay=...)`` and ``torch.optim.AdamW`` of every replica and group
    by itself. A group that is masked out at a step is untouched: no weight decay, no momentum, no step count, as a
    parameter whose gradient is None in torch.

    Args:
        decay: weight decay per group, in the order of ``bank.groups``, or per column, fp32 (P,).
    """

    def __init__(
        self, bank: Bank, kind: Literal["sgd", "adamw"], decay: Sequence[float] | Tensor, momentum: float = 0.9
    ) -> None:
        self.bank, self.kind, self.momentum = bank, kind, momentum
        if not isinstance(decay, Tensor):
            decay = torch.tensor(decay)[bank.group_of.cpu()]
        self.decay = decay.to(bank.flat)  # (P,)
        self.columns = [columns_of(bank, group) for group in bank.groups]
        self.first = torch.zeros_like(bank.flat)
        self.second = torch.zeros_like(bank.flat) if kind == "adamw" else None
        self.steps = torch.zeros(bank.replicas, len(bank.groups), dtype=torch.float64)  # 1 - 0.999**1 needs the digits

    @torch.no_grad()
    def step(self, lr: Tensor, update: Tensor) -> None:
        """Update the bank from its gradients.

        Args:
            lr: learning rates (K, G).
            update: bool (K, G); False leaves that group of that replica bit-equal.
        """
        self.steps += update.cpu()
        lr = lr.to(self.bank.flat)
        corrections = [self._bias_correction(beta).to(self.bank.flat) for beta in BETAS]
        for g, columns in enumerate(self.columns):
            own = update[:, g]
            if not bool(own.any()):
                continue
            mask = None if bool(own.all()) else own.to(self.bank.flat.device).unsqueeze(1)
            scalars = [value[:, g : g + 1] for value in (lr, *corrections)]  # (K, 1) each
            width = CHUNK if self.bank.flat.device.type == "cpu" else columns.stop - columns.start
            for start in range(columns.start, columns.stop, width):
                self._update(slice(start, min(start + width, columns.stop)), mask, *scalars)

    def _update(self, at: slice, mask: Tensor | None, rate: Tensor, first_bias: Tensor, second_bias: Tensor) -> None:
        """Update some columns of one group; ``mask`` (K, 1) where not all replicas take part, the others (K, 1)."""
        flat, gradient, decay = self.bank.flat[:, at], self.bank.grad[:, at], self.decay[at]
        if self.kind == "sgd":
            first = self.first[:, at].mul(self.momentum).add_(decay * flat + gradient)
            new = flat - rate * first
        else:
            assert self.second is not None
            beta1, beta2 = BETAS
            first = torch.lerp(self.first[:, at], gradient, 1 - beta1)
            second = self.second[:, at].mul(beta2).add_(gradient.square().mul_(1 - beta2))
            denominator = second.sqrt().div_(second_bias.sqrt()).add_(EPS)
            new = (flat * (1 - rate * decay)).sub_((rate / first_bias * first).div_(denominator))
            self._keep(self.second[:, at], second, mask)
        self._keep(self.first[:, at], first, mask)
        self._keep(flat, new, mask)

    @staticmethod
    def _keep(into: Tensor, new: Tensor, mask: Tensor | None) -> None:
        into.copy_(new if mask is None else torch.where(mask, new, into))

    def state(self, k: int) -> dict[str, Tensor]:
        """Replica k's momenta (P,) and step counts (G,) on the CPU."""
        moments = {"first": self.first} | ({} if self.second is None else {"second": self.second})
        return {name: value[k].cpu().clone() for name, value in (moments | {"steps": self.steps}).items()}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Undo ``state``."""
        self.first[k], self.steps[k] = state["first"].to(self.first), state["steps"]
        if self.second is not None:
            self.second[k] = state["second"].to(self.second)

    def _bias_correction(self, beta: float) -> Tensor:
        """1 - beta^steps of every group, float64 (K, G); 1 where a group has never moved."""
        return torch.where(self.steps > 0, 1 - beta**self.steps, 1.0)


def columns_of(bank: Bank, group: str) -> slice:
    """The columns of a group; a bank that lists its parameters group by group has each group in one piece.

    Raises:
        ValueError: another group's parameters lie between.
    """
    columns = torch.nonzero(bank.group_of == bank.groups.index(group)).squeeze(1)
    first, last = int(columns[0]), int(columns[-1])
    if last - first + 1 != len(columns):
        raise ValueError(f"the parameters of group {group!r} are not listed one after the other")
    return slice(first, last + 1)


def decay_columns(bank: Bank, weight_decay: float, names: Iterable[str]) -> Tensor:
    """Weight decay of every column (P,): ``weight_decay`` for the parameters ``names``, else 0."""
    decay = torch.zeros(bank.flat.shape[1], device=bank.flat.device)
    for name in names:
        decay[bank.columns(name)] = weight_decay
    return decay


def learning_rates(
    base: Tensor, epoch: int, epochs: int, step: Tensor, eta_min: float = 0.0, warmup_steps: int = 0
) -> Tensor:
    """Cosine per epoch to a floor, after a linear warm-up that starts at 0.

    Args:
        base: initial learning rates (K, G). A rate below ``eta_min`` (such as 0: frozen) stays as it is.
        epoch: 0 <= epoch < epochs; the floor would be reached at ``epochs``.
        step: steps that each replica has done since the start of the schedule, (K,).

    Source: ``torch.optim.lr_scheduler.CosineAnnealingLR`` (closed form).
    """
    floor = torch.clamp(base, max=eta_min)
    cosine = floor + (base - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2
    if not warmup_steps:
        return cosine
    return cosine * torch.clamp(step.to(base) / warmup_steps, max=1.0).unsqueeze(1)


def linear_rates(base: Tensor, step: Tensor, steps: int, warmup_steps: int) -> Tensor:
    """Linear rise from 0 over the first ``warmup_steps`` steps, then linear fall that would reach 0 after the last.

    Args:
        base: highest learning rates (K, G).
        step: steps that each replica has done, int64 (K,), 0 <= step < steps.
        steps: steps of the whole run.

    Returns:
        Rates of the next step (K, G); the first is 0 where there is a warm-up.

    Source: ``transformers.get_linear_schedule_with_warmup``.
    """
    rise, fall = step / max(warmup_steps, 1), (steps - step) / max(steps - warmup_steps, 1)
    return base * torch.where(step < warmup_steps, rise, fall).to(base).unsqueeze(1)
