"""Fixtures shared by the tests: a cache of their own, and a backbone small enough for milliseconds."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

torch.set_num_threads(1)  # as in a worker: as many processes run tests as there are cores
REPOSITORY = Path(__file__).resolve().parents[1]
EMPTY_PNG = b"\x89PNG\r\n\x1a\n"
REAL_DATA = Path(os.environ.get("LORA_STUDY_REAL_DATA", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded data of the tests never mix with the user's."""
    path = tmp_path_factory.mktemp("cache")
    os.environ["LORA_STUDY_CACHE"] = str(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def pictures_undrawn(request: pytest.FixtureRequest):
    """Drawing is most of a report's time, and few tests look at a picture: those of modules that set ``DRAWN``."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            patch.setattr("vl_convert.vegalite_to_svg", lambda spec: "<svg></svg>")
            patch.setattr("vl_convert.svg_to_png", lambda svg, scale: EMPTY_PNG)
        yield


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights file of a random ViT, 2 blocks of width 16."""
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **shape)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    metadata = {"timm": "vit_tiny_patch16_224"} | {key: str(value) for key, value in shape.items()}
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path, metadata=metadata)
    return str(path)


@pytest.fixture
def real_images() -> Path:
    """Tiny-ImageNet at 32 px in the Hugging Face Parquet layout, where it is there."""
    path = REAL_DATA / "data" / "tiny-imagenet-32"
    if not path.is_dir():
        pytest.skip(f"real images are not at {path} (LORA_STUDY_REAL_DATA)")
    return path


@pytest.fixture
def real_text() -> Path:
    """GLUE SST-2 in the Hugging Face Parquet layout, where it is there."""
    path = REAL_DATA / "data" / "glue-sst2"
    if not path.is_dir():
        pytest.skip(f"real text is not at {path} (LORA_STUDY_REAL_DATA)")
    return path


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
