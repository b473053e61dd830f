"""SEMA of one replica, slow and direct: what the fast implementation is compared with.

``torch.optim.SGD``, its scheduler, and the whole backbone for every batch of every epoch of every phase, descriptors'
epochs included. Only parameters that an optimizer holds require gradients: the backward pass that the published code
makes through the first task's adapters while it trains descriptors is left out.    Source: METHODS.md, "SEMA".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from sema_modules import Block, Slot, drawn, zeros
from torch import Tensor, nn

from trainables.configs import SemaConfig
from trainables.data.image_input import image_inputs
from trainables.data.images import load_images
from trainables.data.splits import ClassIncremental
from trainables.models.vision import load_backbone
from trainables.packs.seeding import generator

FUNCTIONAL, DESCRIPTORS, SCAN = range(3)
"""Phases, as positions of a task's random streams."""


@dataclass
class Event:
    """An expansion: the number of the new slot, the criterion's value, and its z under every old adapter."""

    task: int
    block: int
    slot: int
    value: float
    z: list[float]


@dataclass
class Trace:
    """What a run did.

    Attributes:
        losses: (task, cross-entropy or joint loss) of every functional step.
        rd_losses: (task, epoch of the descriptors' phase, block, losses (B,)) of every step of that phase.
        scanned: (task, pass, block, z (n, B)) of every block looked at in every batch of a scan.
        usage: (task, earlier or same task, block) -> mean weights (n,) over the latter's test images.
        accuracy: after every task; ``watched``: after every epoch.
        logits: after the last task, of all test images, in the order of the tasks (n, C).
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    rd_losses: list[tuple[int, int, int, Tensor]] = field(default_factory=list)
    scanned: list[tuple[int, int, int, Tensor]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    usage: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    accuracy: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.zeros(0))


class Reference:
    """One replica.

    Args:
        watch: test accuracy after every epoch of every phase, as the published code does.
    """

    def __init__(self, config: SemaConfig, seed: int, watch: bool = False, device: str = "cpu") -> None:
        self.config, self.seed, self.watch, self.trace = config, seed, watch, Trace()
        self.device = torch.device(device)
        self.backbone = load_backbone(config.backbone)
        data = load_images(config.dataset, config.data, self.backbone.size)
        self.tasks = ClassIncremental(config, (seed,), data.train.labels, data.test.labels)
        self.train_input, self.test_input = image_inputs(data, self.backbone, config, self.device)
        vit, dim = self.backbone.model.to(self.device), self.backbone.dim
        self.growing = config.growing_blocks(len(vit.blocks)) if config.expansion == "on" else range(0)
        self.blocks: list[Block] = []
        for number in range(len(vit.blocks)):
            block = Block(vit.blocks[number], config, self._slot(number, 0))  # type: ignore[arg-type]
            vit.blocks[number] = block
            self.blocks.append(block)
        draw = generator(seed, "init")
        self.head = nn.ParameterList([drawn((dim, data.classes), dim, draw), zeros(data.classes)])
        self.head.to(self.device)

    def run(self) -> Trace:
        for task in range(self.tasks.tasks):
            self.learn(task)
        self.trace.logits = self.test(range(self.tasks.tasks))
        return self.trace

    def learn(self, task: int) -> None:
        """Everything that happens in a task, consolidation and the test of all classes seen included."""
        everywhere = [(block, 0) for block in range(len(self.blocks))]
        if task == 0 or self.config.expansion == "off":
            self.train_pair(task, everywhere, 0)
        elif not self.scan(task) and self.config.without_expansion == "train_head":
            self.train_pair(task, [], 0)
        if self.config.consolidation and (task + 1) % self.config.consolidation_interval == 0:
            self.consolidate()
        self.trace.accuracy.append(self.accuracy(task))
        for earlier in range(task + 1):
            self.test([earlier], into=task)

    def scan(self, task: int) -> bool:
        """Look for blocks that the task is new to, and let them grow; whether any did."""
        config, grown, passes = self.config, set[int](), 0
        while True:
            before = len(grown)
            for images, _ in self.batches(task, config.epochs, (SCAN, passes, 0), config.detect_batch_size):
                with torch.no_grad():
                    self.logits(images)
                for block in self.growing:
                    if block in grown:
                        continue
                    slots, losses = self.blocks[block].slots, self.blocks[block].rd_losses.cpu()
                    z = torch.stack([slot.descriptor.record.z(own) for slot, own in zip(slots, losses, strict=True)])
                    self.trace.scanned.append((task, passes, block, z))
                    value, under = self.criterion(z)
                    if value > config.exp_threshold:
                        self.trace.events.append(Event(task, block, len(slots), value, under))
                        slots.append(self._slot(block, task))
                        self.train_pair(task, [(block, len(slots) - 1)], len(grown))
                        grown.add(block)
                        break
            if len(grown) == before:
                return bool(grown)
            passes += 1

    def criterion(self, z: Tensor) -> tuple[float, list[float]]:
        """What is compared with the threshold, from z (n, B), and its z under every adapter."""
        if self.config.expansion_criterion == "batch_mean":
            return float(z.mean(1).min()), z.mean(1).tolist()
        least = z.min(0).values
        return float(least.max()), z[:, int(least.argmax())].tolist()

    def train_pair(self, task: int, new: list[tuple[int, int]], number: int) -> None:
        """The functional phase of the slots ``new`` (block, slot), and that of their descriptors."""
        config = self.config
        slots = [self.blocks[block].slots[slot] for block, slot in new]
        growing = [(block, slot) for block, slot in new if block in self.growing]
        routers = [self.blocks[block].slots[slot].row for block, slot in growing]
        if config.first_router == "trained":
            routers += [self.blocks[block].slots[0].row for block, slot in growing if slot == 1]
        descriptors = [self.blocks[block].slots[slot].descriptor for block, slot in growing]
        groups = [{"params": list(self.head), "lr": config.init_lr}]
        groups += [{"params": list(row.parameters()), "lr": config.init_lr} for row in routers]
        rates = {"adapter": config.init_lr, "fast": config.lr_fast, "slow": config.lr_slow}
        groups += [
            {"params": list(part.parameters()), "lr": rates[name]}
            for slot in slots
            for name, part in slot.parts.items()
        ]
        learning = [{"params": list(descriptor.parameters()), "lr": config.rd_lr} for descriptor in descriptors]
        joint = config.rd_training == "joint"
        self.phase(task, (FUNCTIONAL, number), config.epochs, groups + learning * joint, growing, joint)
        epochs = max(config.rd_epoch - config.epochs, 0) if joint else config.rd_epoch
        if growing and epochs:
            self.phase(task, (DESCRIPTORS, number), epochs, learning, growing, joint)
        for descriptor in descriptors:
            descriptor.record.updating = False

    def phase(
        self, task: int, at: tuple[int, int], epochs: int, groups: list[dict], growing: list[tuple[int, int]],
        joint: bool,
    ) -> None:  # fmt: skip
        """Train parameter ``groups``; the slots ``growing`` record their descriptors' losses."""
        config, functional = self.config, at[0] == FUNCTIONAL
        low, high = self.tasks.bounds[task : task + 2]
        low = low if config.loss_classes == "task" else 0
        slots = [slot for block in self.blocks for slot in block.slots]
        for parameter in (*self.head, *(parameter for slot in slots for parameter in slot.parameters())):
            parameter.requires_grad_(False)
        for parameter in (parameter for group in groups for parameter in group["params"]):
            parameter.requires_grad_(True)
            parameter.grad = torch.zeros_like(parameter)
        pairs = [slot.parts["slow"] for slot in slots if "slow" in slot.parts]
        slow = [parameter for part in pairs for parameter in part.parameters() if parameter.requires_grad]
        groups = [dict(group) for group in groups]  # the optimizer and its scheduler write into them
        optimizer = torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=config.eta_min)
        step = 0
        for epoch in range(epochs):
            view = epoch if functional else self.described_view(epoch, epochs, len(self.tasks.train[0][task]))
            for images, columns in self.batches(task, view, (*at, epoch), config.batch_size):
                optimizer.zero_grad(set_to_none=False)
                logits = self.logits(images)
                losses = [self.blocks[block].rd_losses[which] for block, which in growing]
                for (block, which), own in zip(growing, losses, strict=True):
                    self.blocks[block].slots[which].descriptor.record.add(own.detach().cpu())
                loss = F.cross_entropy(logits[:, low:high], columns - low) if functional else logits.new_zeros(())
                if joint or not functional:
                    loss = loss + sum(own.mean() for own in losses)
                loss.backward()
                step += 1
                if functional and step % config.update_interval_slow:
                    for parameter in slow:
                        parameter.grad = torch.zeros_like(parameter) if config.interval_mode == "zero_grad" else None
                optimizer.step()
                if functional:
                    self.trace.losses.append((task, loss.item()))
                else:
                    self.trace.rd_losses += [(task, epoch, block, own.detach().cpu())
                                             for (block, _), own in zip(growing, losses, strict=True)]  # fmt: skip
            scheduler.step()
            if self.watch:
                self.trace.watched.append(self.accuracy(task))

    def described_view(self, epoch: int, epochs: int, images: int) -> int:
        """Views that the adapters saw, and others, all but the scan's (number ``epochs``); new ones fill the record."""
        config = self.config
        if not config.rd_views or (epochs - epoch) * images < config.buffer_size + images:
            return config.epochs + 1 + epoch
        view = epoch % config.rd_views
        return view + (view >= config.epochs)

    def batches(self, task: int, view: int, order: tuple[int, int, int], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures of an augmented view and their head columns, in the order of (phase, round, epoch)."""
        indices = self.tasks.train[0][task]
        boxes = self.train_input.draw(indices, generator(self.seed, "augmentation", task, view))
        columns = self.tasks.position[0][self.train_input.pictures.labels.cpu()[indices]]
        shown = torch.randperm(len(indices), generator=generator(self.seed, "order", task, *order))
        for rows in shown.split(size) if len(shown) else ():
            yield self.train_input.augmented(indices[rows], boxes[rows]), columns[rows].to(self.device)

    def logits(self, images: Tensor) -> Tensor:
        """(B, C)."""
        return self.backbone.pooled(images) @ self.head[0] + self.head[1]

    def accuracy(self, task: int) -> float:
        """On the test images of all classes seen."""
        seen, known = self.tasks.bounds[task + 1], range(task + 1)
        indices = torch.cat([self.tasks.test[0][earlier] for earlier in known])
        columns = self.tasks.position[0][self.test_input.pictures.labels.cpu()[indices]]
        return float((self.test(known)[:, :seen].argmax(1) == columns).double().mean())

    @torch.no_grad()
    def test(self, tasks: range | list[int], into: int | None = None) -> Tensor:
        """Logits of the tasks' test images, (n, C); the mean routing weights go to the trace of task ``into``."""
        indices = torch.cat([self.tasks.test[0][task] for task in tasks])
        weights: dict[int, list[Tensor]] = {block: [] for block in self.growing}
        found = []
        for block in self.blocks:
            block.testing = True
        for rows in indices.split(self.config.eval_batch_size):
            found.append(self.logits(self.test_input.batch(rows)).cpu())
            for number, own in weights.items():
                own.append(self.blocks[number].weights.cpu())
        for block in self.blocks:
            block.testing = False
        if into is not None:
            self.trace.usage |= {(into, tasks[0], number): torch.cat(own).mean(0) for number, own in weights.items()}
        return torch.cat(found)

    @torch.no_grad()
    def consolidate(self) -> None:
        """Parameter by parameter, in every adapter; fast becomes zero."""
        alpha, method = self.config.consolidation_alpha, self.config.consolidation_method
        for slot in (slot for block in self.blocks for slot in block.slots):
            fast_part, slow_part = slot.parts["fast"], slot.parts["slow"]
            for fast, slow in zip(fast_part.parameters(), slow_part.parameters(), strict=True):
                added = torch.where(slow * fast >= 0, fast, 0.0) if method == "sign_matched" else fast
                slow.copy_((1 - alpha) * slow + alpha * added if method == "ema" else slow + alpha * added)
                fast.zero_()

    def _slot(self, block: int, task: int) -> Slot:
        return Slot(self.config, self.backbone.model, block in self.growing, self.seed, task, block)
