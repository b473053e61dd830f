"""Tokenizers in the Hugging Face layout: the embedded one, a folder's, the hub's, and one trained on a text."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.errors import InputError
from trainables.models.hub import offline_if_unreachable

SHIPPED = {"review_bert": Path(__file__).parents[1] / "embedded" / "weights" / "review_bert"}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
"""Any of these makes a folder one with a tokenizer."""


def load_tokenizer(name: str) -> Any:
    """Fast tokenizer of a model.

    Args:
        name: ``review_bert``, a folder in the Hugging Face layout, or a hub name.

    Returns:
        ``transformers.PreTrainedTokenizerFast`` that pads.

    Raises:
        InputError: folder without tokenizer, neither folder nor hub name, hub unreachable, no padding token.
    """
    from transformers import AutoTokenizer

    folder = SHIPPED.get(name, Path(name).expanduser())
    if folder.is_dir():
        if not any((folder / file).is_file() for file in FILES):
            raise InputError(f"backbone {name!r}: the folder has no tokenizer; one of {', '.join(FILES)} is needed")
    elif name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f"backbone {name!r}: no such folder; allowed: {', '.join(SHIPPED)}, a folder in the Hugging Face layout, "
            "or a hub name such as prajjwal1/bert-tiny"
        )
    else:
        offline_if_unreachable()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else name, use_fast=True)
    except Exception as error:  # broken files and an unreachable hub raise many unrelated types
        if folder.is_dir():
            raise InputError(f"backbone {name!r}: tokenizer not readable ({type(error).__name__})") from error
        raise InputError(
            f"backbone {name!r}: tokenizer not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}); pass --backbone FOLDER, or use --profile embedded"
        ) from error
    if tokenizer.pad_token_id is None:  # as of GPT-2 and Llama; which token pads changes nothing behind a mask
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise InputError(
            f"backbone {name!r}: its tokenizer is slow or does not pad; allowed: fast, with a pad or end token"
        )
    return tokenizer


def fingerprint(tokenizer: Any) -> str:
    """sha256 of everything that decides which ids a text gets, and of the id that pads."""
    content = f"{tokenizer.backend_tokenizer.to_str()} {tokenizer.pad_token_id}"
    return hashlib.sha256(content.encode()).hexdigest()


def train_tokenizer(sentences: Sequence[str], vocab_size: int, max_length: int) -> Any:
    """Lower-casing BERT tokenizer of a text: its words where they fit into ``vocab_size``, word pieces otherwise.

    Args:
        vocab_size: upper limit, special tokens included.
        max_length: of what the model reads, in tokens.

    Returns:
        ``transformers.BertTokenizerFast``. Words are the same every time; the trainer of word pieces breaks ties at
        random, so that its choice may differ from run to run.

    Source: WordPiece as trained by the ``tokenizers`` library.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]  # made at import time

    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.normalizer = normalizers.BertNormalizer(lowercase=True)
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word
        for sentence in sentences
        for word, _ in model.pre_tokenizer.pre_tokenize_str(model.normalizer.normalize_str(sentence))
    )
    if len(words) + len(SPECIAL_TOKENS) <= vocab_size:
        vocabulary = [*SPECIAL_TOKENS, *sorted(words)]
    else:
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False
        )
        model.train_from_iterator(sentences, trainer)
        vocabulary = [*SPECIAL_TOKENS, *sorted(set(model.get_vocab()) - set(SPECIAL_TOKENS))]
    return _bert_tokenizer(BertTokenizerFast, vocabulary, max_length)


def _bert_tokenizer(kind: Any, vocabulary: Sequence[str], max_length: int) -> Any:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:  # a file of words is what every transformers 4 and 5 builds it from
        (Path(folder) / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
        return kind.from_pretrained(folder, model_max_length=max_length)
