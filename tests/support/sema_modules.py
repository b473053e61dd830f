"""Blocks of SEMA in plain torch: adapters, descriptors and routers in lists.    Source: METHODS.md, "SEMA"."""

import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block as TimmBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from trainables.configs import SemaConfig
from trainables.packs.seeding import generator

TINY = torch.finfo(torch.float32).tiny


def drawn(shape: tuple[int, ...], fan_in: int, draw: torch.Generator) -> nn.Parameter:
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=draw))


def zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


class Part(nn.Module):
    """One bottleneck, (B, N, d) -> (B, N, d); matrices are (in, out)."""

    def __init__(self, config: SemaConfig, dim: int, grid: tuple[int, int], draw: torch.Generator) -> None:
        super().__init__()
        self.kind, self.grid, width = config.ffn_adapter_type, grid, config.width
        self.scale = config.lora_alpha / config.rank
        self.down, self.up = drawn((dim, width), dim, draw), zeros(width, dim)
        if self.kind != "lora":
            self.down_bias, self.up_bias = zeros(width), zeros(dim)
        if self.kind == "convpass":
            self.conv = nn.Conv2d(width, width, 3, padding=1)
            nn.init.zeros_(self.conv.weight)
            with torch.no_grad():
                self.conv.bias.zero_()  # type: ignore[union-attr]
                self.conv.weight[:, :, 1, 1] = torch.eye(width)

    def forward(self, u: Tensor) -> Tensor:
        if self.kind == "lora":
            return u @ self.down @ self.up * self.scale
        hidden = u @ self.down + self.down_bias
        hidden = self._convolved(hidden) if self.kind == "convpass" else F.relu(hidden)
        return hidden @ self.up + self.up_bias

    def _convolved(self, hidden: Tensor) -> Tensor:
        hidden = quick_gelu(hidden)
        token = self.conv(hidden[:, :1].transpose(1, 2).unsqueeze(3))  # (B, r, 1, 1)
        picture = self.conv(hidden[:, 1:].transpose(1, 2).unflatten(2, self.grid))  # (B, r, H, W)
        return quick_gelu(torch.cat([token.flatten(2), picture.flatten(2)], 2).transpose(1, 2))


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


class Record:
    """The last losses of a descriptor that still learns, filled as the published code fills its own."""

    def __init__(self, size: int) -> None:
        self.size, self.values, self.updating = size, torch.zeros(0), True

    def add(self, losses: Tensor) -> None:
        if not self.updating:
            return
        if len(self.values) < self.size:
            self.values = torch.cat([self.values, losses])[: self.size]
        else:
            self.values = torch.cat([self.values, losses])[len(losses) :]

    def z(self, losses: Tensor) -> Tensor:
        if len(self.values) <= 2:
            return torch.zeros_like(losses)
        return (losses - self.values.mean()).abs() / self.values.var().sqrt().clamp(min=TINY)


class Descriptor(nn.Module):
    """Linear autoencoder of the token mean, (B, d) -> losses (B,)."""

    def __init__(self, config: SemaConfig, dim: int, draw: torch.Generator) -> None:
        super().__init__()
        self.leaky, self.sum = config.rd_activation == "leaky_relu", config.rd_loss == "sum"
        self.enc, self.dec = nn.Linear(dim, config.rd_dim), nn.Linear(config.rd_dim, dim)
        for layer in (self.enc, self.dec):
            layer.weight, layer.bias = drawn(layer.weight.shape, layer.in_features, draw), zeros(layer.out_features)
        self.record = Record(config.buffer_size)

    def forward(self, h: Tensor) -> Tensor:
        code = F.leaky_relu(self.enc(h), 0.01) if self.leaky else self.enc(h)
        squares = (self.dec(code) - h).square()
        return squares.sum(1) if self.sum else squares.mean(1)


class Slot:
    """An adapter, and where its block may grow, its router row and descriptor."""

    def __init__(
        self, config: SemaConfig, vit: VisionTransformer, grows: bool, seed: int, task: int, block: int
    ) -> None:
        dim, device = vit.embed_dim, next(vit.parameters()).device
        draw = generator(seed, "init", task, block)
        self.parts = {name: Part(config, dim, vit.patch_embed.grid_size, draw).to(device) for name in config.parts}
        self.grows = grows
        if grows:
            self.row = nn.Linear(dim, 1)
            with torch.no_grad():
                self.row.weight.copy_(drawn((dim, 1), dim, draw).T)
                self.row.bias.copy_(drawn((1,), dim, draw))
            self.row.to(device)
            self.descriptor = Descriptor(config, dim, generator(seed, "init", task, block, 1)).to(device)

    def parameters(self) -> list[nn.Parameter]:
        modules = [*self.parts.values(), *((self.row, self.descriptor) if self.grows else ())]
        return [parameter for module in modules for parameter in module.parameters()]

    def __call__(self, u: Tensor) -> Tensor:
        return torch.stack([part(u) for part in self.parts.values()]).sum(0)


class Block(nn.Module):
    """A transformer block with a mixture beside its MLP.

    Attributes:
        weights: of the last batch, (B, n).
        rd_losses: of the last batch, (n, B).
    """

    def __init__(self, block: TimmBlock, config: SemaConfig, slot: Slot) -> None:
        super().__init__()
        self.block, self.config, self.slots = block, config, [slot]
        self.testing = False
        self.weights, self.rd_losses = torch.zeros(0), torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        x1 = x + block.ls1(block.attn(block.norm1(x)))
        normed = block.norm2(x1)
        u = normed if self.config.adapter_input == "norm2" else x1
        return x1 + block.ls2(block.mlp(normed)) + self._mixture(u)

    def _mixture(self, u: Tensor) -> Tensor:
        if not self.slots[0].grows:
            return self.slots[0](u)
        h = u.mean(1)
        self.rd_losses = torch.stack([slot.descriptor(h) for slot in self.slots])
        self.weights = self._routed(torch.cat([slot.row(h) for slot in self.slots], 1))
        outputs = torch.stack([slot(u) for slot in self.slots], 1)  # (B, n, N, d)
        return (self.weights[:, :, None, None] * outputs).sum(1)

    def _routed(self, logits: Tensor) -> Tensor:
        soft, routing = logits.softmax(1), self.config.routing
        if routing == "average":
            return torch.full_like(soft, 1 / soft.shape[1])
        largest = F.one_hot(soft.argmax(1), soft.shape[1]).to(soft)
        if routing == "top1_inference" and self.testing:
            return largest
        if routing == "top1":
            return largest + (soft - soft.detach())
        return soft
