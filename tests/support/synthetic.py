"""Synthetic run directories with numbers that are known in advance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.io.records import write_metrics, write_trials
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import epoch_finals
from trainables.registry import builtin

REPORTED_BASELINE = [0.9920, 0.8630, 0.7181, 0.6549, 0.6063, 0.5745, 0.5355, 0.5069, 0.4786, 0.4592]
REPORTED_RERUN = [0.9600, 0.6620, 0.5043, 0.4405, 0.4574, 0.4225, 0.2900, 0.3539, 0.2406, 0.2801]
REPORTED = [
    {"configuration": "baseline", "label": "", "accuracy": REPORTED_BASELINE},
    {
        "configuration": "alpha=0.1",
        "label": "run 2",
        "accuracy": REPORTED_RERUN,
        "ablation": {"fast": 0.3957, "slow": 0.2801, "combined": 0.2801},
    },
]


def replica_rows(
    trial_id: str, seed: int, final: float, tasks: int, reached: int | None = None, frozen: float = 0.4
) -> list[dict[str, Any]]:
    """Metric rows of one replica that ends at ``final`` if it reaches all tasks; accuracy falls linearly from 0.95.

    The nearest class mean is 0.05 above the frozen backbone, whose accuracy falls to ``frozen``, and the joint head
    0.1. Before task i is learned its accuracy is 0.3 + 0.01 i, before any training 0.25.
    """
    rows: list[dict[str, Any]] = []

    def add(phase: str, task: int, name: str, value: float, **at: int) -> None:
        where = {"trial_id": trial_id, "seed": seed, "phase": phase, "task": task, **at}
        rows.append({**where, "name": name, "value": value, "wall_s": float(len(rows))})

    for task in range(tasks if reached is None else reached):
        done = task / (tasks - 1) if tasks > 1 else 1.0
        accuracy, backbone = 0.95 + (final - 0.95) * done, 0.8 + (frozen - 0.8) * done
        add("train", task, "loss", 1.0 / (task + 1), epoch=0, step=10 * task)
        add("eval", task, "accuracy", accuracy)
        for learned in range(task + 1):
            add("eval", task, f"accuracy/task_{learned}", 0.9 - 0.05 * (task - learned))
        add("eval", task, "recency", 1 - 0.5 * done)
        add("eval", task, "accuracy_new", 0.9)
        if task:
            add("eval", task, "accuracy_old", accuracy - 0.1)
        if task == 0:
            for later in range(1, tasks):
                add("transfer", 0, f"initial/task_{later}", 0.25)
        if task + 1 < tasks:
            add("transfer", task, f"before/task_{task + 1}", 0.3 + 0.01 * (task + 1))
        references = {"ncm": backbone + 0.05, "chance": 1 / (10 * (task + 1))}
        for name, value in (references | ({"joint": backbone + 0.1} if task == tasks - 1 else {})).items():
            add("reference", task, name, value)
        for moment in ("before", "after"):
            values = {"frozen": backbone, "fast": backbone, "slow": accuracy, "combined": accuracy}
            if moment == "before":
                values.update(fast=accuracy - 0.01, combined=accuracy + 0.01)
            for part, value in values.items():
                add("ablation", task, f"{moment}/{part}", value)
        add("boundary", task, "destructive", float(accuracy < backbone))
        add("boundary", task, "params/slow", 500.0)
    return rows


def make_run(
    run_dir: Path,
    finals: Mapping[str, Sequence[float]],
    tasks: int = 10,
    unfinished: Mapping[tuple[str, int], tuple[str, int]] | None = None,
    reported: Sequence[Mapping[str, Any]] = REPORTED,
    **study: Any,
) -> Path:
    """Write a run directory.

    Args:
        run_dir: created where it is missing.
        finals: final accuracy per configuration and seed; seeds count from 0.
        unfinished: (configuration, seed) -> (status, tasks reached).
        reported: as in study.json.
        study: further keys of study.json, or other values for them.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    trials: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    configurations = {label: {"lr_fast": 0.05, "lr_slow": 0.005 * number} for number, label in enumerate(finals)}
    for number, (label, values) in enumerate(finals.items()):
        for seed, final in enumerate(values):
            status, reached = (unfinished or {}).get((label, seed), ("finished", tasks))
            rows = replica_rows(f"t{number}", seed, final, tasks, reached)
            metrics += rows
            trials.append(
                {
                    "study": "synthetic",
                    "run_id": "r1",
                    "trial_id": f"t{number}",
                    "configuration": label,
                    "seed": seed,
                    "status": status,
                    "error": None if status == "finished" else f"{status} at task {reached + 1}",
                    "trainable_params": 1000,
                    "total_params": 50_000,
                    "duration_s": 1.5,
                    "git_commit": "0" * 40,
                    **{f"param.{key}": value for key, value in configurations[label].items()},
                    **{f"metric.{key}": value for key, value in continual_finals(rows, tasks).items()},
                }
            )
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    description: dict[str, Any] = {
        "report": "continual",
        "objective": {"metric": "final_accuracy", "over_seeds": "mean", "direction": "maximize"},
        "tasks": tasks,
        "question": "Does consolidating fast into slow weights help, and can the result be trusted?",
        "seeds": list(range(max(map(len, finals.values()), default=0))),
        "configurations": configurations,
        "reported": list(reported),
        "reported_source": "notes seeds/000: CIFAR-100 at 224, ViT-B/16 ImageNet-21k, 1 run each",
        **study,
    }
    return write_study(run_dir, description)


