"""Dropout masks of a pack: every replica draws its own from a stream of its own, whatever its neighbours do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainables.packs.bank import Bank
from trainables.packs.seeding import generator


class Masks:
    """Where the replicas' masks come from, and whether there are any just now.

    Attributes:
        lengths: (B_k, L_k) of every replica of the current pass before it was padded to its neighbours' size; None
            where nothing is padded.
    """

    def __init__(self, bank: Bank, seeds: Sequence[int]) -> None:
        self.bank, self.seeds, self.active = bank, tuple(seeds), False
        self.lengths: Sequence[tuple[int, int]] | None = None
        self.streams: list[torch.Generator] = []

    def begin_epoch(self, epoch: int) -> None:
        """Restart the streams, so that an epoch's masks are a function of seed and epoch."""
        device = self.bank.flat.device
        streams = [generator(seed, "dropout", epoch) for seed in self.seeds]
        if device.type != "cpu":
            streams = [torch.Generator(device).manual_seed(stream.initial_seed()) for stream in streams]
        self.streams = streams

    @contextmanager
    def drawn(self, lengths: Sequence[tuple[int, int]] | None = None) -> Iterator[None]:
        """Within the context dropout is on."""
        self.active, self.lengths = True, lengths
        try:
            yield
        finally:
            self.active = False

    def of(self, x: Tensor, p: float) -> Tensor:
        """Factors for x: 0, or 1 / (1 - p).

        Args:
            x: (rows * B, D), (rows * B, L, D) or (rows * B, heads, L, L) where there are ``lengths``, else any
                (rows * B, ...).
        """
        rows = self.bank.rows
        if self.lengths is None:
            replicas = rows.stop - rows.start
            shapes = [(x.shape[0] // replicas, *x.shape[1:])] * replicas
        else:
            shapes = [self._shape(x, *lengths) for lengths in self.lengths]
        own = [torch.empty(shape, device=x.device).bernoulli_(1 - p, generator=self.streams[k])
               for k, shape in zip(range(rows.start, rows.stop), shapes, strict=True)]  # fmt: skip
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
