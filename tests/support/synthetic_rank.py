"""Synthetic run directories of studies of LoRA's rank, with numbers that are known in advance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic import write_study

from analysis.io.records import write_metrics, write_trials
from trainables.metrics.finals import epoch_finals

STEPS = 40


def parameters_of(label: str) -> dict[str, Any]:
    """Those of ``head``, ``full``, ``r=<rank>`` (alpha = 2 r) and ``r=<rank> fixed`` (alpha = 16)."""
    name, _, rule = label.partition(" ")
    known: dict[str, Any] = {"scaling": "fixed" if rule else "proportional", "c": 2.0, "lora_alpha": 16.0, "rank": 8}
    if not name.startswith("r="):
        return known | {"method": name}
    return known | {"method": "lora", "rank": int(name.removeprefix("r="))}


def rank_rows(
    trial_id: str, seed: int, final: float, params: Mapping[str, Any], epochs: int, reached: int | None = None
) -> list[dict[str, Any]]:
    """Metric rows of one replica: top-1 rises in a straight line from 0.5 before the first step to ``final``."""
    rows: list[dict[str, Any]] = []

    def add(phase: str, name: str, value: float, epoch: int, step: int | None = None) -> None:
        at = {"trial_id": trial_id, "seed": seed, "phase": phase, "task": None, "epoch": epoch, "step": step}
        rows.append({**at, "name": name, "value": value, "wall_s": float(len(rows))})

    for epoch in range(epochs if reached is None else reached):
        points = [(epoch * STEPS + STEPS // 2, "curve"), ((epoch + 1) * STEPS, "eval")]
        for step, phase in ([(0, "curve")] if epoch == 0 else []) + points:
            done = step / (epochs * STEPS)
            add(phase, "top1", 0.5 + (final - 0.5) * done, epoch, step)
            add(phase, "nll", 0.7 - 0.3 * done, epoch, step)
            add(phase, "ece", 0.05, epoch, step)
        if params["method"] == "lora":
            add("diagnostics", "delta_norm", 0.1 * params["rank"] * (epoch + 1), epoch, (epoch + 1) * STEPS)
        add("timing", "step_share_s", 0.02, epoch)
        add("timing", "peak_memory_mib", 500.0, epoch)
    return rows


def make_rank_run(
    run_dir: Path,
    finals: Mapping[str, Sequence[float]],
    epochs: int = 2,
    unfinished: Mapping[tuple[str, int], tuple[str, int]] | None = None,
    pretrained: bool = True,
    **study: Any,
) -> Path:
    """Write a run directory.

    Args:
        finals: final top-1 per configuration and seed; labels as in ``parameters_of``.
        unfinished: (configuration, seed) -> (status, epochs reached).
        study: further keys of study.json, or other values for them.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    trials: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    configurations = {label: parameters_of(label) | {"epochs": epochs, "pretrained": pretrained} for label in finals}
    for number, (label, values) in enumerate(finals.items()):
        params = configurations[label]
        trainable = {"head": 258, "full": 4_386_178}.get(params["method"], 258 + 1024 * params["rank"])
        for seed, final in enumerate(values):
            status, reached = (unfinished or {}).get((label, seed), ("finished", epochs))
            rows = rank_rows(f"t{number}", seed, final, params, epochs, reached)
            metrics += rows
            trials.append(
                {
                    "study": "synthetic", "run_id": "r1", "trial_id": f"t{number}", "configuration": label,
                    "seed": seed, "status": status, "trainable_params": trainable,
                    "total_params": 4_386_178 + (trainable - 258 if params["method"] == "lora" else 0),
                    **{f"param.{key}": value for key, value in params.items()},
                    **{f"metric.{key}": value for key, value in epoch_finals(rows, epochs).items()},
                }
            )  # fmt: skip
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    description: dict[str, Any] = {
        "objective": {"metric": "final_top1", "over_seeds": "mean", "direction": "maximize"},
        "report": "rank", "boundary": "epoch", "tasks": epochs, "dataset": "sst2", "backbone": "prajjwal1/bert-tiny",
        "question": "How much rank does LoRA need, and what do the head alone and full fine-tuning reach?",
        "seeds": list(range(max(map(len, finals.values()), default=0))), "configurations": configurations, **study,
    }  # fmt: skip
    return write_study(run_dir, description)
