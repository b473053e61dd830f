"""Decoding of a data set: selection of classes and images, splits."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from trainables.configs import DataConfig
from trainables.data.cache import hash_tensors
from trainables.data.pictures import within, write_pictures
from trainables.errors import InputError

HELD_OUT_FRACTION = 0.2
"""Share of every class that becomes the test set when a data set has a single split (the 80/20 habit of ImageNet-R)."""


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        identity: hash that changes with the content.
        splits: ``datasets.DatasetDict``, or None for the embedded data set.
        image, label: names of the columns.
    """

    identity: str
    splits: Any
    image: str = "image"
    label: str = "label"


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Without the progress bars of ``datasets``."""
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


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


Split = tuple[Iterable[np.ndarray], np.ndarray]
"""Pictures uint8 (H, W, 3), and their labels (N,)."""


def decode(source: Source, dataset: str, data: DataConfig, bound: int, folder: Path) -> None:
    """Write the selected pictures of a source into an empty folder, and ``index.safetensors`` with sizes and labels.

    Args:
        bound: pixels of the shorter side above which pictures are shrunk.

    Raises:
        InputError: selection empty, or splits that cannot be told apart.
    """
    splits, names = _glyphs(data) if source.splits is None else _selected(source, dataset, data, bound)
    digest, tensors = hashlib.sha256(), {}
    for split, (pictures, labels) in splits.items():
        with quiet_datasets():
            tensors[f"{split}_sizes"] = write_pictures(folder / f"{split}.bin", pictures, digest)
        tensors[f"{split}_labels"] = torch.from_numpy(labels).long()
    about = {"class_names": json.dumps(names), "content_hash": hash_tensors(tensors, digest)}
    metadata = about | {"dataset": Path(dataset).name}
    save_file(tensors, folder / "index.safetensors", metadata=metadata)


def _glyphs(data: DataConfig) -> tuple[dict[str, Split], list[str]]:
    from trainables.embedded.glyphs import GLYPHS100, render

    chosen = [GLYPHS100[index] for index in parse_classes(data.classes, len(GLYPHS100))]
    splits: dict[str, Split] = {}
    for split, per_class in (("train", data.train_per_class or 30), ("test", data.test_per_class or 20)):
        images, labels = render(chosen, per_class, split)
        splits[split] = images.transpose(0, 2, 3, 1), labels
    return splits, chosen


def _selected(source: Source, dataset: str, data: DataConfig, bound: int) -> tuple[dict[str, Split], list[str]]:
    import datasets

    train, test = _train_and_test(source, dataset)
    label = train.features[source.label]
    names = label.names if isinstance(label, datasets.ClassLabel) else sorted({str(v) for v in train[source.label]})
    selected = parse_classes(data.classes, len(names))
    new_label = {
        (old if isinstance(label, datasets.ClassLabel) else names[old]): new for new, old in enumerate(selected)
    }
    splits: dict[str, Split] = {}
    for split, rows, per_class in (("train", train, data.train_per_class), ("test", test, data.test_per_class)):
        labels = np.array([new_label.get(value, -1) for value in rows[source.label]])
        keep = _first_of_each_class(labels, len(selected), per_class)
        missing = set(range(len(selected))) - set(labels[keep].tolist())
        if missing:
            raise InputError(f"dataset {dataset!r}: no {split} image of class {names[selected[min(missing)]]!r}")
        splits[split] = (within(row[source.image], bound) for row in rows.select(keep)), labels[keep]
    return splits, [names[index] for index in selected]


def _train_and_test(source: Source, dataset: str) -> tuple[Any, Any]:
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
