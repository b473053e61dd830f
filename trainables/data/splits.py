"""What part of the training data a replica learns from, and when: parts held out by seed, the tasks of the
class-incremental protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.configs import ClassIncrementalConfig, HybridConfig, RankConfig, task_sizes
from trainables.data.images import ImageData
from trainables.errors import InputError
from trainables.packs.seeding import generator


class ClassIncremental:
    """The tasks of K replicas over one data set.

    Args:
        config: protocol (class order, task sizes, validation fraction).
        seeds: the K replica seeds.
        train_labels, test_labels: int64 (N,).

    Attributes:
        bounds: T + 1 positions; the logits of task t are columns bounds[t]..bounds[t + 1].
        position: int64 (K, C), column of the head that a label has in each replica's class order.

    Raises:
        InputError: classes not divisible into tasks.
    """

    def __init__(
        self, config: ClassIncrementalConfig, seeds: Sequence[int], train_labels: Tensor, test_labels: Tensor
    ) -> None:
        classes = int(train_labels.max()) + 1
        sizes = task_sizes(classes, config.init_cls, config.increment)
        self.seeds = tuple(seeds)
        self.bounds = [0, *torch.tensor(sizes).cumsum(0).tolist()]
        orders = [class_order(config, classes, seed) for seed in seeds]
        self.position = torch.stack([torch.argsort(order) for order in orders])
        self.train: list[list[Tensor]] = []  # [replica][task] -> indices into the training images
        self.validation: list[list[Tensor]] = []
        self.test: list[list[Tensor]] = []
        for seed, position in zip(seeds, self.position, strict=True):
            draw = generator(seed, "split")
            kept, held_out = carve(train_labels, config.data.val_fraction, draw, "data.val_fraction")
            self.train.append(self._by_task(position, train_labels, kept))
            self.validation.append(self._by_task(position, train_labels, held_out))
            self.test.append(self._by_task(position, test_labels, torch.arange(len(test_labels))))

    @property
    def tasks(self) -> int:
        return len(self.bounds) - 1

    def _by_task(self, position: Tensor, labels: Tensor, indices: Tensor) -> list[Tensor]:
        column = position[labels[indices]]
        return [
            indices[(low <= column) & (column < high)] for low, high in zip(self.bounds, self.bounds[1:], strict=False)
        ]

    def shown(self, task: int, epoch: int) -> list[Tensor]:
        """The training images of a task in the order in which an epoch shows them, one int64 (n_k,) per replica."""
        return [
            indices[task][torch.randperm(len(indices[task]), generator=generator(seed, "order", task, epoch))]
            for seed, indices in zip(self.seeds, self.train, strict=True)
        ]


def class_order(config: ClassIncrementalConfig, classes: int, seed: int) -> Tensor:
    """Label ids in the order in which tasks take them, int64 (C,), for the replica ``seed``.

    Source: the habit of the field, ``numpy.random.RandomState(seed).permutation(C)``; with 1993 and 100 classes it
    begins 68, 56, 78, 8, 23.
    """
    order = config.class_order
    if order == "labels":
        return torch.arange(classes)
    if isinstance(order, tuple):
        return torch.tensor(order)
    drawn = np.random.RandomState(seed if order == "replica" else order).permutation(classes)
    return torch.from_numpy(drawn)


def carve(labels: Tensor, fraction: float, draw: torch.Generator, name: str) -> tuple[Tensor, Tensor]:
    """Positions in ``labels`` kept for training and held out, the same fraction of every class, both sorted.

    Raises:
        InputError: a class keeps no image; the message calls the fraction ``name``.
    """
    if fraction == 0.0:
        return torch.arange(len(labels)), torch.empty(0, dtype=torch.long)
    kept, held_out = [], []
    for label in range(int(labels.max()) + 1):
        rows = torch.nonzero(labels == label).squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=draw)]
        cut = max(1, round(len(rows) * fraction))
        if cut >= len(rows):
            raise InputError(f"{name}={fraction}: leaves no training image of a class that has {len(rows)}")
        held_out.append(rows[:cut])
        kept.append(rows[cut:])
    return torch.cat(kept).sort().values, torch.cat(held_out).sort().values


def check(config: HybridConfig, data: ImageData) -> None:
    """Whether a configuration fits its data.

    Raises:
        InputError: LoRA frozen through the whole run, or a held-out part that leaves a class without training images.
    """
    images = len(Split.of(config, data.train.labels, seed=0).train)  # every seed's has this size
    config.check_freeze(config.epochs * steps_per_epoch(config, images))


def steps_per_epoch(config: HybridConfig | RankConfig, examples: int) -> int:
    """Batches of an epoch over ``examples`` of the training set; the last one may be smaller."""
    steps = -(-examples // config.batch_size)
    return min(steps, config.steps_per_epoch or steps)


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the training images of one replica: positions, int64."""

    train: Tensor
    validation: Tensor
    temperature: Tensor

    @classmethod
    def of(cls, config: HybridConfig, labels: Tensor, seed: int) -> "Split":
        """Raises InputError when a class keeps no training image."""
        rest, validation = carve(labels, config.data.val_fraction, generator(seed, "split"), "data.val_fraction")
        kept, held_out = carve(
            labels[rest], config.temperature_fraction, generator(seed, "split", 1), "temperature_fraction"
        )
        return cls(rest[kept], validation, rest[held_out])


def padded_batches(rows: Sequence[Tensor], batch_size: int) -> tuple[Tensor, Tensor]:
    """Cut K lists into batches of one size, so that a replica's arithmetic does not depend on its neighbours.

    Args:
        rows: K tensors (n_k, ...), alike but for n_k.

    Returns:
        batches (steps, K, batch_size, ...), zeros where a replica has no more rows, and valid, bool
        (steps, K, batch_size). A replica with fewer rows than its neighbours has batches without any at the end.
    """
    steps = -(-max(len(own) for own in rows) // batch_size)
    batches = torch.zeros(len(rows), steps * batch_size, *rows[0].shape[1:], dtype=rows[0].dtype)
    valid = torch.zeros(len(rows), steps * batch_size, dtype=torch.bool)
    for k, own in enumerate(rows):
        batches[k, : len(own)], valid[k, : len(own)] = own, True
    return tuple(part.unflatten(1, (steps, batch_size)).transpose(0, 1) for part in (batches, valid))  # type: ignore[return-value]