def write_study(run_dir: Path, description: Mapping[str, Any]) -> Path:
    """Write study.json with what every run has, and ``description``."""
    report = description.get("report")
    spec = next((spec for spec in builtin().values() if spec.report == report), builtin()["nested"])
    every = {
        "metrics": spec.metrics_as_data(),
        "schema_version": 1,
        "study": "synthetic",
        "run_id": "r1",
        "dataset": "glyphs100",
        "backbone": "glyph_vit",
        "profile": "embedded",
        "provenance": {"git_commit": "0" * 40, "git_dirty": False, "versions": {"torch": "2.14.0"}},
    }
    (run_dir / "study.json").write_text(json.dumps({**every, **description}))
    return run_dir


def seeded_finals(means: Mapping[str, float], seeds: int, spread: float = 0.015) -> dict[str, list[float]]:
    """Final accuracies around each mean, with a part that a seed shares over configurations."""
    rng = np.random.default_rng(7)
    shared = rng.normal(0, spread, seeds)
    return {label: list(mean + shared + rng.normal(0, spread / 2, seeds)) for label, mean in means.items()}


WEEK6_SETTING = {"dataset": "cifar100", "backbone": "vit_small_patch16_224"}
WEEK6_REPORTED = [
    {"configuration": label, "label": "", "metrics": {**metrics, "ece_near_best": 0.076}}
    for label, metrics in {
        "norm": {"best_top1": 0.8941, "step_time_s": 0.219, "trainable_params": 57_700},
        "lora": {"best_top1": 0.8958, "step_time_s": 0.451, "trainable_params": 628_324},
        "deep_lora": {"best_top1": 0.9010, "trainable_params": 247_396},
    }.items()
]
# method, groups of parameters, trainable parameters, seconds a step
METHODS: dict[str, tuple[str, tuple[str, ...], int, float]] = {
    "head": ("head", ("head",), 38_500, 0.15),
    "norm": ("norm", ("head", "norm"), 57_700, 0.22),
    "lora": ("lora", ("head", "lora"), 628_324, 0.45),
    "parallel": ("hybrid_parallel", ("head", "norm", "lora"), 647_524, 0.48),
    "deep_lora": ("hybrid_layerwise", ("head", "norm", "lora"), 247_396, 0.30),
}
STEPS_PER_EPOCH, FREEZE_STEPS = 12, 20


