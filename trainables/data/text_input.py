"""From tokenised texts to batches of a pack, bucketed so that little of them is padding, and the logits of many texts.

Replicas that train as a pack draw their batches from generators of their own. All of them have ``ceil(N / batch_size)``
batches an epoch, but at one step their batches may differ in length L, and in size where one of them is at its smaller
batch: whoever stacks them pads to the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.models.text import Tokens
from trainables.packs.replicas import Replicas

BATCHES_PER_POOL = 50


@dataclass
class TextInput:
    """Tokenised texts one after the other.

    Attributes:
        tokens: ids of all N texts, (total,), on the CPU.
        offsets: where each begins and the last one ends, int64 (N + 1,).
        device: where batches go.
    """

    tokens: Tensor
    offsets: Tensor
    pad_id: int
    device: torch.device

    @property
    def lengths(self) -> Tensor:
        """Tokens of every text, (N,)."""
        return self.offsets.diff()

    def batch(self, indices: Sequence[Tensor]) -> tuple[Tokens, list[tuple[int, int]]]:
        """The batches of the replicas of one pass, padded to the largest of them.

        Args:
            indices: which texts, one int64 (B_k,) per replica.

        Returns:
            Tokens (rows * B, L) on the device, B and L the largest of B_k and L_k, and (B_k, L_k) of every replica.
        """
        own = [pad(self.tokens, self.offsets, rows, self.pad_id) for rows in indices]
        shapes = [(ids.shape[0], ids.shape[1]) for ids, _ in own]
        if len(own) == 1:
            ids, mask = own[0]
        else:
            size = len(own), max(b for b, _ in shapes), max(length for _, length in shapes)
            ids, mask = torch.full(size, self.pad_id), torch.zeros(size, dtype=torch.bool)
            mask[:, :, 0] = True  # a text of padding alone would have nothing to attend to
            for k, (b, length) in enumerate(shapes):
                ids[k, :b, :length], mask[k, :b, :length] = own[k]
            ids, mask = ids.flatten(0, 1), mask.flatten(0, 1)
        return Tokens(ids.to(self.device), mask.to(self.device)), shapes


@torch.inference_mode()
def text_logits(pack: Replicas, source: TextInput, indices: Sequence[Tensor], batch_size: int) -> list[Tensor]:
    """Logits fp32 (n, C) on the CPU, one per replica for its ``indices`` (n,), in their order.

    Texts of similar length share a batch, so that little of it is padding.
    """
    lengths = source.lengths
    orders = [lengths[own].argsort(stable=True, descending=True) for own in indices]
    batches = [own[order].split(batch_size) for own, order in zip(indices, orders, strict=True)]
    found: list[list[Tensor]] = [[] for _ in indices]
    for parts in zip(*batches, strict=True):
        for rows in pack.passes():
            tokens, shapes = source.batch(parts[rows])
            logits = pack.logits(pack.features(tokens), slice(None)).cpu()
            for k, (b, _) in enumerate(shapes):
                found[rows.start + k].append(logits[k, :b])
    return [torch.cat(own)[order.argsort()] for own, order in zip(found, orders, strict=True)]


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
