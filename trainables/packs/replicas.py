"""A pack: K replicas of adapters and heads over one frozen backbone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.configs import NestedConfig
from trainables.errors import InputError
from trainables.models.vision import Backbone, parameter_count
from trainables.packs.bank import Bank, Parameter, per_replica
from trainables.peft.lora import Adapter, Contribution, find_sites, insert


class FrozenBackbone(Protocol):
    """What replicas share: a frozen model that turns a batch of inputs into features (M, dim)."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def dim(self) -> int: ...

    def pooled(self, inputs: Any, replaced: Mapping[str, Tensor] | None = None) -> Tensor:
        """Features (M, dim) of M inputs; ``replaced`` stand for the model's parameters of their name."""
        ...


AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Replicas:
    """K replicas over one frozen backbone: a bank whose parameters are wired into it, and linear heads.

    Attributes:
        together: replicas that share a forward pass. On a GPU all K do: one product over the frozen weights instead of
            K. On a CPU each has its own, because there the last bits of a shared product depend on its size and on
            memory alignment, and a replica's numbers may not depend on its neighbours.
        precision: of the forward pass; on a CPU there is no ``fp16``, and ``fp32`` stands for it.
        total_params: scalars of one replica's model, frozen and trained.
    """

    def __init__(self, backbone: FrozenBackbone, bank: Bank, precision: str, total_params: int) -> None:
        self.backbone, self.bank, self.total_params = backbone, bank, total_params
        self.device = bank.flat.device
        self.precision = "fp32" if precision == "fp16" and self.device.type == "cpu" else precision
        self.together = bank.replicas if self.device.type != "cpu" else 1
        backbone.model.to(self.device)

    @property
    def replicas(self) -> int:
        return self.bank.replicas

    def parameters(self, rates: Sequence[float]) -> tuple[int, int]:
        """(trainable, total) of one replica whose groups have these initial learning rates."""
        trained = [group for group, rate in zip(self.bank.groups, rates, strict=True) if rate]
        return self.bank.count(trained), self.total_params

    def passes(self) -> Iterator[slice]:
        """Replicas that share a forward pass, ``together`` of them, one slice after the other."""
        for start in range(0, self.replicas, self.together):
            self.bank.rows = slice(start, start + self.together)
            yield self.bank.rows
        self.bank.rows = slice(0, self.replicas)

    def features(self, inputs: Any) -> Tensor:
        """Inputs of the current pass, rows * B of them (images: normalised) -> pooled features fp32 (rows, B, D)."""
        with self.autocast():
            return self.by_replica(self.pooled(inputs))

    def tested(self, source: Any, indices: Tensor) -> Tensor:
        """Features (rows, B, D) of the examples ``indices`` (rows, B) of ``source`` as they are tested."""
        return self.features(source.batch(indices.flatten()))

    def autocast(self) -> torch.autocast:
        """Context of a forward pass in the chosen precision."""
        return torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST)

    def by_replica(self, pooled: Tensor) -> Tensor:
        """Features of the current pass (rows * B, D) -> fp32 (rows, B, D)."""
        rows = self.bank.rows
        return pooled.float().view(rows.stop - rows.start, -1, self.backbone.dim)

    def pooled(self, inputs: Any) -> Tensor:
        """The backbone's forward pass, rows * B inputs -> (rows * B, D)."""
        return self.backbone.pooled(inputs)

    def logits(self, features: Tensor, columns: slice) -> Tensor:
        """Features (rows, B, D) -> logits (rows, B, C') of the head's ``columns``."""
        weight, bias = self.bank.current("head.weight"), self.bank.current("head.bias")
        return torch.baddbmm(bias[..., columns], features, weight[..., columns])

    def norm(self, group: str) -> Tensor:
        """L2 norm over all parameters of a group, (K,)."""
        columns = torch.nonzero(self.bank.group_of == self.bank.groups.index(group)).squeeze(1)
        return per_replica(lambda row: row[columns].norm(), self.bank.flat)

    def own(self, k: int) -> list[str]:
        """Names of the parameters that replica k has."""
        return list(self.bank.parameters)

    def sizes(self, k: int) -> dict[str, int]:
        """Scalars of replica k by kind of parameter."""
        return {group: self.bank.count([group]) for group in self.bank.groups}


