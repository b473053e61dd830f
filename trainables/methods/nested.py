"""Nested LoRA for class-incremental learning: fast and slow adapters, consolidated at task boundaries.

Source: METHODS.md "Nested LoRA" and "Class-incremental protocol"; notes seeds/000 and seeds/001.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.configs import NestedConfig
from trainables.data.image_input import image_inputs
from trainables.data.images import ImageData, load_images
from trainables.data.materials import Materials, image_materials
from trainables.data.splits import ClassIncremental, class_order, padded_batches
from trainables.errors import InputError
from trainables.metrics.ablation import ratios
from trainables.metrics.boundary import ContinualTests
from trainables.metrics.continual import continual_finals
from trainables.models.vision import Backbone, load_backbone
from trainables.packs.optim import BankOptimizer, columns_of, decay_columns, learning_rates
from trainables.packs.replicas import Pack
from trainables.packs.run import PackRun
from trainables.packs.seeding import generator
from trainables.peft.consolidation import consolidate
from trainables.peft.export import LoraReplica, image_state
from trainables.peft.lora import Contribution, per_replica


def materials(configs: Sequence[NestedConfig], load: bool) -> Materials:
    """Images and backbone of a study; see ``image_materials``."""
    return image_materials(configs, load)


def count_parameters(config: NestedConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica, without loading weights."""
    pack = Pack(
        load_backbone(config.backbone, pretrained=False), config, parts(config), classes, 1, torch.device("meta")
    )
    return pack.parameters(base_rates(config, pack.bank.groups))


def lora_replica(params: Mapping[str, Any], tensors: Mapping[str, Tensor], seed: int) -> LoraReplica:
    """A trained replica as PEFT sees it, the head's columns in the order of the labels.

    Args:
        params: its configuration, as the run recorded it.
        tensors: of a checkpoint.

    Raises:
        InputError: a run of an earlier version.
    """
    if "class_order" not in params:
        raise InputError("the run was made by an earlier version, which drew class orders in another way")
    state = image_state(params, tensors)
    position = torch.argsort(class_order(NestedConfig.model_validate(params), state["head.bias"].numel(), seed))
    head = {name: state[name][..., position] for name in ("head.weight", "head.bias")}
    return LoraReplica(state | head, float(params["lora_alpha"]))


def parts(config: NestedConfig) -> tuple[str, ...]:
    """Adapter parts of a configuration: a slow part that is neither trained nor filled does not exist."""
    return ("fast", "slow") if config.lr_slow > 0.0 or config.consolidation else ("fast",)


def base_rates(config: NestedConfig, groups: Sequence[str]) -> list[float]:
    """Initial learning rate of every optimizer group."""
    rates = {"head": config.init_lr, "fast": config.lr_fast, "slow": config.lr_slow}
    return [rates[group] for group in groups]


