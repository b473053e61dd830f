"""Data that several methods are tested on."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Image folder of 8 classes with 3 to 10 training pictures and 2 to 5 test pictures each."""
    folder, draw = tmp_path_factory.mktemp("unequal"), np.random.default_rng(0)
    for label in range(8):
        for split, count in (("train", 3 + label), ("test", 2 + label // 2)):
            (folder / split / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 120, (16, 16, 3)) + 15 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / str(label) / f"{number}.png")
    return str(folder)
