"""Optimizers over a bank: one update for a whole pack, learning rates and update masks per replica and group."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trainables.adapters import Bank


class BankOptimizer:
    """SGD with momentum, or AdamW, over the flat parameters (K, P) of a bank.

    Equal to ``torch.optim.SGD(momentum=..., weight_decay=...)`` and ``torch.optim.AdamW`` of every replica and group
    by itself. A group that is masked out at a step is untouched: no weight decay, no momentum, no step count, as a
    parameter whose gradient is None in torch.

    Args:
        decay: weight decay per group, in the order of ``bank.groups``.
    """

    def __init__(
        self,
        bank: Bank,
        kind: Literal["sgd", "adamw"],
        decay: Sequence[float],
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.bank, self.kind, self.momentum, self.betas, self.eps = bank, kind, momentum, betas, eps
        self.decay = torch.tensor(decay, device=bank.flat.device)[bank.group_of]  # (P,)
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
        bank = self.bank
        self.steps += update.cpu()
        rate = lr.to(bank.flat)[:, bank.group_of]  # (K, P)
        mask = update.to(bank.flat.device)[:, bank.group_of]
        if self.kind == "sgd":
            gradient = bank.grad + self.decay * bank.flat
            first = self.momentum * self.first + gradient
            new = bank.flat - rate * first
        else:
            assert self.second is not None
            beta1, beta2 = self.betas
            first_bias, second_bias = (self._bias_correction(beta) for beta in self.betas)
            first = torch.lerp(self.first, bank.grad, 1 - beta1)
            second = beta2 * self.second + (1 - beta2) * bank.grad.square()
            denominator = second.sqrt() / second_bias.sqrt() + self.eps
            new = bank.flat * (1 - rate * self.decay) - rate / first_bias * first / denominator
            self.second.copy_(torch.where(mask, second, self.second))
        self.first.copy_(torch.where(mask, first, self.first))
        bank.flat.copy_(torch.where(mask, new, bank.flat))

    def _bias_correction(self, beta: float) -> Tensor:
        """1 - beta^steps of every column, (K, P); 1 where a group has never moved."""
        correction = torch.where(self.steps > 0, 1 - beta**self.steps, 1.0)
        return correction.to(self.bank.flat)[:, self.bank.group_of]


def learning_rates(
    base: Tensor, epoch: int, epochs: int, step: Tensor, eta_min: float = 0.0, warmup_steps: int = 0
) -> Tensor:
    """Cosine per epoch to a floor, after a linear warm-up.

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
    return cosine * torch.clamp((step.to(base) + 1) / warmup_steps, max=1.0).unsqueeze(1)
