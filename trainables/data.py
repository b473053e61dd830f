"""Image data sets as uint8 tensors: found through ``datasets``, decoded once per node, cached under a content hash.

The cache file is a safetensors file that every worker maps read-only, so a node holds one decoded copy however many
workers train on it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainables.configs import DataConfig
from trainables.errors import InputError
from trainables.hub import offline_if_unreachable

HUB = {
    "cifar100": ("uoft-cs/cifar100", "img", "fine_label"),
    "cifar10": ("uoft-cs/cifar10", "img", "label"),
    "imagenet-r": ("axiong/imagenet-r", "image", "wnid"),
}
EMBEDDED = "glyphs100"
NAMES = (EMBEDDED, *HUB)
KNOWN_CLASSES = {EMBEDDED: 100, "cifar100": 100, "cifar10": 10, "imagenet-r": 200}
CACHE_VERSION = 1
HELD_OUT_FRACTION = 0.2
"""Share of every class that becomes the test set when a data set has a single split (the 80/20 habit of ImageNet-R)."""


@dataclass(frozen=True)
class ImageData:
    """A decoded data set.

    Attributes:
        train_images, test_images: uint8 (N, 3, H, W), memory-mapped.
        train_labels, test_labels: int64 (N,), 0 <= label < len(class_names).
        content_hash: sha256 of the decoded tensors.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    class_names: tuple[str, ...]
    content_hash: str

    @property
    def classes(self) -> int:
        return len(self.class_names)


def cache_dir() -> Path:
    """Folder of decoded data sets: ``LORA_STUDY_CACHE``, else the user's cache folder."""
    configured = os.environ.get("LORA_STUDY_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "lora-study"


def known_classes(dataset: str, data: DataConfig) -> int | None:
    """Number of selected classes of a data set that is known by name, without loading it."""
    return len(parse_classes(data.classes, KNOWN_CLASSES[dataset])) if dataset in KNOWN_CLASSES else None


def load_images(dataset: str, data: DataConfig, size: int) -> ImageData:
    """Decode a data set, or map the copy that an earlier call on this node left in the cache.

    Args:
        dataset: ``glyphs100``, a name in ``HUB``, any hub name ``owner/name``, or a folder (Hugging Face Parquet
            layout, or images in one folder per class).
        data: which classes and how many images per class.
        size: side in pixels that images of unequal sizes are resized to (equal sizes are kept as they are).

    Raises:
        InputError: data set not there, hub unreachable, selection empty.
    """
    from filelock import FileLock

    source = _identify(dataset)
    selection = [data.classes, data.train_per_class, data.test_per_class]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, source.identity, selection, size]).encode()).hexdigest()[:24]
    path = cache_dir() / "images" / f"{key}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _decode(source, dataset, data, size, path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    return ImageData(**tensors, class_names=tuple(json.loads(about["class_names"])), content_hash=about["content_hash"])


@dataclass(frozen=True)
class _Source:
    identity: str
    splits: Any  # datasets.DatasetDict, or None for the embedded data set
    image: str = "image"
    label: str = "label"


def _identify(dataset: str) -> _Source:
    if dataset == EMBEDDED:
        from importlib.metadata import version

        code = Path(__file__).with_name("glyphs.py").read_bytes()
        return _Source(f"{hashlib.sha256(code).hexdigest()} pillow {version('pillow')}", None)
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        splits = _load_folder(folder)
        image, label = _columns(dataset, splits)
        return _Source(_hash_folder(folder), splits, image, label)
    if dataset not in HUB and dataset.count("/") != 1 or dataset.startswith((".", "/", "~")):
        raise InputError(
            f"dataset {dataset!r}: neither a folder nor a known name; allowed: {', '.join(NAMES)}, a hub name "
            "owner/name, or the path of a Parquet or image folder"
        )
    name, image, label = HUB.get(dataset, (dataset, "", ""))
    splits = _load_hub(dataset, name)
    if not {image, label} <= set(next(iter(splits.values())).features):
        image, label = _columns(dataset, splits)
    return _Source(" ".join(splits[key]._fingerprint for key in sorted(splits)), splits, image, label)


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def _load_folder(folder: Path) -> Any:
    import datasets

    kind = {} if any(folder.rglob("*.parquet")) else {"path": "imagefolder", "data_dir": str(folder)}
    try:
        with _quiet_datasets():
            return datasets.load_dataset(**(kind or {"path": str(folder)}))
    except Exception as error:  # datasets raises a dozen unrelated types for a folder it cannot read
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"dataset {folder}: not readable as a Hugging Face Parquet folder or an image folder ({first_line})"
        ) from error


def _load_hub(dataset: str, name: str) -> Any:
    import datasets

    offline_if_unreachable()
    try:
        with _quiet_datasets():
            return datasets.load_dataset(name)
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


