"""The loss scale of training in fp16, one per replica."""

import torch
from torch import Tensor

from trainables.packs.bank import Bank

INITIAL, LEAST = 65_536.0, 1.0
GROWTH_INTERVAL = 2_000


class LossScale:
    """A factor on every replica's loss, so that its small gradients do not vanish in half precision.

    It is halved, and the step left out, where a gradient is not finite, and doubled after ``GROWTH_INTERVAL`` good
    steps in a row. As in the notes it begins anew in every epoch, so that a checkpoint holds nothing of it.

    Attributes:
        factors: fp32 (K,), on the bank's device.

    Source: ``torch.amp.GradScaler``.
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.factors = torch.full((self.bank.replicas,), INITIAL, device=self.bank.flat.device)
        self.good = torch.zeros_like(self.factors)

    def scaled(self, losses: Tensor) -> Tensor:
        """Losses of the replicas of the current pass, (rows,), times their factors."""
        return losses * self.factors[self.bank.rows]

    def unscale(self) -> Tensor:
        """Take the factors out of the bank's gradient and set those for the next step.

        Returns:
            Replicas that may take this step because their gradient is finite, bool (K,), on the CPU.
        """
        self.bank.grad.div_(self.factors.unsqueeze(1))
        fine = self.bank.finite_gradients()
        self.good = torch.where(fine, self.good + 1, 0.0)
        grown = self.good == GROWTH_INTERVAL
        self.factors = torch.where(fine, torch.where(grown, 2 * self.factors, self.factors), self.factors / 2)
        self.good = torch.where(grown, 0.0, self.good)
        return fine.cpu()

    @property
    def usable(self) -> Tensor:
        """Replicas whose factor has not fallen below ``LEAST``, bool (K,), on the CPU."""
        return (self.factors >= LEAST).cpu()
