"""From pictures to the backbone's input: recipes, random crops, resampling in batches on the device.

Every crop, resize, padding and flip is a ``box`` per axis, and applying boxes is two batched matrix products, one per
axis. The boxes of an epoch are drawn at once per replica on the CPU, so they depend neither on the device nor on the
pack. Filters, rounding and the law of the crops are those of Pillow and torchvision; the tests compare with them.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.configs import DataConfig

ATTEMPTS = 10
RATIO = (3 / 4, 4 / 3)
PADDING = 4
CIFAR = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Mean and deviation by which the hybrid notes scale pixels; other data sets get CIFAR-100's."""
UNSCALED = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Scaling:
    """What a model expects of its input: see ``timm.data.resolve_model_data_config``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    crop_pct: float
    squash: bool


@dataclass(frozen=True)
class Recipe:
    """How pictures become the backbone's input.

    Attributes:
        size: side of the input in pixels.
        training: ``resized`` a random resized crop, ``whole`` the picture squeezed to a square, ``padded`` that and a
            crop of the same size out of it with ``PADDING`` black pixels around.
        interpolation, test_interpolation: filter of training and test pictures.
        edge: test pictures are resized so that their shorter side has so many pixels, then cropped in the middle; None:
            squeezed to a square.
        squash: test pictures are squeezed to a square of ``edge`` before the crop.
        mean, std: per channel, of pixels in [0, 1].
    """

    size: int
    training: Literal["resized", "whole", "padded"]
    interpolation: Interpolation
    test_interpolation: Interpolation
    edge: int | None
    squash: bool
    crop_scale: tuple[float, float]
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def recipe(config: DataConfig, dataset: str, size: int, expected: Scaling) -> Recipe:
    """The recipe that ``config.transform`` names.

    ``notes`` is what the Nested LoRA notes ran: random resized crops of the original picture, pixels in [0, 1] as they
    are, test pictures resized to 256/224 of the input by a bicubic filter. ``timm`` is what the model was trained for.
    ``cifar`` and ``cifar_week3`` are those of the hybrid notes: the whole picture, flipped, scaled by CIFAR's mean and
    deviation, or shifted by up to 4 pixels and not scaled.

    Args:
        dataset: its name, for CIFAR's mean and deviation.
        size: side of the backbone's input in pixels.
        expected: what the backbone expects.
    """
    kind = config.transform
    whole, scale = config.crop_scale is None, config.crop_scale or (1.0, 1.0)
    mean, std = {
        "notes": UNSCALED, "timm": (expected.mean, expected.std), "cifar": CIFAR.get(dataset, CIFAR["cifar100"]),
        "cifar_week3": UNSCALED,
    }[kind]  # fmt: skip
    mean, std = config.mean or mean, config.std or std
    if kind == "notes":
        edge = int(256 / 224 * size)
        training: Literal["resized", "whole"] = "whole" if whole else "resized"
        return Recipe(size, training, "bilinear", "bicubic", edge, False, scale, config.flip, mean, std)
    if kind == "timm":
        edge, training = math.floor(size / expected.crop_pct), "whole" if whole else "resized"
        by = expected.interpolation
        return Recipe(size, training, by, by, edge, expected.squash, scale, config.flip, mean, std)
    shifted: Literal["whole", "padded"] = "padded" if kind == "cifar_week3" else "whole"
    return Recipe(size, shifted, "bilinear", "bilinear", None, False, scale, config.flip, mean, std)


def training_boxes(sizes: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random boxes of pictures in the order in which they are shown.

    Args:
        sizes: height and width, int64 (n, 2).
        generator: the only source of randomness; the numbers drawn per picture do not depend on its size.

    Returns:
        int64 (n, 2, 5), per axis (height first): start and length in the picture, pixels that this stretch is resized
        to, the first of these that is kept, and whether the axis is mirrored.
    """
    draws = torch.rand(len(sizes), 2 * ATTEMPTS + 3, generator=generator, dtype=torch.float64)
    boxes = _whole(sizes, recipe.size)
    if recipe.training == "resized":
        boxes[:, :, :2] = _resized_crops(sizes, recipe.crop_scale, draws)
    elif recipe.training == "padded":
        boxes[:, :, 3] = (draws[:, -3:-1] * (2 * PADDING + 1)).long() - PADDING
    if recipe.flip:
        boxes[:, 1, 4] = draws[:, -1] < 0.5
    return boxes


