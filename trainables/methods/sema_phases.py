"""How what is new in a SEMA replica learns: adapters, router rows and head first, then their descriptors."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.configs import SemaConfig
from trainables.data.splits import padded_batches
from trainables.packs.bank import per_replica
from trainables.packs.optim import BankOptimizer, columns_of, decay_columns, learning_rates
from trainables.packs.seeding import generator
from trainables.peft.descriptors import Descriptor

if TYPE_CHECKING:
    from trainables.methods.sema import SemaRun

Place = tuple[int, int]
"""Block and slot of an adapter."""
FUNCTIONAL, DESCRIPTORS, SCAN, TEST = range(4)
"""Kinds of passes over a task's images: positions in the streams of orders and of random routings."""


def order(run: "SemaRun", k: int, task: int, kind: int, turn: int, epoch: int) -> Tensor:
    """Positions in replica k's images of a task in the order of one pass, int64 (n,)."""
    images = len(run.tasks.train[k][task])
    return torch.randperm(images, generator=generator(run.seeds[k], "order", task, kind, turn, epoch))


def turn_of(run: "SemaRun", k: int) -> int:
    """How many times replica k has learned in this task before."""
    return max(len(run.added[k]) - 1, 0)


def functional_phase(run: "SemaRun", task: int, new: Mapping[int, Sequence[Place]]) -> Iterator[None]:
    """Train head and new adapters of the replicas in ``new``, side by side, with a fresh optimizer; with
    ``rd_training=joint`` their descriptors too.

    Args:
        new: position in the pack -> places of its new adapters; the other replicas wait.
    """
    config, pack, bank = run.config, run.pack, run.pack.bank
    kinds = [group.partition("/")[0] for group in bank.groups]
    trained = {k: _groups(run, places) for k, places in new.items()}
    bank.learn(set().union(*trained.values()))
    mask = torch.tensor([[group in trained.get(k, ()) for group in bank.groups] for k in range(len(run.seeds))])
    base = torch.tensor([{"fast": config.lr_fast, "slow": config.lr_slow}.get(kind, config.init_lr) for kind in kinds])
    base = base.expand(len(run.seeds), -1)
    decayed = [name for name in bank.parameters if config.optimizer == "sgd" or not name.endswith("bias")]
    optimizer = BankOptimizer(
        bank, config.optimizer, decay_columns(bank, config.weight_decay, decayed), config.momentum
    )
    beside = {k: descriptor_optimizer(config, found) for k, places in new.items()
              if config.rd_training == "joint" and (found := _described(run, k, places))}  # fmt: skip
    shown = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    step, none = torch.zeros(len(run.seeds), dtype=torch.long), torch.empty(0, dtype=torch.long)
    for epoch in range(config.epochs):
        run.draw_for(task, FUNCTIONAL, epoch)
        orders = [order(run, k, task, FUNCTIONAL, turn_of(run, k), epoch) if k in new else none
                  for k in range(len(run.seeds))]  # fmt: skip
        losses = torch.zeros(len(run.seeds), dtype=torch.float64)
        for positions, valid in zip(*padded_batches(orders, config.batch_size), strict=True):
            began = run.clock.now()
            valid &= run.finite.unsqueeze(1)
            rates = learning_rates(base, epoch, config.epochs, step, config.eta_min, config.warmup_steps)
            loss = _backward(run, task, epoch, positions, valid, new)
            run.mark_diverged(loss.isfinite() & bank.finite_gradients(), task, epoch)
            in_step = valid.any(1) & run.finite
            optimizer.step(rates, _due(run, mask & in_step.unsqueeze(1), kinds, step))
            for k in torch.nonzero(in_step).flatten().tolist():
                if k in beside:
                    update(beside[k], cosine(config.rd_lr, config.eta_min, epoch, config.epochs))
            run.clock.add(began)
            logged = in_step & (run.steps % config.log_every == 0)
            run.log_step(
                logged, loss, rates[:, shown], [kinds[g] for g in shown],
                lambda: {f"norm/{part}": pack.norm(part) for part in pack.parts}, epoch, task,
            )  # fmt: skip
            losses += torch.where(in_step, loss.cpu().double(), 0.0)
            step += in_step
            run.steps += in_step
            yield
        for k in (k for k in run.alive() if k in new):
            batches = -(-len(orders[k]) // config.batch_size)
            run.log(k, "train", "epoch_loss", float(losses[k]) / batches, task, epoch, int(run.steps[k]))


def _groups(run: "SemaRun", places: Sequence[Place]) -> set[str]:
    """Optimizer groups that learn: the head, the new slots and, where it is to, a block's first row of the router."""
    groups = {"head"}.union(*(run.pack.groups_of(*place) for place in places))
    if run.config.first_router == "trained":
        groups |= {group for block, slot in places if slot == 1
                   for group in run.pack.groups_of(block, 0) if group.startswith("router/")}  # fmt: skip
    return groups


def _described(run: "SemaRun", k: int, places: Sequence[Place]) -> dict[Place, Descriptor]:
    """Descriptors that learn beside these adapters."""
    own = run.descriptors[k]
    return {place: own[place] for place in places if place in own}


def _backward(
    run: "SemaRun", task: int, epoch: int, positions: Tensor, valid: Tensor, new: Mapping[int, Sequence[Place]]
) -> Tensor:
    """Fill the gradients; loss of every replica, (K,), 0 where a replica has no image in the batch.

    Args:
        positions, valid: (K, B), images of the task and which of them are no padding.
    """
    pack, config, (start, high) = run.pack, run.config, run.tasks.bounds[task : task + 2]
    low = start if config.loss_classes == "task" else 0
    pack.bank.grad.zero_()
    losses = torch.zeros(len(run.seeds), device=run.device)
    for rows in pack.passes():
        if not bool(valid[rows].any()):
            continue
        with pack.autocast():
            tokens = run.views.tokens(epoch, positions[rows])
            features = pack.by_replica(pack.backbone.pool(pack.backbone.through(tokens, pack.start)))
        logits = pack.logits(features, slice(low, high))  # (rows, B, C')
        replicas = range(rows.start, rows.stop)
        targets = torch.stack([run.columns[k, _images(run, k, task, positions[k])] - low for k in replicas])
        targets = torch.where(valid[rows], targets, 0).to(run.device)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        weight = valid[rows].to(loss)
        means = per_replica(torch.sum, loss * weight) / weight.sum(1).clamp(min=1)
        beside = [_described_loss(run, k, new.get(k, ()), valid[k], k - rows.start) for k in replicas]
        means = means + torch.stack([torch.as_tensor(own, device=run.device) for own in beside])
        means.sum().backward()  # pass by pass: one graph at a time is alive
        losses[rows] = means.detach()
    return losses


def _images(run: "SemaRun", k: int, task: int, positions: Tensor) -> Tensor:
    """Training images at these positions of a task; any image where the task has none."""
    own = run.tasks.train[k][task]
    return own[positions] if len(own) else torch.zeros_like(positions)


def _described_loss(run: "SemaRun", k: int, places: Sequence[Place], valid: Tensor, row: int) -> Tensor | float:
    """Loss of the descriptors that learn beside the adapters; those that do not yet record what theirs would be."""
    joint, total = run.config.rd_training == "joint", 0.0
    for (block, _), descriptor in _described(run, k, places).items() if bool(valid.any()) else ():
        pooled = run.pack.mixtures[block].pooled[row].float()[valid.to(run.device)]
        with torch.set_grad_enabled(joint):
            losses = descriptor(pooled if joint else pooled.detach())
        descriptor.record(losses)
        total = total + losses.mean() if joint else total
    return total


def _due(run: "SemaRun", mask: Tensor, kinds: Sequence[str], step: Tensor) -> Tensor:
    """Which groups of which replicas (K, G) this step updates; drops slow gradients that are not due."""
    config, bank = run.config, run.pack.bank
    waiting = (step + 1) % config.update_interval_slow != 0
    slow = torch.tensor([kind == "slow" for kind in kinds])
    if not bool(slow.any()) or not bool(waiting.any()):
        return mask
    if config.interval_mode == "skip":
        return mask & ~(waiting.unsqueeze(1) & slow)
    for g in torch.nonzero(slow & mask.any(0)).flatten().tolist():
        bank.grad[waiting.to(run.device), columns_of(bank, bank.groups[g])] = 0.0
    return mask


def descriptor_phase(run: "SemaRun", task: int, new: Mapping[int, Sequence[Place]]) -> Iterator[None]:
    """Train the descriptors of the new adapters on pooled features, replica by replica, and freeze them.

    The features change with the views of the images alone: all that trains is behind them.
    """
    config = run.config
    epochs = described_epochs(config)
    for k in (k for k in new if run.finite[k]):
        own = _described(run, k, new[k])
        optimizer = descriptor_optimizer(config, own) if own else None
        features: dict[int, dict[int, Tensor]] = {}
        for epoch in range(epochs if optimizer else 0):
            view = described_view(config, epoch, len(run.tasks.train[k][task]))
            if view not in features:
                features = {} if not config.rd_views else features
                run.draw_for(task, DESCRIPTORS, epoch)
                features[view] = pooled_features(run, k, view, {block for block, _ in own})
            fine = _descriptor_epoch(run, k, task, epoch, epochs, own, features[view], optimizer)
            run.mark_diverged(torch.tensor([j != k or fine for j in range(len(run.seeds))]), task, epoch)
            yield
        for descriptor in own.values():
            descriptor.freeze()


def described_epochs(config: SemaConfig) -> int:
    """Epochs of the descriptors' own phase."""
    return max(config.rd_epoch - config.epochs, 0) if config.rd_training == "joint" else config.rd_epoch


def described_view(config: SemaConfig, epoch: int, images: int) -> int:
    """The view of a task's images that descriptors see in an epoch: one that the adapters saw, while there are such.

    The last epochs, whose losses fill the record, have views that no epoch had before, as all published epochs have:
    losses of views that are seen again and again are too small, and what they are compared with would look new. View
    number ``epochs`` is the scan's.
    """
    recorded = math.ceil(config.buffer_size / images)
    if not config.rd_views or epoch >= described_epochs(config) - recorded:
        return config.epochs + 1 + epoch
    view = epoch % config.rd_views
    return view if view < config.epochs else view + 1


def shared_views(config: SemaConfig, images: int) -> frozenset[int]:
    """Views of a task that its phases share: of adapters, scans and, unless they are always new, descriptors."""
    described = range(described_epochs(config) if config.rd_views and images else 0)
    return frozenset(range(config.epochs + 1)) | {described_view(config, epoch, images) for epoch in described}


def _descriptor_epoch(
    run: "SemaRun", k: int, task: int, epoch: int, epochs: int, own: Mapping[Place, Descriptor],
    features: Mapping[int, Tensor], optimizer: torch.optim.Optimizer | None,
) -> bool:  # fmt: skip
    """One epoch of replica k's descriptors on features (n, D) by block; whether their losses stayed finite."""
    config = run.config
    assert optimizer is not None
    sums = dict.fromkeys(own, 0.0)
    for positions in order(run, k, task, DESCRIPTORS, turn_of(run, k), epoch).split(config.batch_size):
        found = {place: descriptor(features[place[0]][positions]) for place, descriptor in own.items()}
        for place, losses in found.items():
            own[place].record(losses)
            sums[place] += float(losses.detach().sum())
        torch.stack([losses.mean() for losses in found.values()]).sum().backward()
        update(optimizer, cosine(config.rd_lr, config.eta_min, epoch, epochs))
    for (block, _), value in sums.items():
        run.log(k, "train", f"rd_loss/block_{block}", value / len(run.tasks.train[k][task]), task, epoch)
    return all(math.isfinite(value) for value in sums.values())


@torch.no_grad()
def pooled_features(run: "SemaRun", k: int, view: int, blocks: set[int]) -> dict[int, Tensor]:
    """Mean over tokens of what the adapters of ``blocks`` read, fp32 (n, D) each, of one view of replica k's images."""
    pack, found = run.pack, {block: list[Tensor]() for block in blocks}
    with pack.only(k), pack.autocast():
        for positions in torch.arange(len(run.views.indices[k])).split(run.config.eval_batch_size):
            tokens = run.views.tokens(view, positions.unsqueeze(0))
            pack.backbone.through(tokens, pack.start, max(blocks) + 1)
            for block in blocks:
                found[block].append(pack.mixtures[block].pooled[0].float())
    return {block: torch.cat(chunks) for block, chunks in found.items()}


def descriptor_optimizer(config: SemaConfig, own: Mapping[Place, Descriptor]) -> torch.optim.Optimizer:
    """As that of the adapters: SGD decays everything, AdamW no bias."""
    named = [item for descriptor in own.values() for item in descriptor.named_parameters()]
    weights, biases = ([p for name, p in named if name.endswith("bias") == wanted] for wanted in (False, True))
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights + biases, config.rd_lr, config.momentum, weight_decay=config.weight_decay)
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, config.rd_lr)


def update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One step at this rate, and no gradient left behind."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


def cosine(rate: float, eta_min: float, epoch: int, epochs: int) -> float:
    """As ``learning_rates`` has it, for one rate."""
    return float(learning_rates(torch.tensor([[rate]], dtype=torch.float64), epoch, epochs, torch.zeros(1), eta_min))
