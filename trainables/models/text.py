"""Frozen text encoders: Hugging Face models by name or folder, with their weights or random ones, and the embedded one.

Weights are read from safetensors. Of a model that only has a ``pytorch_model.bin`` torch reads the tensors with
``weights_only``, which runs no code of the file.
"""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.func import functional_call
from transformers import MODEL_MAPPING, AutoModel, BertConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging

from trainables.data.cache import hash_tensors
from trainables.errors import InputError, first_line
from trainables.models.hub import offline_if_unreachable
from trainables.models.text_dropout import ATTENTION
from trainables.models.text_probe import Reading, probe, states
from trainables.models.tokenizer import SHIPPED

KNOWN: dict[str, dict[str, int]] = {
    "prajjwal1/bert-tiny": {
        "vocab_size": 30_522, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 512, "max_position_embeddings": 512,
    },
}  # fmt: skip
"""Architectures that can be counted without a network: fields of ``BertConfig``."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
WITHOUT_POOLER = ("camembert", "roberta", "xlm-roberta")
"""Types whose pretrained weights have no pooler although the architecture has one."""
HEAD_DROPOUT = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "cls_dropout",
                "hidden_dropout_prob")  # fmt: skip
"""Names under which configurations have the rate before the classification head; the first that is there counts."""


class Tokens(NamedTuple):
    """A batch of texts: token ids int64 and mask (True: a token, False: padding), (M, L) each."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TextBackbone:
    """A frozen encoder.

    Attributes:
        model: Hugging Face encoder without a head, in evaluation mode, fp32.
        dim: width D of its output.
        vocabulary: token ids are below it.
        positions: most tokens of a text.
        head_dropout: rate before the classification head, as the model's own classifier has it.
        reading: what the model says of itself; None on the meta device.
        weights_hash: sha256 over the names and values of all tensors, or "" without weights.
    """

    model: nn.Module
    dim: int
    vocabulary: int
    positions: int
    head_dropout: float
    reading: Reading | None
    weights_hash: str

    def pooled(self, tokens: Tokens, replaced: Mapping[str, Tensor] | None = None) -> Tensor:
        """The last token's state where tokens see only those before them, else the pooler's output, or of a model
        without one the first token's, (M, D); ``replaced`` stands for parameters so named."""
        inputs = {"input_ids": tokens.ids, "attention_mask": tokens.mask.long()}
        out = self.model(**inputs) if replaced is None else functional_call(self.model, dict(replaced), (), inputs)
        return states(out).features(tokens.mask, self.reading is not None and self.reading.last)


def load_text_backbone(name: str, pretrained: bool | None = True, weights_seed: int = 0) -> TextBackbone:
    """Frozen encoder.

    Args:
        name: ``review_bert``, a folder in the Hugging Face layout, or a hub name such as ``prajjwal1/bert-tiny``.
        pretrained: False draws random weights; None builds the architecture alone on the meta device (parameter
            counts; no download of weights, and of the names in ``KNOWN`` none at all).
        weights_seed: of the random weights.

    Raises:
        InputError: unknown model, folder without configuration or weights, weights that do not fit, hub unreachable, or
            a model whose features would not be those of a text (``trainables.models.text_probe``).
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = SHIPPED.get(name, Path(name).expanduser())
    local = folder if folder.is_dir() else None
    if local is None and (name in SHIPPED or name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise InputError(f"backbone {name!r}: no such folder; allowed: {_allowed()}")
    config = _config(name, local, needs_hub=pretrained is True)
    config.use_cache = False  # nothing is generated
    kind = _kind(name, config)
    replaceable = kind._supports_sdpa and getattr(kind, "_supports_attention_backend", False)
    options: dict[str, Any] = {"attn_implementation": ATTENTION if replaceable else "eager"}
    if _has_no_pooler(kind, config, local):
        options["add_pooling_layer"] = False
    if pretrained:
        model = _pretrained(name, local, config, options)
    else:
        with torch.random.fork_rng(devices=[]), torch.device("meta" if pretrained is None else "cpu"):
            torch.manual_seed(weights_seed)
            model = _built(name, config, options)
    _frozen_to_buffers(model)
    model.requires_grad_(False).eval()
    positions, reading = _positions(model), None
    dim, vocabulary = int(config.hidden_size), int(config.vocab_size)
    if pretrained is not None:
        try:
            reading = probe(model, dim, vocabulary, positions)
        except InputError as error:
            raise InputError(f"backbone {name!r}: {config.model_type} {error}") from error
    rates = (getattr(config, key, None) for key in HEAD_DROPOUT)
    return TextBackbone(
        model, dim, vocabulary, positions, float(next((rate for rate in rates if rate is not None), 0.0)), reading,
        "" if pretrained is None else hash_tensors(model.state_dict()),
    )  # fmt: skip


def _kind(name: str, config: PretrainedConfig) -> Any:
    """The class that ``AutoModel`` builds; raises InputError where it is no text encoder and no decoder-only model."""
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"backbone {name!r}: {config.model_type} is an encoder with a decoder; allowed: either alone")
    kind: Any = MODEL_MAPPING.get(type(config), None)
    if kind is None or not all(isinstance(getattr(config, key, None), int) for key in ("hidden_size", "vocab_size")):
        raise InputError(f"backbone {name!r}: {config.model_type} is no text encoder and no decoder-only model")
    return kind[0] if isinstance(kind, tuple) else kind


def _frozen_to_buffers(model: nn.Module) -> None:
    """What a model never trains, such as RoFormer's table of sines, is no parameter of full fine-tuning either."""
    for path, value in list(model.named_parameters()):
        if not value.requires_grad:
            parent, _, name = path.rpartition(".")
            module = model.get_submodule(parent)
            delattr(module, name)
            module.register_buffer(name, value.data)


