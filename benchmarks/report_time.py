"""Time and memory of ``build_report`` on synthetic runs of 100k, 300k and 1M metric rows.

Run: ``python benchmarks/report_time.py``; writes benchmarks/results/report_time.md. Each report is made in a process of
its own. ``cpu`` is the process's CPU time, which other load on the machine does not change much; ``n log n`` is the CPU
time over that of the smallest run, divided by the growth of n log n: 1 or less is no worse than n log n.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from analysis.io.records import write_metrics, write_trials
from study.records.provenance import hardware
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import epoch_finals
from trainables.registry import builtin

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "report_time.md"
ROWS = (100_000, 300_000, 1_000_000)
PER_REPLICA = 100  # metric rows
# name: report kind, seeds per configuration; None: five configurations share all replicas
SHAPES: dict[str, tuple[str, int | None]] = {
    "continual, 5 seeds": ("continual", 5),
    "continual, 5 configurations": ("continual", None),
    "tuning, 5 seeds": ("tuning", 5),
    "tuning, single seeds": ("tuning", 1),
}
MEASURE = """
import json, re, sys, time
from pathlib import Path
from analysis.report import build_report
start, cpu = time.perf_counter(), time.process_time()
build_report(Path(sys.argv[1]))
# Not ru_maxrss, which a child takes over from the process that started it.
peak = int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak]))
"""


def continual_rows(final: float, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """100 rows of a replica: 10 tasks with accuracy, training loss, three ablations before and after, boundary."""
    for task in range(10):
        accuracy = 0.9 + (final - 0.9) * task / 9
        yield {"phase": "eval", "task": task, "name": "accuracy", "value": accuracy}
        yield {"phase": "boundary", "task": task, "name": "destructive", "value": float(rng.random() < 0.1)}
        for moment in ("before", "after"):
            for part in ("frozen", "slow", "combined"):
                value = accuracy + rng.normal(0, 0.01)
                yield {"phase": "ablation", "task": task, "name": f"{moment}/{part}", "value": value}
        for step in (0, 10):
            yield {"phase": "train", "task": task, "epoch": 0, "step": 20 * task + step, "name": "loss", "value": 1.0}


def tuning_rows(final: float, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """100 rows of a replica: 8 epochs with evaluation, timing, diagnostics and learning rates, then calibration."""
    for epoch in range(8):
        values = {"top1": final - 0.01 * (7 - epoch), "ece": 0.1 + rng.normal(0, 0.01), "nll": 1.0}
        for name, value in values.items():
            yield {"phase": "eval", "epoch": epoch, "name": name, "value": value}
        for name, value in {"step_time_s": 0.1 + rng.random() / 10, "peak_memory_mib": 900.0}.items():
            yield {"phase": "timing", "epoch": epoch, "name": name, "value": value}
        yield {"phase": "diagnostics", "epoch": epoch, "name": "interference", "value": rng.normal(0, 0.2)}
        for step in (2 * epoch, 2 * epoch + 1):
            for name, value in {"lr/head": 1e-3, "lr/lora": 5e-4, "weight_norm/lora": 4 + step / 100}.items():
                yield {"phase": "train", "epoch": epoch, "step": step, "name": name, "value": value}
    for name in ("temperature", "ece_before", "ece_after", "nll_after"):
        yield {"phase": "calibration", "epoch": 7, "name": name, "value": 0.1}


def write_run(folder: Path, kind: str, rows: int, seeds: int | None) -> None:
    """A run of ``rows`` metric rows: ``PER_REPLICA`` for each replica."""
    replicas = rows // PER_REPLICA
    per_configuration = seeds or replicas // 5
    rng = np.random.default_rng(0)
    trials, metrics = [], []
    for number in range(replicas):
        place, seed = divmod(number, per_configuration)
        key = {"trial_id": f"t{place:05}", "seed": seed}
        final = float(np.clip(0.5 + 0.1 * np.sin(place) + rng.normal(0, 0.02), 0, 1))
        own = list((continual_rows if kind == "continual" else tuning_rows)(final, rng))
        assert len(own) == PER_REPLICA, len(own)
        metrics += [{**key, **row, "wall_s": 1.0} for row in own]
        summary = continual_finals(own, 10) if kind == "continual" else epoch_finals(own, 8)
        method = ("lora", "norm", "hybrid_layerwise", "head")[place % 4]
        params = {"lr": 1e-3 * (place + 1), "method": method, "policy": "deep_lora", "epochs": 8, "eta_min": 0.0}
        trials.append(
            {
                **key, "study": "benchmark", "run_id": "r", "configuration": f"c{place:05}", "status": "finished",
                "trainable_params": 1000 * (1 + place % 977), "total_params": 10**6,
                **{f"param.{name}": value for name, value in params.items()},
                **{f"metric.{name}": value for name, value in summary.items()},
            }
        )  # fmt: skip
    write_trials(folder / "trials.parquet", trials)
    write_metrics(folder / "metrics.parquet", metrics)
    spec = builtin()["nested" if kind == "continual" else "hybrid"]
    metric = "final_accuracy" if kind == "continual" else "final_top1"
    study = {
        "metrics": spec.metrics_as_data(),
        "objective": {"metric": metric, "over_seeds": "mean", "direction": "maximize"},
        "schema_version": 1, "study": "benchmark", "run_id": "r", "report": kind, "question": "How long does it take?",
        "tasks": 10 if kind == "continual" else 8, "dataset": "synthetic", "backbone": "none",
        "configurations": {row["configuration"]: {} for row in trials},
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study))


def main() -> None:
    lines = [
        "# Time and memory of the report (`python benchmarks/report_time.py`)\n",
        f"{time.strftime('%Y-%m-%d')}, {hardware()['cpu']}, {hardware()['cores']} cores. Synthetic runs, 100 metric",
        "rows per replica; one process per report, reading the Parquet files and writing the page with its pictures.",
        "Peak memory is the largest resident set. Growth: CPU time over that of the smallest run, over the growth",
        "of n log n.\n",
        "| run | metric rows | replicas | configurations | wall (s) | CPU (s) | peak (MiB) | growth / n log n |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (kind, seeds) in SHAPES.items():
        smallest = None
        for rows in ROWS:
            with tempfile.TemporaryDirectory() as folder:
                write_run(Path(folder), kind, rows, seeds)
                words = [sys.executable, "-c", MEASURE, folder]
                out = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
            wall, cpu, peak = json.loads(out.splitlines()[-1])
            smallest = smallest or cpu
            growth = cpu / smallest / (rows * math.log(rows) / (ROWS[0] * math.log(ROWS[0])))
            replicas = rows // PER_REPLICA
            configurations = replicas // seeds if seeds else 5
            lines.append(
                f"| {name} | {rows:,} | {replicas:,} | {configurations:,} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | "
                f"{growth:.2f} |"
            )
            print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
