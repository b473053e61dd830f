"""A pack: K replicas of adapters and heads over one frozen backbone."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from trainables.adapters import Adapter, Bank, Contribution, Parameter, find_sites, insert, per_replica
from trainables.backbones import Backbone, parameter_count
from trainables.configs import NestedConfig
from trainables.errors import InputError


class Pack:
    """K replicas: one frozen backbone, a bank of adapters and linear heads.

    Args:
        parts: adapter parts that exist, such as ("fast", "slow").
        classes: columns C of the head.

    Attributes:
        together: replicas that share a forward pass. On a GPU all K do: one product over the frozen weights instead of
            K. On a CPU each has its own, because there the last bits of a shared product depend on its size and on
            memory alignment, and a replica's numbers may not depend on its neighbours.

    Raises:
        InputError: rank above the width of a layer, or no layer matches.
    """

    def __init__(
        self, backbone: Backbone, config: NestedConfig, parts: Sequence[str], classes: int, replicas: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.backbone, self.device, self.precision = backbone, device, config.precision
        self.parts = tuple(parts)
        self.together = replicas if device.type != "cpu" else 1
        placement = find_sites(backbone.model, config.placement, config.layers)
        width = min(min(dims) for dims in placement.sites.values())
        if config.rank > width:
            raise InputError(f"rank={config.rank}: the narrowest adapted layer has width {width}; allowed: 1..{width}")
        bottleneck = config.placement == "parallel"
        parameters = head_parameters(backbone.dim, classes)
        for part in parts:  # head first, then part by part: configurations share the draws of what they share
            for path, (d_in, d_out) in placement.sites.items():
                parameters |= Adapter.shapes(path, part, d_in, d_out, config.rank, bias=bottleneck)
        self.total_params = parameter_count(backbone.model)
        self.bank = Bank(parameters, replicas, device)
        self.total_params += self.bank.count()
        scale = 1.0 if bottleneck else config.lora_alpha / config.rank
        self.adapters = {path: Adapter(self.bank, path, parts, bottleneck, scale) for path in placement.sites}
        insert(backbone.model, placement, self.adapters)
        backbone.model.to(device)

    @property
    def replicas(self) -> int:
        return self.bank.replicas

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

    def passes(self) -> Iterator[slice]:
        """Replicas that share a forward pass, ``together`` of them, one slice after the other."""
        for start in range(0, self.replicas, self.together):
            self.bank.rows = slice(start, start + self.together)
            yield self.bank.rows
        self.bank.rows = slice(0, self.replicas)

    def features(self, images: Tensor) -> Tensor:
        """Normalised images of the current pass (rows * B, 3, S, S) -> pooled features fp32 (rows, B, D)."""
        model, rows = self.backbone.model, self.bank.rows
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            pooled = model.forward_head(model.forward_features(images), pre_logits=True)
        return pooled.float().view(rows.stop - rows.start, -1, self.backbone.dim)

    def logits(self, features: Tensor, columns: slice) -> Tensor:
        """Features (rows, B, D) -> logits (rows, B, C') of the head's ``columns``."""
        weight, bias = self.bank.current("head.weight"), self.bank.current("head.bias")
        return torch.baddbmm(bias[..., columns], features, weight[..., columns])

    def silent(self, part: str) -> bool:
        """Whether a part's output is exactly zero in every replica (absent, or up projection and bias all zero)."""
        if part not in self.parts:
            return True
        outputs = [name for name in self.bank.parameters if name.endswith((f".{part}.up", f".{part}.up_bias"))]
        return not any(bool(self.bank.views[name].any()) for name in outputs)

    def norm(self, part: str) -> Tensor:
        """L2 norm over all parameters of a part, (K,)."""
        columns = torch.nonzero(self.bank.group_of == self.bank.groups.index(part)).squeeze(1)
        return per_replica(lambda row: row[columns].norm(), self.bank.flat)


def head_parameters(dim: int, classes: int) -> dict[str, Parameter]:
    """Linear head (dim, classes), uniform in +-sqrt(3 / dim) (Kaiming, linear gain) with zero bias."""
    return {
        "head.weight": Parameter((dim, classes), "head", math.sqrt(3.0 / dim)),
        "head.bias": Parameter((1, classes), "head"),
    }
