"""Synthetic run directories with numbers that are known in advance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.continual import final_metrics
from analysis.records import write_metrics, write_trials

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
    """Metric rows of one replica that ends at ``final`` if it reaches all tasks; accuracy falls linearly from 0.95."""
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
        for moment in ("before", "after"):
            values = {"frozen": backbone, "fast": backbone, "slow": accuracy, "combined": accuracy}
            if moment == "before":
                values.update(fast=accuracy - 0.01, combined=accuracy + 0.01)
            for part, value in values.items():
                add("ablation", task, f"{moment}/{part}", value)
        add("boundary", task, "destructive", float(accuracy < backbone))
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
                    **{f"metric.{key}": value for key, value in final_metrics(rows, tasks).items()},
                }
            )
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    description: dict[str, Any] = {
        "schema_version": 1,
        "study": "synthetic",
        "run_id": "r1",
        "report": "continual",
        "tasks": tasks,
        "question": "Does consolidating fast into slow weights help, and can the result be trusted?",
        "dataset": "glyphs100",
        "backbone": "glyph_vit",
        "profile": "embedded",
        "seeds": list(range(max(map(len, finals.values()), default=0))),
        "configurations": configurations,
        "reported": list(reported),
        "reported_source": "notes seeds/000: CIFAR-100 at 224, ViT-B/16 ImageNet-21k, 1 run each",
        "provenance": {"git_commit": "0" * 40, "git_dirty": False, "versions": {"torch": "2.14.0"}},
        **study,
    }
    (run_dir / "study.json").write_text(json.dumps(description))
    return run_dir


def seeded_finals(means: Mapping[str, float], seeds: int, spread: float = 0.015) -> dict[str, list[float]]:
    """Final accuracies around each mean, with a part that a seed shares over configurations."""
    rng = np.random.default_rng(7)
    shared = rng.normal(0, spread, seeds)
    return {label: list(mean + shared + rng.normal(0, spread / 2, seeds)) for label, mean in means.items()}
