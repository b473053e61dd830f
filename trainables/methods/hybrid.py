"""Fine-tuning on all classes at once by LoRA, norm tuning, both, neither or everything.

Source: METHODS.md "Hybrid LoRA + norm tuning"; notes seeds/002 and seeds/003.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.configs import HybridConfig
from trainables.data.image_input import ImageInput, image_inputs
from trainables.data.images import load_images
from trainables.data.materials import Materials, image_materials
from trainables.data.splits import Split, check, steps_per_epoch
from trainables.metrics.accuracy import all_logits
from trainables.metrics.calibration import calibrate, calibration_error, scores
from trainables.metrics.diagnostics import GroupDiagnostics
from trainables.metrics.references import without_training
from trainables.models.vision import load_backbone
from trainables.packs.bank import per_replica
from trainables.packs.run import PackRun
from trainables.packs.seeding import generator
from trainables.packs.tuned import TunedReplicas, base_rates
from trainables.packs.updates import Updates
from trainables.peft.dropout import Masks
from trainables.peft.export import LoraReplica, image_state

PROBE_IMAGES = 64
"""Training images, evenly spaced, whose logits show how the groups' updates interfere."""


def materials(configs: Sequence[HybridConfig], load: bool) -> Materials:
    """Images and backbone of a study; see ``image_materials``."""
    return image_materials(configs, load, check)


