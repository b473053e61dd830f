"""Fine-tuning a text classifier by LoRA of a rank, the head alone or everything.

Source: METHODS.md "LoRA rank"; notes seeds/004, part II.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.configs import RankConfig
from trainables.data.materials import Materials
from trainables.data.splits import carve, steps_per_epoch
from trainables.data.text_input import TextInput, bucketed_batches, text_logits
from trainables.data.texts import TextData, known_text_classes, load_text
from trainables.errors import InputError
from trainables.metrics.calibration import scores
from trainables.metrics.references import without_training
from trainables.models.text import TextBackbone, load_text_backbone
from trainables.models.text_notices import text_notices
from trainables.packs.optim import BankOptimizer, decay_columns, linear_rates
from trainables.packs.run import PackRun
from trainables.packs.seeding import generator
from trainables.packs.text import TextReplicas
from trainables.packs.tuned import base_rates
from trainables.peft.export import LoraReplica, lora_state


def materials(configs: Sequence[RankConfig], load: bool) -> Materials:
    """Texts and encoder of a study, the same for all ``configs``.

    Args:
        load: tokenise the texts (or find them in the cache) and load the weights; False loads texts only where their
            number of classes is not known otherwise, and weights never.

    Raises:
        InputError: data or weights cannot be had, or a configuration does not fit them.
    """
    first = configs[0]
    backbone = load_text_backbone(first.backbone, first.pretrained if load else None, first.weights_seed)
    notices = text_notices(backbone, configs)
    classes = None if load else known_text_classes(first.dataset)
    if classes is not None:
        return Materials(classes, notices=notices)
    data = load_text(first.dataset, first.data, first.backbone)
    for config in configs:
        check(config, data, backbone)
    return Materials(data.classes, data.content_hash, backbone.weights_hash or None, notices)


def count_parameters(config: RankConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica, without loading weights."""
    backbone = load_text_backbone(config.backbone, None)
    pack = TextReplicas(backbone, config, classes, (0,), torch.device("meta"))
    return pack.parameters(base_rates(config, pack.bank.groups))


def lora_replica(params: Mapping[str, Any], tensors: Mapping[str, Tensor], seed: int) -> LoraReplica:
    """A trained replica as PEFT sees it: an encoder within transformers' sequence classifier.

    Args:
        params: its configuration, as the run recorded it.
        tensors: of a checkpoint.

    Raises:
        InputError: random weights, or a backbone whose classifier there has another head.
    """
    config = RankConfig.model_validate(params)
    if not config.pretrained:
        raise InputError("was trained over random weights, which no model on file has")
    model = load_text_backbone(config.backbone, None).model
    if model.config.model_type != "bert" or model.pooler is None:  # type: ignore[union-attr]
        raise InputError(
            f"transformers' sequence classifier of {config.backbone} has more in its head than the one that was "
            "trained; allowed: BERT with a pooler"
        )
    encoder = f"{model.base_model_prefix}."
    return LoraReplica(lora_state(tensors, ()), config.scale * config.rank, encoder, "classifier")


def check(config: RankConfig, data: TextData, backbone: TextBackbone) -> None:
    """Whether a configuration fits its data.

    Raises:
        InputError: labels outside the head, tokens outside the vocabulary, texts without tokens or longer than the
            positions, a held-out part that leaves a class without training texts, or a warm-up as long as the run.
    """
    for part, labels in (("training", data.train_labels), ("test", data.test_labels)):
        if int(labels.min()) < 0 or int(labels.max()) >= data.classes:
            raise InputError(
                f"dataset {config.dataset!r}: {part} labels {int(labels.min())}..{int(labels.max())}; a head of "
                f"{data.classes} classes allows 0..{data.classes - 1}"
            )
    longest = max(int(data.train_offsets.diff().max()), int(data.test_offsets.diff().max()))
    if longest > backbone.positions:
        raise InputError(
            f"data.max_length={config.data.max_length}: a text has {longest} tokens and {config.backbone} "
            f"{backbone.positions} positions; allowed: 3..{backbone.positions}"
        )
    if min(int(data.train_offsets.diff().min()), int(data.test_offsets.diff().min())) < 1:
        raise InputError(f"dataset {config.dataset!r}: a text without tokens; allowed: texts of at least one token")
    highest = max(int(data.train_tokens.max()), int(data.test_tokens.max()))
    if highest >= backbone.vocabulary:
        raise InputError(
            f"backbone {config.backbone!r}: its tokenizer gives token {highest}, its embedding ends at "
            f"{backbone.vocabulary - 1}"
        )
    texts = len(split(config, data.train_labels, seed=0)[0])  # every seed's has this size
    steps = config.epochs * steps_per_epoch(config, texts)
    if config.warmup_steps is not None and config.warmup_steps >= steps:
        raise InputError(f"warmup_steps={config.warmup_steps}: the run has {steps} steps; allowed: 0..{steps - 1}")


