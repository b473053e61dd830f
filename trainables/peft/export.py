"""A trained LoRA replica as a folder that PEFT loads onto the timm or Hugging Face model, and the way back.

The folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Writing and reading need no PEFT. Head and
norms, which PEFT does not adapt but may replace, travel as its ``modules_to_save``.

Loading what was written::

    model = timm.create_model(NAME, pretrained=True, num_classes=CLASSES)
    # or, of a text study: AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=CLASSES)
    model = peft.PeftModel.from_pretrained(model, FOLDER).eval()
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.errors import InputError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTORS = {"lora_A": "down", "lora_B": "up"}
PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",), "bias": ("none", None), "use_dora": (False, None), "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None), "modules_to_tie": ([], None), "trainable_token_indices": ([], {}, None),
}  # fmt: skip
"""Settings of ``adapter_config.json`` that change the function, and the values with which it is the plain LoRA."""


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
    tensors = {}
    for path, parts in pairs.items():
        tensors[f"{replica.encoder}{path}.lora_A.weight"] = torch.cat(
            [state[f"{path}.{part}.down"] for part in parts], dim=1
        ).t()
        tensors[f"{replica.encoder}{path}.lora_B.weight"] = torch.cat(
            [state[f"{path}.{part}.up"] for part in parts], dim=0
        ).t()
    whole = {name: value for name, value in state.items() if name.endswith((".weight", ".bias"))}
    for name, value in whole.items():
        path, _, kind = name.rpartition(".")
        there = replica.head if path == "head" else f"{replica.encoder}{path}"
        tensors[f"{there}.{kind}"] = value.t() if name == "head.weight" else value.flatten()
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base_model, "inference_mode": True,
        "r": count * rank, "lora_alpha": _integer_if_whole(count * replica.lora_alpha), "lora_dropout": 0.0,
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


def read_folder(folder: Path, part: str = "lora", encoder: str = "", head: str = "head") -> LoraReplica:
    """A plain LoRA of PEFT as a replica, for ``Bank.load``.

    Args:
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``, such as ``save_pretrained`` writes.
        part: adapter part that the pairs become.
        encoder, head: as in ``LoraReplica``.

    Raises:
        InputError: files missing or unreadable, or an adapter that is no plain LoRA of one rank on linear layers.
    """
    config = _read_config(folder)
    rank = config["r"]
    state: dict[str, Tensor] = {}
    for key, value in _read_tensors(folder).items():
        name = key.removeprefix(PREFIX)
        name = f"head{name.removeprefix(head)}" if name.startswith(f"{head}.") else name.removeprefix(encoder)
        path, factor, last = [*name.rsplit(".", 2), "", ""][:3]
        if factor in FACTORS and last == "weight":
            shape = value.shape
            if value.dim() != 2 or shape[0 if factor == "lora_A" else 1] != rank:
                raise InputError(
                    f"{folder}: {key} has shape {tuple(shape)}; a linear layer's factor of rank {rank} is allowed"
                )
            state[f"{path}.{part}.{FACTORS[factor]}"] = value.t().contiguous()
        elif name == "head.weight":
            state[name] = value.t().contiguous()
        elif name == "head.bias":
            state[name] = value.unsqueeze(0)
        elif value.dim() == 1 and name.rpartition(".")[2] in ("weight", "bias"):
            state[name] = value
        else:
            raise InputError(f"{folder}: {key} is neither a LoRA factor nor the head or a norm")
    for name in list(state):
        pair = {".down": ".up", ".up": ".down"}.get(name[name.rfind(".") :])
        if pair and name[: name.rfind(".")] + pair not in state:
            raise InputError(f"{folder}: {name} has no {pair[1:]} factor beside it")
    alpha = float(config["lora_alpha"])
    return LoraReplica(state, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha, encoder, head)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        if not isinstance(config, dict) or not isinstance(config["r"], int) or config["r"] < 1:
            raise ValueError("r: an integer >= 1 is needed")
        float(config["lora_alpha"])
    except OSError as error:
        raise InputError(f"{folder}: not a PEFT adapter ({CONFIG_FILE}: {error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: {CONFIG_FILE} does not describe a LoRA ({error})") from error
    for key, allowed in PLAIN.items():
        if config.get(key, allowed[0]) not in allowed:
            raise InputError(f"{folder}: {key}={config[key]!r} in {CONFIG_FILE}; allowed: {allowed[0]!r}, a plain LoRA")
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            return {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = "unreadable" if (folder / WEIGHTS_FILE).is_file() else "missing; pickled weights are not read"
        raise InputError(f"{folder}: {WEIGHTS_FILE} {reason}") from error


def require_empty(folder: Path) -> None:
    """Raises InputError unless ``folder`` is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; a new or empty folder is allowed")


def _integer_if_whole(value: float) -> int | float:
    return int(value) if value == int(value) else value
