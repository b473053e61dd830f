"""Batched augmentation on the device: no per-image Python, no generator on the device.

The crops of an epoch are drawn at once per replica on the CPU (``draw_crops``), so they depend neither on the device
nor on the pack.
"""

import math

import torch
import torch.nn.functional as F

ATTEMPTS = 10
RATIO = (3 / 4, 4 / 3)


def draw_crops(
    n: int, generator: torch.Generator, shape: tuple[int, int], scale: tuple[float, float], flip: bool
) -> torch.Tensor:
    """Random resized crops and horizontal flips of ``n`` images as affine maps.

    Same distribution as ``torchvision.transforms.RandomResizedCrop`` (area in ``scale``, log-uniform aspect ratio,
    10 attempts, else the whole image) but for crops that start between pixels.

    Args:
        shape: height and width of the images in pixels.
        scale: lowest and highest area of a crop, fractions of the image's area.
        flip: mirror images left to right with probability 1/2.

    Returns:
        (n, 2, 3), from the result's coordinates to the image's, both in [-1, 1].
    """
    height, width = shape
    draws = torch.rand(n, 2 * ATTEMPTS + 3, generator=generator)
    area, ratio = draws[:, :ATTEMPTS], draws[:, ATTEMPTS : 2 * ATTEMPTS]
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    ratio = torch.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * ratio)
    w, h = torch.sqrt(area * ratio) / width, torch.sqrt(area / ratio) / height  # (n, ATTEMPTS), parts of the side
    fits = (w <= 1) & (h <= 1)
    first = fits.int().argmax(1, keepdim=True)
    w, h = w.gather(1, first).squeeze(1), h.gather(1, first).squeeze(1)
    none_fits = ~fits.any(1)
    w, h = torch.where(none_fits, 1.0, w), torch.where(none_fits, 1.0, h)
    x = (1 - w) * (2 * draws[:, -3] - 1)
    y = (1 - h) * (2 * draws[:, -2] - 1)
    mirrored = torch.where(draws[:, -1] < 0.5, -w, w) if flip else w
    zero = torch.zeros_like(w)
    return torch.stack([torch.stack([mirrored, zero, x], 1), torch.stack([zero, h, y], 1)], 1)


def crop(images: torch.Tensor, crops: torch.Tensor, size: int) -> torch.Tensor:
    """Cut ``crops`` (B, 2, 3) out of float images (B, C, H, W): (B, C, size, size), bilinear."""
    grid = F.affine_grid(crops, [images.shape[0], images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Antialiased bilinear resize of float (B, C, H, W) to (B, C, size, size)."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """uint8 range [0, 255] as float (B, 3, H, W) -> (x / 255 - mean) / std; mean and std (3,)."""
    return (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
