"""Accuracy of a pack, and which adapter parts it owes it to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.data.image_input import ImageInput
from trainables.data.splits import padded_batches
from trainables.packs.replicas import AdapterPack, Replicas
from trainables.peft.lora import Contribution


@torch.inference_mode()
def frozen_features(pack: AdapterPack, source: ImageInput, batch_size: int) -> Tensor:
    """Features of every image through the frozen backbone alone, (N, D)."""
    pack.bank.rows = slice(0, 1)  # without adapters every replica is the same function
    with pack.active(()):
        chunks = torch.arange(len(source)).split(batch_size)
        features = torch.cat([pack.features(source.batch(rows))[0] for rows in chunks])
    pack.bank.rows = slice(0, pack.replicas)
    return features


@torch.inference_mode()
def all_logits(
    pack: Replicas, source: ImageInput, indices: Sequence[Tensor], columns: slice, batch_size: int,
    contribution: Contribution | None = None,
) -> list[Tensor]:  # fmt: skip
    """Logits of the head's ``columns``, fp32 (n_k, C') on the CPU, one per replica for its ``indices`` (n_k,)."""
    chunks: list[tuple[slice, Tensor]] = []
    for chunk, valid in zip(*padded_batches(indices, batch_size), strict=True):
        if contribution is not None:
            contribution.valid = valid
        for rows in pack.passes():
            if not bool(valid[rows].any()):  # what a replica draws in a pass may not depend on longer neighbours
                continue
            chunks.append((rows, pack.logits(pack.tested(source, chunk[rows]), columns).cpu()))
    joined = [torch.cat([found[k - rows.start] for rows, found in chunks if rows.start <= k < rows.stop])
              for k in range(pack.replicas)]  # fmt: skip
    return [joined[k][: len(own)] for k, own in enumerate(indices)]


@torch.inference_mode()
def predict(
    pack: AdapterPack, source: ImageInput, indices: Sequence[Tensor], parts: Sequence[str], seen: int, batch_size: int,
    contribution: Contribution | None = None,
) -> list[Tensor]:  # fmt: skip
    """Predicted head columns among the first ``seen``, one int64 (n_k,) per replica for its ``indices``."""
    with pack.active(parts), pack.measured(contribution):
        logits = all_logits(pack, source, indices, slice(0, seen), batch_size, contribution)
    return [own.argmax(-1) for own in logits]


@torch.inference_mode()
def predict_frozen(pack: AdapterPack, features: Tensor, indices: Sequence[Tensor], columns: slice) -> list[Tensor]:
    """Predicted places among ``columns`` of the head without any adapter, (n_k,) per replica, from features (N, D)."""
    predictions = []
    for k, own in enumerate(indices):
        pack.bank.rows = slice(k, k + 1)
        logits = pack.logits(features[own].to(pack.device).unsqueeze(0), columns)
        predictions.append(logits[0].argmax(-1).cpu())
    pack.bank.rows = slice(0, pack.replicas)
    return predictions


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """Fraction of correct predictions, int64 (n,) each."""
    from torchmetrics.functional.classification import multiclass_accuracy  # slow to import; a driver never needs it

    classes = int(torch.maximum(predicted.max(), target.max())) + 1
    return float(multiclass_accuracy(predicted, target, num_classes=max(classes, 2), average="micro"))
