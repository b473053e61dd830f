"""Mixtures of adapters in the blocks of a frozen backbone, of K replicas that may grow apart.

Slots are preallocated in the bank; how many of them a replica has is a count per block. A block's adapters lie side by
side, so that a mixture of n costs one pair of products: what leaves a bottleneck is weighted before it goes up.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainables.configs.sema import SemaConfig
from trainables.packs.bank import Bank, Parameter
from trainables.peft.lora import Adapter, Contribution

Draw = Callable[[int, int, int], Tensor]
"""Replica, images B and adapters n -> uniform numbers (B, n), for the random routings."""


class Mixture(nn.Module):
    """Adapters of one block, and the router over them where the block may grow: sum over slots of p_s(x) adapter_s(x).

    Args:
        path: of the block, such as ``blocks.9``; its slot s has the parameters ``blocks.9.<s>.<part>.down`` and so on,
            ``blocks.9.<s>.router`` and ``blocks.9.<s>.router_bias``.
        patch_grid: rows and columns of patches, for ``convpass``.
        prefix_tokens: tokens before the patches, such as the class token.

    Attributes:
        counts: adapters that each replica has, K of them.
        active: parts that contribute at the moment.
        routing: see ``SemaConfig``.
        testing: whether a test is going on, for ``top1_inference``.
        draw: of the random routings.
        pooled: mean over tokens of the last input, (rows, B, D).
        weights: routing weights of the last forward pass, (rows, B, n).

    Source: Wang et al. 2025 (SEMA), section 3; Chen et al. 2022 (AdaptFormer); Jie and Deng 2022 (Convpass).
    """

    def __init__(
        self, bank: Bank, path: str, config: SemaConfig, patch_grid: tuple[int, int], prefix_tokens: int
    ) -> None:
        super().__init__()
        self.bank, self.path, self.kind = bank, path, config.ffn_adapter_type
        self.scale = config.lora_alpha / config.rank
        self.parts = self.active = config.parts
        self.routing, self.testing = config.routing, False
        self.patch_grid, self.prefix_tokens = patch_grid, prefix_tokens
        self.counts = [0] * bank.replicas
        self.draw: Draw | None = None
        self.contribution: Contribution | None = None
        self.pooled = self.weights = torch.empty(0)

    @staticmethod
    def shapes(path: str, slot: int, config: SemaConfig, dim: int, grows: bool) -> dict[str, Parameter]:
        """Parameters of one slot, each kind in a group of its own; the first slots of all blocks share theirs."""
        where = f"{path}.{slot}"
        shapes: dict[str, Parameter] = {}
        for part in config.parts:
            own = Adapter.shapes(where, part, dim, dim, config.width, bias=config.ffn_adapter_type != "lora")
            if config.ffn_adapter_type == "convpass":  # shape of Conv2d; begins as the identity
                own[f"{where}.{part}.conv"] = Parameter((config.width, config.width, 3, 3), part)
                own[f"{where}.{part}.conv_bias"] = Parameter((1, config.width), part)
            shapes |= {name: replace(p, group=part if slot == 0 else f"{part}/{where}") for name, p in own.items()}
        if grows:
            group, bound = f"router/{where}", 1.0 / math.sqrt(dim)
            shapes[f"{where}.router"] = Parameter((dim, 1), group, bound)
            shapes[f"{where}.router_bias"] = Parameter((1, 1), group, bound)
        return shapes

    def forward(self, x: Tensor) -> Tensor | None:
        """(rows * B, N, D) -> (rows * B, N, D), or None when no part is active."""
        if not self.active:
            return None
        rows, (_, tokens, dim) = self.bank.rows, x.shape
        number = rows.stop - rows.start
        x = x.reshape(number, -1, dim)  # (rows, B * N, D)
        self.pooled = x.view(number, -1, tokens, dim).mean(2)
        count = max(self.counts[rows])
        self.weights = self._weights(count)
        hidden = self._hidden(x, count, tokens)  # (rows, B * N, n * r)
        if count > 1:
            by_slot = hidden.view(number, -1, tokens, count, hidden.shape[-1] // count)
            hidden = (by_slot * self.weights[:, :, None, :, None]).view_as(hidden)
        out = torch.bmm(hidden, self._joined("up", count, 1))
        if self.kind != "lora":
            biases = torch.cat([self._summed("up_bias", slot) for slot in range(count)], 1)  # (rows, n, D)
            added = torch.bmm(self.weights, biases)  # (rows, B, D)
            out = (out.view(number, -1, tokens, dim) + added.unsqueeze(2)).view_as(out)
        return out.view(-1, tokens, dim)

    def _names(self, name: str, count: int) -> list[str]:
        return [f"{self.path}.{slot}.{part}.{name}" for slot in range(count) for part in self.active]

    def _joined(self, name: str, count: int, dim: int) -> Tensor:
        views = [self.bank.current(full) for full in self._names(name, count)]
        return views[0] if len(views) == 1 else torch.cat(views, dim)

    def _summed(self, name: str, slot: int) -> Tensor:
        views = [self.bank.current(f"{self.path}.{slot}.{part}.{name}") for part in self.active]
        return views[0] if len(views) == 1 else torch.stack(views).sum(0)

    def _hidden(self, x: Tensor, count: int, tokens: int) -> Tensor:
        """What leaves the bottlenecks, slot by slot and in a slot part by part: (rows, B * N, n * r)."""
        down = self._joined("down", count, 2)
        if self.kind == "lora":
            return torch.bmm(x, down) * self.scale
        hidden = torch.baddbmm(self._joined("down_bias", count, 2), x, down)
        if self.kind != "convpass":
            return torch.relu(hidden)
        return quick_gelu(self._convolved(quick_gelu(hidden), count, tokens))

    def _convolved(self, hidden: Tensor, count: int, tokens: int) -> Tensor:
        """3 x 3 convolution of every adapter over the patches; a prefix token is a picture of one patch."""
        number, width = hidden.shape[0], hidden.shape[-1] // count
        kernel = self._joined("conv", count, 1)  # (rows, n * r, r, 3, 3)
        bias = self._joined("conv_bias", count, 2)  # (rows, 1, n * r)
        by_token = hidden.view(number, -1, tokens, count, width)
        prefix, patches = by_token[:, :, : self.prefix_tokens], by_token[:, :, self.prefix_tokens :]
        centre = kernel[..., 1, 1].reshape(number, count, width, width)  # (rows, n, out, in)
        prefix = torch.einsum("kbtsi,ksoi->kbtso", prefix, centre)
        image = patches.permute(1, 0, 3, 4, 2)  # (B, rows, n, r, H * W)
        image = image.reshape(len(image), -1, *self.patch_grid)
        image = torch.conv2d(image, kernel.flatten(0, 1), padding=1, groups=number * count)
        patches = image.view(len(image), number, count, width, -1).permute(1, 0, 4, 2, 3)
        return torch.cat([prefix, patches], 2).reshape_as(hidden) + bias

    def _weights(self, count: int) -> Tensor:
        """Routing weights (rows, B, n) of the pooled inputs; adapters that a replica does not have get 0."""
        rows, pooled = self.bank.rows, self.pooled
        if count == 1:
            return pooled.new_ones(*pooled.shape[:2], 1)
        own = torch.tensor(self.counts[rows], device=pooled.device).view(-1, 1, 1)
        exists = torch.arange(count, device=pooled.device) < own  # (rows, 1, n)
        if self.routing == "average":
            return (exists / own).expand(-1, pooled.shape[1], -1).to(pooled)
        if self.routing in ("random", "random_one"):
            each = [self._drawn(k, pooled.shape[1], count) for k in range(rows.start, rows.stop)]
            drawn = torch.stack(each).to(pooled)
            return drawn / drawn.sum(-1, keepdim=True) if self.routing == "random" else largest(drawn)
        names = [f"{self.path}.{slot}.router" for slot in range(count)]
        rows_of = torch.cat([self.bank.current(name) for name in names], 2)  # (rows, D, n)
        bias = torch.cat([self.bank.current(f"{name}_bias") for name in names], 2)  # (rows, 1, n)
        soft = torch.baddbmm(bias, pooled, rows_of).masked_fill(~exists, -math.inf).softmax(-1)
        if self.routing == "top1":
            return largest(soft) + (soft - soft.detach())  # the value of one, the gradient of the other
        return largest(soft) if self.routing == "top1_inference" and self.testing else soft

    def _drawn(self, k: int, images: int, count: int) -> Tensor:
        """Random numbers (B, n) of replica k for the adapters that it has, zeros for the others."""
        assert self.draw is not None
        own = self.counts[k]
        drawn = self.draw(k, images, own) if own > 1 else torch.ones(images, 1)
        return torch.nn.functional.pad(drawn, (0, count - own))


class MixtureBlock(nn.Module):
    """Transformer block with a mixture parallel to its MLP: out = x1 + mlp(norm2(x1)) + mixture(x1 or norm2(x1))."""

    def __init__(self, block: nn.Module, mixture: Mixture, reads_norm: bool) -> None:
        super().__init__()
        self.block, self.mixture, self.reads_norm = block, mixture, reads_norm

    def forward(self, x: Tensor) -> Tensor:
        block: Any = self.block
        x1 = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        normed = block.norm2(x1)
        out = x1 + block.drop_path2(block.ls2(block.mlp(normed)))
        added = self.mixture(normed if self.reads_norm else x1)
        return out if added is None else out + added


def largest(weights: Tensor) -> Tensor:
    """1 where the last dimension is largest (the first of equals), else 0; like ``weights`` (..., n)."""
    return torch.zeros_like(weights).scatter_(-1, weights.argmax(-1, keepdim=True), 1.0)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x).    Source: Hendrycks and Gimpel 2016, as Convpass uses it."""
    return x * torch.sigmoid(1.702 * x)
