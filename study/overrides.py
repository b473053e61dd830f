"""User settings: ``--set KEY=VALUE``, ``--config FILE.json`` with the notes' keys, ``--seeds``."""

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.seeds import parse_seeds
from trainables.configs import CONFIGS, aliases
from trainables.errors import InputError

NOTES_DATASETS = {"cifar224": "cifar100", "cifar100": "cifar100", "cifar10": "cifar10", "imagenetr": "imagenet-r"}
NOTES_BACKBONES = {
    "pretrained_vit_b16_224_in21k_adapter": "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
}
NOTES_ONLY = frozenset(
    [
        "prefix",
        "model_name",
        "device",
        "shuffle",
        "memory_size",
        "memory_per_class",
        "fixed_memory",
        "print_forget",
        "init_epoch",
        "tuned_epoch",
        "ffn_adapter_type",
        "ffn_adapt",
        "ffn_option",
        "ffn_adapter_layernorm_option",
        "ffn_adapter_init_option",
        "ffn_adapter_scalar",
        "vpt_on",
        "vpt_num",
        "vpt_type",
        "prompt_token_num",
        "exp_threshold",
        "adapt_start_layer",
        "adapt_end_layer",
        "detect_batch_size",
        "rd_epoch",
        "rd_lr",
        "rd_dim",
        "buffer_size",
    ]
)
"""Keys of the notes' JSON files that do not concern nested LoRA (the mixture around it, file names, devices)."""


@dataclass
class ConfigFile:
    """A notes' JSON file: one configuration, and what it says of data, backbone and seeds."""

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    backbone: str | None = None
    seeds: tuple[int, ...] | None = None
    unused: list[str] = field(default_factory=list)


def parse_settings(pairs: list[str], trainable: str) -> dict[str, Any]:
    """``["lr_fast=0.02", "data.classes=1::2"]`` -> own dotted names and values.

    Raises:
        InputError: no ``=``, an unknown key (with the nearest known one), a key given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise InputError(f"--set {pair!r}: KEY=VALUE is expected, e.g. --set epochs=2")
        name = _own_name(key.strip(), trainable, "--set")
        if name in ("dataset", "backbone"):
            raise InputError(f"--set {key}: use --{name}")
        if name in settings:
            raise InputError(f"--set {key}: {name} is given twice")
        settings[name] = _value(text)
    return settings


def read_config(path: Path, trainable: str) -> ConfigFile:
    """Read one configuration with the notes' keys or our own.

    Raises:
        InputError: file missing, not a JSON object, an unknown key or data set.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"--config {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"--config {path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(
            f"--config {path}: a JSON object of KEY: VALUE is expected, this is a {type(content).__name__}"
        )
    result = ConfigFile(label=path.stem)
    rank_named = "nested_lora_rank" in content or "rank" in content
    for key, value in flatten(content).items():
        if key == "seed":
            result.seeds = seeds(
                ",".join(map(str, value if isinstance(value, list) else [value])) + ",", f"--config {path}"
            )
        elif key == "dataset":
            result.dataset = NOTES_DATASETS.get(value, value)
        elif key in ("backbone", "backbone_type"):
            result.backbone = NOTES_BACKBONES.get(value, value)
        elif key in NOTES_ONLY or (key == "ffn_num" and rank_named):
            result.unused.append(key)
        else:
            known_elsewhere = ("seed", "backbone_type", *NOTES_ONLY)
            result.settings[_own_name(key, trainable, f"--config {path.name}:", known_elsewhere)] = value
    return result


def seeds(text: str, where: str) -> tuple[int, ...]:
    """``parse_seeds`` for user input: raises InputError that says where."""
    try:
        return parse_seeds(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Dotted names -> nested dictionaries, as pydantic reads them."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return result


def suggest(word: str, known: list[str]) -> str:
    """`` (did you mean ...?)`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def _own_name(key: str, trainable: str, where: str, also_known: tuple[str, ...] = ()) -> str:
    known = aliases(CONFIGS[trainable])
    if key not in known:
        raise InputError(
            f"{where} {key!r}: unknown key of trainable {trainable!r}{suggest(key, [*known, *also_known])}"
        )
    return known[key]


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries -> dotted names."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text
