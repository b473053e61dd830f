"""Adapters of K replicas in a pack: batched matrix products over one frozen backbone, parameters in one bank."""

import math
import re
from collections.abc import Container, Mapping, Sequence

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from trainables.configs.images import EVERY_LINEAR_LAYER
from trainables.errors import InputError
from trainables.packs.bank import Bank, Parameter, per_replica
from trainables.peft.dropout import ReplicaDropout
from trainables.peft.lora_linear import lora_linear


class Contribution:
    """Running sums over tokens and adapters of the outputs fast(x) and slow(x), each float32 (K,).

    Attributes:
        valid: bool (K, B), which images of the batch at hand are no padding; whoever runs a batch sets it.
    """

    def __init__(self, replicas: int, device: torch.device) -> None:
        self.fast, self.slow, self.product = (torch.zeros(replicas, device=device) for _ in range(3))
        self.valid: Tensor | None = None

    def add(self, rows: slice, fast: Tensor, slow: Tensor) -> None:
        """fast, slow: (rows, B * N, D), the tokens of image 0 first."""
        assert self.valid is not None
        weight = self.valid[rows].to(fast.device).unsqueeze(2)  # (rows, B, 1)
        fast, slow = (part.float().unflatten(1, (weight.shape[1], -1)).flatten(2) for part in (fast, slow))
        self.fast[rows] += per_replica(torch.sum, fast.square() * weight)
        self.slow[rows] += per_replica(torch.sum, slow.square() * weight)
        self.product[rows] += per_replica(torch.sum, fast * slow * weight)


