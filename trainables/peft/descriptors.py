"""Representation descriptors: autoencoders that know what the features look like that their adapter was trained on."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.configs.sema import SemaConfig

TINY = torch.finfo(torch.float32).tiny
"""Least standard deviation that a z-score divides by: after losses that were all alike, any other is a surprise."""
FEWEST = 3
"""Losses that a z-score needs."""


class Descriptor(nn.Module):
    """Linear autoencoder d -> rd_dim -> d of pooled features, and the losses that it last had in training.

    Args:
        generator: of the initial weights.

    Attributes:
        losses: the last ``buffer_size`` of them, (n,); frozen descriptors keep their statistics alone.
        mean, std, number: of the recorded losses, float32; std is the unbiased one.

    Source: Wang et al. 2025, section 3.2, and its released code for how losses are recorded.
    """

    def __init__(self, config: SemaConfig, dim: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(dim, config.rd_dim), nn.Linear(config.rd_dim, dim)
        self.activation = nn.LeakyReLU() if config.rd_activation == "leaky_relu" else nn.Identity()
        self.over_features, self.size = config.rd_loss, config.buffer_size
        self.losses = torch.empty(0)
        self.mean = self.std = math.nan
        self.number = 0
        for layer in (self.encoder, self.decoder):
            bound = 1.0 / math.sqrt(layer.in_features)  # Kaiming-uniform with a = sqrt(5)
            layer.weight.data.uniform_(-bound, bound, generator=generator)
            layer.bias.data.zero_()

    def forward(self, pooled: Tensor) -> Tensor:
        """Reconstruction loss of every pooled feature, (B, D) -> (B,)."""
        error = (self.decoder(self.activation(self.encoder(pooled))) - pooled).square()
        return error.mean(-1) if self.over_features == "mean" else error.sum(-1)

    def record(self, losses: Tensor) -> None:
        """Keep the losses (B,) of a training batch; of the batch that fills the buffer what does not fit is dropped."""
        room, losses = self.size - len(self.losses), losses.detach().cpu().float()
        kept = losses[:room] if room else losses
        self.losses = torch.cat([self.losses, kept])[-self.size :]
        self.number = len(self.losses)
        if self.number >= FEWEST:
            self.mean, self.std = float(self.losses.mean()), float(self.losses.std())

    @torch.no_grad()
    def z_scores(self, pooled: Tensor) -> Tensor:
        """Distance of every feature's loss from the recorded mean, in recorded standard deviations, (B, D) -> (B,); 0
        where fewer than 3 losses were recorded."""
        losses = self(pooled)
        return (losses - self.mean).abs() / max(self.std, TINY) if self.number >= FEWEST else torch.zeros_like(losses)

    @property
    def scalars(self) -> int:
        """Number of its parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def state(self) -> dict[str, Tensor]:
        """Everything that a frozen descriptor is, on the CPU."""
        statistics = torch.tensor([self.mean, self.std, self.number], dtype=torch.float64)
        return {name: value.cpu().clone() for name, value in self.state_dict().items()} | {"statistics": statistics}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Undo ``state``."""
        self.load_state_dict({name: value for name, value in state.items() if name != "statistics"})
        self.mean, self.std, number = state["statistics"].tolist()
        self.number = int(number)
        self.freeze()

    def freeze(self) -> None:
        """No more training: the losses themselves are not needed any more."""
        self.requires_grad_(False)
        self.losses = torch.empty(0)