def _hash_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def parse_classes(text: str | None, classes: int) -> list[int]:
    """Label ids selected by a Python slice such as ``1::2``; ``None`` selects all.

    Raises:
        InputError: not a slice, or nothing selected.
    """
    if text is None:
        return list(range(classes))
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
        if not 2 <= len(parts) <= 3:
            raise ValueError("a slice has one or two colons")
        selected = list(range(classes))[slice(*parts)]
    except ValueError as error:
        raise InputError(
            f"data.classes={text}: a Python slice over {classes} label ids is allowed, e.g. 1::2"
        ) from error
    if not selected:
        raise InputError(f"data.classes={text}: selects none of {classes} classes")
    return selected


def _decode(source: _Source, dataset: str, data: DataConfig, size: int, path: Path) -> None:
    tensors, names = _render_glyphs(data) if source.splits is None else _decode_splits(source, dataset, data, size)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    metadata = {"class_names": json.dumps(names), "content_hash": digest.hexdigest(), "dataset": Path(dataset).name}
    save_file(tensors, temporary, metadata=metadata)
    os.replace(temporary, path)


def _render_glyphs(data: DataConfig) -> tuple[dict[str, torch.Tensor], list[str]]:
    from trainables.glyphs import GLYPHS100, render

    chosen = [GLYPHS100[index] for index in parse_classes(data.classes, len(GLYPHS100))]
    tensors = {}
    for split, per_class in (("train", data.train_per_class or 30), ("test", data.test_per_class or 20)):
        images, labels = render(chosen, per_class, split)
        tensors[f"{split}_images"] = torch.from_numpy(images)
        tensors[f"{split}_labels"] = torch.from_numpy(labels)
    return tensors, chosen


def _decode_splits(
    source: _Source, dataset: str, data: DataConfig, size: int
) -> tuple[dict[str, torch.Tensor], list[str]]:
    import datasets

    train, test = _train_and_test(source, dataset)
    label = train.features[source.label]
    names = label.names if isinstance(label, datasets.ClassLabel) else sorted({str(v) for v in train[source.label]})
    selected = parse_classes(data.classes, len(names))
    new_label = {
        (old if isinstance(label, datasets.ClassLabel) else names[old]): new for new, old in enumerate(selected)
    }
    tensors = {}
    for split, rows, per_class in (("train", train, data.train_per_class), ("test", test, data.test_per_class)):
        labels = np.array([new_label.get(value, -1) for value in rows[source.label]])
        keep = _first_of_each_class(labels, len(selected), per_class)
        missing = set(range(len(selected))) - set(labels[keep].tolist())
        if missing:
            raise InputError(f"dataset {dataset!r}: no {split} image of class {names[selected[min(missing)]]!r}")
        with _quiet_datasets():
            pictures = [_to_array(row[source.image]) for row in rows.select(keep)]
        if len({picture.shape for picture in pictures}) > 1:
            pictures = [_square(picture, size) for picture in pictures]
        tensors[f"{split}_images"] = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        tensors[f"{split}_labels"] = torch.from_numpy(labels[keep]).long()
    return tensors, [names[index] for index in selected]


def _train_and_test(source: _Source, dataset: str) -> tuple[Any, Any]:
    splits = source.splits
    held_out = next((name for name in ("test", "validation", "valid", "val") if name in splits), None)
    if "train" in splits and held_out:
        return splits["train"], splits[held_out]
    if len(splits) != 1:
        raise InputError(
            f"dataset {dataset!r}: needs the splits train and test (or validation), has {', '.join(splits)}"
        )
    only = next(iter(splits.values()))
    by_class: dict[Any, list[int]] = {}
    for index, value in enumerate(only[source.label]):
        by_class.setdefault(value, []).append(index)
    shuffle = np.random.default_rng(0)
    train: list[int] = []
    test: list[int] = []
    for value in sorted(by_class):
        rows = shuffle.permutation(by_class[value])
        cut = max(1, round(len(rows) * HELD_OUT_FRACTION))
        test.extend(int(row) for row in rows[:cut])
        train.extend(int(row) for row in rows[cut:])
    return only.select(sorted(train)), only.select(sorted(test))


def _first_of_each_class(labels: np.ndarray, classes: int, per_class: int | None) -> np.ndarray:
    limit = per_class or len(labels)
    return np.sort(np.concatenate([np.flatnonzero(labels == index)[:limit] for index in range(classes)]))


def _to_array(picture: Any) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


def _square(picture: np.ndarray, size: int) -> np.ndarray:
    """Shorter side to ``size``, then the central square; (H, W, 3) -> (size, size, 3)."""
    from torchvision.transforms.v2 import functional

    tensor = functional.resize(torch.from_numpy(picture.copy()).permute(2, 0, 1), [size], antialias=True)
    return functional.center_crop(tensor, [size, size]).permute(1, 2, 0).numpy()
