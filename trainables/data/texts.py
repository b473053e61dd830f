"""Text data sets as token ids: found through ``datasets``, tokenised once per node, cached under a content hash.

The cache holds a safetensors file that every worker maps read-only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.configs import TextDataConfig
from trainables.data.cache import cached, hash_tensors
from trainables.data.text_source import Examples, TextSource, open_text
from trainables.errors import InputError
from trainables.models.tokenizer import fingerprint, load_tokenizer

KNOWN_CLASSES = {"reviews": 2, "sst2": 2}
SUBSAMPLE_SEED = 0
CACHE_VERSION = 1


@dataclass(frozen=True)
class TextData:
    """A tokenised data set; the examples of a split lie one after the other.

    Attributes:
        train_tokens, test_tokens: int32 (total,), token ids with special tokens, memory-mapped; example i is
            tokens[offsets[i]:offsets[i + 1]].
        train_offsets, test_offsets: int64 (N + 1,).
        train_labels, test_labels: int64 (N,), 0 <= label < len(class_names).
        pad_id: token that fills batches.
        content_hash: sha256 of the tensors.
    """

    train_tokens: Tensor
    train_offsets: Tensor
    train_labels: Tensor
    test_tokens: Tensor
    test_offsets: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    pad_id: int
    content_hash: str

    @property
    def classes(self) -> int:
        return len(self.class_names)


def known_text_classes(dataset: str) -> int | None:
    """Number of classes of a data set that is known by name, without loading it."""
    return KNOWN_CLASSES.get(dataset)


def load_text(dataset: str, data: TextDataConfig, tokenizer_name: str) -> TextData:
    """Tokenise a data set, or map the copy that an earlier call on this node left in the cache.

    Args:
        dataset: ``reviews``, ``sst2``, any hub name ``owner/name``, or a folder with the columns sentence or text, and
            label or labels. The test examples are those of the test split, or of the validation split where the test
            labels are hidden or there is no test split; a fifth of the training split where there is neither.
        data: how many examples, and how long they may be.
        tokenizer_name: ``review_bert``, a folder in the Hugging Face layout, or a hub name. Examples longer than
            ``data.max_length`` or than the tokenizer's own limit are truncated.

    Raises:
        InputError: data or tokenizer not there, a column missing, fewer examples than asked for.
    """
    tokenizer, source = load_tokenizer(tokenizer_name), open_text(dataset)
    length = min(data.max_length, tokenizer.model_max_length)
    selection = [data.train_examples, data.test_examples, length]
    path = cached(
        "text", [CACHE_VERSION, source.identity, fingerprint(tokenizer), selection],
        lambda to: _tokenise(source, data, tokenizer, length, to),
    )  # fmt: skip
    with safe_open(path / "texts.safetensors", framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    names = tuple(json.loads(about["class_names"]))
    return TextData(**tensors, class_names=names, pad_id=int(about["pad_id"]), content_hash=about["content_hash"])


def _tokenise(source: TextSource, data: TextDataConfig, tokenizer: Any, length: int, folder: Path) -> None:
    train, test, names = source.labelled()
    tensors: dict[str, Tensor] = {}
    for split, examples, wanted in (("train", train, data.train_examples), ("test", test, data.test_examples)):
        kept = subsample(examples, wanted, f"data.{split}_examples", source.dataset)
        rows = tokenizer(kept.sentences, truncation=True, max_length=length)["input_ids"]
        tensors[f"{split}_tokens"] = torch.tensor([token for row in rows for token in row], dtype=torch.int32)
        tensors[f"{split}_offsets"] = torch.tensor([0] + [len(row) for row in rows]).cumsum(0)
        tensors[f"{split}_labels"] = torch.from_numpy(kept.labels)
    about = {"class_names": json.dumps(names), "pad_id": str(tokenizer.pad_token_id)}
    about |= {"content_hash": hash_tensors(tensors), "dataset": Path(source.dataset).name}
    save_file(tensors, folder / "texts.safetensors", metadata=about)


def subsample(examples: Examples, wanted: int | None, field: str, dataset: str) -> Examples:
    """``wanted`` examples drawn at random, the same for every replica, in their original order.

    The draw is uniform, not balanced: class frequencies stay about those of the data set. A smaller draw is part of
    every larger one.

    Raises:
        InputError: fewer examples than wanted.
    """
    available = len(examples.sentences)
    if wanted is None:
        return examples
    if wanted > available:
        raise InputError(f"{field}={wanted}: dataset {dataset!r} has {available}; allowed: 1..{available}")
    kept = np.sort(np.random.default_rng(SUBSAMPLE_SEED).permutation(available)[:wanted])
    return Examples([examples.sentences[index] for index in kept], examples.labels[kept])
