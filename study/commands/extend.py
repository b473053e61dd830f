"""``extend``: further seeds for a finished run, in the same run."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from study.commands.run import check_device, train_and_report
from study.records.lock import locked
from study.records.run_directory import RunDirectory, seconds_by_name
from study.resolve.extension import extend as with_seeds
from study.resolved import ResolvedStudy, TrialSpec
from study.terminal.progress import duration

MOST_NAMED = 6


def extend(
    path: Path, seeds: int, only: list[str], allow_changes: bool, address: str, dry_run: bool, as_json: bool,
    quiet: bool, started: float,
) -> int:  # fmt: skip
    """Add the next unused seeds, train them alone, report on everything. Returns the exit code.

    What is added is written down before any of it is trained, so that ``resume`` continues whatever stops this.

    Raises:
        InputError: see ``study.resolve.extension.extend``; another command works on the run; no GPU where it had one.
    """
    path = path.expanduser().absolute()
    with nullcontext(RunDirectory.open(path)) if dry_run else locked(path) as run:
        study, notices = with_seeds(run, seeds, only, allow_changes)
        added = _added(run, study)
        clock = _clock(study, added)
        if dry_run:
            _show(study, added, clock, notices, as_json)
            return 0
        check_device(run, address)
        if not quiet:
            for line in (*notices, _summary(added, seeds, clock)):
                print(line, file=sys.stderr)
        run.extend(study)
        return train_and_report(run, address, as_json, quiet, started, retry=False)


def _added(run: RunDirectory, study: ResolvedStudy) -> list[dict[str, Any]]:
    """An entry for each configuration that gets seeds; ``seconds`` for all of them on one worker, where known."""
    entries = []
    for trial in study.trials:
        if new := study.extensions[-1].seeds.get(trial.trial_id):
            each = _seconds(run, trial)
            entries.append(
                {"trial_id": trial.trial_id, "configuration": trial.configuration, "seeds": list(new),
                 "seeds_before": len(trial.seeds) - len(new), "seconds": each and round(each * len(new), 1)}
            )  # fmt: skip
    return entries


def _seconds(run: RunDirectory, trial: TrialSpec) -> float | None:
    """Of one replica, the mean over those that have finished."""
    before = run.trial(trial.trial_id)
    assert before is not None
    ids = [trial.replica_id(seed) for seed in before.seeds]
    taken = [
        sum(seconds_by_name(run.rows(name)).values())
        for name in ids
        if (outcome := run.outcome(name)) and outcome.status == "finished"
    ]
    return sum(taken) / len(taken) if taken else None


def _clock(study: ResolvedStudy, added: list[dict[str, Any]]) -> float:
    """Seconds until all are trained."""
    seconds = [entry["seconds"] or 0.0 for entry in added]
    single = max(taken / len(entry["seeds"]) for taken, entry in zip(seconds, added, strict=True))
    return max(sum(seconds) / study.resources.max_concurrent, single)


def _summary(added: list[dict[str, Any]], seeds: int, clock: float) -> str:
    labels = ", ".join(entry["configuration"] for entry in added[:MOST_NAMED])
    more = f" and {len(added) - MOST_NAMED} more" if len(added) > MOST_NAMED else ""
    about = f", about {duration(clock)}" if clock else ""
    return f"further seeds of {labels}{more}: {seeds} each, {seeds * len(added)} replicas{about}"


def _show(study: ResolvedStudy, added: list[dict[str, Any]], clock: float, notices: list[str], as_json: bool) -> None:
    for line in notices:
        print(line, file=sys.stderr)
    if as_json:
        resources = study.resources.model_dump()
        print(json.dumps([entry | {"resources": resources} for entry in added], indent=2))
        return
    table = Table(title=f"{study.study} {study.run_id}: look {len(study.looks)}", title_justify="left")
    for column in ("configuration", "trial", "seeds", "added", "time"):
        table.add_column(column, justify="right" if column in ("seeds", "time") else "left")
    for entry in added:
        time = duration(entry["seconds"]) if entry["seconds"] is not None else "–"
        seeds = ", ".join(map(str, entry["seeds"]))
        table.add_row(entry["configuration"], entry["trial_id"], str(entry["seeds_before"]), seeds, time)
    Console().print(table)
    if clock:
        print(f"about {duration(clock)}, {study.resources.max_concurrent} at once")
