"""``run``, its dry run, and ``resume``."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces.dimensions import show as show_value
from study.plugins import find_study, keep_source
from study.ray_tune.resources import Machine, this_machine
from study.records.lock import locked
from study.records.run_directory import RunDirectory
from study.resolve.options import Options
from study.resolve.study import resolve
from study.resolved import ResolvedSearch, ResolvedStudy
from study.search.options import describe_search
from study.search.plan import known_before, new_search
from trainables.errors import InputError
from trainables.registry import TrainableSpec

INTERRUPTED = 130
SUGGESTIONS = 3
"""Points that a dry run shows after those of the study."""


def run(options: Options, address: str, out: Path | None, as_json: bool, quiet: bool, started: float) -> int:
    """Validate, create the run directory, train, report. Returns the exit code."""
    study, notices = resolve(options, _machine(address, options.device))
    path = (out or Path("runs") / study.study / study.run_id).expanduser().absolute()
    if not quiet:
        for line in notices:
            print(line, file=sys.stderr)
    RunDirectory.create(path, study)
    keep_source(study.origin, path)
    with locked(path) as directory:
        return train_and_report(directory, address, as_json, quiet, started)


def resume(path: Path, address: str, as_json: bool, quiet: bool, started: float) -> int:
    """Train what is unfinished in a run directory, report. Returns the exit code.

    Raises:
        InputError: no run directory, no GPU where the run had one, or another command works on it.
    """
    with locked(path.expanduser().absolute()) as directory:
        check_device(directory, address)
        return train_and_report(directory, address, as_json, quiet, started)


def check_device(directory: RunDirectory, address: str) -> None:
    """Raises InputError where a run needs GPUs and there are none."""
    device = directory.study.resources.device
    machine = _machine(address, device)
    if device == "gpu" and not machine.gpus:
        raise InputError(f"{directory.path}: this run used GPUs and {machine.name} has none")


def dry_run(options: Options, address: str, as_json: bool) -> None:
    """Print the resolved trials; Ray is not started (a running cluster is joined to see what it has)."""
    study, notices = resolve(options, _machine(address, "cpu"), load_data=False)
    for line in notices:
        print(line, file=sys.stderr)
    if as_json:
        kept = {"trial_id", "configuration", "params", "seeds", "trainable_params", "total_params"}
        resources = study.resources.model_dump()
        entries = [trial.model_dump(mode="json", include=kept) | {"resources": resources} for trial in study.trials]
        print(json.dumps(entries, indent=2))
        return
    table = Table(
        title=", ".join(filter(None, (f"{study.study}: {study.material}", study.length))), title_justify="left"
    )
    for column in ("configuration", "trial", "seeds", "trainable", "total", "pack", "at once"):
        table.add_column(column, justify="left" if column in ("configuration", "trial", "seeds") else "right")
    for trial in study.trials:
        table.add_row(
            trial.configuration, trial.trial_id, ", ".join(map(str, trial.seeds)), _number(trial.trainable_params),
            _number(trial.total_params), str(study.resources.pack), str(study.resources.max_concurrent),
        )  # fmt: skip
    Console().print(table)
    if study.search:
        _show_search(study, study.search, find_study(options.name)[0].trainable)


def _number(parameters: int) -> str:
    """A function from outside does not say how many it trains."""
    return f"{parameters:,}" if parameters else "–"


def _show_search(study: ResolvedStudy, search: ResolvedSearch, spec: TrainableSpec) -> None:
    """The space, what is searched for, and what follows the configurations above."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nsearch space (sha256 {search.space_sha256[:12]})")
    for line in search.dimensions.describe().splitlines():
        console.print(f"  {line}")
    console.print("\nsearch")
    for name, text in describe_search(search).items():
        console.print(f"  {name:<12} {text}")
    ahead = new_search(study, known_before(study, spec))
    jobs = [ahead.ask() for _ in range(min(search.trials, len(search.enqueue) + SUGGESTIONS))]
    if suggested := [job for job in jobs[len(search.enqueue) :] if job]:
        console.print("\nfirst suggestions, each on seeds " + ", ".join(map(str, suggested[0].seeds)))
        for job in suggested:
            console.print("  " + ", ".join(f"{name}={show_value(value)}" for name, value in job.params.items()))


def _machine(address: str, device: str) -> Machine:
    """What there is to run on: this machine, or the cluster, which is joined for it."""
    if address == "local":
        return this_machine()
    from study.ray_tune.tuner import cluster, start_ray

    start_ray(address, device, None)
    return cluster()


def train_and_report(
    directory: RunDirectory, address: str, as_json: bool, quiet: bool, started: float, retry: bool = True
) -> int:
    """Train what is unfinished, with ``retry`` also what failed, then report on everything. Returns the exit code."""
    from study.ray_tune.driver import execute  # ray and matplotlib are imported only by commands that need them
    from study.terminal.summary import show

    study = directory.study
    finished = execute(directory, address, quiet, started, retry)
    if finished.interrupted or finished.out_of_budget:
        reason = "interrupted" if finished.interrupted else f"the budget of {study.budget_min:g} minutes is spent"
        print(
            f"{reason}: {_left(directory, finished.left)}; continue with: lora-study resume {directory.path}",
            file=sys.stderr,
        )
        if finished.interrupted:
            return INTERRUPTED
    if as_json:
        print(json.dumps(_summary(directory, study), indent=2))
    else:
        show(finished.report, directory, finished.split, finished.warnings)
    failed = any(_status(directory, trial.replica_id(seed)) == "failed" for trial, seed in directory.replicas)
    return 1 if failed else 0


def _left(directory: RunDirectory, left: int) -> str:
    if directory.study.search:
        return f"the search has begun {len(directory.replicas)} replicas and is not finished"
    return f"{left} of {len(directory.replicas)} replicas are not finished"


def _status(directory: RunDirectory, replica_id: str) -> str:
    outcome = directory.outcome(replica_id)
    return outcome.status if outcome else "interrupted"


def _summary(directory: RunDirectory, study: ResolvedStudy) -> dict[str, Any]:
    replicas = [
        {"configuration": trial.configuration, "trial_id": trial.trial_id, "seed": seed,
         "status": _status(directory, trial.replica_id(seed)),
         "metrics": directory.final_metrics(trial.replica_id(seed))}
        for trial, seed in directory.replicas
    ]  # fmt: skip
    return {"run_dir": str(directory.path), "study": study.study, "run_id": study.run_id, "replicas": replicas}
