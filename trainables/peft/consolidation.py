"""Consolidation at a task boundary: fast goes into slow, then fast is reset."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.configs import FastSlowConfig
from trainables.packs.replicas import AdapterPack
from trainables.packs.seeding import generator


@torch.no_grad()
def consolidate(
    pack: AdapterPack, config: FastSlowConfig, task: int, seeds: Sequence[int], replicas: Sequence[int]
) -> tuple[bool, list[int]]:
    """Move ``consolidation_alpha`` of every fast adapter into its slow neighbour and reset the fast one.

    Args:
        config: ``consolidation_method``, ``consolidation_space`` and ``fast_reset``.
        task: position in the init stream for ``fast_reset=reinit``.
        seeds: of all K replicas.
        replicas: positions in the pack of those that still train; the others are left alone.

    Returns:
        Whether any slow parameter changed, and the replicas whose sum has no singular value decomposition any more.

    Source: METHODS.md, "Consolidation"; seeds/001 section 3.
    """
    bank = pack.bank
    before, lost = bank.flat.clone(), []
    for k in replicas:
        if config.consolidation_space == "parameters":
            _add_parameters(pack, config, k)
        elif config.consolidation_alpha:
            try:
                _add_functions(pack, config, k)
            except torch.linalg.LinAlgError:
                lost.append(k)
    changed = not torch.equal(before, bank.flat)
    for k in replicas:
        fast = [name for name in pack.own(k) if ".fast." in name]
        if config.fast_reset == "reinit":
            bank.reset(k, generator(seeds[k], "init", task + 1), fast)
        else:
            for name in fast:
                bank.value(name)[k] = 0.0
    return changed, lost


def _add_parameters(pack: AdapterPack, config: FastSlowConfig, k: int) -> None:
    bank, alpha = pack.bank, config.consolidation_alpha
    for name in pack.own(k):
        if ".slow." not in name:
            continue
        slow, fast = bank.value(name)[k], bank.value(name.replace(".slow.", ".fast."))[k]
        if config.consolidation_method == "sign_matched":
            fast = torch.where(slow * fast >= 0, fast, 0.0)
        elif config.consolidation_method == "ema":
            slow.mul_(1 - alpha)
        slow.add_(alpha * fast)


def _add_functions(pack: AdapterPack, config: FastSlowConfig, k: int) -> None:
    alpha = config.consolidation_alpha
    for path in pack.adapters:
        slow, fast = (
            [pack.bank.value(f"{path}.{part}.{name}")[k] for name in ("down", "up")] for part in ("slow", "fast")
        )
        kept = 1 - alpha if config.consolidation_method == "ema" else 1.0
        for into, new in zip(slow, add_functions(slow[0], kept * slow[1], fast[0], alpha * fast[1]), strict=True):
            into.copy_(new)


def add_functions(slow_down: Tensor, slow_up: Tensor, fast_down: Tensor, fast_up: Tensor) -> tuple[Tensor, Tensor]:
    """Best rank-r factors of slow_down @ slow_up + fast_down @ fast_up.

    Args:
        slow_down, fast_down: (d_in, r).
        slow_up, fast_up: (r, d_out).

    Returns:
        down (d_in, r) and up (r, d_out), singular values split evenly between them.

    Raises:
        torch.linalg.LinAlgError: a factor is not finite.

    Source: Eckart-Young; QR of the stacked factors keeps the SVD at 2r x 2r.
    """
    rank = slow_down.shape[-1]
    q_in, r_in = torch.linalg.qr(torch.cat([slow_down, fast_down], dim=1))  # (d_in, 2r)
    q_out, r_out = torch.linalg.qr(torch.cat([slow_up, fast_up], dim=0).t())  # (d_out, 2r)
    u, s, vh = torch.linalg.svd(r_in @ r_out.t())
    root = s[:rank].sqrt()
    return q_in @ (u[:, :rank] * root), (root.unsqueeze(1) * vh[:rank]) @ q_out.t()
