"""Dropout of a pack: every replica draws its masks from a stream of its own, whatever its neighbours do."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
ON_WEIGHTS = "replica_dropout"
"""Name under which a module that calls ``attention`` holds the dropout of its weights."""


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


def laid_out_by_text(x: Tensor, texts: int, length: int) -> bool:
    """Whether ``Masks`` can draw for x in a batch of ``texts`` texts of ``length`` tokens: (texts, D),
    (texts, length, D) or (texts, heads, length, length)."""
    if x.dim() == 4:
        return (x.shape[0], *x.shape[2:]) == (texts, length, length)
    return x.dim() in (2, 3) and x.shape[:-1] == (texts, length)[: x.dim() - 1]


def insert_dropout(
    model: nn.Module, masks: Masks, p: float | None, attention: Mapping[str, float], without: Collection[str]
) -> None:
    """Give a model dropout of the replicas' own: in place of every ``nn.Dropout``, and within its attention.

    Args:
        p: rate of all of it; None: that which the model has at each place. Where it is 0 there is no dropout.
        attention: paths of the modules that call ``attention``, with their own rates.
        without: paths of layers that stay as they are, without dropout in evaluation mode.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout) and path not in without:
            rate = module.p if p is None else p
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, ReplicaDropout(masks, rate) if rate else nn.Identity())
    for path, own in attention.items():
        if rate := own if p is None else p:
            model.get_submodule(path).add_module(ON_WEIGHTS, ReplicaDropout(masks, rate))


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Scaled dot-product attention with the replicas' dropout on its weights; without dropout torch's fused kernel.

    Args:
        query, key, value: (rows * B, heads, L, head width); keys and values with fewer heads serve groups
            of them.
        attention_mask: bool, broadcast to (rows * B, heads, L, L); False where a key is padding or may not be seen.
    """
    drop = getattr(module, ON_WEIGHTS, None)
    if drop is None or not drop.masks.active:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return _with_weights(module, query, key, value, attention_mask, scaling, drop, kwargs.get("is_causal"))


def _with_weights(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None,
    drop: Callable[[Tensor], Tensor], is_causal: bool | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()  # as the fused kernel has it
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = drop(scores.softmax(-1))
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextmanager
def attention_watched() -> Iterator[dict[nn.Module, float]]:
    """Within the context ``attention`` goes the way that it goes with dropout, and drops nothing.

    Yields:
        The modules that called it, with the dropout rates that they asked for (in evaluation mode 0).
    """
    rates: dict[nn.Module, float] = {}

    def watched(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        rates[module] = float(dropout)
        drop = nn.Identity()
        return _with_weights(module, query, key, value, attention_mask, scaling, drop, kwargs.get("is_causal"))

    AttentionInterface.register(ATTENTION, watched)
    try:
        yield rates
    finally:
        AttentionInterface.register(ATTENTION, attention)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
