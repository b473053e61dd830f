"""Reference lines: what the test labels alone give, and what the frozen backbone's features give.

Features, and the joint head that is fitted on them, are the same for every replica, so they are computed once per node.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.data.cache import cached
from trainables.data.image_input import ImageInput
from trainables.metrics.accuracy import accuracy, frozen_features
from trainables.packs.replicas import AdapterPack


class FrozenBackbone:
    """Features of a data set through the frozen backbone alone.

    Args:
        train, test: pictures as they are tested.
        identity: what decides the features, as JSON: hashes of data and weights, the recipe, precision and device.

    Attributes:
        train, test: features fp32 on the CPU, (N, D).
    """

    def __init__(self, pack: AdapterPack, train: ImageInput, test: ImageInput, batch_size: int, identity: Any) -> None:
        self.identity = [*identity, batch_size]

        def compute(folder: Path) -> None:
            features = {name: frozen_features(pack, source, batch_size).cpu()
                        for name, source in (("train", train), ("test", test))}  # fmt: skip
            save_file(features, folder / "features.safetensors")

        found = load_file(cached("features", self.identity, compute) / "features.safetensors")
        self.train, self.test = found["train"], found["test"]

    def joint_accuracy(self, rows: Tensor, train_labels: Tensor, test_labels: Tensor) -> float:
        """Test accuracy, in [0, 1], of one linear head trained on all classes at once.

        Args:
            rows: training pictures that the head learns from, int64 (n,).
            train_labels, test_labels: of all pictures, int64 (N,).

        Source: multinomial logistic regression of scikit-learn on standardised features, its default L2 penalty.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def fit(folder: Path) -> None:
            head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            head.fit(self.train[rows].numpy(), train_labels[rows].numpy())
            save_file({"predicted": torch.from_numpy(head.predict(self.test.numpy()))}, folder / "head.safetensors")

        digest = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
        path = cached("joint_heads", [*self.identity, digest], fit)
        return accuracy(load_file(path / "head.safetensors")["predicted"], test_labels)


def without_training(labels: Tensor, classes: int) -> dict[str, float]:
    """Accuracies in [0, 1] that no look at the input is needed for.

    Args:
        labels: of the test set, int64 (n,), n >= 1.
        classes: columns of the head.

    Returns:
        ``chance``: of drawing a class; ``majority``: of always naming the most frequent one.
    """
    return {"chance": 1 / classes, "majority": int(labels.bincount().max()) / len(labels)}


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of every class, (C, D), from features (n, D) and labels (n,)."""
    sums = torch.zeros(classes, features.shape[1]).index_add_(0, labels, features)
    return sums / labels.bincount(minlength=classes).clamp(min=1).unsqueeze(1)


def nearest_class_mean(features: Tensor, means: Tensor, allowed: Sequence[int] | Tensor) -> Tensor:
    """The class whose mean has the largest cosine with each feature, int64 (n,).

    Args:
        features: (n, D).
        means: (C, D).
        allowed: label ids that compete.

    Source: SimpleCIL, Zhou et al. 2023, arXiv 2303.07338.
    """
    ids = torch.as_tensor(allowed)
    own = torch.nn.functional.normalize(means[ids], dim=1)
    return ids[(torch.nn.functional.normalize(features, dim=1) @ own.t()).argmax(1)]
