"""A pack of replicas whose blocks may get more adapters."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor

from trainables.configs.sema import AdapterType, Routing, SemaConfig
from trainables.errors import InputError
from trainables.models.vision import Backbone, parameter_count
from trainables.packs.bank import Bank, Parameter, per_replica
from trainables.packs.replicas import AdapterPack, check_rank, head_parameters
from trainables.packs.seeding import generator
from trainables.peft.mixture import Draw, Mixture, MixtureBlock
from trainables.peft.prefix import TestTokens


class GrowingPack(AdapterPack):
    """Replicas with one adapter in every block, and room for ``slots`` of them in each block that may grow.

    Args:
        classes: columns C of the head.

    Attributes:
        growing: numbers of the blocks that may grow.
        start: the first of them; what lies below is the same function in all tasks but the first.
        mixtures: one per block.
        tests: where test images' tokens are kept, once there is a test set.

    Raises:
        InputError: the backbone has no such blocks, the bottleneck is wider than it, or it has no grid of patches.
    """

    backbone: Backbone

    def __init__(
        self, backbone: Backbone, config: SemaConfig, classes: int, slots: int, replicas: int, device: torch.device
    ) -> None:
        blocks, dim = backbone.model.blocks, backbone.dim
        check_rank(config.width, {"": (dim, dim)})
        growing = config.growing_blocks(len(blocks))
        self.growing = growing if config.expansion == "on" else range(0)
        self.start, self.parts = growing.start, config.parts
        shapes = {(block, slot): Mixture.shapes(f"blocks.{block}", slot, config, dim, block in self.growing)
                  for block in range(len(blocks)) for slot in range(slots if block in self.growing else 1)}  # fmt: skip
        self._names = {place: list(own) for place, own in shapes.items()}
        parameters = head_parameters(dim, classes)
        for own in shapes.values():
            parameters |= own
        bank = Bank(by_group(parameters), replicas, device)
        grid, prefix = patch_grid(backbone, config), backbone.model.num_prefix_tokens
        self.mixtures = [Mixture(bank, f"blocks.{block}", config, grid, prefix) for block in range(len(blocks))]
        self.adapters = {mixture.path: mixture for mixture in self.mixtures}
        for block, mixture in enumerate(self.mixtures):
            blocks[block] = MixtureBlock(blocks[block], mixture, config.adapter_input == "norm2")
        frozen = parameter_count(backbone.model)
        super().__init__(backbone, bank, config.precision, frozen)
        self.total_params = frozen + sum(self._size(name) for name in self._first_names())
        self.tests: TestTokens | None = None

    def begin(self, k: int, seed: int) -> None:
        """Draw the head of replica k and its first adapter in every block."""
        self.bank.reset(k, generator(seed, "init"), ["head.weight", "head.bias"])
        for block in range(len(self.mixtures)):
            self.grow(k, block, generator(seed, "init", 0, block))

    def grow(self, k: int, block: int, draw: torch.Generator) -> int:
        """Give replica k another adapter in a block; returns its slot."""
        slot = self.mixtures[block].counts[k]
        self.bank.reset(k, draw, self._names[block, slot])
        for name in self._names[block, slot]:
            if name.endswith(".conv"):
                value = self.bank.value(name)[k]
                value[..., 1, 1] = torch.eye(len(value)).to(value)
        self.mixtures[block].counts[k] += 1
        return slot

    def groups_of(self, block: int, slot: int) -> set[str]:
        """Optimizer groups of one slot."""
        return {self.bank.parameters[name].group for name in self._names[block, slot]}

    def scalars(self, block: int, slot: int) -> int:
        """Scalars of one slot, its row of the router included."""
        return sum(self._size(name) for name in self._names[block, slot])

    def own(self, k: int) -> list[str]:
        slots = [(block, slot) for block, mixture in enumerate(self.mixtures) for slot in range(mixture.counts[k])]
        return ["head.weight", "head.bias", *(name for place in slots for name in self._names[place])]

    def sizes(self, k: int) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in self.own(k):
            kind = self.bank.parameters[name].group.partition("/")[0]
            sizes[kind] = sizes.get(kind, 0) + self._size(name)
        return sizes

    def norm(self, group: str) -> Tensor:
        """L2 norm over all adapters' parameters of a part, (K,); slots that do not exist are zero."""
        slots = [self.bank.columns(name) for name in self.bank.parameters if f".{group}." in name]
        return per_replica(lambda row: torch.cat([row[columns] for columns in slots]).norm(), self.bank.flat)

    def tested(self, source: object, indices: Tensor) -> Tensor:
        with self._test(), self.autocast():
            return self.by_replica(self.backbone.pool(self.backbone.through(self._tokens(source, indices), self.start)))

    def routed(self, source: object, indices: Tensor, routings: Sequence[Routing]) -> Iterator[Tensor]:
        """Features (rows, B, D) of test images under each of ``routings``, in one pass up to the first block in which
        they differ."""
        backbone, end = self.backbone, len(self.mixtures)
        rows = self.bank.rows
        branch = next((b for b in self.growing if max(self.mixtures[b].counts[rows]) > 1), end)
        with self._test(), self.autocast():
            shared = backbone.through(self._tokens(source, indices), self.start, branch)
            for routing in routings:
                with self.routing(routing):
                    yield self.by_replica(backbone.pool(backbone.through(shared, branch)))

    @contextmanager
    def only(self, k: int) -> Iterator[None]:
        """Within the context passes are replica k's alone."""
        self.bank.rows = slice(k, k + 1)
        try:
            yield
        finally:
            self.bank.rows = slice(0, self.replicas)

    @contextmanager
    def routing(self, routing: Routing) -> Iterator[None]:
        """Within the context all blocks route so."""
        before = [mixture.routing for mixture in self.mixtures]
        self._set("routing", [routing] * len(before))
        try:
            yield
        finally:
            self._set("routing", before)

    def set_draw(self, draw: Draw) -> None:
        """Where random routings take their numbers from."""
        self._set("draw", [draw] * len(self.mixtures))

    @contextmanager
    def _test(self) -> Iterator[None]:
        self._set("testing", [True] * len(self.mixtures))
        try:
            yield
        finally:
            self._set("testing", [False] * len(self.mixtures))

    def _set(self, name: str, values: Sequence[object]) -> None:
        for mixture, value in zip(self.mixtures, values, strict=True):
            setattr(mixture, name, value)

    def _tokens(self, source: object, indices: Tensor) -> Tensor:
        """Tokens (rows * B, N, D) that enter block ``start``."""
        if self.tests is not None and self.tests.holds(source):
            return self.tests.tokens(indices)
        images = source.batch(indices.flatten())  # type: ignore[attr-defined]
        return self.backbone.through(self.backbone.embed(images), 0, self.start)

    def _first_names(self) -> list[str]:
        first = [name for (_, slot), names in self._names.items() if slot == 0 for name in names]
        return ["head.weight", "head.bias", *first]

    def _size(self, name: str) -> int:
        columns = self.bank.columns(name)
        return columns.stop - columns.start


def patch_grid(backbone: Backbone, config: SemaConfig) -> tuple[int, int]:
    """Rows and columns of patches; (0, 0) where nobody asks.

    Raises:
        InputError: ``convpass``, and the patches lie on no grid.
    """
    embed = backbone.model.patch_embed
    grid = getattr(embed, "grid_size", None)
    if config.ffn_adapter_type != "convpass":
        return (0, 0)
    if grid is None or math.prod(grid) != embed.num_patches:
        kinds = ", ".join(kind for kind in get_args(AdapterType) if kind != "convpass")
        raise InputError(
            f"ffn_adapter_type=convpass: convolves a grid of patches, {config.backbone} has none; allowed: {kinds}"
        )
    return grid


def by_group(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """The same parameters with those of a group one after the other, groups in order of first appearance."""
    groups = list(dict.fromkeys(parameter.group for parameter in parameters.values()))
    return dict(sorted(parameters.items(), key=lambda item: groups.index(item[1].group)))
