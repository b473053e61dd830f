"""Adapters of K replicas in a pack: one flat bank of parameters, batched matrix products over one frozen backbone.

A bank is one fp32 tensor ``(K, P)``: row k holds every trainable parameter of replica k, and named views ``(K, ...)``
of it enter the forward pass. One tensor means one optimizer update for the whole pack, and K = 1 runs the same code.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from trainables.errors import InputError

ALIGNMENT = 16
"""Floats: every parameter starts on a 64-byte boundary, so that GEMM results do not depend on a replica's row."""


# The gradient of a view is a view of the same layout on purpose: that is what fills ``Bank.grad`` without a copy.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")


@dataclass(frozen=True)
class Parameter:
    """Shape of one replica's parameter, its optimizer group, and the bound of its uniform initialisation (0: zeros)."""

    shape: tuple[int, ...]
    group: str
    init_bound: float = 0.0


class Bank:
    """Named parameters of K replicas in one tensor.

    The named views are autograd leaves that share storage with ``flat``, their gradients with ``grad``: a backward
    pass fills ``grad`` and an optimizer updates ``flat`` without a copy per parameter.

    Args:
        parameters: name -> Parameter, in the order in which initial values are drawn.
        replicas: K >= 1.

    Attributes:
        flat, grad: fp32 (K, P), P includes alignment padding.
        groups: optimizer groups in order of first appearance.
        group_of: int64 (P,), index into ``groups`` of every column; padding belongs to the group before it.
        views: name -> leaf (K, *shape).
        rows: replicas of the forward pass at hand; adapters and heads read only these, with ``current``.
    """

    def __init__(self, parameters: Mapping[str, Parameter], replicas: int, device: torch.device) -> None:
        self.parameters = dict(parameters)
        self.replicas = replicas
        self.groups = tuple(dict.fromkeys(parameter.group for parameter in parameters.values()))
        slots, group_of, end = {}, [], 0
        for name, parameter in parameters.items():
            used = math.prod(parameter.shape)
            slots[name] = slice(end, end + used)
            padded = -(-used // ALIGNMENT) * ALIGNMENT
            group_of += [self.groups.index(parameter.group)] * padded
            end += padded
        self.group_of = torch.tensor(group_of, device=device)
        self.flat = torch.zeros(replicas, end, device=device)
        self.grad = torch.zeros_like(self.flat)
        self._slots = slots
        self._leaves: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.rows = slice(0, replicas)
        self.views = self._leaves_of(self.rows)

    def _leaves_of(self, rows: slice) -> dict[str, Tensor]:
        """Leaves (rows, *shape); made once per slice, because slicing within the graph costs a copy per parameter."""
        key = (rows.start, rows.stop)
        if key not in self._leaves:
            self._leaves[key] = {}
            for name, parameter in self.parameters.items():
                shape = (rows.stop - rows.start, *parameter.shape)
                leaf = self.flat[rows, self._slots[name]].view(shape).detach().requires_grad_()
                leaf.grad = self.grad[rows, self._slots[name]].view(shape)
                self._leaves[key][name] = leaf
        return self._leaves[key]

    def current(self, name: str) -> Tensor:
        """Leaf (rows, *shape) of a parameter for the forward pass at hand."""
        return self._leaves_of(self.rows)[name]

    def value(self, name: str) -> Tensor:
        """Writable view (K, *shape) of a parameter, outside of autograd."""
        return self.views[name].detach()

    def reset(self, replica: int, generator: torch.Generator, names: Iterable[str] | None = None) -> None:
        """Draw initial values of one replica's parameters (all, or ``names``)."""
        for name in self.parameters if names is None else names:
            parameter = self.parameters[name]
            value = torch.zeros(parameter.shape)
            if parameter.init_bound:
                value.uniform_(-parameter.init_bound, parameter.init_bound, generator=generator)
            self.value(name)[replica] = value.to(self.flat.device)

    def state(self, replica: int) -> dict[str, Tensor]:
        """One replica's parameters on the CPU, name -> (*shape)."""
        return {name: self.value(name)[replica].cpu().clone() for name in self.parameters}

    def load(self, replica: int, state: Mapping[str, Tensor]) -> None:
        for name in self.parameters:
            self.value(name)[replica] = state[name].to(self.flat.device)

    def count(self, groups: Iterable[str] | None = None) -> int:
        """Trainable scalars of one replica, in all groups or in ``groups``."""
        wanted = self.groups if groups is None else tuple(groups)
        return sum(math.prod(p.shape) for p in self.parameters.values() if p.group in wanted)


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


def per_replica(reduce: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """``reduce`` of every values[k], (K,). One by one, because the order of additions in a batched reduction depends
    on K, and with it the last bit."""
    return torch.stack([reduce(row) for row in values])


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
        rows = self.bank.rows
        tokens = x.reshape(rows.stop - rows.start, -1, x.shape[-1])  # (rows, B * N, D)
        if self.contribution is not None and len(self.parts) == 2:
            with torch.no_grad():
                self.contribution.add(rows, fast=self._part(tokens, ("fast",)), slow=self._part(tokens, ("slow",)))
        return self._part(tokens, self.active).view(*x.shape[:-1], -1)

    def _part(self, tokens: Tensor, parts: Sequence[str]) -> Tensor:
        down, up = self._concatenate("down", parts, 2), self._concatenate("up", parts, 1)
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
    """Frozen linear layer plus adapter: out = x W^T + b + scale * (x A) B."""

    def __init__(self, linear: nn.Linear, adapter: Adapter) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        adapted = self.adapter(x)
        return out if adapted is None else out + adapted


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
