"""What part of the training images a replica learns from, and what it keeps apart."""

from dataclasses import dataclass

from torch import Tensor

from trainables.configs import HybridConfig, RankConfig
from trainables.data.class_incremental import carve
from trainables.data.images import ImageData
from trainables.packs.seeding import generator


def check(config: HybridConfig, data: ImageData) -> None:
    """Whether a configuration fits its data.

    Raises:
        InputError: LoRA frozen through the whole run, or a held-out part that leaves a class without training images.
    """
    images = len(Split.of(config, data.train.labels, seed=0).train)  # every seed's has this size
    config.check_freeze(config.epochs * steps_per_epoch(config, images))


def steps_per_epoch(config: HybridConfig | RankConfig, examples: int) -> int:
    """Batches of an epoch over ``examples`` of the training set; the last one may be smaller."""
    steps = -(-examples // config.batch_size)
    return min(steps, config.steps_per_epoch or steps)


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the training images of one replica: positions, int64."""

    train: Tensor
    validation: Tensor
    temperature: Tensor

    @classmethod
    def of(cls, config: HybridConfig, labels: Tensor, seed: int) -> "Split":
        """Raises InputError when a class keeps no training image."""
        rest, validation = carve(labels, config.data.val_fraction, generator(seed, "split"), "data.val_fraction")
        kept, held_out = carve(
            labels[rest], config.temperature_fraction, generator(seed, "split", 1), "temperature_fraction"
        )
        return cls(rest[kept], validation, rest[held_out])
