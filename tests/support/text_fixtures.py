"""A text classification task and an encoder small enough for milliseconds, as folders in the Hugging Face layout."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertModel

WORDS = [
    "good", "fine", "great", "bad", "dull", "poor", "not", "never", "very", "quite",
    "film", "plot", "actor", "scene", "a", "the", "is", "was", "of", "and",
]  # fmt: skip
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 24,
}  # fmt: skip


def write_texts(folder: Path, train: int = 90, test: int = 40, **columns: object) -> Path:
    """A Parquet folder of sentences whose label is whether a good word stands in them.

    Args:
        columns: name -> values of every row, or None to leave a column out.
    """
    draw = random.Random(0)
    (folder / "data").mkdir(parents=True)
    for part, count in (("train", train), ("validation", test)):
        labels = [draw.randrange(2) for _ in range(count)]
        sentences = []
        for label in labels:
            words = [draw.choice(WORDS[10:]) for _ in range(draw.randrange(2, 12))]
            sentences.append(" ".join([*words, draw.choice(WORDS[:3] if label else WORDS[3:6])]))
        table = {"sentence": sentences, "label": labels, "idx": list(range(count))}
        for name, value in columns.items():
            table.pop(name, None)
            if value is not None:
                table[name] = [value] * count
        pq.write_table(pa.table(table), folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder


def write_encoder(folder: Path, weights: bool = True, tokenizer: bool = True, **changes: int) -> Path:
    """A random BERT, 2 layers of width 16."""
    config = BertConfig(vocab_size=len(VOCABULARY), **(SHAPE | changes))
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    if weights:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            BertModel(config).save_pretrained(folder)
    if tokenizer:
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return folder
