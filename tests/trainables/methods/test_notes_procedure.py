"""Nested LoRA against the notes' procedure written out in plain torch: modules, autograd, SGD, its own scheduler."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import train_through

from trainables.configs import DataConfig, NestedConfig
from trainables.methods.nested import NestedRun
from trainables.models.vision import load_backbone

RANK, WIDTH = 4, 16
DATA = DataConfig(classes="0:12", train_per_class=6, test_per_class=4, flip=False, crop_scale=None)


class Bottleneck(nn.Module):
    """down, ReLU, up, with biases; up and biases zero."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(WIDTH, RANK), nn.Linear(RANK, WIDTH)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.relu(self.down(x)))


class Reference(nn.Module):
    """A ViT whose blocks have two bottlenecks beside the MLP, and one head over all classes."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.vit = load_backbone(backbone).model
        blocks = len(self.vit.blocks)
        self.slow = nn.ModuleList(Bottleneck() for _ in range(blocks))
        self.fast = nn.ModuleList(Bottleneck() for _ in range(blocks))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, images: Tensor) -> Tensor:
        vit = self.vit
        x = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
        for block, slow, fast in zip(vit.blocks, self.slow, self.fast, strict=True):
            x1 = x + block.attn(block.norm1(x))
            x = x1 + block.mlp(block.norm2(x1)) + slow(x1) + fast(x1)
        return self.head(vit.norm(x)[:, 0])

    def load(self, state: dict[str, Tensor]) -> None:
        """The initial values that a replica drew."""
        with torch.no_grad():
            for part, adapters in (("slow", self.slow), ("fast", self.fast)):
                for number, adapter in enumerate(adapters):
                    adapter.down.weight.copy_(state[f"blocks.{number}.{part}.down"].T)
            self.head.weight.copy_(state["head.weight"].T)
            self.head.bias.zero_()


def train_task(model: Reference, run: NestedRun, task: int, config: NestedConfig) -> None:
    """One task as in the notes' code: a fresh optimizer, zeroed slow gradients in between, cosine per epoch to zero."""
    groups = [{"params": model.slow.parameters(), "lr": config.lr_slow},
              {"params": model.fast.parameters(), "lr": config.lr_fast},
              {"params": model.head.parameters(), "lr": config.init_lr}]  # fmt: skip
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs, eta_min=0.0)
    position, (known, total) = run.tasks.position[0], run.tasks.bounds[task : task + 2]
    step = 0
    for epoch in range(config.epochs):
        for indices in run.tasks.shown(task, epoch)[0].split(config.batch_size):
            step += 1
            logits = model(pixels(run, indices))[:, :total]
            if config.loss_classes == "task":
                logits = logits.index_fill(1, torch.arange(known), -math.inf)
            optimizer.zero_grad()
            F.cross_entropy(logits, position[run.train_labels[indices]]).backward()
            if step % config.update_interval_slow:
                for parameter in model.slow.parameters():
                    parameter.grad.zero_()
            optimizer.step()
        scheduler.step()


def pixels(run: NestedRun, indices: Tensor) -> Tensor:
    """Training pictures without any augmentation, as ``crop_scale=None, flip=False`` leaves them."""
    return run.train_input.augmented(indices, run.train_input.draw(indices, torch.Generator()))


def consolidate(model: Reference, alpha: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(model.slow.parameters(), model.fast.parameters(), strict=True):
            slow.add_(alpha * fast)
            fast.zero_()


@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("interval", [1, 2])
def test_three_tasks_end_with_the_weights_of_the_notes_procedure(tiny_backbone: str, loss: str, interval: int) -> None:
    config = NestedConfig(
        backbone=tiny_backbone, init_cls=4, increment=4, epochs=3, batch_size=8, rank=RANK, data=DATA,
        loss_classes=loss, update_interval_slow=interval, consolidation_alpha=0.5, weight_decay=0.01,
    )  # fmt: skip
    run = NestedRun(config, (0,))
    model = Reference(tiny_backbone, 12)
    model.load(run.pack.bank.state(0))
    for task in range(3):
        train_through(run, task)
        run.measure(task)
        train_task(model, run, task, config)
        consolidate(model, 0.5)
    ours = run.pack.bank.state(0)
    assert torch.allclose(ours["head.weight"].T, model.head.weight, atol=1e-5)
    assert torch.allclose(ours["head.bias"][0], model.head.bias, atol=1e-5)
    for number, slow in enumerate(model.slow):
        assert torch.allclose(ours[f"blocks.{number}.slow.down"].T, slow.down.weight, atol=1e-5)
        assert torch.allclose(ours[f"blocks.{number}.slow.up"].T, slow.up.weight, atol=1e-5)
        assert torch.allclose(ours[f"blocks.{number}.slow.up_bias"][0], slow.up.bias, atol=1e-5)
    assert not any(parameter.any() for parameter in model.fast.parameters())


def test_the_loss_over_seen_classes_pushes_old_rows_down(tiny_backbone: str) -> None:
    """Without rehearsal that is what makes the newest task's classes win; within the task's classes old rows rest."""
    moved = {}
    for loss in ("seen", "task"):
        config = NestedConfig(
            backbone=tiny_backbone, init_cls=4, increment=4, epochs=2, batch_size=8, rank=RANK, data=DATA,
            loss_classes=loss, weight_decay=0.0,
        )  # fmt: skip
        run = NestedRun(config, (0,))
        train_through(run, 0)
        before = run.pack.bank.state(0)["head.bias"][0, :4]
        train_through(run, 1)
        moved[loss] = run.pack.bank.state(0)["head.bias"][0, :4] - before
    assert bool((moved["seen"] < 0).all()) and not bool(moved["task"].any())
