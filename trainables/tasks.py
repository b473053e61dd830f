"""Class-incremental splits: class orders, tasks, validation carved out by seed, padded batches of a pack."""

from collections.abc import Iterator, Sequence

import torch

from trainables.configs import ClassIncrementalConfig, task_sizes
from trainables.errors import InputError
from trainables.seeding import generator, permutation


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
        self,
        config: ClassIncrementalConfig,
        seeds: Sequence[int],
        train_labels: torch.Tensor,
        test_labels: torch.Tensor,
    ) -> None:
        classes = int(train_labels.max()) + 1
        sizes = task_sizes(classes, config.init_cls, config.increment)
        self.seeds = tuple(seeds)
        self.bounds = [0, *torch.tensor(sizes).cumsum(0).tolist()]
        orders = [
            permutation(
                classes, seed if config.class_order_seed == "replica" else config.class_order_seed, "class_order"
            )
            for seed in seeds
        ]
        self.position = torch.stack([torch.argsort(order) for order in orders])
        self.train: list[list[torch.Tensor]] = []  # [replica][task] -> indices into the training images
        self.validation: list[list[torch.Tensor]] = []
        self.test: list[list[torch.Tensor]] = []
        for seed, position in zip(seeds, self.position, strict=True):
            draw = generator(seed, "split")
            kept, held_out = carve(train_labels, config.data.val_fraction, draw, "data.val_fraction")
            self.train.append(self._by_task(position, train_labels, kept))
            self.validation.append(self._by_task(position, train_labels, held_out))
            self.test.append(self._by_task(position, test_labels, torch.arange(len(test_labels))))

    @property
    def tasks(self) -> int:
        return len(self.bounds) - 1

    def _by_task(self, position: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> list[torch.Tensor]:
        column = position[labels[indices]]
        return [
            indices[(low <= column) & (column < high)] for low, high in zip(self.bounds, self.bounds[1:], strict=False)
        ]

    def epoch(self, task: int, epoch: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Shuffled training batches of one epoch.

        Yields:
            indices int64 (K, B) into the training images and valid bool (K, B). The last batch is padded; a replica
            whose task is smaller than its neighbours' yields batches without any valid image at the end.
        """
        orders = [
            indices[task][torch.randperm(len(indices[task]), generator=generator(seed, "order", task, epoch))]
            for seed, indices in zip(self.seeds, self.train, strict=True)
        ]
        return padded_batches(orders, batch_size)

    def steps_per_epoch(self, task: int, batch_size: int) -> int:
        return max(-(-len(indices[task]) // batch_size) for indices in self.train)


def padded_batches(indices: Sequence[torch.Tensor], batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut K index lists into batches (K, B) with a validity mask (K, B); B is ``batch_size`` for every batch, so that
    a replica's arithmetic does not depend on its neighbours."""
    longest = max(len(row) for row in indices)
    for start in range(0, longest, batch_size):
        chunk = torch.zeros(len(indices), batch_size, dtype=torch.long)
        valid = torch.zeros(len(indices), batch_size, dtype=torch.bool)
        for k, row in enumerate(indices):
            part = row[start : start + batch_size]
            chunk[k, : len(part)] = part
            valid[k, : len(part)] = True
        yield chunk, valid


def carve(labels: torch.Tensor, fraction: float, draw: torch.Generator, name: str) -> tuple[torch.Tensor, torch.Tensor]:
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