class NestedRun(PackRun):
    """State of one pack between tasks."""

    boundary = "task"  # where the optimizer starts anew, so that it is no part of the state
    pack: Pack

    def __init__(self, config: NestedConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config = config
        backbone: Backbone = load_backbone(config.backbone)
        data: ImageData = load_images(config.dataset, config.data, backbone.size)
        self.tasks = ClassIncremental(config, seeds, data.train.labels, data.test.labels)
        self.boundaries = self.tasks.tasks
        self.pack = Pack(backbone, config, parts(config), data.classes, len(seeds), self.device)
        for k, seed in enumerate(seeds):
            self.pack.bank.reset(k, generator(seed, "init"))
        self.train_input, test_input = image_inputs(data, backbone, config, self.device)
        self.train_labels = data.train.labels
        self.base_rates = torch.tensor(base_rates(config, self.pack.bank.groups)).expand(len(seeds), -1)  # (K, G)
        identity = [data.content_hash, backbone.weights_hash, repr(test_input.recipe), config.precision]
        identity.append(str(self.device))
        self.tests = ContinualTests(
            self.pack, self.tasks, self.train_input, test_input, config.eval_batch_size, identity, self.log, self.alive
        )
        self.data_s = time.monotonic() - self.began

    def training(self, task: int) -> Iterator[None]:
        """Train adapters and head on one task with a fresh optimizer."""
        if task == 0 and self.config.evaluate == "test":
            start = time.monotonic()
            self.tests.begin()
            self.eval_s += time.monotonic() - start
        config, bank = self.config, self.pack.bank
        optimizer = BankOptimizer(bank, config.optimizer, self._decay(), config.momentum)
        first_step = self.steps.clone()
        for epoch in range(config.epochs):
            losses = torch.zeros(len(self.seeds), dtype=torch.float64)
            for indices, valid, boxes in self._batches(task, epoch):
                began, step = self.clock.now(), self.steps - first_step
                rates = learning_rates(self.base_rates, epoch, config.epochs, step, config.eta_min, config.warmup_steps)
                logged = valid.any(1) & (self.steps % config.log_every == 0) & self.finite
                measure = bool(logged.any()) and "slow" in self.pack.parts
                contribution = Contribution(len(self.seeds), self.device) if measure else None
                loss = self._backward(task, indices, valid, boxes, contribution)
                self.mark_diverged(loss.isfinite() & bank.finite_gradients(), task, epoch)
                in_step = valid.any(1) & self.finite
                optimizer.step(rates, self._update_mask(in_step, step))
                self.clock.add(began)
                self.log_step(
                    logged & self.finite, loss, rates, bank.groups, partial(self._scales, contribution), epoch, task
                )
                losses += torch.where(in_step, loss.cpu().double(), 0.0)
                self.steps += in_step
                yield
                if not bool(self.finite.any()):
                    return
            for k in self.alive():
                own_batches = -(-len(self.tasks.train[k][task]) // config.batch_size)
                self.log(k, "train", "epoch_loss", float(losses[k]) / own_batches, task, epoch, int(self.steps[k]))

    def _batches(self, task: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Indices (K, B), valid (K, B) and boxes (K, B, 2, 5) of an epoch's steps."""
        shown, size = self.tasks.shown(task, epoch), self.config.batch_size
        drawn = [self.train_input.draw(indices, generator(seed, "augmentation", task, epoch))
                 for seed, indices in zip(self.seeds, shown, strict=True)]  # fmt: skip
        (indices, valid), (boxes, _) = padded_batches(shown, size), padded_batches(drawn, size)
        boxes[~valid] = boxes.new_tensor([0, 1, 1, 0, 0])  # a stretch of no length would be divided by
        yield from zip(indices, valid, boxes, strict=True)

    def _backward(
        self, task: int, indices: Tensor, valid: Tensor, boxes: Tensor, contribution: Contribution | None
    ) -> Tensor:
        """Fill the bank's gradient; mean cross-entropy of every replica, (K,), 0 where a replica has no image."""
        pack, (start, high) = self.pack, self.tasks.bounds[task : task + 2]
        low = start if self.config.loss_classes == "task" else 0
        columns = self.tasks.position.gather(1, self.train_labels[indices]) - low  # (K, B)
        targets = torch.where(valid, columns, 0)
        if contribution is not None:
            contribution.valid = valid
        pack.bank.grad.zero_()
        losses = []
        with pack.measured(contribution):
            for rows in pack.passes():
                images = self.train_input.augmented(indices[rows].flatten(), boxes[rows].flatten(0, 1))
                logits = pack.logits(pack.features(images), slice(low, high))  # (rows, B, C')
                target = targets[rows].flatten().to(self.device)
                loss = F.cross_entropy(logits.flatten(0, 1), target, reduction="none").view(-1, indices.shape[1])
                weight = valid[rows].to(loss)
                means = per_replica(torch.sum, loss * weight) / weight.sum(1).clamp(min=1)
                means.sum().backward()  # pass by pass: one graph at a time is alive
                losses.append(means.detach())
        return torch.cat(losses)

    def _decay(self) -> Tensor:
        """Weight decay of every column (P,): SGD decays everything, as the notes' did, AdamW no bias."""
        bank, config = self.pack.bank, self.config
        decayed = [name for name in bank.parameters if config.optimizer == "sgd" or not name.endswith("bias")]
        return decay_columns(bank, config.weight_decay, decayed)

    def _update_mask(self, in_step: Tensor, step: Tensor) -> Tensor:
        """Bool (K, G): which groups of which replicas this step updates; drops slow gradients that are not due."""
        bank, due = self.pack.bank, (step + 1) % self.config.update_interval_slow == 0
        mask = in_step.unsqueeze(1).repeat(1, len(bank.groups))
        if "slow" in bank.groups and not bool(due.all()):
            if self.config.interval_mode == "zero_grad":
                bank.grad[~due.to(self.device), columns_of(bank, "slow")] = 0.0
            else:
                mask[:, bank.groups.index("slow")] &= due
        return mask

    def _scales(self, contribution: Contribution | None) -> dict[str, Tensor]:
        """Norms of the parts' weights and what they add to the frozen features, (K,) each."""
        return {f"norm/{part}": self.pack.norm(part) for part in self.pack.parts} | ratios(contribution)

    def measure(self, task: int) -> None:
        """Consolidation, and what is measured around it: on test images, on held-out training images, or both."""
        if self.config.evaluate == "test":
            self.tests.boundary(task, self._consolidate)
        else:
            self._consolidate(task)
        if self.config.data.val_fraction:
            self.tests.validation(task)

    def finals(self, k: int, task: int) -> dict[str, float]:
        return continual_finals(self.rows[self.seeds[k]], task + 1)

    def _consolidate(self, task: int) -> tuple[bool, bool]:
        """Consolidate where it is due; whether slow and whether fast changed."""
        config = self.config
        if not config.consolidation or (task + 1) % config.consolidation_interval:
            return False, False
        changed, lost = consolidate(self.pack, config, task, self.seeds, self.alive())
        self.mark_diverged(torch.tensor([k not in lost for k in range(len(self.seeds))]), task)
        return changed, True


start, train = NestedRun, NestedRun.train