def _positions(model: nn.Module) -> int:
    """Most tokens of a text; of a model without a limit very many."""
    most = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return sys.maxsize
    for path, module in model.named_modules():
        table = isinstance(module, nn.Embedding) and "position" in path and module.num_embeddings == most
        if table and module.padding_idx is not None:  # RoBERTa's and MPNet's count from behind the padding's
            return most - module.padding_idx - 1
    return most


def _allowed() -> str:
    return f"{', '.join(SHIPPED)}, a folder with config.json, or a hub name such as {next(iter(KNOWN))}"


def _config(name: str, local: Path | None, needs_hub: bool) -> PretrainedConfig:
    if name in KNOWN and local is None and not needs_hub:
        return BertConfig.from_dict(dict(KNOWN[name]))
    if local is None:
        offline_if_unreachable()
    elif not (local / "config.json").is_file():
        raise InputError(f"backbone {name!r}: no config.json in the folder; allowed: {_allowed()}")
    try:
        values, _ = PretrainedConfig.get_config_dict(str(local or name))
    except Exception as error:  # the hub client raises many unrelated types when it cannot be reached
        reason = (
            f"config.json is not readable ({_first_line(error)})" if local else
            f"not in the local cache and the hub cannot be reached ({type(error).__name__}); pass --backbone FOLDER, "
            "or use --profile embedded"
        )  # fmt: skip
        raise InputError(f"backbone {name!r}: {reason}") from error
    kind = values.get("model_type", "bert")  # the oldest BERT files do not say
    if kind not in CONFIG_MAPPING:
        raise InputError(f"backbone {name!r}: model_type {kind!r} is unknown to transformers")
    return CONFIG_MAPPING[kind].from_dict(values)


def _has_no_pooler(kind: Any, config: PretrainedConfig, local: Path | None) -> bool:
    """Whether the pooler has to be left out: there are weights, and none of it."""
    if "add_pooling_layer" not in inspect.signature(kind.__init__).parameters:
        return False  # the architecture says by itself
    file = local / "model.safetensors" if local else None
    if file is None or not file.is_file():
        return config.model_type in WITHOUT_POOLER
    try:
        with safe_open(file, framework="pt") as weights:
            return not any("pooler." in key for key in weights.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False  # reading the weights will say


def _built(name: str, config: PretrainedConfig, options: dict[str, Any]) -> nn.Module:
    try:
        return AutoModel.from_config(config, dtype=torch.float32, **options)
    except Exception as error:  # whatever a type makes of a configuration that it cannot use
        raise InputError(f"backbone {name!r}: cannot be built as a text encoder ({_first_line(error)})") from error


def _pretrained(name: str, local: Path | None, config: PretrainedConfig, options: dict[str, Any]) -> nn.Module:
    if local and not any((local / file).is_file() for file in WEIGHTS):
        raise InputError(
            f"backbone {name!r}: no weights in the folder (model.safetensors); --set pretrained=false starts from "
            "random ones"
        )
    try:
        model, found = AutoModel.from_pretrained(
            str(local or name), config=config, dtype=torch.float32, weights_only=True, output_loading_info=True,
            local_files_only=local is not None, **options,
        )  # fmt: skip
    except Exception as error:  # the hub client and the readers of weights raise many unrelated types
        reason = f"weights cannot be read ({_first_line(error)})" if local else (
            f"weights not in the local cache and the hub cannot be reached ({type(error).__name__}); pass --backbone "
            "FOLDER, or use --profile embedded"
        )  # fmt: skip
        raise InputError(f"backbone {name!r}: {reason}") from error
    wrong = sorted(map(str, [*found["missing_keys"], *found.get("mismatched_keys", ())]))
    if wrong:
        raise InputError(
            f"backbone {name!r}: {len(wrong)} tensors of the model are missing in its weights or do not fit, first "
            f"{wrong[0]}"
        )
    return model


def _first_line(error: Exception) -> str:
    return first_line(error) or type(error).__name__