def count_parameters(config: HybridConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica, without loading weights."""
    backbone = load_backbone(config.backbone, pretrained=False)
    pack = TunedReplicas(backbone, config, classes, 1, torch.device("meta"))
    return pack.parameters(base_rates(config, pack.bank.groups))


def lora_replica(params: Mapping[str, Any], tensors: Mapping[str, Tensor], seed: int) -> LoraReplica:
    """A trained replica as PEFT sees it; ``params`` as the run recorded them, ``tensors`` of a checkpoint."""
    return LoraReplica(image_state(params, tensors), float(params["lora_alpha"]))


class HybridRun(PackRun):
    """State of one pack between epochs."""

    boundary = "epoch"
    pack: TunedReplicas
    optimizer: Updates

    def __init__(self, config: HybridConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config, self.boundaries = config, config.epochs
        backbone = load_backbone(config.backbone)
        data = load_images(config.dataset, config.data, backbone.size)
        check(config, data)
        self.splits = [Split.of(config, data.train.labels, seed) for seed in seeds]
        self.pack = TunedReplicas(backbone, config, data.classes, len(seeds), self.device)
        for k, seed in enumerate(seeds):
            self.pack.initialise(k, generator(seed, "init"))
        self.train_input, self.test_input = image_inputs(data, backbone, config, self.device)
        self.train_labels, self.test_labels, self.classes = data.train.labels, data.test.labels, data.classes
        self.optimizer = Updates(config, self.pack)
        self.masks = Masks(self.pack.bank, seeds)
        if config.lora_dropout:
            self.pack.drop_inputs(self.masks, config.lora_dropout)
        self.diagnostics = GroupDiagnostics(self.pack.bank)
        self.data_s = time.monotonic() - self.began

    def training(self, epoch: int) -> Iterator[None]:
        optimizer, bank = self.optimizer, self.pack.bank
        self.diagnostics.begin_epoch()
        self.masks.begin_epoch(epoch)
        optimizer.begin_epoch(epoch)
        for indices, boxes in self.batches(epoch):
            before = bank.flat.clone()
            began = self.clock.now()
            trained = optimizer.trained(self.steps, self.finite)
            loss = self.backward(indices, boxes)
            sound, stepping = optimizer.unscale()
            self.mark_diverged(loss.isfinite().cpu() & sound, epoch=epoch)
            stepping = stepping & self.finite
            rates = optimizer.take(self.steps, trained & self.finite.unsqueeze(1), stepping)
            self.clock.add(began)
            self.diagnostics.add(before, stepping)
            logged = self.finite & (self.steps % self.config.log_every == 0)
            self.log_step(logged, loss, rates, bank.groups, self._lora_norm, epoch)
            self.steps += self.finite
            yield
            if not bool(self.finite.any()):
                break

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled training images of an epoch: indices int64 (K, B) and boxes (K, B, 2, 5), both on the CPU."""
        config = self.config
        orders, boxes = [], []
        for seed, split in zip(self.seeds, self.splits, strict=True):
            images = min(len(split.train), steps_per_epoch(config, len(split.train)) * config.batch_size)
            order = torch.randperm(len(split.train), generator=generator(seed, "order", epoch))
            orders.append(split.train[order[:images]])
            boxes.append(self.train_input.draw(orders[-1], generator(seed, "augmentation", epoch)))
        yield from zip(
            torch.stack(orders).split(config.batch_size, dim=1),
            torch.stack(boxes).split(config.batch_size, dim=1),
            strict=True,
        )

    def backward(self, indices: Tensor, boxes: Tensor) -> Tensor:
        """Fill the bank's gradient, scaled where there are loss scales; mean cross-entropy of every replica, (K,)."""
        pack = self.pack
        pack.bank.grad.zero_()
        losses = []
        for rows in pack.passes():
            own = indices[rows].flatten()
            with self.masks.drawn():
                logits = self.logits(self.train_input.augmented(own, boxes[rows].flatten(0, 1)))
            target = self.train_labels[own].to(self.device)
            loss = F.cross_entropy(logits.flatten(0, 1), target, reduction="none").view(-1, indices.shape[1])
            means = per_replica(torch.mean, loss)
            self.optimizer.scaled(means).sum().backward()  # pass by pass: one graph at a time is alive
            losses.append(means.detach())
        return torch.cat(losses)

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images of the current pass (rows * B, 3, S, S) -> (rows, B, C)."""
        return self.pack.logits(self.pack.features(images), slice(None))

    def _lora_norm(self) -> dict[str, Tensor]:
        return {"weight_norm/lora": self.pack.norm("lora")} if "lora" in self.pack.bank.groups else {}

    def measure(self, epoch: int) -> None:
        tested = self.config.evaluate == "test"
        if tested:
            test = self._logits(self.test_input, [torch.arange(len(self.test_labels))] * len(self.seeds))
            self.log_scores("eval", test, [self.test_labels] * len(self.seeds), epoch, self._scores)
            self.log_references(without_training(self.test_labels, self.classes), epoch)
        self._log_diagnostics(epoch)
        if self.config.data.val_fraction:
            parts = [split.validation for split in self.splits]
            targets = [self.train_labels[part] for part in parts]
            self.log_scores("val", self._logits(self.train_input, parts), targets, epoch, self._scores)
        if tested and epoch == self.config.epochs - 1 and self.config.temperature_fraction:
            parts = [split.temperature for split in self.splits]
            held_out = self._logits(self.train_input, parts)
            for k in self.alive():
                values = calibrate((held_out[k], self.train_labels[parts[k]]), (test[k], self.test_labels))
                self.log_values(k, "calibration", values, epoch)

    def _logits(self, source: ImageInput, indices: list[Tensor]) -> list[Tensor]:
        return all_logits(self.pack, source, indices, slice(None), self.config.eval_batch_size)

    def _scores(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        return scores(logits, target) | {"ece_batch": calibration_error(logits, target, self.config.batch_size)}

    def _log_diagnostics(self, epoch: int) -> None:
        values = self.diagnostics.end_epoch()
        if self.optimizer.both:
            probe = torch.linspace(0, len(self.train_labels) - 1, PROBE_IMAGES).long()
            values["interference"] = self.diagnostics.interference(
                lambda: self._logits(self.train_input, [probe] * len(self.seeds))
            )
        for k in self.alive():
            finite = {name: float(value[k]) for name, value in values.items() if bool(value[k].isfinite())}
            self.log_values(k, "diagnostics", finite, epoch)

    def state(self, k: int) -> dict[str, Tensor]:
        return super().state(k) | {"diagnostics.previous": self.diagnostics.state(k)}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        super().load(k, state)
        self.diagnostics.load(k, state["diagnostics.previous"])


start, train = HybridRun, HybridRun.train
