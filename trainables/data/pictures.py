"""Pictures of a data set on disk: raw pixels that every process maps, each picture in its own size.

Pictures are written one by one as they are decoded, so that a data set need not fit into memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """Decoded RGB pictures with their labels.

    Attributes:
        pixels: uint8; (N, 3, H, W) where all have one size, else flat (bytes,), picture i being
            ``pixels[offsets[i]:offsets[i + 1]]`` as (3, *sizes[i]).
        sizes: height and width of every picture, int64 (N, 2).
        labels: int64 (N,).
    """

    pixels: Tensor
    sizes: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def equal(self) -> bool:
        """Whether all have one size."""
        return self.pixels.dim() == 4

    def __getitem__(self, index: int) -> Tensor:
        """Picture ``index``, uint8 (3, H, W)."""
        if self.equal:
            return self.pixels[index]
        height, width = self.sizes[index].tolist()
        start = int(self.offsets[index])
        return self.pixels[start : start + 3 * height * width].view(3, height, width)

    @cached_property
    def offsets(self) -> Tensor:
        """Where each picture begins in flat ``pixels``, and where the last one ends, int64 (N + 1,)."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), (3 * self.sizes.prod(1)).cumsum(0)])


def write_pictures(path: Path, pictures: Iterable[np.ndarray], digest: Any) -> Tensor:
    """Write pictures, uint8 (H, W, 3) each, to a new file as they come.

    Args:
        digest: of ``hashlib``; takes their bytes, too.

    Returns:
        Their sizes, int64 (N, 2).
    """
    sizes = []
    with path.open("wb") as file:
        for picture in pictures:
            raw = np.ascontiguousarray(picture.transpose(2, 0, 1)).tobytes()
            digest.update(raw)
            file.write(raw)
            sizes.append(picture.shape[:2])
    return torch.tensor(sizes, dtype=torch.int64).view(-1, 2)


def map_pictures(path: Path, sizes: Tensor, labels: Tensor) -> Pictures:
    """The pictures that ``write_pictures`` left at ``path``, memory-mapped."""
    raw = np.memmap(path, np.uint8, mode="c")  # copy on write: torch wants memory that it may write to
    pixels = torch.from_numpy(raw)
    if bool((sizes == sizes[0]).all()):
        pixels = pixels.view(len(sizes), 3, *sizes[0].tolist())
    return Pictures(pixels, sizes, labels)


def within(picture: Image.Image, bound: int) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a picture, shrunk where its shorter side has more than ``bound`` of them."""
    picture = picture.convert("RGB")
    shorter = min(picture.size)
    if shorter > bound:
        width, height = (round(side * bound / shorter) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)
