"""Learning rates of LoRA and of the norms brought near each other (``lr_parity``): the notes' rule, and ours."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from trainables.packs.bank import Bank, per_replica
from trainables.packs.optim import columns_of
from trainables.peft.lora import block_number

GROUPS = ("lora", "norm")
PERIOD, WAITS, REPEATS = 20, 2, 3
"""Steps between checks, checks without consequence after both groups have begun to train, changes in a row."""
DECAY = 0.9
TOLERATED = (2 / 3, 3 / 2)
FACTORS = (0.5, 2.0)
RATES = (1e-6, 1e-2)
LEAST_NORM = 1e-3


@dataclass
class Balance:
    """What the notes' rule remembers of one replica.

    Attributes:
        lora, norm: averages of the summed gradient norms; NaN before the first.
        together: whether both groups trained at the last check.
        waits: checks that are still to pass without a consequence.
        repeated: how often in a row the same group's rate was changed; below 0 that of the norms.
    """

    lora: float = math.nan
    norm: float = math.nan
    together: float = 0.0
    waits: float = 0.0
    repeated: float = 0.0

    def observe(self, lora: float, norm: float) -> None:
        """Take the summed gradient norms of a step into the averages; sums that are not finite are passed over."""
        if math.isfinite(lora + norm):
            first = math.isnan(self.lora)
            self.lora = lora if first else DECAY * self.lora + (1 - DECAY) * lora
            self.norm = norm if first else DECAY * self.norm + (1 - DECAY) * norm

    def check(self, together: bool) -> tuple[str, float] | None:
        """What a check changes: a group and the factor on its rate."""
        if not together:
            self.together = 0.0
            return None
        if not self.together:
            self.lora, self.norm, self.together, self.waits, self.repeated = math.nan, math.nan, 1.0, WAITS, 0.0
            return None
        if self.waits:
            self.waits -= 1
            return None
        if not min(self.lora, self.norm) >= LEAST_NORM:
            return None
        ratio = self.lora / self.norm
        if TOLERATED[0] <= ratio <= TOLERATED[1]:
            return None
        group, factor, sign = ("lora", 1 / ratio, 1.0) if ratio > 1 else ("norm", ratio, -1.0)
        if self.repeated == sign * REPEATS:
            return None
        self.repeated = self.repeated + sign if self.repeated * sign > 0 else sign
        return group, min(max(factor, FACTORS[0]), FACTORS[1])


class DynamicParity:
    """Learning rates of a pack under a cosine per epoch and the notes' ``lr_parity``.

    Every ``PERIOD`` steps the averages of the gradients' norms, summed over layers, of LoRA and of the norms are
    compared; the group whose gradients are larger gets a lower rate. The cosine goes on from the changed rate.

    Args:
        base: initial learning rates (K, G).
        eta_min: floor of the cosine; a base rate below it stays as it is.
        epochs: T, length of the cosine.

    Attributes:
        rates: learning rates as they are now, float64 (K, G).

    Source: METHODS.md "Hybrid LoRA + norm tuning"; the cosine is the recursion of
    ``torch.optim.lr_scheduler.CosineAnnealingLR``.
    """

    def __init__(self, bank: Bank, base: Tensor, eta_min: float, epochs: int) -> None:
        self.bank, self.epochs = bank, epochs
        self.rates = base.double().clone()
        self.floor = self.rates.clamp(max=eta_min)
        self.layers = {group: layers(bank, group) for group in GROUPS}
        self.balances = [Balance() for _ in range(bank.replicas)]

    def begin_epoch(self, epoch: int) -> None:
        """Take the cosine's step from the epoch before to this one; epochs count from 0."""
        if epoch:
            now, before = (1 + math.cos(math.pi * at / self.epochs) for at in (epoch, epoch - 1))
            self.rates = self.floor + (self.rates - self.floor) * now / before

    def step(self, k: int, step: int, together: bool) -> None:
        """Observe replica k's gradients, and change its rates where a check is due.

        Args:
            step: steps that the replica has done.
            together: whether LoRA and the norms both train at this one.
        """
        balance, gradient = self.balances[k], self.bank.grad[k]
        balance.observe(*(self._summed(gradient, group) for group in GROUPS))
        if (step + 1) % PERIOD:
            return
        change = balance.check(together)
        if change is not None:
            group, factor = change
            self.rates[k, self.bank.groups.index(group)] *= factor
            self.rates[k].clamp_(*RATES)

    def _summed(self, gradient: Tensor, group: str) -> float:
        norms = [torch.linalg.vector_norm(gradient[columns]) for columns in self.layers[group]]
        return math.fsum(torch.stack(norms).tolist())

    def state(self, k: int) -> dict[str, Tensor]:
        """Replica k's rates (G,) and what the rule remembers of it, on the CPU."""
        return {"rates": self.rates[k].clone(), "balance": torch.tensor(astuple(self.balances[k]), dtype=torch.float64)}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Undo ``state``."""
        self.rates[k] = state["rates"]
        self.balances[k] = Balance(*state["balance"].tolist())


def layers(bank: Bank, group: str) -> list[slice]:
    """The columns of a group block by block; a parameter outside of the blocks is a layer of its own."""
    found: dict[int | str, slice] = {}
    for name, parameter in bank.parameters.items():
        if parameter.group == group:
            number, own = block_number(name), bank.columns(name)
            layer = name if number is None else number
            found[layer] = slice(found.get(layer, own).start, own.stop)  # a block's parameters lie side by side
    return list(found.values())


@torch.no_grad()
def match_update(bank: Bank, before: Tensor, rates: Tensor, group: str, reference: str, eta_min: float) -> Tensor:
    """Rescale a group's update so that per parameter it is as large as the reference group's (``update_norm``).

    An update is proportional to its learning rate, so scaling it is having taken another rate: lr times
    rms(update of reference) / rms(update of group), but never a rate under ``eta_min``. Where one of the two did not
    move there is nothing to match.

    Args:
        before: the parameters before the step (K, P); the bank holds them after it.
        rates: learning rates of the step (K, G).

    Returns:
        The rates that were really taken, (K, G).
    """
    own, other = bank.groups.index(group), bank.groups.index(reference)
    rms = []
    for name in (group, reference):
        columns = columns_of(bank, name)
        update = bank.flat[:, columns] - before[:, columns]
        rms.append(per_replica(torch.linalg.vector_norm, update).cpu() / math.sqrt(bank.count([name])))
    moved = (rms[0] > 0) & (rms[1] > 0) & (rates[:, own] > 0) & (rates[:, other] > 0)
    floor = torch.clamp(rates[:, own], max=eta_min)
    rate = torch.where(moved, torch.maximum(rates[:, own] * rms[1] / rms[0], floor), rates[:, own])
    factor = torch.where(moved, rate / rates[:, own], 1.0).to(bank.flat).unsqueeze(1)
    columns = columns_of(bank, group)
    scaled = before[:, columns] + factor * (bank.flat[:, columns] - before[:, columns])
    bank.flat[:, columns] = torch.where(moved.to(bank.flat.device).unsqueeze(1), scaled, bank.flat[:, columns])
    rates = rates.clone()
    rates[:, own] = rate
    return rates
