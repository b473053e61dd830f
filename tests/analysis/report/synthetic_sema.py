"""A synthetic run directory of SEMA, with growth, weights and accuracies that are known in advance."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from synthetic import replica_rows, write_study

from analysis.io.records import write_metrics, write_trials
from trainables.metrics.growth import growth_finals

Row = dict[str, Any]
Events = Collection[tuple[int, int]]
BLOCKS, TASKS, ADAPTER, THRESHOLD = (9, 10), 4, 1000, 2.0
GROWS: dict[str, Callable[[int], Events]] = {
    # block 9 in task 2 in every seed, block 10 in task 3 in the even ones
    "adapter": lambda seed: {(1, 9), *([(2, 10)] if seed % 2 == 0 else [])},
    "nested": lambda seed: {(1, 9), (2, 9), (3, 10)},
    "still, z > 2": lambda seed: (),
}
PUBLISHED = {"average_incremental_accuracy": 0.9137, "final_accuracy": 0.8698}
REPORTED = [{"configuration": label, "label": "paper", "metrics": PUBLISHED} for label in ("adapter", "nested")]


def growth_rows(
    trial_id: str, seed: int, final: float, events: Collection[tuple[int, int]], reached: int
) -> list[dict]:
    """Of one replica: where a block grows z is 3, elsewhere 1 + seed / 10; adapter s of n has weight (s+1) / (1+...+n).

    The largest weight alone is 2 points worse than all of them, and 0.1 more in each further seed; equal weights differ
    by 1 point, up in even seeds and down in odd ones.
    """
    rows: list[Row] = []

    def add(phase: str, task: int, name: str, value: float, **at: int) -> None:
        where = {"trial_id": trial_id, "seed": seed, "phase": phase, "task": task, **at}
        rows.append({**where, "name": name, "value": value, "wall_s": float(len(rows))})

    count = dict.fromkeys(BLOCKS, 1)
    for task in range(reached):
        grown = [block for block in BLOCKS if (task, block) in events]
        for number, block in enumerate(grown):
            add("expansion", task, f"block_{block}/added", count[block], step=number)
            add("expansion", task, f"block_{block}/z", 3.0, step=number)
            count[block] += 1
        for block in BLOCKS:
            if task:
                add("expansion", task, f"block_{block}/largest_z", 3.0 if block in grown else 1 + seed / 10)
            add("boundary", task, f"adapters/block_{block}", count[block])
            for tested in range(task + 1):
                for slot in range(count[block]):
                    weight = (slot + 1) / sum(range(count[block] + 1))
                    add("routing", task, f"task_{tested}/block_{block}/adapter_{slot}", weight)
        add("boundary", task, "params_added", ADAPTER * len(grown))
        add("ablation", task, "after/routing_top1", final - 0.02 - 0.001 * seed)
        add("ablation", task, "after/routing_average", final + 0.01 * (-1) ** seed)
    return rows


def make_sema_run(
    run_dir: Path, grows: Mapping[str, Callable[[int], Events]] = GROWS, seeds: int = 5,
    unfinished: Mapping[tuple[str, int], tuple[str, int]] | None = None, bare: bool = False, **study: Any,
) -> Path:  # fmt: skip
    """Write a run directory: ``TASKS`` tasks, final accuracies of 0.8, 0.81, ... by configuration plus 0.002 a seed.

    Args:
        grows: configuration -> seed -> pairs of task and block.
        unfinished: (configuration, seed) -> (status, tasks reached).
        bare: without rows of growth, as of one adapter that never grows.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    trials: list[Row] = []
    metrics: list[Row] = []
    for number, (label, events) in enumerate(grows.items()):
        for seed in range(seeds):
            status, reached = (unfinished or {}).get((label, seed), ("finished", TASKS))
            final = 0.8 + 0.01 * number + 0.002 * seed
            rows = replica_rows(f"t{number}", seed, final, TASKS, reached)
            rows += [] if bare else growth_rows(f"t{number}", seed, final, events(seed), reached)
            metrics += rows
            finals = growth_finals(rows, TASKS) if status == "finished" else {}
            trials.append(
                {
                    "study": "synthetic", "run_id": "r1", "trial_id": f"t{number}", "configuration": label,
                    "seed": seed, "status": status, "param.exp_threshold": THRESHOLD,
                    **{f"metric.{name}": value for name, value in finals.items()},
                }
            )  # fmt: skip
    write_trials(run_dir / "trials.parquet", trials)
    write_metrics(run_dir / "metrics.parquet", metrics)
    description = {
        "report": "sema", "objective": {"metric": "final_accuracy", "over_seeds": "mean", "direction": "maximize"},
        "tasks": TASKS, "question": "Does SEMA grow where a task is new?", "seeds": list(range(seeds)),
        "configurations": {label: {} for label in grows}, "reported": REPORTED, "reported_source": "the paper", **study,
    }  # fmt: skip
    return write_study(run_dir, description)
