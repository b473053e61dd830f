"""Where sentences and their labels come from: the embedded grammar, a local folder, the hub."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.decoding import HELD_OUT_FRACTION
from trainables.data.images import hash_folder, load_folder, load_hub
from trainables.errors import InputError

OWN_DATASET = "reviews"
HUB = {"sst2": ("nyu-mll/glue", "sst2")}
NAMES = (OWN_DATASET, *HUB)
TEXT_COLUMNS = ("sentence", "text")
LABEL_COLUMNS = ("label", "labels")
HELD_OUT_SPLITS = ("test", "validation", "valid", "val")


@dataclass(frozen=True)
class Examples:
    """Sentences (N,) and their labels, int64 (N,), 0 <= label < number of classes."""

    sentences: list[str]
    labels: np.ndarray


@dataclass(frozen=True)
class TextSource:
    """A data set of texts.

    Attributes:
        identity: changes with the content.
        splits: ``datasets.DatasetDict``, or None for the embedded data set.
    """

    dataset: str
    identity: str
    splits: Any

    def sentences(self) -> tuple[list[str], list[str]]:
        """Training and held-out sentences. Labels are not read: a folder without any will do.

        Raises:
            InputError: no text column or no training split.
        """
        if self.splits is None:
            from trainables.embedded.reviews import corpus

            return corpus("train"), corpus("test")
        train, test = self._train_and_test(None)
        column = self._column("text", TEXT_COLUMNS)
        return [str(text) for text in train[column]], [str(text) for text in test[column]]

    def labelled(self) -> tuple[Examples, Examples, tuple[str, ...]]:
        """Training examples, test examples, names of the classes.

        Raises:
            InputError: a column or a split is missing, or the labels are no classes.
        """
        if self.splits is None:
            from trainables.embedded.reviews import CLASS_NAMES, reviews

            train, test = (Examples(*reviews(split)) for split in ("train", "test"))
            return train, test, CLASS_NAMES
        text, label = self._column("text", TEXT_COLUMNS), self._column("label", LABEL_COLUMNS)
        train_rows, test_rows = self._train_and_test(label)
        keys, names = self._classes(train_rows, label)
        train, test = (
            Examples([str(value) for value in rows[text]], self._labels(rows[label], keys, f"{split} split, {label!r}"))
            for split, rows in (("train", train_rows), ("test", test_rows))
        )
        return train, test, names

    def _column(self, kind: str, allowed: tuple[str, ...]) -> str:
        features = next(iter(self.splits.values())).features
        for name in allowed:
            if name in features:
                return name
        raise InputError(
            f"dataset {self.dataset!r}: no {kind} column; allowed: {' or '.join(allowed)}, has {', '.join(features)}"
        )

    def _train_and_test(self, label: str | None) -> tuple[Any, Any]:
        if "train" not in self.splits:
            raise InputError(f"dataset {self.dataset!r}: needs a train split, has {', '.join(self.splits)}")
        held_out = [name for name in HELD_OUT_SPLITS if name in self.splits]
        for name in held_out:
            if label is None or set(self.splits[name][label]) != {-1}:  # GLUE hides the labels of its test splits
                return self.splits["train"], self.splits[name]
        if held_out:
            raise InputError(f"dataset {self.dataset!r}: the labels of {' and '.join(held_out)} are hidden (-1)")
        parts = self.splits["train"].train_test_split(HELD_OUT_FRACTION, seed=0)
        return parts["train"], parts["test"]

    def _classes(self, train: Any, label: str) -> tuple[list[Any], tuple[str, ...]]:
        import datasets

        feature = train.features[label]
        if isinstance(feature, datasets.ClassLabel):
            return list(range(len(feature.names))), tuple(feature.names)
        found = set(train[label])
        if not all(isinstance(value, (int, str)) for value in found) or not 2 <= len(found) < len(train):
            raise InputError(
                f"dataset {self.dataset!r}: column {label!r} holds {feature.dtype} with {len(found)} different values "
                f"in {len(train)} rows; allowed: integers or texts that name at least 2 classes"
            )
        keys = sorted(found)
        return keys, tuple(str(key) for key in keys)

    def _labels(self, values: list[Any], keys: list[Any], where: str) -> np.ndarray:
        position = {key: index for index, key in enumerate(keys)}
        unknown = next((value for value in values if value not in position), None)
        if unknown is not None or None in values:
            raise InputError(
                f"dataset {self.dataset!r}: {where} holds {unknown!r}, which is none of the classes of the training "
                f"split: {', '.join(map(str, keys))}"
            )
        return np.array([position[value] for value in values], dtype=np.int64)


def open_text(dataset: str) -> TextSource:
    """Find a data set of texts; sentences are read when they are asked for.

    Args:
        dataset: ``reviews``, a name in ``HUB``, any hub name ``owner/name``, or a folder in a layout that
            ``datasets.load_dataset`` reads (Hugging Face Parquet, CSV, JSON, plain text).

    Raises:
        InputError: not there, not readable, hub unreachable.
    """
    if dataset == OWN_DATASET:
        code = (Path(__file__).parents[1] / "embedded" / "reviews.py").read_bytes()
        return TextSource(dataset, hashlib.sha256(code).hexdigest(), None)
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return TextSource(dataset, hash_folder(folder), load_folder(folder, "a Hugging Face text folder"))
    if dataset not in HUB and (dataset.count("/") != 1 or dataset.startswith((".", "/", "~"))):
        raise InputError(
            f"dataset {dataset!r}: neither a folder nor a known name; allowed: {', '.join(NAMES)}, a hub name "
            "owner/name, or the path of a text folder"
        )
    splits = load_hub(dataset, *HUB.get(dataset, (dataset,)))
    return TextSource(dataset, " ".join(splits[key]._fingerprint for key in sorted(splits)), splits)
