"""Consolidation at a task boundary: slow += alpha * fast, then reset fast."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.configs import NestedConfig
from trainables.replicas import Pack
from trainables.seeding import generator


@torch.no_grad()
def consolidate(pack: Pack, alpha: Tensor, config: NestedConfig, task: int, seeds: Sequence[int]) -> bool:
    """Move ``alpha`` of every fast adapter into its slow neighbour and reset the fast one.

    Args:
        alpha: per replica (K,), in [0, 1].
        config: ``consolidation_space`` and ``fast_reset``.
        task: position in the init stream for ``fast_reset=reinit``.

    Returns:
        Whether any slow parameter changed.

    Source: METHODS.md, "Consolidation"; seeds/001 section 3.
    """
    bank, alpha = pack.bank, alpha.to(pack.device)
    slow_names = [name for name, parameter in bank.parameters.items() if parameter.group == "slow"]
    old = torch.cat([bank.value(name).flatten() for name in slow_names])
    if config.consolidation_space == "parameters":
        for name in slow_names:
            bank.value(name).add_(alpha.view(-1, 1, 1) * bank.value(name.replace(".slow.", ".fast.")))
    elif bool((alpha != 0).any()):
        for path in pack.adapters:
            slow, fast = ((bank.value(f"{path}.{p}.down"), bank.value(f"{path}.{p}.up")) for p in ("slow", "fast"))
            down, up = add_functions(*slow, *fast, alpha)
            moved = (alpha != 0).view(-1, 1, 1)
            slow[0].copy_(torch.where(moved, down, slow[0]))
            slow[1].copy_(torch.where(moved, up, slow[1]))
    changed = not torch.equal(old, torch.cat([bank.value(name).flatten() for name in slow_names]))
    fast_names = [name for name, parameter in bank.parameters.items() if parameter.group == "fast"]
    for k, seed in enumerate(seeds):
        if config.fast_reset == "reinit":
            bank.reset(k, generator(seed, "init", task + 1), fast_names)
        else:
            for name in fast_names:
                bank.value(name)[k] = 0.0
    return changed


def add_functions(
    slow_down: Tensor, slow_up: Tensor, fast_down: Tensor, fast_up: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """Best rank-r factors of slow_down @ slow_up + alpha * fast_down @ fast_up.

    Args:
        slow_down, fast_down: (K, d_in, r).
        slow_up, fast_up: (K, r, d_out).
        alpha: (K,).

    Returns:
        down (K, d_in, r) and up (K, r, d_out), singular values split evenly between them.

    Source: Eckart-Young; QR of the stacked factors keeps the SVD at 2r x 2r.
    """
    rank = slow_down.shape[-1]
    q_in, r_in = torch.linalg.qr(torch.cat([slow_down, fast_down], dim=2))  # (K, d_in, 2r)
    stacked_up = torch.cat([slow_up, alpha.view(-1, 1, 1) * fast_up], dim=1)
    q_out, r_out = torch.linalg.qr(stacked_up.transpose(1, 2))  # (K, d_out, 2r)
    u, s, vh = torch.linalg.svd(r_in @ r_out.transpose(1, 2))
    root = s[:, :rank].sqrt()
    down = q_in @ (u[:, :, :rank] * root.unsqueeze(1))
    up = (root.unsqueeze(2) * vh[:, :rank]) @ q_out.transpose(1, 2)
    return down, up
