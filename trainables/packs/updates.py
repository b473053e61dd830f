"""What a step does to the parameters of a pack: who trains, at which rate, and by which update."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.configs import HybridConfig
from trainables.packs.loss_scale import LossScale
from trainables.packs.optim import BankOptimizer, learning_rates
from trainables.packs.parity import GROUPS, DynamicParity, match_update
from trainables.packs.tuned import TunedReplicas, base_rates, weight_decays

PARITY = "parity."
"""Prefix of what ``lr_parity=dynamic`` remembers, in a checkpoint."""


class Updates(BankOptimizer):
    """AdamW under a cosine per epoch, with groups that are frozen for a while, ``lr_parity`` and, in fp16, loss scales.

    Attributes:
        base: initial learning rates (K, G).
        both: whether the pack has LoRA and norms.
        scale: None but in fp16.

    Source: METHODS.md "Hybrid LoRA + norm tuning".
    """

    def __init__(self, config: HybridConfig, pack: TunedReplicas) -> None:
        bank = pack.bank
        super().__init__(bank, "adamw", weight_decays(config, pack))
        self.config, self.epoch = config, 0
        self.length = config.cosine_epochs or config.epochs
        self.base = torch.tensor(base_rates(config, bank.groups)).expand(bank.replicas, -1)
        self.both = set(GROUPS) <= set(bank.groups)
        dynamic = self.both and config.lr_parity == "dynamic"
        self.parity = DynamicParity(bank, self.base, config.eta_min, self.length) if dynamic else None
        self.scale = LossScale(bank) if pack.precision == "fp16" else None

    def begin_epoch(self, epoch: int) -> None:
        """Once before the first step of an epoch, which counts from 0."""
        self.epoch = epoch
        if self.parity:
            self.parity.begin_epoch(epoch)
        if self.scale:
            self.scale.begin_epoch()

    def trained(self, steps: Tensor, alive: Tensor) -> Tensor:
        """Groups that get an update at the step that comes: none that is frozen or has the rate 0.

        The gradients of groups that no replica trains are not computed; the head's always is.

        Args:
            steps: steps that each replica has done, int64 (K,).
            alive: replicas that still train, bool (K,).

        Returns:
            bool (K, G).
        """
        groups = self.bank.groups
        thawed = torch.tensor([[not self.config.frozen(group, step) for group in groups] for step in steps.tolist()])
        trained = thawed & (self.base > 0) & alive.unsqueeze(1)
        self.bank.learn({"head", *(group for g, group in enumerate(groups) if bool(trained[:, g].any()))})
        return trained

    def scaled(self, losses: Tensor) -> Tensor:
        """What to differentiate for the losses of the replicas of the current pass, (rows,)."""
        return self.scale.scaled(losses) if self.scale else losses

    def unscale(self) -> tuple[Tensor, Tensor]:
        """Undo ``scaled`` in the bank's gradient.

        Returns:
            Replicas that have not diverged, and those that take the step, bool (K,) each, on the CPU. In fp16 a
            gradient that is not finite costs a step, and is divergence only where it leaves no loss scale.
        """
        if self.scale is None:
            fine = self.bank.finite_gradients().cpu()
            return fine, fine
        fine = self.scale.unscale()
        return self.scale.usable, fine

    def take(self, steps: Tensor, trained: Tensor, stepping: Tensor) -> Tensor:
        """One step from the bank's gradient.

        Args:
            steps: steps that each replica has done, int64 (K,).
            trained: groups that train, bool (K, G).
            stepping: replicas that take this step, bool (K,).

        Returns:
            The learning rates taken, (K, G).
        """
        bank, rates = self.bank, self._rates(steps, trained)
        matched = self.both and self.config.lr_parity == "update_norm"
        before = bank.flat.clone() if matched else None
        self.step(rates, trained & stepping.unsqueeze(1))
        return rates if before is None else match_update(bank, before, rates, "lora", "norm", self.config.eta_min)

    def _rates(self, steps: Tensor, trained: Tensor) -> Tensor:
        if self.parity is None:
            return learning_rates(self.base, self.epoch, self.length, steps, self.config.eta_min)
        both = trained[:, [self.bank.groups.index(group) for group in GROUPS]].all(1)
        for k in torch.nonzero(trained.any(1)).flatten().tolist():
            self.parity.step(k, int(steps[k]), bool(both[k]))
        return self.parity.rates.float()

    def state(self, k: int) -> dict[str, Tensor]:
        parity = self.parity.state(k) if self.parity else {}
        return super().state(k) | {f"{PARITY}{name}": value for name, value in parity.items()}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        super().load(k, state)
        if self.parity:
            self.parity.load(k, {name: state[f"{PARITY}{name}"] for name in ("rates", "balance")})