class AdapterPack(Replicas):
    """Replicas of adapters that have several parts, such as fast and slow.

    Attributes:
        parts: the parts of an adapter that exist.
        adapters: modules by path, each with ``active``: the parts that contribute at the moment.
    """

    parts: tuple[str, ...]
    adapters: Mapping[str, Any]

    @contextmanager
    def active(self, parts: Sequence[str]) -> Iterator[None]:
        """Within the context only these adapter parts contribute; () is the frozen backbone."""
        for adapter in self.adapters.values():
            adapter.active = tuple(part for part in self.parts if part in parts)
        try:
            yield
        finally:
            for adapter in self.adapters.values():
                adapter.active = self.parts

    @contextmanager
    def measured(self, contribution: Contribution | None) -> Iterator[None]:
        """Within the context the adapters add the sizes of fast(x) and slow(x) to ``contribution``."""
        for adapter in self.adapters.values():
            adapter.contribution = contribution
        try:
            yield
        finally:
            for adapter in self.adapters.values():
                adapter.contribution = None

    def silent(self, part: str) -> bool:
        """Whether a part's output is exactly zero in every replica (absent, or up projection and bias all zero)."""
        if part not in self.parts:
            return True
        outputs = [name for name in self.bank.parameters if name.endswith((f".{part}.up", f".{part}.up_bias"))]
        return not any(bool(self.bank.views[name].any()) for name in outputs)


class Pack(AdapterPack):
    """Nested LoRA's replicas: an adapter at every place, the same for all.

    Args:
        parts: adapter parts that exist, such as ("fast", "slow").
        classes: columns C of the head.

    Raises:
        InputError: rank above the width of a layer, or no layer matches.
    """

    def __init__(
        self, backbone: Backbone, config: NestedConfig, parts: Sequence[str], classes: int, replicas: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.parts = tuple(parts)
        sites = find_sites(backbone.model, config.placement, config.layers, adapted_blocks(backbone, config))
        check_rank(config.rank, sites)
        bottleneck = config.placement == "parallel"
        parameters = head_parameters(backbone.dim, classes)
        for part in parts:  # head first, then part by part: configurations share the draws of what they share
            for path, (d_in, d_out) in sites.items():
                parameters |= Adapter.shapes(path, part, d_in, d_out, config.rank, bias=bottleneck)
        bank = Bank(parameters, replicas, device)
        scale = 1.0 if bottleneck else config.lora_alpha / config.rank
        self.adapters = {path: Adapter(bank, path, parts, bottleneck, scale) for path in sites}
        insert(backbone.model, self.adapters)
        super().__init__(backbone, bank, config.precision, parameter_count(backbone.model) + bank.count())


def adapted_blocks(backbone: Backbone, config: NestedConfig) -> range:
    """Blocks with adapters, counted from 0.

    Raises:
        InputError: the backbone has no such block.
    """
    depth = len(backbone.model.blocks)
    end = depth - 1 if config.adapt_end_layer is None else config.adapt_end_layer
    for name, number in (("adapt_start_layer", config.adapt_start_layer), ("adapt_end_layer", end)):
        if number >= depth:
            raise InputError(f"{name}={number}: {config.backbone} has {depth} blocks; allowed: 0..{depth - 1}")
    return range(config.adapt_start_layer, end + 1)


def check_rank(rank: int, sites: Mapping[str, tuple[int, int]]) -> None:
    """Raises InputError when ``rank`` is above the width of one of the adapted layers (path -> (d_in, d_out))."""
    width = min(min(dims) for dims in sites.values())
    if rank > width:
        raise InputError(f"rank={rank}: the narrowest adapted layer has width {width}; allowed: 1..{width}")


def head_parameters(dim: int, classes: int, std: float | None = None) -> dict[str, Parameter]:
    """Linear head (dim, classes) with zero bias; weights uniform with ``std``, by default in +-1 / sqrt(dim), which is
    Kaiming-uniform with a = sqrt(5)."""
    bound = 1.0 / math.sqrt(dim) if std is None else math.sqrt(3.0) * std
    return {
        "head.weight": Parameter((dim, classes), "head", bound),
        "head.bias": Parameter((1, classes), "head"),
    }
