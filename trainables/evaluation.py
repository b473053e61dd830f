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
    pack.bank.rows = slice(0, 1)  # without adapters every replica is the same function
    with pack.active(()):
        chunks = torch.arange(len(source.images)).split(batch_size)
        features = torch.cat([pack.features(source.batch(rows))[0] for rows in chunks])
    pack.bank.rows = slice(0, pack.replicas)
    return features


@torch.inference_mode()
def predict(
    pack: Pack, source: ImageInput, indices: Sequence[Tensor], parts: Sequence[str], seen: int, batch_size: int,
    contribution: Contribution | None = None,
) -> list[Tensor]:  # fmt: skip
    """Predicted head columns among the first ``seen``, one int64 (n_k,) per replica for its ``indices``."""
    predictions: list[tuple[slice, Tensor]] = []
    with pack.active(parts), pack.measured(contribution):
        for chunk, _ in padded_batches(indices, batch_size):
            for rows in pack.passes():
                features = pack.features(source.batch(chunk[rows].flatten()))
                predictions.append((rows, pack.logits(features, slice(0, seen)).argmax(-1).cpu()))
    joined = [torch.cat([found[k - rows.start] for rows, found in predictions if rows.start <= k < rows.stop])
              for k in range(pack.replicas)]  # fmt: skip
    return [joined[k][: len(own)] for k, own in enumerate(indices)]


@torch.inference_mode()
def predict_frozen(pack: Pack, features: Tensor, indices: Sequence[Tensor], seen: int) -> list[Tensor]:
    """As ``predict`` without any adapter, from the cached features (N, D)."""
    predictions = []
    for k, own in enumerate(indices):
        pack.bank.rows = slice(k, k + 1)
        predictions.append(pack.logits(features[own].unsqueeze(0), slice(0, seen))[0].argmax(-1).cpu())
    pack.bank.rows = slice(0, pack.replicas)
    return predictions


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """Fraction of correct predictions, int64 (n,) each."""
    classes = int(torch.maximum(predicted.max(), target.max())) + 1
    return float(multiclass_accuracy(predicted, target, num_classes=max(classes, 2), average="micro"))
