"""Searches written straight into their Parquet files, with numbers that are known in advance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.io.objective_labels import objective_label
from analysis.io.records import write_metrics, write_trials
from analysis.io.search_tables import IMPORTANCE_FILE, SEARCH_FILE, write_importance, write_search

BASE = {"direction": "maximize", "over_seeds": "mean", "fraction": 0.25, "c": 1.0, "threshold": None}
VAL, TEST = BASE | {"metric": "final_val_accuracy"}, BASE | {"metric": "final_accuracy"}
SIZE = BASE | {"metric": "trainable_params", "direction": "minimize"}
METRICS = {
    "final_val_accuracy": {"direction": "maximize", "unit": "fraction", "label": "validation accuracy"},
    "final_accuracy": {"direction": "maximize", "unit": "fraction", "label": "final accuracy"},
    "trainable_params": {"direction": "minimize", "unit": "parameters", "label": "trained parameters"},
}
FLOAT = {"kind": "float", "low": 1e-3, "high": 1.0, "log": True, "ratio_to": None, "also": [], "when": {}}
SPACE = [
    FLOAT | {"name": "lr"},
    FLOAT | {"name": "lr_slow", "ratio_to": "lr", "also": [0.0]},
    {"name": "reset", "kind": "choice", "options": [None, "zero"], "when": {}},
    FLOAT | {"name": "alpha", "log": False, "low": 0.0, "when": {"reset": "zero"}},
    {"name": "placement", "kind": "fixed", "value": "linear", "when": {}},
]


def write_run(
    folder: Path, trials: Sequence[Mapping[str, Any]], objectives: Sequence[Mapping[str, Any]] = (VAL,),
    importance: Sequence[Mapping[str, Any]] = (), constraints: Sequence[str] = (), objective: Mapping[str, Any] = TEST,
) -> Path:  # fmt: skip
    """A search of one configuration per entry of ``trials``, in their order.

    Args:
        trials: ``configuration``; ``value``: of the first objective in the search, None without results; ``fresh``:
            final values on the fresh seeds, absent where it is not confirmed; ``lost``: fresh seeds that diverged; any
            column of search.parquet; ``params``: of ``SPACE``, drawn at random where absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [objective_label(one) for one in objectives]
    rng, replicas, rows = np.random.default_rng(0), [], []
    for number, given in enumerate(trials):
        trial = dict(given)
        label, value, fresh, lost = (trial.pop(key, None) for key in ("configuration", "value", "fresh", "lost"))
        lr = float(10 ** rng.uniform(-3, 0))
        drawn = {"lr": lr, "lr_slow": lr * 0.1, "reset": [None, "zero"][number % 2], "alpha": 0.5}
        params = {"param.placement": "linear"} | {
            f"param.{name}": one for name, one in (drawn | trial.pop("params", {})).items()
        }
        known = {"trial": number, "configuration": label, "trial_id": f"t{number}", "enqueued": number == 0,
                 "state": "completed", "seeds": 4, "failed": 0, "pruned": 0, "feasible": True, "front": False,
                 "place": number + 1}  # fmt: skip
        about = {"study": "searched", "run_id": "fixed", "trainable_params": 100 + number}
        if value is None:
            known |= {"state": "running", "seeds": 0, "place": None}
        else:
            known |= {f"value.{names[0]}": value} | {f"value.{name}": 100.0 + number for name in names[1:]}
            replicas += [
                about | params | {"trial_id": f"t{number}", "configuration": label, "seed": seed, "status": "finished",
                                  "metric.final_val_accuracy": value} for seed in range(4)
            ]  # fmt: skip
        if fresh is not None:
            known |= {"fresh_trial_id": f"f{number}", "fresh_configuration": f"{label}, fresh seeds"}
            seen = 0.5 if value is None else value
            known |= {f"fresh.{names[0]}": seen - 0.02, f"fresh_low.{names[0]}": seen - 0.05,
                      f"fresh_high.{names[0]}": seen + 0.01, f"gap.{names[0]}": 0.02, f"gap_low.{names[0]}": -0.01,
                      f"gap_high.{names[0]}": 0.05}  # fmt: skip
            replicas += [
                about | params | {"trial_id": f"f{number}", "configuration": f"{label}, fresh seeds",
                                  "seed": 100 + seed, "status": "diverged" if seed in (lost or ()) else "finished",
                                  "metric.final_accuracy": None if seed in (lost or ()) else float(final)}
                for seed, final in enumerate(fresh)
            ]  # fmt: skip
        rows.append(known | trial)
    spec = {"space": SPACE, "objectives": list(objectives), "constraints": list(constraints), "sampler": "tpe",
            "schedule": "halving:2,4", "seed": 0, "space_sha256": "0" * 64}  # fmt: skip
    study = {"schema_version": 1, "study": "searched", "run_id": "fixed", "report": "search", "question": "Which?",
             "metrics": METRICS, "objective": dict(objective), "search": spec, "configurations": {}}  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study))
    write_trials(folder / "trials.parquet", replicas, METRICS)
    write_metrics(folder / "metrics.parquet", [])
    write_search(folder / SEARCH_FILE, rows)
    write_importance(folder / IMPORTANCE_FILE, importance)
    return folder


def around(mean: float, seeds: int = 8, spread: float = 0.01, key: int = 0) -> list[float]:
    """Values of seeds, with this mean."""
    noise = np.random.default_rng([key, seeds]).normal(0.0, spread, seeds)
    return list(mean + noise - noise.mean())
