"""Replicas over a text encoder: the head, LoRA or everything, with dropout of each replica's own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.configs import RankConfig
from trainables.models.text import TextBackbone, Tokens
from trainables.models.text_dropout import Masks, ReplicaDropout, insert_dropout
from trainables.models.text_targets import check_targets
from trainables.packs.bank import per_replica
from trainables.packs.tuned import TunedReplicas


class TextReplicas(TunedReplicas):
    """K replicas of a text encoder with a linear head on its pooled output.

    Args:
        classes: columns C of the head.
        seeds: one per replica, of its dropout masks.

    Attributes:
        masks: dropout is on within ``masks.drawn``.

    Raises:
        InputError: rank above the width of a layer, a regex that matches nothing, or default layers that the model has
            only in part.
    """

    def __init__(
        self, backbone: TextBackbone, config: RankConfig, classes: int, seeds: Sequence[int], device: torch.device
    ) -> None:
        if config.trains_lora:
            check_targets(backbone.model, config)
        super().__init__(backbone, config, classes, len(seeds), device)
        self.masks = Masks(self.bank, seeds)
        if (reading := backbone.reading) is not None:
            insert_dropout(backbone.model, self.masks, config.dropout, reading.attention, reading.without_dropout)
        rate = backbone.head_dropout if config.dropout is None else config.dropout
        self.head_dropout: nn.Module = ReplicaDropout(self.masks, rate) if rate else nn.Identity()

    def pooled(self, inputs: Tokens) -> Tensor:
        return self.head_dropout(super().pooled(inputs))

    @torch.no_grad()
    def delta_norm(self) -> Tensor:
        """Frobenius norm of LoRA's change of the weights over all adapted layers, scale * down up, (K,)."""
        total = torch.zeros(self.replicas, device=self.device)
        for path, adapter in self.adapters.items():
            change = self.bank.value(f"{path}.lora.down") @ self.bank.value(f"{path}.lora.up")
            total += per_replica(torch.sum, (adapter.scale * change).square())
        return total.sqrt()
