"""Trained replicas of a run in the format of other tools."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from study.records.run_directory import RunDirectory
from study.spec import TrialSpec
from trainables.configs import NestedConfig, RankConfig
from trainables.data.class_incremental import class_order
from trainables.errors import InputError
from trainables.models.vision import load_backbone
from trainables.peft.export import LoraReplica, require_empty, write_folder


def export_peft(path: Path, replica_id: str | None, every: bool, out: Path) -> None:
    """Write LoRA replicas of a run as PEFT adapter folders and print where they are.

    Args:
        path: the run directory.
        replica_id: which replica; None: the best finished one with LoRA by the study's objective.
        every: all finished replicas with LoRA, each in ``out/<replica id>``.

    Raises:
        InputError: no such replica, nothing to export, adapters that PEFT cannot express, ``out`` not empty.
    """
    directory = RunDirectory.open(path.expanduser().absolute())
    replicas = {trial.replica_id(seed): (trial, seed) for trial, seed in directory.replicas}
    if every and replica_id is not None:
        raise InputError(f"--all and --replica {replica_id}: one of the two is allowed")
    if replica_id is not None and replica_id not in replicas:
        raise InputError(f"--replica {replica_id}: not in {path}; allowed: {', '.join(replicas)}")
    out = out.expanduser().absolute()
    require_empty(out)
    chosen = [replica_id] if replica_id is not None else _finished_with_lora(directory, replicas)
    if replica_id is None and not every:
        chosen = [_best(directory, chosen)]
    adapters = {name: _replica(directory, name, *replicas[name]) for name in chosen}  # all or nothing
    for name, adapter in adapters.items():
        trial, seed = replicas[name]
        notes = {"study": directory.study.study, "run_id": directory.study.run_id, "replica_id": name}
        folder = out / name if every else out
        backbone = Path(str(trial.params["backbone"])).name  # of a weights file only the name: folders are one's own
        write_folder(folder, adapter, backbone, notes)
        print(f"{folder}: {trial.configuration}, seed {seed}; {backbone}, {adapter.state['head.bias'].numel()} classes")


def _finished_with_lora(directory: RunDirectory, replicas: Mapping[str, tuple[TrialSpec, int]]) -> list[str]:
    finished = [name for name in replicas if (end := directory.outcome(name)) and end.status == "finished"]
    if not finished:
        raise InputError(f"{directory.path}: no replica has finished; name one with --replica")
    chosen = [name for name in finished if any(key.endswith(".down") for key in _tensor_names(directory, name))]
    if not chosen:
        raise InputError(f"{directory.path}: no finished replica has LoRA")
    if len(chosen) < len(finished):
        print(f"{len(finished) - len(chosen)} finished replicas have no LoRA and are left out", file=sys.stderr)
    return chosen


def _best(directory: RunDirectory, names: list[str]) -> str:
    objective = directory.study.objective
    scores = {name: directory.final_metrics(name).get(objective.metric) for name in names}
    known = {name: score for name, score in scores.items() if score is not None}
    if not known:
        raise InputError(f"{directory.path}: no finished replica has {objective.metric}; name one with --replica")
    return (max if objective.direction == "maximize" else min)(known, key=lambda name: known[name])


def _tensor_names(directory: RunDirectory, replica_id: str) -> list[str]:
    with safe_open(_last_checkpoint(directory, replica_id), framework="pt") as file:
        return list(file.keys())


def _last_checkpoint(directory: RunDirectory, replica_id: str) -> Path:
    files = directory.checkpoints(replica_id)
    if not files:
        raise InputError(f"--replica {replica_id}: has no checkpoint yet")
    return files[-1]


def _replica(directory: RunDirectory, replica_id: str, trial: TrialSpec, seed: int) -> LoraReplica:
    """The trained parameters in a replica's last checkpoint, without what only a resume needs."""
    params = trial.params
    text = directory.study.trainable == "rank"
    own = set() if text else _image_parameters(params)
    state: dict[str, Tensor] = {}
    with safe_open(_last_checkpoint(directory, replica_id), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            adapter = name.endswith((".down", ".up", ".down_bias", ".up_bias"))
            if adapter or name in own or name in ("head.weight", "head.bias"):
                state[name] = file.get_tensor(name)
    if not any(name.endswith(".down") for name in state):
        raise InputError(f"--replica {replica_id}: {trial.configuration} is a replica without LoRA")
    if text:
        return _text_replica(state, params, replica_id)
    return LoraReplica(_labels_in_order(state, params, seed), float(params["lora_alpha"]))


def _image_parameters(params: Mapping[str, Any]) -> set[str]:
    return {name for name, _ in load_backbone(str(params["backbone"]), pretrained=False).model.named_parameters()}


def _text_replica(state: dict[str, Tensor], params: Mapping[str, Any], replica_id: str) -> LoraReplica:
    """As PEFT sees it: an encoder within transformers' sequence classifier."""
    from trainables.models.text import load_text_backbone  # transformers

    config = RankConfig.model_validate(params)
    if not config.pretrained:
        raise InputError(f"--replica {replica_id}: was trained over random weights, which no model on file has")
    model = load_text_backbone(config.backbone, None).model
    if model.config.model_type != "bert" or model.pooler is None:  # type: ignore[union-attr]
        raise InputError(
            f"--replica {replica_id}: transformers' sequence classifier of {config.backbone} has more in its head "
            "than the one that was trained; allowed: BERT with a pooler"
        )
    return LoraReplica(state, config.scale * config.rank, f"{model.base_model_prefix}.", "classifier")


def _labels_in_order(state: dict[str, Tensor], params: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Put the head's columns in the order of the labels where training had a class order of its own."""
    if "init_cls" not in params:
        return state
    if "class_order" not in params:
        raise InputError("--peft: the run was made by an earlier version, which drew class orders in another way")
    position = torch.argsort(class_order(NestedConfig.model_validate(params), state["head.bias"].numel(), seed))
    return state | {name: state[name][..., position] for name in ("head.weight", "head.bias")}
