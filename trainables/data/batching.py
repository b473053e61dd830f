"""Batches of examples of unequal length, bucketed so that little of a batch is padding.

Replicas that train as a pack draw their batches from generators of their own. All of them have ``ceil(N / batch_size)``
batches an epoch, but at one step their batches may differ in length L, and in size where one of them is at its smaller
batch: whoever stacks them pads to the longest.
"""

import torch
from torch import Tensor

BATCHES_PER_POOL = 50


def bucketed_batches(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Every example once, in shuffled batches of similar length.

    The shuffled examples are cut into pools of ``BATCHES_PER_POOL`` batches; a pool is sorted by length and cut into
    batches, whose order is then shuffled over all pools.

    Args:
        lengths: tokens of each example, (N,).
        batch_size: at least 1; one batch is smaller where it does not divide N.
        generator: the only source of randomness.

    Returns:
        ceil(N / batch_size) index tensors, int64 (<= batch_size,).

    Source: length-grouped sampling of the transformers library.
    """
    batches: list[Tensor] = []
    for pool in torch.randperm(len(lengths), generator=generator).split(BATCHES_PER_POOL * batch_size):
        by_length = pool[lengths[pool].argsort(stable=True, descending=True)]
        batches.extend(by_length.split(batch_size))
    return [batches[index] for index in torch.randperm(len(batches), generator=generator)]


def pad(tokens: Tensor, offsets: Tensor, indices: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
    """Examples side by side, padded on the right to the longest of them.

    Args:
        tokens: ids of all examples one after the other, (total,).
        offsets: where each begins and the last one ends, int64 (N + 1,).
        indices: which examples, int64 (B,).

    Returns:
        ids, int64 (B, L), and mask, bool (B, L), True on tokens and False on padding.
    """
    starts = offsets[indices]
    lengths = offsets[indices + 1] - starts
    columns = torch.arange(int(lengths.max()), device=tokens.device)
    mask = columns < lengths[:, None]
    positions = torch.where(mask, starts[:, None] + columns, 0)
    return torch.where(mask, tokens[positions].long(), pad_id), mask
