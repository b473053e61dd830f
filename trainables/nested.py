"""Nested LoRA for class-incremental learning: fast and slow adapters, consolidated at task boundaries.

Source: METHODS.md "Nested LoRA" and "Class-incremental protocol"; notes seeds/000 and seeds/001.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.ablation import Ablation, ratios
from trainables.adapters import Contribution, per_replica
from trainables.augmentation import draw_crops
from trainables.backbones import Backbone, load_backbone
from trainables.checkpoint import Checkpoints
from trainables.configs import NestedConfig
from trainables.consolidation import consolidate
from trainables.data import ImageData, load_images
from trainables.diagnostics import StepClock
from trainables.evaluation import accuracy, frozen_features, predict
from trainables.inputs import image_inputs
from trainables.materials import Materials, image_materials
from trainables.optim import BankOptimizer, learning_rates
from trainables.packrun import PackRun, Report, carry_out
from trainables.replicas import Pack
from trainables.seeding import generator
from trainables.tasks import ClassIncremental


def train(config: NestedConfig, seeds: Sequence[int], report: Report, checkpoints: Checkpoints) -> None:
    """Train K replicas of one configuration through all tasks, from their last common checkpoint if there is one.

    Args:
        seeds: K replica seeds, trained together; a replica's numbers do not depend on its neighbours.
        report: called after every task, and once for the rows of a resumed run's checkpoint.
        checkpoints: where the state of every replica goes at every task boundary.

    Raises:
        InputError: data, backbone or configuration do not fit each other.
    """
    run = NestedRun(config, seeds)
    carry_out(run, run.tasks.tasks, report, checkpoints)


def start(config: NestedConfig, seeds: Sequence[int]) -> PackRun:
    """K replicas before their first step; raises as ``train`` does."""
    return NestedRun(config, seeds)


def materials(configs: Sequence[NestedConfig], load: bool) -> Materials:
    """Images and backbone of a study; see ``image_materials``."""
    return image_materials(configs, load)


def count_parameters(config: NestedConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica, without loading weights."""
    pack = Pack(
        load_backbone(config.backbone, pretrained=False), config, parts(config), classes, 1, torch.device("meta")
    )
    trained = [
        group for group, rate in zip(pack.bank.groups, base_rates(config, pack.bank.groups), strict=True) if rate
    ]
    return pack.bank.count(trained), pack.total_params


def parts(config: NestedConfig) -> tuple[str, ...]:
    """Adapter parts of a configuration: a slow part that is neither trained nor filled does not exist."""
    return ("fast", "slow") if config.lr_slow > 0.0 or config.consolidation else ("fast",)


def base_rates(config: NestedConfig, groups: Sequence[str]) -> list[float]:
    """Initial learning rate of every optimizer group."""
    rates = {"head": config.init_lr, "fast": config.lr_fast, "slow": config.lr_slow}
    return [rates[group] for group in groups]


