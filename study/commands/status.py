"""``status``: how far the replicas of a run are."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from study.records.run_directory import RunDirectory


def status(path: Path) -> None:
    """Print a line for each replica, and how to go on where one is left."""
    directory = RunDirectory.open(path.expanduser().absolute())
    study = directory.study
    table = Table(title=f"{study.study} {study.run_id}", title_justify="left")
    for column in ("configuration", "seed", "status", f"{study.boundary}s", "error"):
        table.add_column(column)
    counts: Counter[str] = Counter()
    for trial, seed in directory.replicas:
        replica_id = trial.replica_id(seed)
        outcome, done = directory.outcome(replica_id), directory.boundaries_done(replica_id)
        state = outcome.status if outcome else ("started" if done else "waiting")
        counts[state] += 1
        error = (outcome and outcome.error) or ""
        table.add_row(trial.configuration, str(seed), state, f"{done}/{trial.boundaries or '?'}", error)
    Console().print(table)
    print(", ".join(f"{number} {state}" for state, number in counts.items()))
    if counts["started"] + counts["waiting"] + counts["failed"]:
        print(f"if no process works on it: lora-study resume {path}")
