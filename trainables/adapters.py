"""Adapters of K replicas in a pack: batched matrix products over one frozen backbone, parameters in one bank."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from trainables.bank import Bank, Parameter, per_replica
from trainables.errors import InputError
from trainables.lora_linear import lora_linear


class Contribution:
    """Running sums over tokens and adapters of the outputs fast(x) and slow(x), each float32 (K,)."""

    def __init__(self, replicas: int, device: torch.device) -> None:
        self.fast, self.slow, self.product = (torch.zeros(replicas, device=device) for _ in range(3))

    def add(self, rows: slice, fast: Tensor, slow: Tensor) -> None:
        """fast, slow: (rows, M, D)."""
        fast, slow = fast.float(), slow.float()
        self.fast[rows] += per_replica(torch.sum, fast.square())
        self.slow[rows] += per_replica(torch.sum, slow.square())
        self.product[rows] += per_replica(torch.sum, fast * slow)


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
    def shapes(path: str, part: str, d_in: int, d_out: int, rank: int, bias: bool) -> dict[str, Parameter]:
        """Parameters of one part: down is Kaiming-uniform with a = sqrt(5), that is uniform in +-1/sqrt(d_in)."""
        bound = 1.0 / math.sqrt(d_in)
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
    """Frozen linear layer plus LoRA pairs: out = x W^T + b + scale * (x A) B, in one step of ``lora_linear``."""

    def __init__(self, linear: nn.Linear, adapter: Adapter) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter

    def forward(self, x: Tensor) -> Tensor:
        adapter, linear = self.adapter, self.linear
        if not adapter.active:
            return linear(x)
        adapter.measure(x)
        down, up = adapter.factors(adapter.active)
        return lora_linear(x, linear.weight, linear.bias, down, up, adapter.scale)


@dataclass
class Placement:
    """Where adapters sit: their paths, their widths, and how to put them in."""

    kind: str
    sites: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Full module path -> (d_in, d_out)."""


def find_sites(model: nn.Module, placement: str, layers: str) -> Placement:
    """Places for adapters: every block (``parallel``) or the linear layers whose full path matches (``linear``).

    Raises:
        InputError: not a regular expression, or no layer matches.
    """
    if placement == "parallel":
        blocks = {path: m for path, m in model.named_modules() if isinstance(m, Block)}
        return Placement(placement, {path: (b.mlp.fc1.in_features,) * 2 for path, b in blocks.items()})  # type: ignore
    try:
        pattern = re.compile(layers)
    except re.error as error:
        raise InputError(f"layers={layers!r}: not a regular expression ({error})") from error
    linears = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    matched = {path: (m.in_features, m.out_features) for path, m in linears.items() if pattern.fullmatch(path)}
    if not matched:
        raise InputError(f"layers={layers!r}: matches no linear layer; paths look like {', '.join(list(linears)[:4])}")
    return Placement(placement, matched)


def insert(model: nn.Module, placement: Placement, adapters: Mapping[str, Adapter]) -> None:
    """Wrap the modules at the adapters' paths, in place."""
    for path, adapter in adapters.items():
        parent_path, _, name = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        inner = parent.get_submodule(name)
        wrapped = ParallelBlock(inner, adapter) if isinstance(inner, Block) else AdaptedLinear(inner, adapter)  # type: ignore[arg-type]
        setattr(parent, name, wrapped)
