"""Image data sets: found through ``datasets``, decoded once per node, cached under a content hash.

Every worker maps the cached pixels, so a node holds one decoded copy however many workers train on it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from trainables.configs import DataConfig
from trainables.data.cache import cached
from trainables.data.decoding import Source, decode, parse_classes, quiet_datasets
from trainables.data.pictures import Pictures, map_pictures
from trainables.errors import InputError, first_line
from trainables.models.hub import offline_if_unreachable

HUB = {
    "cifar100": ("uoft-cs/cifar100", "img", "fine_label"),
    "cifar10": ("uoft-cs/cifar10", "img", "label"),
    "imagenet-r": ("axiong/imagenet-r", "image", "wnid"),
}
OWN_DATASET = "glyphs100"
NAMES = (OWN_DATASET, *HUB)
KNOWN_CLASSES = {OWN_DATASET: 100, "cifar100": 100, "cifar10": 10, "imagenet-r": 200}
OF_FOLDERS = {"imagenet-a": 200, "vtab": 50}
"""Data sets that the notes name and that come as image folders alone: number of classes."""
CACHE_VERSION = 2
LEAST_BOUND = 512
"""Pixels of the shorter side that a cached picture may have at least, whatever the backbone's input size."""


@dataclass(frozen=True)
class ImageData:
    """A decoded data set.

    Attributes:
        content_hash: sha256 of the decoded pictures, their sizes and labels.
    """

    train: Pictures
    test: Pictures
    class_names: tuple[str, ...]
    content_hash: str

    @property
    def classes(self) -> int:
        return len(self.class_names)


def known_classes(dataset: str, data: DataConfig) -> int | None:
    """Number of selected classes of a data set that is known by name, without loading it."""
    return len(parse_classes(data.classes, KNOWN_CLASSES[dataset])) if dataset in KNOWN_CLASSES else None


def load_images(dataset: str, data: DataConfig, size: int) -> ImageData:
    """Decode a data set, or map the copy that an earlier call on this node left in the cache.

    Args:
        dataset: ``glyphs100``, a name in ``HUB``, any hub name ``owner/name``, or a folder (Hugging Face Parquet
            layout, or images in one folder per class).
        data: which classes and how many images per class.
        size: side of the backbone's input in pixels; pictures are kept as they are up to ``bound(data, size)``.

    Raises:
        InputError: data set not there, hub unreachable, selection empty.
    """
    source, most = _identify(dataset), bound(data, size)
    selection = [data.classes, data.train_per_class, data.test_per_class, most]
    path = cached(
        "images", [CACHE_VERSION, source.identity, selection], lambda to: decode(source, dataset, data, most, to)
    )
    with safe_open(path / "index.safetensors", framework="pt") as file:
        about = file.metadata()
        train, test = (
            map_pictures(path / f"{split}.bin", file.get_tensor(f"{split}_sizes"), file.get_tensor(f"{split}_labels"))
            for split in ("train", "test")
        )
    return ImageData(train, test, tuple(json.loads(about["class_names"])), about["content_hash"])


def bound(data: DataConfig, size: int) -> int:
    """Pixels of the shorter side above which pictures are shrunk when they are decoded."""
    return data.max_shorter_side or max(LEAST_BOUND, 2 * size)


def _identify(dataset: str) -> Source:
    if dataset == OWN_DATASET:
        from importlib.metadata import version

        code = (Path(__file__).parents[1] / "embedded" / "glyphs.py").read_bytes()
        return Source(f"{hashlib.sha256(code).hexdigest()} pillow {version('pillow')}", None)
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        how = {} if any(folder.rglob("*.parquet")) else {"path": "imagefolder", "data_dir": str(folder)}
        splits = load_folder(folder, "a Hugging Face Parquet folder or an image folder", **how)
        image, label = _columns(dataset, splits)
        return Source(hash_folder(folder), splits, image, label)
    if dataset in OF_FOLDERS:
        raise InputError(
            f"dataset {dataset!r}: comes as an image folder; pass it with --dataset PATH, train/ and test/ with a "
            f"folder of images for each of its {OF_FOLDERS[dataset]} classes"
        )
    if dataset not in HUB and dataset.count("/") != 1 or dataset.startswith((".", "/", "~")):
        raise InputError(
            f"dataset {dataset!r}: neither a folder nor a known name; allowed: {', '.join(NAMES)}, a hub name "
            "owner/name, or the path of a Parquet or image folder"
        )
    name, image, label = HUB.get(dataset, (dataset, "", ""))
    splits = load_hub(dataset, name)
    if not {image, label} <= set(next(iter(splits.values())).features):
        image, label = _columns(dataset, splits)
    return Source(" ".join(splits[key]._fingerprint for key in sorted(splits)), splits, image, label)


def load_folder(folder: Path, kind: str, **options: str) -> Any:
    """All splits of a folder, which the message calls ``kind``; ``options`` as of ``datasets.load_dataset``.

    Raises:
        InputError: ``datasets`` cannot read it.
    """
    import datasets

    try:
        with quiet_datasets():
            return datasets.load_dataset(**{"path": str(folder), **options})
    except Exception as error:  # datasets raises a dozen unrelated types for a folder it cannot read
        reason = first_line(error) or type(error).__name__
        raise InputError(f"dataset {folder}: not readable as {kind} ({reason})") from error


def load_hub(dataset: str, name: str, config: str | None = None) -> Any:
    """All splits of a data set of the hub, from the local cache where it is there.

    Args:
        dataset: what the user wrote, for the message.
        name, config: repository and configuration on the hub.

    Raises:
        InputError: neither in the cache nor to be had.
    """
    import datasets

    offline_if_unreachable()
    try:
        with quiet_datasets():
            return datasets.load_dataset(name, config)
    except Exception as error:  # offline, a proxy's refusal, a missing repository: all mean "cannot be had"
        raise InputError(
            f"dataset {dataset!r}: no such folder, not in the local cache, and the hub cannot be reached "
            f"({type(error).__name__}); "
            "pass a local folder with --dataset PATH, or use --profile embedded, which needs no network"
        ) from error


def _columns(dataset: str, splits: Any) -> tuple[str, str]:
    import datasets

    features = next(iter(splits.values())).features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name in ("label", "fine_label", "labels", "wnid") if name in features]
    if len(images) != 1 or not labels:
        raise InputError(f"dataset {dataset!r}: needs one image column and a label column, has {', '.join(features)}")
    return images[0], labels[0]


def hash_folder(folder: Path) -> str:
    """sha256 over the names and contents of all files below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
