"""SEMA: mixtures of adapters that grow where descriptors find a task's images unlike all before.

Source: METHODS.md "SEMA"; Wang et al., CVPR 2025, arXiv 2403.18886, and its released code; notes seeds/001.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from trainables.configs import SemaConfig
from trainables.data.image_input import image_inputs
from trainables.data.images import load_images
from trainables.data.materials import Materials, image_materials
from trainables.data.splits import ClassIncremental
from trainables.methods.sema_phases import SCAN, TEST, Place, descriptor_phase, functional_phase, order, shared_views
from trainables.metrics.boundary import ContinualTests
from trainables.metrics.growth import growth_finals, log_routing
from trainables.models.vision import load_backbone
from trainables.packs.run import PackRun
from trainables.packs.seeding import generator
from trainables.peft.consolidation import consolidate
from trainables.peft.descriptors import Descriptor
from trainables.peft.growing import GrowingPack
from trainables.peft.prefix import TestTokens, TrainingViews


def materials(configs: Sequence[SemaConfig], load: bool) -> Materials:
    """Images and backbone of a study; see ``image_materials``."""
    return image_materials(configs, load)


def count_parameters(config: SemaConfig, classes: int) -> tuple[int, int]:
    """(trainable, total) parameters of one replica before it grows, without loading weights."""
    backbone = load_backbone(config.backbone, pretrained=False)
    with torch.device("meta"):
        pack = GrowingPack(backbone, config, classes, 1, 1, torch.device("meta"))
        descriptors = len(pack.growing) * Descriptor(config, backbone.dim, None).scalars
    return pack.bank.count() + descriptors, pack.total_params + descriptors


class SemaRun(PackRun):
    """State of one pack between tasks.

    Attributes:
        columns: column of the head that every training image has in each replica, int64 (K, N).
        views: of the images of the task at hand.
        descriptors: of each replica, by block and slot.
        added: what each replica has added in the task at hand.
    """

    boundary = "task"  # where the optimizer starts anew, so that it is no part of the state
    pack: GrowingPack
    views: TrainingViews

    def __init__(self, config: SemaConfig, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.config = config
        backbone = load_backbone(config.backbone)
        data = load_images(config.dataset, config.data, backbone.size)
        self.tasks = ClassIncremental(config, seeds, data.train.labels, data.test.labels)
        self.boundaries = self.tasks.tasks
        self.pack = pack = GrowingPack(backbone, config, data.classes, self.boundaries, len(seeds), self.device)
        self.descriptors: list[dict[Place, Descriptor]] = [{} for _ in seeds]
        self.added: list[list[Place]] = [[] for _ in seeds]
        for k, seed in enumerate(seeds):
            pack.begin(k, seed)
        self.train_input, test_input = image_inputs(data, backbone, config, self.device)
        self.columns = self.tasks.position[:, data.train.labels]
        self.test_tokens = pack.tests = TestTokens(pack, test_input, self.tasks.test, config.eval_batch_size)
        identity = [data.content_hash, backbone.weights_hash, repr(test_input.recipe), config.precision]
        identity.append(str(self.device))
        self.tests = ContinualTests(
            pack, self.tasks, self.train_input, test_input, config.eval_batch_size, identity, self.log, self.alive
        )
        self.data_s = time.monotonic() - self.began

    def training(self, task: int) -> Iterator[None]:
        """Scan the task's images, and train what grows; in the first task, all that there is."""
        if task == 0 and self.config.evaluate == "test":
            start = time.monotonic()
            self.tests.begin()
            self.eval_s += time.monotonic() - start
        config, alive = self.config, self.alive()
        everything = task == 0 or config.expansion == "off"
        images = [own[task] for own in self.tasks.train]
        fixed = not everything or not self.pack.start  # below the first block that grows
        shared = [shared_views(config, len(own)) if fixed else frozenset[int]() for own in images]
        self.added = [[] for _ in self.seeds]
        self.views = TrainingViews(
            self.pack, self.train_input, images, self.seeds, task, config.eval_batch_size, shared
        )
        if everything:
            if task == 0:
                for k, block in ((k, block) for k in alive for block in self.pack.growing):
                    self._describe(k, 0, block, 0)
            places = [(block, 0) for block in range(len(self.pack.mixtures))]
            yield from self._learn(task, dict.fromkeys(alive, places))
            self.test_tokens.clear()
            return
        scans = {k: self._scan(k, task) for k in alive}
        while found := self._next(scans):
            yield from self._learn(task, {k: [self._grow(k, task, block)] for k, block in found.items()})
        if config.without_expansion == "train_head":
            yield from self._learn(task, {k: [] for k in self.alive() if not self.added[k]})

    def _next(self, scans: Mapping[int, Iterator[int]]) -> dict[int, int]:
        """The block that grows next in each replica, of those in which one does."""
        found = {k: next(scan, None) for k, scan in scans.items() if self.finite[k]}
        return {k: block for k, block in found.items() if block is not None}

    def _grow(self, k: int, task: int, block: int) -> Place:
        """Another adapter, with its descriptor, for replica k."""
        slot = self.pack.grow(k, block, generator(self.seeds[k], "init", task, block))
        self._describe(k, task, block, slot)
        self.log(k, "expansion", f"block_{block}/added", slot, task, step=len(self.added[k]))
        self.added[k].append((block, slot))
        return block, slot

    def _describe(self, k: int, task: int, block: int, slot: int) -> None:
        draw = generator(self.seeds[k], "init", task, block, 1)
        self.descriptors[k][block, slot] = Descriptor(self.config, self.pack.backbone.dim, draw).to(self.device)

    def _learn(self, task: int, new: Mapping[int, Sequence[Place]]) -> Iterator[None]:
        """Both phases of what is new in each replica, by position in the pack; of nothing new, the head alone."""
        new = {k: places for k, places in new.items() if len(self.tasks.train[k][task])}
        if new:
            yield from functional_phase(self, task, new)
            yield from descriptor_phase(self, task, new)

    def _scan(self, k: int, task: int) -> Iterator[int]:
        """Blocks of replica k that have to grow, each as soon as a batch of images shows it.

        The new adapter is trained before the next block is asked for.

        Source: the released code's ``_detect_outlier``: the scan goes on behind the batch that made a block grow, and
        begins anew until nothing does.
        """
        largest = dict.fromkeys(self.pack.growing, 0.0)
        turn, found = 0, len(self.tasks.train[k][task]) > 0
        while found:
            found = False
            for positions in order(self, k, task, SCAN, turn, 0).split(self.config.detect_batch_size):
                block = self._surprised(k, task, positions, largest)
                if block is not None:
                    found = True
                    yield block
            turn += 1
        for block, value in largest.items():
            self.log(k, "expansion", f"block_{block}/largest_z", value, task)

    @torch.no_grad()
    def _surprised(self, k: int, task: int, positions: Tensor, largest: dict[int, float]) -> int | None:
        """The shallowest block that has not grown in this task and whose adapters have learned nothing like a batch's
        images (B,)."""
        config, pack = self.config, self.pack
        self.draw_for(task, SCAN, int(positions[0]))
        grown, event = {block for block, _ in self.added[k]}, len(self.added[k])
        with pack.only(k), pack.autocast():
            tokens = self.views.tokens(config.epochs, positions.unsqueeze(0))
            for block in pack.growing:
                tokens = pack.backbone.through(tokens, block, block + 1)
                if block in grown:
                    continue
                value, each = self._criterion(k, block, pack.mixtures[block].pooled[0].float())
                largest[block] = max(largest[block], value)
                if value > config.exp_threshold:
                    self.log(k, "expansion", f"block_{block}/z", value, task, step=event)
                    for slot, z in enumerate(each):
                        self.log(k, "expansion", f"block_{block}/z/adapter_{slot}", z, task, step=event)
                    return block
        return None

    def _criterion(self, k: int, block: int, pooled: Tensor) -> tuple[float, list[float]]:
        """What is compared with the threshold, and the z-score under each adapter that it is the least of.

        Args:
            pooled: features of a batch, (B, D).
        """
        slots = range(self.pack.mixtures[block].counts[k])
        scores = torch.stack([self.descriptors[k][block, slot].z_scores(pooled) for slot in slots])  # (n, B)
        if self.config.expansion_criterion == "batch_mean":
            each = scores.mean(1)
        else:
            each = scores[:, scores.min(0).values.argmax()]  # of the image that is unlike all of them most
        return float(each.min()), each.tolist()

    def draw_for(self, task: int, kind: int, *position: int) -> None:
        """Set where random routings draw from in the passes to come."""
        draws = [generator(seed, "routing", task, kind, len(added), *position)
                 for seed, added in zip(self.seeds, self.added, strict=True)]  # fmt: skip
        self.pack.set_draw(lambda k, images, adapters: torch.rand(images, adapters, generator=draws[k]))

    def measure(self, task: int) -> None:
        """Consolidation, and what is measured around it: on test images, on held-out training images, or both."""
        self.draw_for(task, TEST)
        if self.config.evaluate == "test":
            self.tests.boundary(task, self._consolidate)
            log_routing(self.pack, self.tasks, self.tests.test, self.config, task, self.log, self.alive())
        else:
            self._consolidate(task)
        if self.config.data.val_fraction:
            self.tests.validation(task)
        for k in self.alive():
            for block in self.pack.growing:
                self.log(k, "boundary", f"adapters/block_{block}", self.pack.mixtures[block].counts[k], task)
            own = [self.pack.scalars(*place) + self.descriptors[k][place].scalars for place in self.added[k]]
            self.log(k, "boundary", "params_added", sum(own), task)

    def finals(self, k: int, task: int) -> dict[str, float]:
        return growth_finals(self.rows[self.seeds[k]], task + 1)

    def state(self, k: int) -> dict[str, Tensor]:
        counts = torch.tensor([mixture.counts[k] for mixture in self.pack.mixtures])
        described = {f"descriptor.{block}.{slot}.{name}": value
                     for (block, slot), descriptor in self.descriptors[k].items()
                     for name, value in descriptor.state().items()}  # fmt: skip
        return self.pack.bank.state(k, self.pack.own(k)) | described | {"adapters": counts}

    def load(self, k: int, state: Mapping[str, Tensor]) -> None:
        for mixture, count in zip(self.pack.mixtures, state["adapters"].tolist(), strict=True):
            mixture.counts[k] = count
        self.pack.bank.load(k, state, self.pack.own(k))
        for block, slot in ((b, s) for b in self.pack.growing for s in range(self.pack.mixtures[b].counts[k])):
            self._describe(k, 0, block, slot)
            prefix = f"descriptor.{block}.{slot}."
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            self.descriptors[k][block, slot].load(own)

    def _consolidate(self, task: int) -> tuple[bool, bool]:
        """Consolidate where it is due; whether slow and whether fast changed."""
        config = self.config
        if not config.consolidation or (task + 1) % config.consolidation_interval:
            return False, False
        changed, _ = consolidate(self.pack, config, task, self.seeds, self.alive())
        self.test_tokens.clear()
        return changed, True


start, train = SemaRun, SemaRun.train
