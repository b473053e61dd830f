"""A trained LoRA replica as a folder that PEFT loads onto the timm or Hugging Face model.

The folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Writing needs no PEFT. Head and
norms, which PEFT does not adapt but may replace, travel as its ``modules_to_save``.

Loading what was written::

    model = timm.create_model(NAME, pretrained=True, num_classes=CLASSES)
    # or, of a text study: AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=CLASSES)
    model = peft.PeftModel.from_pretrained(model, FOLDER).eval()
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trainables.errors import InputError
from trainables.models.vision import load_backbone

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraReplica:
    """One replica as a bank holds it.

    Attributes:
        state: ``<path>.<part>.down`` (d_in, r), ``<path>.<part>.up`` (r, d_out), ``head.weight`` (D, C), ``head.bias``
            (1, C), and weights and biases of norms under their own paths.
        lora_alpha: a pair's output is scaled by lora_alpha / r, r being the rank of one part.
        encoder: where the backbone is in the model that PEFT wraps, such as ``bert.``; ``state`` leaves it out.
        head: module path of the head there.
    """

    state: dict[str, Tensor]
    lora_alpha: float
    encoder: str = ""
    head: str = "head"


def write_folder(folder: Path, replica: LoraReplica, base_model: str, notes: Mapping[str, str] | None = None) -> None:
    """Write a replica in PEFT's format. Parts side by side become one pair whose rank is the sum of theirs.

    Args:
        folder: new or empty.
        base_model: name of the backbone, for readers; PEFT loads onto the model that it is given.
        notes: metadata of the weights file.

    Raises:
        InputError: no LoRA in the replica, an adapter that is no plain LoRA, or a folder with files in it.
    """
    require_empty(folder)
    state = replica.state
    pairs = _pairs(state)
    part_ranks = {state[f"{path}.{part}.down"].shape[1] for path, parts in pairs.items() for part in parts}
    counts = {len(parts) for parts in pairs.values()}
    if len(part_ranks) > 1 or len(counts) > 1:
        raise InputError(f"ranks {sorted(part_ranks)} with {sorted(counts)} parts: the same in all layers is allowed")
    (rank,), (count,) = part_ranks, counts
    alpha = count * replica.lora_alpha
    tensors = {}
    for path, parts in pairs.items():
        for name, kind, dim in (("lora_A", "down", 1), ("lora_B", "up", 0)):
            both = torch.cat([state[f"{path}.{part}.{kind}"] for part in parts], dim)
            tensors[f"{replica.encoder}{path}.{name}.weight"] = both.t()
    whole = {name: value for name, value in state.items() if name.endswith((".weight", ".bias"))}
    for name, value in whole.items():
        path, _, kind = name.rpartition(".")
        there = replica.head if path == "head" else f"{replica.encoder}{path}"
        tensors[f"{there}.{kind}"] = value.t() if name == "head.weight" else value.flatten()
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base_model, "inference_mode": True,
        "r": count * rank, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha, "lora_dropout": 0.0,
        "bias": "none", "fan_in_fan_out": False, "target_modules": path_regex(replica.encoder + path for path in pairs),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in tensors if ".lora_" not in name}) or None,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    stored = {PREFIX + name: value.detach().float().contiguous() for name, value in tensors.items()}
    save_file(stored, folder / WEIGHTS_FILE, metadata={"format": "pt", **(notes or {})})
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def _pairs(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Module path -> adapter parts there."""
    pairs: dict[str, list[str]] = {}
    for name in state:
        if name.endswith("_bias"):
            raise InputError(f"{name}: a bottleneck adapter with ReLU; PEFT's LoRA can express placement=linear alone")
        if name.endswith(".down"):
            path, part, _ = name.rsplit(".", 2)
            pairs.setdefault(path, []).append(part)
    if not pairs:
        raise InputError("replica without LoRA: PEFT's format has nothing to hold")
    return pairs


def path_regex(paths: Iterable[str]) -> str:
    """Regular expression of exactly these module paths: PEFT takes a bare name such as ``proj`` for a suffix, and with
    it the convolution of the patch embedding."""
    return "|".join(re.escape(path) for path in paths)


def lora_state(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Of a checkpoint's tensors the adapters, the head and the parameters of the backbone named ``own``; the rest is
    for a resume alone."""
    ends = (".down", ".up", ".down_bias", ".up_bias")
    kept = {*own, "head.weight", "head.bias"}
    return {name: value for name, value in tensors.items() if name in kept or name.endswith(ends)}


def image_state(params: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``lora_state`` of a method over a vision backbone, which may have trained norms too."""
    model = load_backbone(str(params["backbone"]), pretrained=False).model
    return lora_state(tensors, {name for name, _ in model.named_parameters()})


def require_empty(folder: Path) -> None:
    """Raises InputError unless ``folder`` is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; a new or empty folder is allowed")
