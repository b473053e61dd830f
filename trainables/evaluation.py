"""Accuracy of a pack, and which adapter parts it owes it to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from trainables.adapters import Contribution
from trainables.augmentation import normalise, resize
from trainables.replicas import Pack
from trainables.tasks import padded_batches


@dataclass
class ImageInput:
    """How uint8 images (N, 3, H, W) become the backbone's input."""

    images: Tensor
    size: int
    mean: Tensor
    std: Tensor

    def batch(self, indices: Tensor) -> Tensor:
        """Images as they are, resized: indices (M,) -> (M, 3, size, size)."""
        return normalise(resize(self.images[indices].float(), self.size), self.mean, self.std)


@torch.inference_mode()
def frozen_features(pack: Pack, source: ImageInput, batch_size: int) -> Tensor:
    """Features of every image through the frozen backbone alone, (N, D): they never change, so once per run."""
    k = pack.replicas
    pieces = []
    with pack.active(()):
        for start in range(0, len(source.images), k * batch_size):
            rows = torch.arange(start, start + k * batch_size).clamp(max=len(source.images) - 1)
            pieces.append(pack.features(source.batch(rows)).flatten(0, 1))
    return torch.cat(pieces)[: len(source.images)]


@torch.inference_mode()
def predict(
    pack: Pack, source: ImageInput, indices: Sequence[Tensor], parts: Sequence[str], seen: int, batch_size: int,
    contribution: Contribution | None = None,
) -> list[Tensor]:  # fmt: skip
    """Predicted head columns among the first ``seen``, one int64 (n_k,) per replica for its ``indices``."""
    predictions = []
    with pack.active(parts), pack.measured(contribution):
        for chunk, _ in padded_batches(indices, batch_size):
            features = pack.features(source.batch(chunk.flatten()))
            predictions.append(pack.logits(features, slice(0, seen)).argmax(-1).cpu())
    joined = torch.cat(predictions, dim=1)
    return [joined[k, : len(rows)] for k, rows in enumerate(indices)]


@torch.inference_mode()
def predict_frozen(pack: Pack, features: Tensor, indices: Sequence[Tensor], seen: int) -> list[Tensor]:
    """As ``predict`` without any adapter, from the cached features (N, D)."""
    longest = max(len(rows) for rows in indices)
    padded = torch.stack([torch.nn.functional.pad(rows, (0, longest - len(rows))) for rows in indices])
    columns = pack.logits(features[padded], slice(0, seen)).argmax(-1).cpu()
    return [columns[k, : len(rows)] for k, rows in enumerate(indices)]


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """Fraction of correct predictions, int64 (n,) each."""
    classes = int(torch.maximum(predicted.max(), target.max())) + 1
    return float(multiclass_accuracy(predicted, target, num_classes=max(classes, 2), average="micro"))