class NestedRun(PackRun):
    """State of one pack between tasks."""

    def __init__(self, config: NestedConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.clock = StepClock(self.device)
        backbone: Backbone = load_backbone(config.backbone)
        data: ImageData = load_images(config.dataset, config.data, backbone.size)
        self.tasks = ClassIncremental(config, seeds, data.train_labels, data.test_labels)
        self.pack = Pack(backbone, config, parts(config), data.classes, len(seeds), self.device)
        for k, seed in enumerate(seeds):
            self.pack.bank.reset(k, generator(seed, "init"))
        self.train_input, self.test_input = image_inputs(data, backbone, config.data, self.device)
        self.train_labels, self.test_labels = data.train_labels, data.test_labels
        self.base_rates = torch.tensor(base_rates(config, self.pack.bank.groups)).expand(len(seeds), -1)  # (K, G)
        self.intervals = torch.full((len(seeds),), config.update_interval_slow)
        self.alphas = torch.full((len(seeds),), config.consolidation_alpha)
        self.data_s = time.monotonic() - self.began

    @cached_property
    def frozen(self) -> Tensor:
        """Features of all test images through the frozen backbone alone, (N, D)."""
        return frozen_features(self.pack, self.test_input, self.config.eval_batch_size)

    def training(self, task: int) -> Iterator[None]:
        """Train adapters and the task's part of the head with a fresh optimizer."""
        start = time.monotonic()
        config, bank = self.config, self.pack.bank
        optimizer = BankOptimizer(bank, config.optimizer, [config.weight_decay] * len(bank.groups), config.momentum)
        first_step = self.steps.clone()
        for epoch in range(config.epochs):
            crops = self._crops(task, epoch)
            losses = torch.zeros(len(self.seeds), dtype=torch.float64)
            for batch, (indices, valid) in enumerate(self.tasks.epoch(task, epoch, config.batch_size)):
                began = self.clock.now()
                rates = learning_rates(
                    self.base_rates, epoch, config.epochs, self.steps - first_step, config.eta_min, config.warmup_steps
                )
                logged = valid.any(1) & (self.steps % config.log_every == 0)
                measure = bool(logged.any()) and "slow" in self.pack.parts
                contribution = Contribution(len(self.seeds), self.device) if measure else None
                with self.pack.measured(contribution):
                    loss = self._loss(task, indices, valid, crops[:, batch])
                bank.grad.zero_()
                loss.sum().backward()
                self.mark_diverged(loss.detach().isfinite() & bank.finite_gradients(), task, epoch)
                in_step = valid.any(1) & self.finite
                optimizer.step(rates, self._update_mask(in_step, self.steps - first_step))
                self.clock.add(began)
                self._log_step(task, epoch, logged & self.finite, loss.detach(), rates, contribution)
                losses += torch.where(in_step, loss.detach().cpu().double(), 0.0)
                self.steps += valid.any(1)
                yield
            for k in self.alive():
                own_batches = -(-len(self.tasks.train[k][task]) // config.batch_size)
                self.log(k, "train", "epoch_loss", float(losses[k]) / own_batches, task, epoch, int(self.steps[k]))
        self.log_timing("train_s", time.monotonic() - start, task)

    def _crops(self, task: int, epoch: int) -> Tensor:
        """Crops of an epoch, (K, batches, B, 2, 3); unused places stay zero."""
        config = self.config
        height, width = self.train_input.images.shape[-2:]
        own = []
        for seed, indices in zip(self.seeds, self.tasks.train, strict=True):
            images = -(-len(indices[task]) // config.batch_size) * config.batch_size
            draw = generator(seed, "augmentation", task, epoch)
            own.append(draw_crops(images, draw, (height, width), config.data.crop_scale, config.data.flip))
        return torch.nn.utils.rnn.pad_sequence(own, batch_first=True).unflatten(1, (-1, config.batch_size))

    def _loss(self, task: int, indices: Tensor, valid: Tensor, crops: Tensor) -> Tensor:
        """Mean cross-entropy within the task's classes of every replica, (K,); 0 where a replica has no image."""
        source, low, high = self.train_input, *self.tasks.bounds[task : task + 2]
        columns = self.tasks.position.gather(1, self.train_labels[indices]) - low  # (K, B)
        targets = torch.where(valid, columns, 0)
        losses = []
        for rows in self.pack.passes():
            images = source.cropped(indices[rows].flatten(), crops[rows].flatten(0, 1).clone())
            features = self.pack.features(images)
            logits = self.pack.logits(features, slice(low, high))  # (rows, B, C')
            target = targets[rows].flatten().to(self.device)
            loss = F.cross_entropy(logits.flatten(0, 1), target, reduction="none").view(-1, indices.shape[1])
            weight = valid[rows].to(loss)
            losses.append(per_replica(torch.sum, loss * weight) / weight.sum(1).clamp(min=1))
        return torch.cat(losses)

    def _update_mask(self, in_step: Tensor, step: Tensor) -> Tensor:
        """Bool (K, G): which groups of which replicas this step updates."""
        on_time = (step + 1) % self.intervals == 0
        columns = [in_step & on_time if group == "slow" else in_step for group in self.pack.bank.groups]
        return torch.stack(columns, dim=1)

    def _log_step(
        self, task: int, epoch: int, logged: Tensor, loss: Tensor, rates: Tensor, contribution: Contribution | None
    ) -> None:
        if not bool(logged.any()):
            return
        values = {"loss": loss} | {f"lr/{group}": rates[:, g] for g, group in enumerate(self.pack.bank.groups)}
        values |= {f"norm/{part}": self.pack.norm(part) for part in self.pack.parts}
        values |= ratios(contribution)
        for k in torch.nonzero(logged).flatten().tolist():
            for name, value in values.items():
                if bool(value[k].isfinite()):
                    self.log(k, "train", name, float(value[k]), task, epoch, int(self.steps[k]))

    def close(self, task: int) -> None:
        """Consolidation, and what is measured around it: on test images, on held-out training images, or both."""
        start = time.monotonic()
        if self.config.evaluate == "test":
            self._test(task)
        elif self.config.consolidation:
            consolidate(self.pack, self.alphas, self.config, task, self.seeds)
        self._validate(task)
        seconds = time.monotonic() - start
        if self.data_s:  # loading belongs to the first task that this process trains
            self.log_timing("data_s", self.data_s, task)
            self.data_s = 0.0
        self.log_timing("eval_s", seconds, task)
        self.log_costs(self.clock, task)

    def _test(self, task: int) -> None:
        """Ablations before consolidation, consolidation, ablations and accuracies after it."""
        seen = self.tasks.bounds[task + 1]
        indices = [torch.cat(test[: task + 1]) for test in self.tasks.test]
        targets = [self.tasks.position[k][self.test_labels[rows]] for k, rows in enumerate(indices)]
        ablation = Ablation(self.pack, self.test_input, self.frozen, indices, seen, self.config.eval_batch_size)
        before = ablation.measure("before")
        self._log_boundary(task, "before", before, targets, ablation.contribution)
        if self.config.consolidation:
            ablation.slow_changed |= consolidate(self.pack, self.alphas, self.config, task, self.seeds)
            ablation.fast_changed = True
        after = ablation.measure("after")
        self._log_boundary(task, "after", after, targets, ablation.contribution)
        for k in self.alive():
            predicted, target = after["combined"][k], targets[k]
            self.log(k, "eval", "accuracy", accuracy(predicted, target), task)
            ends = torch.tensor([len(rows) for rows in self.tasks.test[k][: task + 1]]).cumsum(0).tolist()
            for past, (low, high) in enumerate(zip([0, *ends], ends, strict=False)):
                self.log(k, "eval", f"accuracy/task_{past}", accuracy(predicted[low:high], target[low:high]), task)
            frozen, slow = accuracy(after["frozen"][k], target), accuracy(after["slow"][k], target)
            if "slow" in self.pack.parts:
                self.log(k, "boundary", "destructive", float(slow < frozen), task)

    def _validate(self, task: int) -> None:
        if self.config.data.val_fraction == 0.0:
            return
        indices = [torch.cat(held_out[: task + 1]) for held_out in self.tasks.validation]
        predicted = predict(
            self.pack,
            self.train_input,
            indices,
            self.pack.parts,
            self.tasks.bounds[task + 1],
            self.config.eval_batch_size,
        )
        for k in self.alive():
            target = self.tasks.position[k][self.train_labels[indices[k]]]
            self.log(k, "val", "accuracy", accuracy(predicted[k], target), task)

    def _log_boundary(
        self,
        task: int,
        when: str,
        predicted: dict[str, list[Tensor]],
        targets: list[Tensor],
        contribution: Contribution | None,
    ) -> None:
        values = {f"norm/{part}/{when}": self.pack.norm(part) for part in self.pack.parts}
        values |= {f"{name}/{when}": value for name, value in ratios(contribution).items()}
        for k in self.alive():
            for which, columns in predicted.items():
                self.log(k, "ablation", f"{when}/{which}", accuracy(columns[k], targets[k]), task)
            for name, value in values.items():
                if bool(value[k].isfinite()):
                    self.log(k, "boundary", name, float(value[k]), task)

    def state(self, k: int) -> dict[str, Tensor]:
        return self.pack.bank.state(k)  # the optimizer starts anew with every task

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        self.pack.bank.load(k, state)
