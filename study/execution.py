"""One session of a run: tracking, progress and Ray around the unfinished packs, then records and report."""

import time
from dataclasses import dataclass

from analysis.report import Report, build_report
from study import launch
from study.closing import TimeSplit, split_time
from study.progress import Progress
from study.resources import this_machine
from study.rundir import RunDirectory, seconds_by_name
from study.spec import TrialSpec
from study.tracking import Tracker


@dataclass(frozen=True)
class Finished:
    """How a session ended; ``left`` counts replicas without an outcome."""

    report: Report
    split: TimeSplit | None
    warnings: list[str]
    interrupted: bool
    out_of_budget: bool
    left: int


def execute(run: RunDirectory, address: str, quiet: bool, started: float) -> Finished:
    """Train what is unfinished, close all records, write Parquet and the report.

    Args:
        started: when the command began, seconds since 1970.
    """
    study = run.study
    tracker = Tracker(run.path, study.study, study.run_id, study.mlflow_uri, provenance=study.provenance)
    tracker.prepare(study.trials)
    todo = {trial.replica_id(seed) for trial, seed in run.unfinished()}
    seconds_before = _seconds(run)
    session = launch.Session()
    done = {trial.replica_id(seed) for trial, seed in run.replicas} - todo
    with Progress(study, quiet, done) as progress:
        progress.notice(
            f"{study.study}: {len(study.trials)} configurations x {len(study.seeds)} seeds, {study.tasks} "
            f"{study.boundary}s, {study.dataset} on {study.backbone}\n{study.resources.max_concurrent} packs at "
            f"once on {study.resources.device}, {study.resources.pack} replicas a pack; run directory {run.path}"
        )
        for replica_id in sorted(done):  # an earlier session may have been killed before it wrote these to MLflow
            launch.record(run, tracker, replica_id)
        if todo:
            if address == "local":
                launch.start_ray(address, study.resources.device, this_machine())
            try:
                launch.decide_pack(run, progress)
                launch.fit(run, tracker, progress, session)
            finally:
                launch.stop_ray()
    last_ended = time.time()
    left = [(trial, seed) for trial, seed in run.replicas if run.outcome(trial.replica_id(seed)) is None]
    for trial, seed in left:
        tracker.finish_replica(trial.replica_id(seed), "interrupted", {})
    run.export()
    report = build_report(run.path)
    for trial in study.trials:
        tracker.finish_trial(trial.trial_id, *_aggregate(run, trial, report))
    warnings = tracker.close()
    spent = {name: value - seconds_before.get(name, 0.0) for name, value in _seconds(run).items()}
    now = time.time()
    split: TimeSplit | None = split_time(
        started, session.first_began, last_ended, now, study.resources.max_concurrent, spent, session.report_s
    )
    if not todo:
        split = None
    budget_spent = study.budget_min is not None and now - started >= study.budget_min * 60
    return Finished(report, split, warnings, bool(left) and not budget_spent, bool(left) and budget_spent, len(left))


def _seconds(run: RunDirectory) -> dict[str, float]:
    """Seconds by name over all replicas, from their checkpoints."""
    total: dict[str, float] = {}
    for trial, seed in run.replicas:
        for name, value in seconds_by_name(run.rows(trial.replica_id(seed))).items():
            total[name] = total.get(name, 0.0) + value
    return total


def _aggregate(run: RunDirectory, trial: TrialSpec, report: Report) -> tuple[dict[str, float], list, str]:
    """Means over the finished seeds, the pictures, and a status: finished only if every seed is."""
    metrics: dict[str, list[float]] = {}
    statuses = []
    for seed in trial.seeds:
        replica_id = trial.replica_id(seed)
        outcome = run.outcome(replica_id)
        statuses.append(outcome.status if outcome else "interrupted")
        if statuses[-1] == "finished":
            for name, value in run.final_metrics(replica_id).items():
                metrics.setdefault(name, []).append(value)
    means = {f"mean/{name}": sum(values) / len(values) for name, values in metrics.items()}
    means["seeds_finished"] = float(statuses.count("finished"))
    worst = next((status for status in ("interrupted", "failed", "diverged") if status in statuses), "finished")
    return means, [picture for part in report.parts for picture in part.pictures], worst
