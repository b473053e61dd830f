"""One session of a run: tracking, progress and Ray around the unfinished packs, then records and report."""

import time
from dataclasses import dataclass

from analysis.report import Report, build_report
from study.ray_tune import tuner
from study.ray_tune.resources import this_machine
from study.ray_tune.search_run import SearchRun, expected_replicas
from study.records.run_directory import RunDirectory, seconds_by_name
from study.records.search_table import export
from study.resolved import TrialSpec
from study.terminal.progress import Progress
from study.terminal.summary import TimeSplit, split_time
from study.tracking.tracker import Tracker
from trainables.errors import InputError


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
    tracker.prepare(run.trials)
    todo = {trial.replica_id(seed) for trial, seed in run.unfinished()}
    seconds_before = _seconds(run)
    session = tuner.Session()
    done = {trial.replica_id(seed) for trial, seed in run.replicas} - todo
    with Progress(study, run.trials, quiet, done) as progress:
        work = SearchRun(run, tracker, progress) if study.search else None
        progress.notice(_beginning(run, work))
        if work:
            progress.expected = expected_replicas(study, work.search)
        for replica_id in sorted(done):  # an earlier session may have been killed before it wrote these to MLflow
            tuner.record(run, tracker, replica_id)
        busy = bool(todo) if work is None else not work.complete()
        if busy:
            if address == "local":
                tuner.start_ray(address, study.resources.device, this_machine())
            try:
                if work is None:
                    tuner.fit(run, tracker, progress, session)
                else:
                    tuner.search(work, session)
            finally:
                tuner.stop_ray()
    last_ended = time.time()
    left = [(trial, seed) for trial, seed in run.replicas if run.outcome(trial.replica_id(seed)) is None]
    for trial, seed in left:
        tracker.finish_replica(trial.replica_id(seed), "interrupted", {})
    export(run)
    if breach := session.breach or _all_diverged(run):
        tracker.close()
        raise InputError(breach)
    report = build_report(run.path)
    for trial in run.trials:
        tracker.finish_trial(trial.trial_id, *_aggregate(run, trial, report))
    warnings = tracker.close()
    spent = {name: value - seconds_before.get(name, 0.0) for name, value in _seconds(run).items()}
    now = time.time()
    split: TimeSplit | None = split_time(
        started, session.first_began, last_ended, now, study.resources.max_concurrent, spent, session.report_s
    )
    if not busy:
        split = None
    budget_spent = study.budget_min is not None and now - started >= study.budget_min * 60
    open_end = bool(left) or (work is not None and not work.search.finished)
    return Finished(report, split, warnings, open_end and not budget_spent, open_end and budget_spent, len(left))


def _all_diverged(run: RunDirectory) -> str:
    """Of a study from outside: that no replica gave a number; else nothing."""
    outcomes = [run.outcome(trial.replica_id(seed)) for trial, seed in run.replicas]
    if run.study.origin is None or any(outcome is None or outcome.status != "diverged" for outcome in outcomes):
        return ""
    return f"all {len(outcomes)} replicas diverged: a metric of train(config, seed) is not finite in any of them"


def _beginning(run: RunDirectory, work: SearchRun | None) -> str:
    """What starts, in two lines."""
    study = run.study
    what = f"{len(study.trials)} configurations x {len(study.seeds)} seeds"
    together = f"{study.resources.pack} replicas a pack"
    if work and study.search:
        what = f"{study.search.trials} configurations, {study.search.schedule} seeds, {study.search.sampler}"
    return (
        f"{study.study}: {', '.join(filter(None, (what, study.length, study.material)))}\n"
        f"{study.resources.max_concurrent} packs at once on {study.resources.device}, {together}; "
        f"run directory {run.path}"
    )


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
