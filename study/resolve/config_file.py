"""``--config FILE.json``: one configuration with the notes' keys or our own."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.catalog import STUDIES
from study.resolve.keys import own_name, seeds
from trainables.configs.names import aliases, flatten
from trainables.errors import InputError
from trainables.registry import TrainableSpec

NOTES_DATASETS = {"cifar224": "cifar100", "imagenetr": "imagenet-r", "imageneta": "imagenet-a"}
NOTES_BACKBONES = {
    "pretrained_vit_b16_224_nested_lora": "vit_base_patch16_224",
    "pretrained_vit_b16_224_adapter": "vit_base_patch16_224",
    "pretrained_vit_b16_224_in21k_adapter": "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
}
NOTES_MODELS = {"nested_lora": "nested", "sema": "sema"}
"""``model_name`` of a notes' file -> the trainable that is meant."""
NOTES_ONLY = frozenset(
    ["prefix", "device", "num_workers", "print_forget", "init_epoch", "tuned_epoch", "ffn_adapt", "ffn_option",
     "ffn_adapter_layernorm_option", "ffn_adapter_init_option", "ffn_adapter_scalar", "vpt_on", "vpt_num", "vpt_type",
     "prompt_token_num", "exp_threshold", "detect_batch_size", "rd_epoch", "rd_lr", "rd_dim", "buffer_size",
     "nested_lora_eval_ablation"]
)  # fmt: skip
"""Keys of the notes' JSON files on which nothing depends where a method does not have them: the mixture around nested
LoRA, file names, devices. Every ablation is measured anyway."""
NOTES_BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    "nested": {"ffn_num": ("nested_lora_rank", "rank"), "func_epoch": ("epochs",)},
    "sema": {"epochs": ("func_epoch",)},
}
"""Of two keys for one field, the one that the notes' code does not read, and those that it reads, by trainable."""
NOTES_REFUSED: dict[str, tuple[Any, ...]] = {
    "memory_size": (0,), "memory_per_class": (0,), "fixed_memory": (False,), "moe_mode": (False, None, "none"),
    "moe_val_ratio": (0, 0.0, None), "fast_lr_multipliers": (None, [], [1], [1.0]), "nb_tasks": (None, 1),
}  # fmt: skip
"""Keys that ask for rehearsal or several fast adapters, and the values with which they ask for nothing."""


@dataclass
class ConfigFile:
    """A notes' JSON file: one configuration, and what it says of data, backbone and seeds."""

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    backbone: str | None = None
    seeds: tuple[int, ...] | None = None
    unused: list[str] = field(default_factory=list)


def read_config(path: Path, spec: TrainableSpec) -> ConfigFile:
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
    where = f"--config {path.name}:"
    _check_method(content, spec.name, where)
    result = ConfigFile(label=path.stem)
    for key, value in flatten(content).items():
        if key == "seed":
            listed = value if isinstance(value, list) else [value]
            result.seeds = seeds(",".join(map(str, listed)) + ",", f"--config {path}")
        elif key == "dataset":
            result.dataset = NOTES_DATASETS.get(value, value)
        elif key in ("backbone", "backbone_type"):
            result.backbone = NOTES_BACKBONES.get(value, value)
        elif key in ("model_name", "shuffle") or (key == "ffn_adapter_type" and key not in aliases(spec.config)):
            continue
        elif key in NOTES_REFUSED:
            if value not in NOTES_REFUSED[key]:
                raise InputError(f"{where} {key}={value}: rehearsal and several fast adapters do not exist here")
            result.unused.append(key)
        elif _said_otherwise(key, content, spec.name) or (key in NOTES_ONLY and key not in aliases(spec.config)):
            result.unused.append(key)
        else:
            known_elsewhere = ("seed", "backbone_type", "model_name", "shuffle", *NOTES_ONLY, *NOTES_REFUSED)
            result.settings[own_name(key, spec, where, known_elsewhere)] = value
    if result.settings.get("optimizer") == "adam":
        result.settings["optimizer"] = "adamw"  # what the notes' code makes of it
    if "shuffle" in content:  # their code shuffles the classes with the seed of the run
        single = result.seeds is not None and len(result.seeds) == 1
        shuffled = result.seeds[0] if single and result.seeds else "replica"
        result.settings.setdefault("class_order", shuffled if content["shuffle"] else "labels")
    return result


def _check_method(content: dict[str, Any], trainable: str, where: str) -> None:
    """Raises InputError where a notes' file is of another method than the study's, or of one that does not exist."""
    model, adapter = content.get("model_name"), content.get("ffn_adapter_type")
    if model is not None and model not in NOTES_MODELS:
        raise InputError(f"{where} model_name={model}: no such method here; allowed: {', '.join(NOTES_MODELS)}")
    if model is not None and NOTES_MODELS[model] != trainable:
        takers = ", ".join(name for name, study in STUDIES.items() if study.trainable.name == NOTES_MODELS[model])
        raise InputError(
            f"{where} model_name={model}: this study trains {trainable!r}, not {NOTES_MODELS[model]!r}; allowed for: "
            f"{takers}"
        )
    if trainable != "sema" and adapter not in (None, "nested_lora"):
        raise InputError(f"{where} ffn_adapter_type={adapter}: no such adapter here; allowed: nested_lora")


def _said_otherwise(key: str, content: dict[str, Any], trainable: str) -> bool:
    """Whether the key that the method reads stands beside this one."""
    return any(read in content for read in NOTES_BESIDE.get(trainable, {}).get(key, ()))
