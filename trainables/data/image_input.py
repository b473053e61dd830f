"""From decoded pictures to the backbone's input, on the device."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.configs import ImageConfig
from trainables.data.images import ImageData, bound
from trainables.data.pictures import Pictures
from trainables.data.transforms import Recipe, evaluation_boxes, recipe, resample, training_boxes
from trainables.errors import InputError
from trainables.models.vision import Backbone

RESIDENT_BYTES = 2**30
"""Pixels of a split that may lie on a GPU as a whole; larger ones stay mapped and are sent batch by batch."""


@dataclass
class ImageInput:
    """How the pictures of a split become the backbone's input."""

    pictures: Pictures
    recipe: Recipe
    device: torch.device
    mean: Tensor = field(init=False)
    std: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.std = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.recipe.mean, self.recipe.std)
        )
        pixels = self.pictures.pixels
        if self.device.type != "cpu" and self.pictures.equal and pixels.numel() <= RESIDENT_BYTES:
            self.pictures = Pictures(pixels.to(self.device), self.pictures.sizes, self.pictures.labels)

    def __len__(self) -> int:
        return len(self.pictures)

    def draw(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Random boxes (n, 2, 5) of training pictures that are shown in the order ``indices`` (n,)."""
        return training_boxes(self.pictures.sizes[indices], self.recipe, generator)

    def augmented(self, indices: Tensor, boxes: Tensor) -> Tensor:
        """Training pictures: indices (M,) and boxes (M, 2, 5) on the CPU -> (M, 3, size, size)."""
        return self._resampled(indices, boxes, self.recipe.interpolation)

    def batch(self, indices: Tensor) -> Tensor:
        """Pictures as they are tested: indices (M,) on the CPU -> (M, 3, size, size)."""
        boxes = evaluation_boxes(self.pictures.sizes[indices], self.recipe)
        return self._resampled(indices, boxes, self.recipe.test_interpolation)

    def _resampled(self, indices: Tensor, boxes: Tensor, interpolation: str) -> Tensor:
        pictures, size = self.pictures, self.recipe.size
        if pictures.equal:
            chosen = pictures.pixels[indices.to(pictures.pixels.device)].to(self.device)
            if _as_they_are(boxes, pictures.pixels.shape[-2:], size):
                pixels = chosen.float()
            else:
                pixels = resample(chosen, boxes, size, interpolation)  # type: ignore[arg-type]
        else:
            alone = [pictures[index].to(self.device).unsqueeze(0) for index in indices.tolist()]
            cut = zip(alone, boxes.split(1), strict=True)
            pixels = torch.cat([resample(one, box, size, interpolation) for one, box in cut])  # type: ignore[arg-type]
        return (pixels / 255 - self.mean) / self.std


def _as_they_are(boxes: Tensor, shape: torch.Size, size: int) -> bool:
    """Whether the boxes take whole pictures of the input's size."""
    identity = torch.tensor([0, size, size, 0, 0])
    return tuple(shape) == (size, size) and bool((boxes == identity).all())


def image_inputs(
    data: ImageData, backbone: Backbone, config: ImageConfig, device: torch.device
) -> tuple[ImageInput, ImageInput]:
    """Training and test pictures of a data set as a backbone wants them.

    Raises:
        InputError: the cache keeps fewer pixels of a picture than the recipe resizes it to.
    """
    how = recipe(config.data, config.dataset, backbone.size, backbone.scaling)
    check_bound(config, how)
    return ImageInput(data.train, how, device), ImageInput(data.test, how, device)


def check_bound(config: ImageConfig, how: Recipe) -> None:
    """Raises InputError where pictures are shrunk, when they are decoded, below what the recipe makes of them."""
    needed = max(how.size, how.edge or 0)
    if bound(config.data, how.size) < needed:
        raise InputError(
            f"data.max_shorter_side={config.data.max_shorter_side}: data.transform={config.data.transform} needs the "
            f"original pictures and resizes them to {needed} pixels; allowed: {needed} or more"
        )