def tuning_rows(
    trial_id: str,
    seed: int,
    final: float,
    params: Mapping[str, Any],
    reached: int | None = None,
    moves: bool = False,
    pack: int = 1,
) -> list[dict[str, Any]]:
    """Metric rows of one replica: top-1 rises linearly to ``final`` + 0.01 before the last epoch and ends at ``final``.

    Args:
        reached: epochs that were evaluated, all where None.
        moves: LoRA's weights move during the warm-up, as they must not.
        pack: replicas that trained together.
    """
    rows: list[dict[str, Any]] = []

    def add(phase: str, name: str, value: float, **at: int) -> None:
        where = {"trial_id": trial_id, "seed": seed, "phase": phase, "task": None, **at}
        rows.append({**where, "name": name, "value": value, "wall_s": float(len(rows))})

    epochs, floor = params["epochs"], params["eta_min"]
    groups, seconds = next((one[1], one[3]) for one in METHODS.values() if one[0] == params["method"])
    for epoch in range(epochs if reached is None else reached):
        for step in range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH):
            wave = 0.5 * (1 + np.cos(np.pi * step / (epochs * STEPS_PER_EPOCH - 1)))
            frozen = step < params["freeze_lora_steps"]
            add("train", "loss", 2.0 / (step + 1), epoch=epoch, step=step)
            for group in groups:
                peak = 5e-4 if group == "lora" else 1e-3
                rate = 0.0 if group == "lora" and frozen else floor + (peak - floor) * wave
                add("train", f"lr/{group}", rate, epoch=epoch, step=step)
            if "lora" in groups:
                since = step if moves else max(0, step - params["freeze_lora_steps"] + 1)
                add("train", "weight_norm/lora", 4.0 + 0.02 * since, epoch=epoch, step=step)
        last = epoch == epochs - 1
        ece = 0.04 + 0.01 * epoch + 0.05 * (final - 0.8) + 0.002 * seed
        top1 = final if last else final + 0.01 - 0.05 * (epochs - 2 - epoch)
        for name, value in {"top1": top1, "ece": ece, "ece_batch": ece + 0.03, "nll": 1.0 / (epoch + 1)}.items():
            add("eval", name, value, epoch=epoch)
        for place, group in enumerate(groups):
            add("diagnostics", f"grad_norm/{group}", 3.0 / (epoch + 1) / 4**place * (1 + seconds), epoch=epoch)
        if "norm" in groups and "lora" in groups:
            add("diagnostics", "interference", 0.3 - 0.1 * epoch + 0.03 * seed - seconds / 5, epoch=epoch)
        slow_start = 1.0 if epoch == 0 else 0.0
        step_time = seconds + slow_start + 0.002 * seed
        for name, value in {"step_time_s": step_time, "step_share_s": step_time / pack, "pack": pack}.items():
            add("timing", name, value, epoch=epoch)
        add("timing", "peak_memory_mib", 700.0 + epoch, epoch=epoch)
        if last:
            for name, value in {"temperature": 1.4, "ece_before": ece, "ece_after": 0.02}.items():
                add("calibration", name, value, epoch=epoch)
    return rows


def make_tuning_run(
    run_dir: Path,
    finals: Mapping[str, Sequence[float]],
    epochs: int = 4,
    unfinished: Mapping[tuple[str, int], tuple[str, int]] | None = None,
    moves: bool = False,
    pack: int = 1,
    **study: Any,
) -> Path:
    """Write a run directory of a study of fine-tuning methods.

    Args:
        run_dir: created where it is missing.
        finals: final top-1 per configuration and seed. A label is one of ``METHODS``, or such a one, a space and its
            eta_min (``lora 1e-05``; without, 0).
        unfinished: (configuration, seed) -> (status, epochs reached).
        moves, pack: as in ``tuning_rows``.
        study: further keys of study.json, or other values for them.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    trials: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    configurations: dict[str, dict[str, Any]] = {}
    for number, (label, values) in enumerate(finals.items()):
        name, _, floor = label.partition(" ")
        method, _, trainable, _ = METHODS[name]
        freeze = FREEZE_STEPS if method.startswith("hybrid") else 0
        params = {"method": method, "policy": "deep_lora", "eta_min": float(floor or 0), "epochs": epochs, "rank": 8}
        configurations[label] = params | {"freeze_lora_steps": freeze}
        for seed, final in enumerate(values):
            status, reached = (unfinished or {}).get((label, seed), ("finished", epochs))
            rows = tuning_rows(f"t{number}", seed, final, configurations[label], reached, moves, pack)
            metrics += rows
            trials.append(
                {
                    "study": "synthetic",
                    "run_id": "r1",
                    "trial_id": f"t{number}",
                    "configuration": label,
                    "seed": seed,
                    "status": status,
                    "trainable_params": trainable,
                    "total_params": 22_000_000,
                    **{f"param.{key}": value for key, value in configurations[label].items()},
                    **{f"metric.{key}": value for key, value in epoch_finals(rows, epochs).items()},
                }
            )
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    description: dict[str, Any] = {
        "report": "tuning",
        "objective": {"metric": "final_top1", "over_seeds": "mean", "direction": "maximize"},
        "boundary": "epoch",
        "tasks": epochs,
        "question": "Is a layerwise hybrid better than LoRA and norm tuning alone?",
        "seeds": list(range(max(map(len, finals.values()), default=0))),
        "configurations": configurations,
        "reported": WEEK6_REPORTED,
        "reported_source": "notes seeds/002: CIFAR-100 at 224, vit_small_patch16_224, 1 run each",
        "reported_setting": WEEK6_SETTING,
        **study,
    }
    return write_study(run_dir, description)
