"""From decoded images to the backbone's input, on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.augmentation import crop, normalise, resize
from trainables.backbones import Backbone
from trainables.configs import DataConfig
from trainables.data import ImageData


@dataclass
class ImageInput:
    """How uint8 images (N, 3, H, W) become the backbone's input."""

    images: Tensor
    size: int
    mean: Tensor
    std: Tensor

    def batch(self, indices: Tensor) -> Tensor:
        """Images as they are, resized: indices (M,) -> (M, 3, size, size)."""
        return normalise(resize(self.images[indices].float(), self.size), self.mean, self.std)

    def cropped(self, indices: Tensor, crops: Tensor) -> Tensor:
        """Augmented images: indices (M,) and crops (M, 2, 3) on the CPU -> (M, 3, size, size)."""
        images = crop(self.images[indices].float(), crops.to(self.images.device), self.size)
        return normalise(images, self.mean, self.std)


def image_inputs(
    data: ImageData, backbone: Backbone, config: DataConfig, device: torch.device
) -> tuple[ImageInput, ImageInput]:
    """Training and test images of a data set as a backbone wants them."""
    mean = torch.tensor(config.mean or backbone.mean, device=device)
    std = torch.tensor(config.std or backbone.std, device=device)
    train, test = data.train_images.to(device), data.test_images.to(device)
    return ImageInput(train, backbone.size, mean, std), ImageInput(test, backbone.size, mean, std)
