"""A real grid study of nested LoRA, small enough to be run in full: the table that searches are replayed on.

72 configurations (fast, slow and head rate, alpha) x 12 seeds, 20 glyph classes in 4 tasks.

    python benchmarks/search_grid.py --out RUN_DIR      # runs the study, about half an hour on 2 cores
    python benchmarks/search_grid.py --table RUN_DIR    # writes benchmarks/data/nested_grid.parquet from it
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "data" / "nested_grid.parquet"
GRID = {
    "lr_fast": (0.005, 0.02, 0.08, 0.3),
    "lr_slow": (0.002, 0.02),
    "init_lr": (0.01, 0.03, 0.1),
    "consolidation_alpha": (0.0, 0.2, 1.0),
}
SMALL = {
    "data.classes": "0:20", "data.train_per_class": 10, "data.test_per_class": 15, "init_cls": 5, "increment": 5,
    "rank": 8, "epochs": 2,
}  # fmt: skip
SEEDS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--out", type=Path, metavar="RUN_DIR", help="run the study into this folder")
    group.add_argument("--table", type=Path, metavar="RUN_DIR", help="tabulate a finished run")
    options = parser.parse_args()
    if options.table:
        tabulate(options.table)
    else:
        run(options.out)


def run(out: Path) -> None:
    """Every point of the grid as a configuration file of the study ``nested_alpha``."""
    words = [sys.executable, str(ROOT / "study" / "run.py"), "nested_alpha", "--profile", "embedded"]
    words += ["--seeds", str(SEEDS), "--out", str(out)]
    for key, value in SMALL.items():
        words += ["--set", f"{key}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        for number, point in enumerate(itertools.product(*GRID.values())):
            path = Path(folder) / f"point_{number:02d}.json"
            path.write_text(json.dumps(dict(zip(GRID, point, strict=True))))
            words += ["--config", str(path)]
        sys.exit(subprocess.run(words).returncode)


def tabulate(run_dir: Path) -> None:
    """Parameters, seed, status, accuracy after every task, final accuracy and seconds of every replica."""
    trials = pd.read_parquet(run_dir / "trials.parquet")
    metrics = pd.read_parquet(run_dir / "metrics.parquet")
    rows = metrics[(metrics["phase"] == "eval") & (metrics["name"] == "accuracy")]
    by_task = rows.pivot(index=["trial_id", "seed"], columns="task", values="value").add_prefix("accuracy_task_")
    kept = ["trial_id", "seed", "status", "metric.final_accuracy", "trainable_params", "duration_s"]
    table = trials[kept + [f"param.{name}" for name in GRID]].merge(by_task.reset_index(), on=["trial_id", "seed"])
    TABLE.parent.mkdir(exist_ok=True)
    table.to_parquet(TABLE, index=False)
    print(f"{len(table)} replicas of {table['trial_id'].nunique()} configurations: {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