def evaluation_boxes(sizes: Tensor, recipe: Recipe) -> Tensor:
    """Boxes of test pictures, int64 (n, 2, 5), from their sizes (n, 2)."""
    boxes = _whole(sizes, recipe.size)
    if recipe.edge is not None:
        shorter = sizes.min(1, keepdim=True).values
        resized = torch.full_like(sizes, recipe.edge) if recipe.squash else recipe.edge * sizes // shorter
        boxes[:, :, 2] = resized
        boxes[:, :, 3] = ((resized - recipe.size) / 2).round().long()
    return boxes


def _whole(sizes: Tensor, size: int) -> Tensor:
    boxes = torch.zeros(len(sizes), 2, 5, dtype=torch.int64)
    boxes[:, :, 1], boxes[:, :, 2] = sizes, size
    return boxes


def _resized_crops(sizes: Tensor, scale: tuple[float, float], draws: Tensor) -> Tensor:
    """Start and length per axis, int64 (n, 2, 2), of random resized crops.

    Area in ``scale``, log-uniform aspect ratio, ``ATTEMPTS`` attempts, else the largest crop in the middle whose ratio
    is allowed.    Source: ``torchvision.transforms.RandomResizedCrop``.
    """
    sides = sizes.double()
    area = sides.prod(1, keepdim=True) * (scale[0] + (scale[1] - scale[0]) * draws[:, :ATTEMPTS])
    low, high = (math.log(bound) for bound in RATIO)
    ratio = torch.exp(low + (high - low) * draws[:, ATTEMPTS : 2 * ATTEMPTS])
    lengths = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], 2).round()  # (n, ATTEMPTS, 2)
    fits = ((lengths > 0) & (lengths <= sides.unsqueeze(1))).all(2)
    first = fits.int().argmax(1)
    chosen = lengths[torch.arange(len(sizes)), first]
    own = (sides[:, 1] / sides[:, 0]).clamp(*RATIO)  # width / height of the largest crop that is allowed
    largest = torch.stack([torch.minimum(sides[:, 0], (sides[:, 1] / own).round()),
                           torch.minimum(sides[:, 1], (sides[:, 0] * own).round())], 1)  # fmt: skip
    found = fits.any(1, keepdim=True)
    length = torch.where(found, chosen, largest)
    start = torch.where(found, (draws[:, -3:-1] * (sides - length + 1)).floor(), ((sides - length) / 2).floor())
    return torch.stack([start, length], 2).long()


def resample(pictures: Tensor, boxes: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """Cut boxes out of pictures.

    Args:
        pictures: uint8 or float (B, 3, H, W), in [0, 255].
        boxes: (B, 2, 5) on any device.

    Returns:
        float (B, 3, size, size) of whole numbers in [0, 255], black outside of the picture: antialiased, and rounded
        after each axis, width first, as Pillow does.
    """
    height, width = pictures.shape[-2:]
    boxes = boxes.to(pictures.device)
    values = pictures.float()
    across = _taps(boxes[:, 1], width, size, interpolation)  # (B, size, W)
    values = _rounded(values.flatten(1, 2) @ across.transpose(1, 2)).view(-1, 3, height, size)
    down = _taps(boxes[:, 0], height, size, interpolation)
    return _rounded(down.unsqueeze(1) @ values)


def _rounded(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


def _taps(axis: Tensor, total: int, size: int, interpolation: Interpolation) -> Tensor:
    """Weights of the ``total`` pixels of one axis in the ``size`` that are made of them, (B, size, total).

    Source: antialiased filters of Pillow; bicubic after Keys 1981 with a = -0.5.
    """
    start, length, resized, first, mirrored = axis.double().unsqueeze(2).unbind(1)  # (B, 1) each
    place = torch.arange(size, device=axis.device, dtype=torch.float64)
    place = torch.where(mirrored > 0, size - 1 - place, place) + first  # (B, size)
    scale = length / resized
    centre = (start + (place + 0.5) * scale).unsqueeze(2)
    pixel = torch.arange(total, device=axis.device, dtype=torch.float64)
    x = ((pixel + 0.5 - centre) / scale.clamp(min=1.0).unsqueeze(2)).abs()  # (B, size, total)
    if interpolation == "bilinear":
        weights = (1 - x).clamp(min=0)
    else:
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    within = (pixel >= start.unsqueeze(2)) & (pixel < (start + length).unsqueeze(2))
    weights = torch.where(within, weights, 0.0)
    kept = (place >= 0) & (place < resized)
    return torch.where(kept.unsqueeze(2), weights / weights.sum(2, keepdim=True), 0.0).float()
