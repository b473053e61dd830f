"""A synthetic run directory of the linear theory, with gaps that are known in advance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthetic import write_study

from analysis.io.records import write_metrics, write_trials
from trainables.metrics.finals import gap_finals

STEPS, EPOCHS, SEEDS = 50, 3, 3
SCALINGS = {"alpha = r": {"scaling": "proportional", "c": 1.0}, "alpha = 1": {"scaling": "fixed", "lora_alpha": 1.0}}


def theory_rows(trial_id: str, seed: int, slow: bool, epochs: int = EPOCHS) -> list[dict[str, Any]]:
    """Metric rows of one replica: the gap falls tenfold per epoch, from 0.5 or, if ``slow``, from 0.9."""
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        for rank in (1, 2, 4):
            bound, gap = 8.0 / rank, (0.9 if slow else 0.5) * 10.0**-epoch * (1 + 0.1 * seed)
            values = {"error": bound * (1 + gap), "gap": gap} | ({"bound": bound} if epoch == 0 else {})
            values |= {"gap_of_optimum": 0.0} if epoch == epochs - 1 else {}
            for name, value in values.items():
                where = {
                    "trial_id": trial_id,
                    "seed": seed,
                    "phase": "eval",
                    "epoch": epoch,
                    "step": STEPS * (epoch + 1),
                }
                rows.append({**where, "name": f"{name}/gaussian/r{rank}", "value": value, "wall_s": float(len(rows))})
    return rows


def make_theory_run(
    run_dir: Path, labels: Sequence[str] = tuple(SCALINGS), epochs: int = EPOCHS, status: str = "finished"
) -> Path:
    """Write a run directory: two scaling rules (``labels``), one teacher, three ranks, three seeds."""
    run_dir.mkdir(parents=True, exist_ok=True)
    trials: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    configurations = {
        label: {"teachers": "gaussian", **fields} for label, fields in SCALINGS.items() if label in labels
    }
    for number, (label, params) in enumerate(configurations.items()):
        for seed in range(SEEDS):
            rows = theory_rows(f"t{number}", seed, slow=params["scaling"] == "fixed", epochs=epochs)
            metrics += rows
            trials.append(
                {
                    "study": "synthetic", "run_id": "r1", "trial_id": f"t{number}", "configuration": label,
                    "seed": seed, "status": status,
                    **{f"param.{key}": value for key, value in params.items()},
                    **{f"metric.{key}": value for key, value in gap_finals(rows, epochs - 1).items()},
                }
            )  # fmt: skip
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    return write_study(
        run_dir,
        {
            "report": "theory", "boundary": "epoch", "tasks": epochs, "dataset": "gaussian", "backbone": "linear",
            "question": "Does training reach the bound?", "seeds": list(range(SEEDS)), "configurations": configurations,
            "objective": {"metric": "worst_gap", "over_seeds": "mean", "direction": "minimize"},
        },
    )  # fmt: skip
