"""Dropout of text models, with masks of the replicas' own: in place of ``nn.Dropout``, and within attention."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from trainables.peft.dropout import Masks, ReplicaDropout

ATTENTION = "replica_dropout"
"""Name by which Hugging Face models find ``attention``."""
ON_WEIGHTS = "replica_dropout"
"""Name under which a module that calls ``attention`` holds the dropout of its weights."""


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
