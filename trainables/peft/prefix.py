"""The frozen part of a growing backbone: tokens that enter the first block that may grow, kept where they last.

What is computed together does not depend on when, on other replicas or on a resume, so that numbers do not either.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.data.image_input import ImageInput
from trainables.packs.seeding import generator

if TYPE_CHECKING:
    from trainables.peft.growing import GrowingPack

KEPT_BYTES = 2**28
"""Tokens of one replica that are kept at most, those of training and those of tests; more are computed each time."""


def fits(pack: "GrowingPack", images: int) -> bool:
    """Whether the tokens of so many images may be kept."""
    model = pack.backbone.model
    tokens = model.patch_embed.num_patches + model.num_prefix_tokens
    return 4 * images * tokens * pack.backbone.dim <= KEPT_BYTES


def in_chunks(pack: "GrowingPack", k: int, images: int, batch_size: int, load: Callable[[Tensor], Tensor]) -> Tensor:
    """Tokens (images, N, D) of replica k that enter block ``pack.start``; ``load``: positions -> pictures."""
    rows, pack.bank.rows = pack.bank.rows, slice(k, k + 1)
    with torch.no_grad(), pack.autocast():
        chunks = [pack.backbone.through(pack.backbone.embed(load(positions)), 0, pack.start)
                  for positions in torch.arange(images).split(batch_size)]  # fmt: skip
    pack.bank.rows = rows
    return torch.cat(chunks)


class TrainingViews:
    """Augmented views of the training images of one task.

    Args:
        indices: the task's training images, one int64 (n_k,) per replica; positions below count in it.
        task: position in the stream of augmentations.
        kept: of each replica the views that are shown again, by phases that share them; none where what lies below
            block ``start`` still trains.
    """

    def __init__(
        self, pack: "GrowingPack", source: ImageInput, indices: Sequence[Tensor], seeds: Sequence[int], task: int,
        batch_size: int, kept: Sequence[frozenset[int]],
    ) -> None:  # fmt: skip
        self.pack, self.source, self.indices, self.seeds = pack, source, indices, seeds
        self.task, self.batch_size = task, batch_size
        self.kept = [views if fits(pack, len(views) * len(own)) else frozenset[int]()
                     for views, own in zip(kept, indices, strict=True)]  # fmt: skip
        self._boxes: dict[tuple[int, int], Tensor] = {}
        self._tokens: dict[tuple[int, int], Tensor] = {}

    def tokens(self, view: int, positions: Tensor) -> Tensor:
        """Tokens (rows * B, N, D) that enter block ``start``, of the current pass's positions (rows, B)."""
        rows, backbone = self.pack.bank.rows, self.pack.backbone
        own = list(zip(range(rows.start, rows.stop), positions, strict=True))
        if all(view in self.kept[k] for k, _ in own):
            return torch.cat([self._of(k, view, places) for k, places in own])
        pictures = torch.cat([self._pictures(k, view, places) for k, places in own])
        return backbone.through(backbone.embed(pictures), 0, self.pack.start)

    def _of(self, k: int, view: int, positions: Tensor) -> Tensor:
        """Tokens of replica k, computed for all of the task's images at once."""
        if (k, view) not in self._tokens:
            self._tokens[k, view] = in_chunks(
                self.pack, k, len(self.indices[k]), self.batch_size, lambda chunk: self._pictures(k, view, chunk)
            )
        return self._tokens[k, view][positions.to(self.pack.device)]

    def _pictures(self, k: int, view: int, positions: Tensor) -> Tensor:
        if (k, view) not in self._boxes:
            draw = generator(self.seeds[k], "augmentation", self.task, view)
            self._boxes[k, view] = self.source.draw(self.indices[k], draw)
        return self.source.augmented(self.indices[k][positions], self._boxes[k, view][positions])


class TestTokens:
    """Tokens of the test images, task by task.

    Args:
        by_task: [replica][task] -> test images, int64 (n,).
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self, pack: "GrowingPack", source: ImageInput, by_task: Sequence[Sequence[Tensor]], batch_size: int
    ) -> None:
        self.pack, self.source, self.by_task, self.batch_size = pack, source, by_task, batch_size
        self.task_of = torch.zeros(len(by_task), len(source), dtype=torch.long)
        self.place_of = torch.zeros_like(self.task_of)
        for k, tasks in enumerate(by_task):
            for task, own in enumerate(tasks):
                self.task_of[k, own], self.place_of[k, own] = task, torch.arange(len(own))
        self._kept: dict[tuple[int, int, tuple[str, ...]], Tensor] = {}

    def holds(self, source: object) -> bool:
        """Whether these are the tokens of ``source``, and few enough to be kept."""
        return source is self.source and fits(self.pack, len(self.source))

    def clear(self) -> None:
        """Forget all, because what lies below block ``start`` has changed."""
        self._kept.clear()

    def tokens(self, indices: Tensor) -> Tensor:
        """Tokens (rows * B, N, D) of the current pass's test images (rows, B)."""
        rows = self.pack.bank.rows
        return torch.cat([self._of(k, own) for k, own in zip(range(rows.start, rows.stop), indices, strict=True)])

    def _of(self, k: int, indices: Tensor) -> Tensor:
        tasks, places = self.task_of[k, indices], self.place_of[k, indices].to(self.pack.device)
        found = {task: self._task(k, task) for task in tasks.unique().tolist()}
        if len(found) == 1:
            return next(iter(found.values()))[places]
        out = places.new_empty(0)
        for task, tokens in found.items():
            here = (tasks == task).to(places.device)
            out = out if out.numel() else tokens.new_empty(len(places), *tokens.shape[1:])
            out[here] = tokens[places[here]]
        return out

    def _task(self, k: int, task: int) -> Tensor:
        key = (k, task, tuple(self.pack.mixtures[0].active))
        if key not in self._kept:
            own = self.by_task[k][task]
            self._kept[key] = in_chunks(
                self.pack, k, len(own), self.batch_size, lambda chunk: self.source.batch(own[chunk])
            )
        return self._kept[key]
