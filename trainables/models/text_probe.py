"""What a text model does with padding, with the other tokens of a text and with dropout, asked of the model itself.

Types of models differ in ways that raise no error: some attend to padding whatever the mask says, some see nothing
behind the token at hand, some draw dropout where a replica cannot have masks of its own.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainables.errors import InputError, first_line
from trainables.models.text_dropout import attention_watched, laid_out_by_text

TEXTS, WIDTH = 5, 9
"""Of the probe's batch: few dimensions of a model are 5 or 9, so that shapes say how a tensor is laid out."""
ROUNDING = 1e-5
"""Relative change that counts as none in batches of one shape. Padding that is masked changes nothing at all there."""
SHARE = 0.05
"""What other kernels may change, as part of what the other tokens of a text do; the rounding of a deep model grows."""


@dataclass(frozen=True)
class Reading:
    """How a text model reads.

    Attributes:
        last: tokens see only those before them, so that a text's features are those of its last one.
        attention: paths of the modules that call ``text_dropout.attention``, with the dropout rates they ask for.
        without_dropout: paths of the ``nn.Dropout`` at work on tensors that are not laid out by text, for which
            replicas cannot have masks of their own.
        on_weights: whether there is an ``nn.Dropout`` on attention weights, or ``attention``.
        other_noise: whether training mode draws random numbers elsewhere, as functional dropout does.
    """

    last: bool
    attention: Mapping[str, float]
    without_dropout: tuple[str, ...]
    on_weights: bool
    other_noise: bool


class States(NamedTuple):
    """States of all tokens, (M, L, D), and the pooler's output, (M, D), of a model that has one."""

    tokens: Tensor
    pooler: Tensor | None

    def features(self, mask: Tensor, last: bool) -> Tensor:
        """Features (M, D) of the texts: their last token's, or else the pooler's, or else their first token's.

        Args:
            mask: bool (M, L), True on tokens, of which padding is to the right.
        """
        if last:
            return self.tokens[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
        return self.tokens[:, 0] if self.pooler is None else self.pooler


def states(out: Any) -> States:
    """From what a Hugging Face model gives."""
    return States(out.last_hidden_state, getattr(out, "pooler_output", None))


@torch.no_grad()
def probe(model: nn.Module, dim: int, vocabulary: int, positions: int) -> Reading:
    """Ask a model how it reads, in four forward passes of a few tokens; it is left as it was.

    Args:
        model: Hugging Face model without a head, in evaluation mode, on the CPU.
        dim: width D that its features should have.
        vocabulary: token ids are below it.
        positions: most tokens of a text.

    Raises:
        InputError: the model does not run on ids and a mask, or its features have another width, depend on padding, or
            depend on one token alone. The message continues a sentence that begins with the model's name.
    """
    ids, mask, length = _texts(model, vocabulary, min(WIDTH, positions))
    found, alone = _run(model, ids, mask), _run(model, ids[:1, :length], mask[:1, :length])
    if found.tokens.shape != (*ids.shape, dim) or found.features(mask, False).shape != (len(ids), dim):
        raise InputError(f"gives {tuple(found.tokens.shape)} for token ids {tuple(ids.shape)} and a width of {dim}")
    if not found.tokens.isfinite().all():
        raise InputError("gives values that are not finite")
    last = _change(*found.features(mask, False)[[0, 3]]) <= ROUNDING
    features = found.features(mask, last)
    mixing = _change(*features[[0, 4 if last else 3]])
    if mixing <= ROUNDING:
        raise InputError("gives features that depend on one token of a text alone")
    allowed = max(SHARE * mixing, ROUNDING)
    leaks = max(_change(found.tokens[0, :length], found.tokens[row, :length]) for row in (1, 2))
    grown = _change(features[0], alone.features(mask[:1, :length], last)[0])
    if leaks > ROUNDING or grown > allowed:
        raise InputError(
            "reads padding in spite of the mask, so that what it says of a text would depend on the texts beside it "
            f"(relative change {max(leaks, grown):.1g})"
        )
    reading, weighed = _dropout(model, ids, mask, last)
    if _change(found.tokens[0, :length], weighed.tokens[0, :length]) > allowed:
        raise InputError("has an attention of its own kind, which dropout on its weights would change")
    return reading


def _texts(model: Any, vocabulary: int, width: int) -> tuple[Tensor, Tensor, int]:
    """Ids and mask, int64 and bool (TEXTS, width), and the length of the texts: one text, the same with other padding
    (rows 1 and 2), with all tokens but its first exchanged (3), and all but its last (4)."""
    values = [value for name, value in vars(model.config).items() if name.endswith("_token_id")]
    special = {value for value in values if isinstance(value, int)}
    ordinary = [token for token in range(min(vocabulary, 4096)) if token not in special] or [0]
    draw, length = torch.Generator().manual_seed(0), max(2, width * 2 // 3)
    chosen = torch.randint(len(ordinary), (width,), generator=draw)
    other = (chosen + 1 + torch.randint(max(len(ordinary) - 1, 1), (width,), generator=draw)) % len(ordinary)
    both = torch.tensor(ordinary)[torch.stack([chosen, other])]
    ids = both[0].repeat(TEXTS, 1)
    pad = getattr(model.config, "pad_token_id", None)
    ids[0, length:] = pad if isinstance(pad, int) and 0 <= pad < vocabulary else 0
    ids[2, length:], ids[3, 1:length], ids[4, : length - 1] = both[1, length:], both[1, 1:length], both[1, : length - 1]
    return ids, (torch.arange(width) < length).repeat(TEXTS, 1), length


def _run(model: nn.Module, ids: Tensor, mask: Tensor) -> States:
    try:
        return states(model(input_ids=ids, attention_mask=mask.long()))
    except Exception as error:  # whatever a model for other inputs misses
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"cannot be run on token ids and a mask alone ({reason})") from error


def _change(before: Tensor, after: Tensor) -> float:
    """Largest relative change of the vectors in the last dimension."""
    return float(((after - before).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12)).max())


def _dropout(model: nn.Module, ids: Tensor, mask: Tensor, last: bool) -> tuple[Reading, States]:
    """The reading, and the states where attention goes the way that it goes with dropout."""
    paths = {module: path for path, module in model.named_modules()}
    layers = [module for module in paths if isinstance(module, nn.Dropout)]
    odd: dict[str, None] = {}
    weights = False

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal weights
        weights |= inputs[0].dim() == 4
        if not laid_out_by_text(inputs[0], *ids.shape):
            odd[paths[module]] = None

    with ExitStack() as undo:
        for layer in layers:
            undo.callback(layer.register_forward_pre_hook(look).remove)
        rates = undo.enter_context(attention_watched())
        still = _run(model, ids, mask)
        undo.callback(model.eval)
        undo.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(0)
        model.train()
        for layer in layers:
            layer.eval()
        noisy = _run(model, ids, mask)
    asked = {paths[module]: rate for module, rate in rates.items()}
    noise = _change(still.tokens, noisy.tokens) > ROUNDING
    return Reading(last, asked, tuple(odd), weights or bool(asked), noise), still
