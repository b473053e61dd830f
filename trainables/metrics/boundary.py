"""What is measured of a class-incremental learner at every task boundary, on test images.

Rows (phase, name), all of the task just learned but where it says otherwise:
``eval``: ``accuracy`` on all classes seen so far, ``accuracy/task_<i>`` on task i's, ``accuracy_old``,
``accuracy_new``, ``recency``;
``transfer``: ``initial/task_<i>`` and ``before/task_<i>`` on the images of a task still to come, among its own classes;
``ablation`` and ``boundary``: ``<when>/<variant>``, see ``trainables.metrics.ablation``;
``reference``: ``ncm``, ``chance`` and, after the last task, ``joint``.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from trainables.data.image_input import ImageInput
from trainables.data.splits import ClassIncremental
from trainables.metrics.ablation import Ablation, ratios
from trainables.metrics.accuracy import accuracy, all_logits, predict, predict_frozen
from trainables.metrics.references import FrozenBackbone, class_means, nearest_class_mean
from trainables.packs.replicas import AdapterPack

Log = Callable[..., None]
"""``PackRun.log``: replica, phase, name, value, task."""


class ContinualTests:
    """Measurements of K replicas over the tasks of one run.

    Args:
        identity: what decides the features of the frozen backbone, as JSON; see ``FrozenBackbone``.
        log: takes every row.
        alive: positions in the pack of the replicas that still train.
    """

    def __init__(
        self, pack: AdapterPack, tasks: ClassIncremental, train: ImageInput, test: ImageInput, batch_size: int,
        identity: Any, log: Log, alive: Callable[[], list[int]],
    ) -> None:  # fmt: skip
        self.pack, self.tasks, self.train, self.test = pack, tasks, train, test
        self.batch_size, self.identity, self.log, self.alive = batch_size, identity, log, alive

    @cached_property
    def frozen(self) -> FrozenBackbone:
        """The frozen backbone's features of all pictures."""
        return FrozenBackbone(self.pack, self.train, self.test, self.batch_size, self.identity)

    @cached_property
    def _means(self) -> list[Tensor]:
        """Mean feature of every class over a replica's own training images, (C, D) each."""
        labels, classes = self.train.pictures.labels, self.tasks.position.shape[1]
        own = [torch.cat(train) for train in self.tasks.train]
        return [class_means(self.frozen.train[rows], labels[rows], classes) for rows in own]

    def begin(self) -> None:
        """Before the first training step: what the untrained head makes of every later task."""
        for later in range(1, self.tasks.tasks):
            low, high = self.tasks.bounds[later : later + 2]
            indices = [test[later] for test in self.tasks.test]
            predicted = predict_frozen(self.pack, self.frozen.test, indices, slice(low, high))
            self._log_transfer("initial", later, predicted, indices, 0)

    def boundary(self, task: int, consolidate: Callable[[int], tuple[bool, bool]]) -> None:
        """Ablations before and after consolidation, accuracies and reference lines after it.

        Args:
            consolidate: called in between; returns whether slow and whether fast changed.
        """
        seen, (pack, tasks) = self.tasks.bounds[task + 1], (self.pack, self.tasks)
        indices = [torch.cat(test[: task + 1]) for test in tasks.test]
        targets = self._columns(self.test, indices)
        ablation = Ablation(pack, self.test, self.frozen.test, indices, seen, self.batch_size)
        self._log_ablation(task, "before", ablation, targets)
        ablation.slow_changed, ablation.fast_changed = consolidate(task)
        after = self._log_ablation(task, "after", ablation, targets)
        for k in self.alive():
            for name, value in accuracies(after["combined"][k], targets[k], tasks.bounds[: task + 2]).items():
                self.log(k, "eval", name, value, task)
            if "slow" in pack.parts:
                frozen, slow = accuracy(after["frozen"][k], targets[k]), accuracy(after["slow"][k], targets[k])
                self.log(k, "boundary", "destructive", float(slow < frozen), task)
            for group, size in pack.sizes(k).items():
                self.log(k, "boundary", f"params/{group}", size, task)
        if task + 1 < tasks.tasks:
            self._before_next(task)
        self._references(task, indices)

    def validation(self, task: int) -> None:
        """Accuracy on the held-out training images of all classes seen so far."""
        indices = [torch.cat(held_out[: task + 1]) for held_out in self.tasks.validation]
        targets, seen = self._columns(self.train, indices), self.tasks.bounds[task + 1]
        predicted = predict(self.pack, self.train, indices, self.pack.parts, seen, self.batch_size)
        for k in self.alive():
            self.log(k, "val", "accuracy", accuracy(predicted[k], targets[k]), task)

    def _columns(self, source: ImageInput, indices: Sequence[Tensor]) -> list[Tensor]:
        """The head's column of every image, by each replica's class order."""
        labels = source.pictures.labels
        return [self.tasks.position[k][labels[rows]] for k, rows in enumerate(indices)]

    def _log_ablation(self, task: int, when: str, ablation: Ablation, targets: list[Tensor]) -> dict[str, list[Tensor]]:
        predicted = ablation.measure(when)
        values = {f"norm/{part}/{when}": self.pack.norm(part) for part in self.pack.parts}
        values |= {f"{name}/{when}": value for name, value in ratios(ablation.contribution).items()}
        for k in self.alive():
            for which, columns in predicted.items():
                self.log(k, "ablation", f"{when}/{which}", accuracy(columns[k], targets[k]), task)
            for name, value in values.items():
                if bool(value[k].isfinite()):
                    self.log(k, "boundary", name, float(value[k]), task)
        return predicted

    def _before_next(self, task: int) -> None:
        low, high = self.tasks.bounds[task + 1 : task + 3]
        indices = [test[task + 1] for test in self.tasks.test]
        logits = all_logits(self.pack, self.test, indices, slice(low, high), self.batch_size)
        self._log_transfer("before", task + 1, [own.argmax(-1) for own in logits], indices, task)

    def _log_transfer(self, when: str, later: int, predicted: list[Tensor], indices: list[Tensor], task: int) -> None:
        low, targets = self.tasks.bounds[later], self._columns(self.test, indices)
        for k in self.alive():
            self.log(k, "transfer", f"{when}/task_{later}", accuracy(predicted[k], targets[k] - low), task)

    def _references(self, task: int, indices: list[Tensor]) -> None:
        seen, labels, features = self.tasks.bounds[task + 1], self.test.pictures.labels, self.frozen.test
        for k in self.alive():
            rows, known = indices[k], torch.nonzero(self.tasks.position[k] < seen).flatten()
            nearest = nearest_class_mean(features[rows], self._means[k], known)
            self.log(k, "reference", "ncm", accuracy(nearest, labels[rows]), task)
            self.log(k, "reference", "chance", 1 / seen, task)
            if task + 1 == self.tasks.tasks:
                learned = torch.cat(self.tasks.train[k]).sort().values
                joint = self.frozen.joint_accuracy(learned, self.train.pictures.labels, labels)
                self.log(k, "reference", "joint", joint, task)


def accuracies(predicted: Tensor, target: Tensor, bounds: Sequence[int]) -> dict[str, float]:
    """Accuracy overall, by task, on old and new classes, and recency bias after a task.

    Args:
        predicted, target: head columns, int64 (n,).
        bounds: first columns of the tasks learned, and the end of the last one, (T + 1,).

    Returns:
        Fractions in [0, 1]; ``recency`` is the share of predictions that fall into the newest task's classes. Without
        an earlier task there is no ``accuracy_old``.
    """
    newest = bounds[-2]
    found = {"accuracy": accuracy(predicted, target), "recency": float((predicted >= newest).double().mean())}
    for task, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False)):
        own = (low <= target) & (target < high)
        found[f"accuracy/task_{task}"] = accuracy(predicted[own], target[own])
    found["accuracy_new"] = found[f"accuracy/task_{len(bounds) - 2}"]
    if newest:
        found["accuracy_old"] = accuracy(predicted[target < newest], target[target < newest])
    return found