def split(config: RankConfig, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the training and validation texts of one replica, int64.

    Raises:
        InputError: a class keeps no training text.
    """
    return carve(labels, config.data.val_fraction, generator(seed, "split"), "data.val_fraction")


class RankRun(PackRun):
    """State of one pack between epochs."""

    boundary = "epoch"
    pack: TextReplicas
    optimizer: BankOptimizer

    def __init__(self, config: RankConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config, self.boundaries = config, config.epochs
        backbone = load_text_backbone(config.backbone, config.pretrained, config.weights_seed)
        data = load_text(config.dataset, config.data, config.backbone)
        check(config, data, backbone)
        self.splits = [split(config, data.train_labels, seed) for seed in seeds]
        self.pack = TextReplicas(backbone, config, data.classes, seeds, self.device)
        for k, seed in enumerate(seeds):
            self.pack.initialise(k, generator(seed, "init"))
        self.train_input = TextInput(data.train_tokens, data.train_offsets, data.pad_id, self.device)
        self.test_input = TextInput(data.test_tokens, data.test_offsets, data.pad_id, self.device)
        self.train_labels, self.test_labels, self.classes = data.train_labels, data.test_labels, data.classes
        self.epoch_steps = steps_per_epoch(config, len(self.splits[0][0]))
        self.all_steps = config.epochs * self.epoch_steps
        warmup = config.warmup_steps
        self.warmup_steps = round(config.warmup_fraction * self.all_steps) if warmup is None else warmup
        bank = self.pack.bank
        self.base_rates = torch.tensor(base_rates(config, bank.groups)).expand(len(seeds), -1)  # (K, G)
        self.optimizer = BankOptimizer(bank, "adamw", decay_columns(bank, config.weight_decay, self.pack.decayed()))
        self.data_s = time.monotonic() - self.began

    def training(self, epoch: int) -> Iterator[None]:
        if epoch == 0:
            self._log_curve(epoch)
        points = self.config.evaluations_per_epoch
        between = {round(self.epoch_steps * point / points) for point in range(1, points)} - {0, self.epoch_steps}
        self.pack.masks.begin_epoch(epoch)
        for step, indices in enumerate(self.batches(epoch)):
            if step in between:
                self._log_curve(epoch)
            began = self.clock.now()
            rates = linear_rates(self.base_rates, self.steps, self.all_steps, self.warmup_steps)
            loss = self.backward(indices)
            self.mark_diverged(loss.isfinite() & self.pack.bank.finite_gradients(), epoch=epoch)
            self.optimizer.step(rates, self.finite.unsqueeze(1).expand_as(rates))
            self.clock.add(began)
            logged = self.finite & (self.steps % self.config.log_every == 0)
            self.log_step(logged, loss, rates, self.pack.bank.groups, dict, epoch)
            self.steps += self.finite
            yield
            if not bool(self.finite.any()):
                break

    def batches(self, epoch: int) -> list[tuple[Tensor, ...]]:
        """The steps of an epoch: one tensor of training texts per replica, int64 (B_k,)."""
        own = []
        for seed, (texts, _) in zip(self.seeds, self.splits, strict=True):
            lengths, draw = self.train_input.lengths[texts], generator(seed, "order", epoch)
            buckets = bucketed_batches(lengths, self.config.batch_size, draw)
            own.append([texts[bucket] for bucket in buckets[: self.epoch_steps]])
        return list(zip(*own, strict=True))

    def backward(self, indices: Sequence[Tensor]) -> Tensor:
        """Fill the bank's gradient; mean cross-entropy of every replica, (K,)."""
        pack = self.pack
        pack.bank.grad.zero_()
        losses = []
        for rows in pack.passes():
            tokens, shapes = self.train_input.batch(indices[rows])
            with pack.masks.drawn(shapes):
                logits = pack.logits(pack.features(tokens), slice(None))  # (rows, B, C)
            means = []
            for k, own in enumerate(indices[rows]):
                target = self.train_labels[own].to(self.device)
                means.append(F.cross_entropy(logits[k, : len(own)], target))
            torch.stack(means).sum().backward()  # pass by pass: one graph at a time is alive
            losses.append(torch.stack(means).detach())
        return torch.cat(losses)

    def measure(self, epoch: int) -> None:
        if self.config.evaluate == "test":
            self.log_scores("eval", self._test_logits(), [self.test_labels] * len(self.seeds), epoch, scores)
            self.log_references(without_training(self.test_labels, self.classes), epoch)
        if self.config.trains_lora:
            norm = self.pack.delta_norm()
            for k in self.alive():
                self.log_values(k, "diagnostics", {"delta_norm": float(norm[k])}, epoch)
        if self.config.data.val_fraction:
            parts = [validation for _, validation in self.splits]
            logits = text_logits(self.pack, self.train_input, parts, self.config.eval_batch_size)
            self.log_scores("val", logits, [self.train_labels[part] for part in parts], epoch, scores)

    def _test_logits(self) -> list[Tensor]:
        every = torch.arange(len(self.test_labels))
        return text_logits(self.pack, self.test_input, [every] * len(self.seeds), self.config.eval_batch_size)

    def _log_curve(self, epoch: int) -> None:
        """A point of the learning curve within an epoch, or before the first step; on test texts, hence none in a
        search."""
        if self.config.evaluate == "validation":
            return
        start = time.monotonic()
        test = self._test_logits()
        for k in self.alive():
            if bool(test[k].isfinite().all()):
                self.log_values(k, "curve", scores(test[k], self.test_labels), epoch)
        self.eval_s += time.monotonic() - start


start, train = RankRun, RankRun.train