class Adapter(nn.Module):
    """Low-rank adapters of K replicas at one place, slow and fast side by side: sum over parts of up(f(down(x))).

    The parts' factors are concatenated, so two adapters of rank r cost one pair of batched products of rank 2r.
    A part that is not in ``bank.parameters`` or not in ``active`` contributes nothing.

    Args:
        path: prefix of the parameter names, such as ``blocks.3``.
        relu_and_bias: bottleneck adapter of seeds/001 (down, ReLU, up, biases); False: plain LoRA pair scaled.
        scale: factor on the output, lora_alpha / rank for a LoRA pair.
    """

    def __init__(self, bank: Bank, path: str, parts: Sequence[str], relu_and_bias: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.bank, self.path, self.scale, self.relu_and_bias = bank, path, scale, relu_and_bias
        self.parts = tuple(parts)
        self.active = self.parts
        self.contribution: Contribution | None = None

    @staticmethod
    def shapes(
        path: str, part: str, d_in: int, d_out: int, rank: int, bias: bool, fan_in: int | None = None
    ) -> dict[str, Parameter]:
        """Parameters of one part: up is zero, down Kaiming-uniform with a = sqrt(5), that is in +-1/sqrt(fan-in).

        Args:
            fan_in: of the initialisation; default: ``d_in``.
        """
        bound = 1.0 / math.sqrt(fan_in or d_in)
        shapes = {
            f"{path}.{part}.down": Parameter((d_in, rank), part, bound),
            f"{path}.{part}.up": Parameter((rank, d_out), part),
        }
        if bias:
            shapes[f"{path}.{part}.down_bias"] = Parameter((1, rank), part)
            shapes[f"{path}.{part}.up_bias"] = Parameter((1, d_out), part)
        return shapes

    def forward(self, x: Tensor) -> Tensor | None:
        """(rows * B, N, D) -> (rows * B, N, D_out), or None when no part is active."""
        if not self.active:
            return None
        self.measure(x)
        return self._part(self._tokens(x), self.active).view(*x.shape[:-1], -1)

    def measure(self, x: Tensor) -> None:
        """Add the sizes of fast(x) and slow(x) to ``contribution``, where there is one and both parts exist."""
        if self.contribution is None or len(self.parts) != 2:
            return
        tokens = self._tokens(x)
        with torch.no_grad():
            self.contribution.add(
                self.bank.rows, fast=self._part(tokens, ("fast",)), slow=self._part(tokens, ("slow",))
            )

    def factors(self, parts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """down (rows, d_in, r) and up (rows, r, d_out) of the parts side by side; r is the sum of their ranks."""
        return self._concatenate("down", parts, 2), self._concatenate("up", parts, 1)

    def _tokens(self, x: Tensor) -> Tensor:
        rows = self.bank.rows
        return x.reshape(rows.stop - rows.start, -1, x.shape[-1])  # (rows, B * N, D)

    def _part(self, tokens: Tensor, parts: Sequence[str]) -> Tensor:
        down, up = self.factors(parts)
        if not self.relu_and_bias:
            return torch.bmm(torch.bmm(tokens, down), up) * self.scale
        down_bias = self._concatenate("down_bias", parts, 2)
        up_bias = self._concatenate("up_bias", parts, 1).sum(1, keepdim=True)
        hidden = torch.relu(torch.baddbmm(down_bias, tokens, down))
        return torch.baddbmm(up_bias, hidden, up)

    def _concatenate(self, name: str, parts: Sequence[str], dim: int) -> Tensor:
        views = [self.bank.current(f"{self.path}.{part}.{name}") for part in parts]
        return views[0] if len(views) == 1 else torch.cat(views, dim)


class ParallelBlock(nn.Module):
    """Transformer block with an adapter parallel to its MLP, reading the residual stream after attention.

    out = x1 + mlp(norm2(x1)) + adapter(x1), with x1 = x + attn(norm1(x)).    Source: METHODS.md, "Nested LoRA".
    """

    def __init__(self, block: Block, adapter: Adapter) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        x1 = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        out = x1 + block.drop_path2(block.ls2(block.mlp(block.norm2(x1))))
        adapted = self.adapter(x1)
        return out if adapted is None else out + adapted


class AdaptedLinear(nn.Module):
    """Frozen linear layer plus LoRA pairs: out = x W^T + b + scale * (x A) B, in one step of ``lora_linear``.

    Attributes:
        dropout: on the input of the pairs, where there is one.
    """

    def __init__(self, linear: nn.Linear, adapter: Adapter) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter
        self.dropout: ReplicaDropout | None = None

    def forward(self, x: Tensor) -> Tensor:
        adapter, linear = self.adapter, self.linear
        if not adapter.active:
            return linear(x)
        if self.dropout is not None and self.dropout.masks.active:  # the pairs read another x than the layer
            return linear(x) + adapter(self.dropout(x))
        adapter.measure(x)
        down, up = adapter.factors(adapter.active)
        return lora_linear(x, linear.weight, linear.bias, down, up, adapter.scale)


def find_sites(
    model: nn.Module, placement: str, layers: str, blocks: Container[int] | None = None
) -> dict[str, tuple[int, int]]:
    """Places for adapters: every block (``parallel``) or the linear layers whose full path matches (``linear``).

    Args:
        blocks: numbers of the blocks that get adapters; None: all of the model.

    Returns:
        full module path -> (d_in, d_out).

    Raises:
        InputError: not a regular expression, no layer matches, or ``EVERY_LINEAR_LAYER`` does not match every one.
    """
    sites: dict[str, tuple[int, int]]
    if placement == "parallel":
        every = {path: m for path, m in model.named_modules() if isinstance(m, Block)}
        sites = {path: (block.norm1.normalized_shape[0],) * 2 for path, block in every.items()}  # type: ignore
    else:
        sites = _linear_sites(model, layers)
    return {path: dims for path, dims in sites.items() if blocks is None or block_number(path) in blocks}


def block_number(path: str) -> int | None:
    """Number of the transformer block that a module path lies in; None outside of the blocks."""
    found = re.match(r"blocks\.(\d+)(\.|$)", path)
    return int(found[1]) if found else None


def _linear_sites(model: nn.Module, layers: str) -> dict[str, tuple[int, int]]:
    try:
        pattern = re.compile(layers)
    except re.error as error:
        raise InputError(f"layers={layers!r}: not a regular expression ({error})") from error
    linears = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    matched = {path: (m.in_features, m.out_features) for path, m in linears.items() if pattern.fullmatch(path)}
    if not matched:
        raise InputError(f"layers={layers!r}: matches no linear layer; paths look like {', '.join(list(linears)[:4])}")
    missed = [
        path for path in linears if layers == EVERY_LINEAR_LAYER and block_number(path) == 0 and path not in matched
    ]
    if missed:
        raise InputError(
            f"layers: the default means every linear layer of a block, this backbone has others: {', '.join(missed)}; "
            "allowed: a regex that says which"
        )
    return matched


def insert(model: nn.Module, adapters: Mapping[str, Adapter]) -> None:
    """Wrap the modules at the adapters' paths, in place."""
    for path, adapter in adapters.items():
        parent_path, _, name = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        inner = parent.get_submodule(name)
        wrapped = ParallelBlock(inner, adapter) if isinstance(inner, Block) else AdaptedLinear(inner, adapter)  # type: ignore[arg-type]
        setattr(parent, name, wrapped)
