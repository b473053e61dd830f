"""Dropout of a pack: every replica draws its masks from a stream of its own, whatever its neighbours do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from trainables.bank import Bank
from trainables.seeding import generator

ATTENTION = "replica_dropout"
"""Name by which Hugging Face models find ``attention``."""


class Masks:
    """Where the replicas' masks come from, and whether there are any just now.

    Attributes:
        lengths: (B_k, L_k) of every replica of the current pass before it was padded to its neighbours' size.
    """

    def __init__(self, bank: Bank, seeds: Sequence[int]) -> None:
        self.bank, self.seeds, self.active = bank, tuple(seeds), False
        self.lengths: Sequence[tuple[int, int]] = ()
        self.streams: list[torch.Generator] = []

    def begin_epoch(self, epoch: int) -> None:
        """Restart the streams, so that an epoch's masks are a function of seed and epoch."""
        device = self.bank.flat.device
        streams = [generator(seed, "dropout", epoch) for seed in self.seeds]
        if device.type != "cpu":
            streams = [torch.Generator(device).manual_seed(stream.initial_seed()) for stream in streams]
        self.streams = streams

    @contextmanager
    def drawn(self, lengths: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Within the context dropout is on."""
        self.active, self.lengths = True, lengths
        try:
            yield
        finally:
            self.active = False

    def of(self, x: Tensor, p: float) -> Tensor:
        """Factors for x (rows * B, D), (rows * B, L, D) or (rows * B, heads, L, L): 0, or 1 / (1 - p)."""
        rows = self.bank.rows
        own = [torch.empty(self._shape(x, *lengths), device=x.device).bernoulli_(1 - p, generator=self.streams[k])
               for k, lengths in zip(range(rows.start, rows.stop), self.lengths, strict=True)]  # fmt: skip
        if len(own) == 1:
            return own[0].div_(1 - p)
        padded = x.new_zeros(len(own), x.shape[0] // len(own), *x.shape[1:], dtype=torch.float32)
        for mask, room in zip(own, padded, strict=True):
            room[tuple(slice(size) for size in mask.shape)] = mask
        return padded.view(x.shape).div_(1 - p)

    @staticmethod
    def _shape(x: Tensor, batch: int, length: int) -> tuple[int, ...]:
        if x.dim() == 4:
            return batch, x.shape[1], length, length
        return (batch, length, x.shape[2]) if x.dim() == 3 else (batch, x.shape[1])


class ReplicaDropout(nn.Module):
    """Takes the place of an ``nn.Dropout``; on within ``Masks.drawn``, whatever the module's mode."""

    def __init__(self, masks: Masks, p: float) -> None:
        super().__init__()
        self.masks, self.p = masks, p

    def forward(self, x: Tensor) -> Tensor:
        """x, rows of replica 0 first, to the same shape."""
        return x * self.masks.of(x, self.p).to(x.dtype) if self.masks.active else x


def insert_dropout(model: nn.Module, masks: Masks, p: float | None) -> None:
    """Replace every ``nn.Dropout``: rate ``p``, or its own where ``p`` is None. Where the rate is 0, by nothing."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout):
            rate = module.p if p is None else p
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, ReplicaDropout(masks, rate) if rate else nn.Identity())


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Scaled dot-product attention whose dropout is the module's own; without dropout torch's fused kernel.

    Args:
        query, key, value: (rows * B, heads, L, head width).
        attention_mask: bool, broadcast to (rows * B, heads, L, L); False where a key is padding.
    """
    drop = getattr(module, "dropout", None)
    if not isinstance(drop, ReplicaDropout) or not drop.masks.active:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = drop(scores.softmax(-1))
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
