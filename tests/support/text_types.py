"""Every type of text model that the tests know, tiny and with random weights, as a folder with a tokenizer."""

import random
from pathlib import Path
from typing import Any

import transformers
from text_fixtures import VOCABULARY, WORDS
from tokenizers import ByteLevelBPETokenizer
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from trainables.models.tokenizer import train_tokenizer

ENCODER = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 32, "vocab_size": len(VOCABULARY), "pad_token_id": 0,
}  # fmt: skip
NARROW = {"embedding_size": 16}
DECODER = ENCODER | {"vocab_size": 400, "num_key_value_heads": 1, "pad_token_id": None}
TYPES: dict[str, dict[str, Any]] = {
    "Bert": ENCODER,
    "Roberta": ENCODER,
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 25, "pad_token_id": 0},
    "Electra": ENCODER | NARROW,
    "Albert": ENCODER | NARROW,
    "MPNet": ENCODER | {"pad_token_id": 1},
    "RoFormer": ENCODER | NARROW,
    "DebertaV2": ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "conv_kernel_size": 3},
    "ModernBert": ENCODER | {"local_attention": 4, "bos_token_id": 2, "eos_token_id": 3} | {
        "cls_token_id": 2, "sep_token_id": 3},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 400, "bos_token_id": 0,
             "eos_token_id": 0},
    "Qwen2": DECODER,
    "Llama": DECODER,
    "T5": {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8, "vocab_size": 25},
    "FNet": ENCODER,
}  # fmt: skip
BYTES = ("GPT2", "Qwen2")
"""Types whose tokenizer is of bytes."""
LAYERS = {"ModernBert": r".*\.Wqkv"}
"""Where the default finds no query and value."""


def config_of(kind: str, **changes: Any) -> PretrainedConfig:
    return getattr(transformers, f"{kind}Config")(**(TYPES[kind] | changes))


def write_type(folder: Path, kind: str, **changes: Any) -> Path:
    """A folder with configuration and tokenizer; one of bytes has no padding token."""
    folder.mkdir(parents=True)
    config_of(kind, **changes).save_pretrained(folder)
    if kind in BYTES:
        draw = random.Random(0)
        sentences = [" ".join(draw.choices(WORDS, k=12)) for _ in range(200)]
        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train_from_iterator(sentences, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
        tokenizer.save_model(str(folder))
        return folder
    words = train_tokenizer([" ".join(WORDS)], 64, 24).backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder
