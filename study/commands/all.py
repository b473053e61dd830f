"""What the commands of the command line do; each returns when its output has been printed."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces.dimensions import show as show_value
from study.catalog import STUDIES
from study.ray_tune.resources import Machine, this_machine
from study.records.run_directory import RunDirectory
from study.resolve.search_options import describe_search
from study.resolve.settings import flatten
from study.resolve.space import new_search
from study.resolve.trials import Options, find_study, resolve
from study.spec import ResolvedSearch, ResolvedStudy
from trainables.configs import CONFIGS, aliases
from trainables.errors import InputError

INTERRUPTED = 130
SUGGESTIONS = 3
"""Points that a dry run shows after those of the study."""


def list_studies() -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("study", "trainable", "configurations", "profiles", "question"):
        table.add_column(column)
    for study in STUDIES.values():
        number = f"search of {study.search.trials}" if study.search else str(len(study.configurations))
        profiles = ", ".join(f"{name} ({profile.seeds} seeds)" for name, profile in study.profiles.items())
        table.add_row(study.name, study.trainable, number, profiles, study.question)
    Console().print(table)


def show(name: str) -> None:
    study = find_study(name)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{study.name}: {study.question}\n")
    console.print("configurations that are tried first" if study.search else "configurations")
    width = max(12, *map(len, study.configurations))
    for label, fields in study.configurations.items():
        console.print(f"  {label:<{width}} {', '.join(f'{key}={value}' for key, value in fields.items())}")
    console.print("\nprofiles")
    for label, profile in study.profiles.items():
        settings = profile.settings | {f"data.{key}": value for key, value in profile.data.items()}
        extra = "".join(f", {key}={value}" for key, value in settings.items())
        console.print(f"  {label:<12} {profile.dataset} on {profile.backbone}, {profile.seeds} seeds{extra}")
        for configuration, fields in profile.configurations.items():
            console.print(f"  {'':<12} {configuration}: {', '.join(f'{key}={value}' for key, value in fields.items())}")
        for departure in profile.departures:
            console.print(f"  {'':<12} not as in the notes: {departure}")
    if study.search:
        console.print("\nsearch space")
        for line in study.search.dimensions.describe().splitlines():
            console.print(f"  {line}")
        console.print(
            "\nsearch (options --objective, --constraint, --sampler, --racing, --stopping, --trials, --replicas, "
            "--confirm)"
        )
        for name, text in describe_search(study.search).items():
            console.print(f"  {name:<12} {text}")
        console.print(f"\ntested by\n  {study.objective.metric}, {study.objective.direction}")
    else:
        over_seeds = f"{study.objective.over_seeds} over seeds"
        console.print(f"\nobjective\n  {study.objective.metric}, {over_seeds}, {study.objective.direction}")
    if study.reported:
        console.print(f"\nreported beside the measured numbers\n  {study.reported_source}")
    if study.notes_command:
        console.print("\ncommand line of the notes, and what stands for it here")
        for option, here in study.notes_command.items():
            console.print(f"  {option:<30} {here}")
    console.print("\nkeys of --set and --config (names of the notes in brackets)")
    model = CONFIGS[study.trainable]
    names: dict[str, list[str]] = {}
    for alias, own in aliases(model).items():
        names.setdefault(own, []).extend([alias] if alias != own else [])
    defaults = flatten(model.model_validate({}).model_dump())
    for own, others in names.items():
        if own in ("dataset", "backbone"):
            continue
        bracket = f"  [{', '.join(others)}]" if others else ""
        console.print(f"  {own} = {defaults[own]}{bracket}")


def dry_run(options: Options, address: str, as_json: bool) -> None:
    """Print the resolved trials; Ray is not started (a running cluster is joined to see what it has)."""
    study, notices = resolve(options, _machine(address, "cpu"), load_data=False)
    entries = [
        {
            "trial_id": trial.trial_id,
            "configuration": trial.configuration,
            "params": trial.params,
            "seeds": list(trial.seeds),
            "trainable_params": trial.trainable_params,
            "total_params": trial.total_params,
            "resources": study.resources.model_dump(),
        }
        for trial in study.trials
    ]
    for line in notices:
        print(line, file=sys.stderr)
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    table = Table(
        title=f"{study.study}: {study.dataset} on {study.backbone}, {study.tasks} {study.boundary}s",
        title_justify="left",
    )
    for column in ("configuration", "trial", "seeds", "trainable", "total", "pack", "at once"):
        table.add_column(column, justify="left" if column in ("configuration", "trial", "seeds") else "right")
    for trial in study.trials:
        table.add_row(
            trial.configuration, trial.trial_id, ", ".join(map(str, trial.seeds)), f"{trial.trainable_params:,}",
            f"{trial.total_params:,}", str(study.resources.pack), str(study.resources.max_concurrent),
        )  # fmt: skip
    Console().print(table)
    if study.search:
        _show_search(study, study.search)


def _show_search(study: ResolvedStudy, search: ResolvedSearch) -> None:
    """The space, what is searched for, and what follows the configurations above."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nsearch space (sha256 {search.space_sha256[:12]})")
    for line in search.dimensions.describe().splitlines():
        console.print(f"  {line}")
    console.print("\nsearch")
    for name, text in describe_search(search).items():
        console.print(f"  {name:<12} {text}")
    ahead = new_search(study)
    jobs = [ahead.ask() for _ in range(min(search.trials, len(search.enqueue) + SUGGESTIONS))]
    if suggested := [job for job in jobs[len(search.enqueue) :] if job]:
        console.print("\nfirst suggestions, each on seeds " + ", ".join(map(str, suggested[0].seeds)))
        for job in suggested:
            console.print("  " + ", ".join(f"{name}={show_value(value)}" for name, value in job.params.items()))


def run(options: Options, address: str, out: Path | None, as_json: bool, quiet: bool, started: float) -> int:
    """Validate, create the run directory, train, report. Returns the exit code."""
    study, notices = resolve(options, _machine(address, options.device))
    path = (out or Path("runs") / study.study / study.run_id).expanduser().absolute()
    if not quiet:
        for line in notices:
            print(line, file=sys.stderr)
    return _execute(RunDirectory.create(path, study), address, as_json, quiet, started)


def resume(path: Path, address: str, as_json: bool, quiet: bool, started: float) -> int:
    directory = RunDirectory.open(path.expanduser().absolute())
    machine = _machine(address, directory.study.resources.device)
    if directory.study.resources.device == "gpu" and not machine.gpus:
        raise InputError(f"{path}: this run used GPUs and {machine.name} has none")
    return _execute(directory, address, as_json, quiet, started)


def status(path: Path) -> None:
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
        table.add_row(
            trial.configuration, str(seed), state, f"{done}/{trial.boundaries}", (outcome and outcome.error) or ""
        )
    Console().print(table)
    print(", ".join(f"{number} {state}" for state, number in counts.items()))
    if counts["started"] + counts["waiting"] + counts["failed"]:
        print(f"if no process works on it: lora-study resume {path}")


def report(path: Path) -> None:
    from analysis.report import build_report
    from study.records import search_table as search_records
    from study.terminal import summary as closing

    directory = RunDirectory.open(path.expanduser().absolute())
    search_records.export(directory)
    closing.show(build_report(directory.path), directory, None, [])


def _machine(address: str, device: str) -> Machine:
    """What there is to run on: this machine, or the cluster, which is joined for it."""
    if address == "local":
        return this_machine()
    from study.ray_tune import tuner as launch

    launch.start_ray(address, device, None)
    return launch.cluster()


def _execute(directory: RunDirectory, address: str, as_json: bool, quiet: bool, started: float) -> int:
    """Train what is unfinished, then report on everything."""
    from study import execution  # ray and matplotlib are imported only by commands that need them
    from study.terminal import summary as closing

    study = directory.study
    finished = execution.execute(directory, address, quiet, started)
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
        closing.show(finished.report, directory, finished.split, finished.warnings)
    failed = sum(1 for trial, seed in directory.replicas if _failed(directory, trial.replica_id(seed)))
    return 1 if failed else 0


def _left(directory: RunDirectory, left: int) -> str:
    if directory.study.search:
        return f"the search has begun {len(directory.replicas)} replicas and is not finished"
    return f"{left} of {len(directory.replicas)} replicas are not finished"


def _failed(directory: RunDirectory, replica_id: str) -> bool:
    outcome = directory.outcome(replica_id)
    return outcome is not None and outcome.status == "failed"


def _summary(directory: RunDirectory, study: ResolvedStudy) -> dict[str, Any]:
    replicas = [
        {
            "configuration": trial.configuration,
            "trial_id": trial.trial_id,
            "seed": seed,
            "status": outcome.status if (outcome := directory.outcome(trial.replica_id(seed))) else "interrupted",
            "metrics": directory.final_metrics(trial.replica_id(seed)),
        }
        for trial, seed in directory.replicas
    ]
    return {"run_dir": str(directory.path), "study": study.study, "run_id": study.run_id, "replicas": replicas}
