"""One session of a run: tracking, progress and Ray around the unfinished packs, then records and report."""

import time
from collections import Counter
from dataclasses import dataclass

from analysis.report import Report, build_report
from study.ray_tune import tuner
from study.ray_tune.resources import this_machine
from study.ray_tune.search_run import SearchRun, expected_replicas
from study.records.run_directory import RunDirectory, seconds_by_name
from study.records.search_table import export
from study.terminal.progress import Progress
from study.terminal.summary import TimeSplit, split_time
from study.tracking.over_seeds import over_seeds
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


def execute(run: RunDirectory, address: str, quiet: bool, started: float, retry: bool = True) -> Finished:
    """Train what is unfinished, close all records, write Parquet and the report.

    Args:
        started: when the command began, seconds since 1970.
        retry: try failed replicas again.
    """
    tracker = tracker_of(run)
    try:
        tracker.prepare(run.trials)
        return _session(run, tracker, address, quiet, started, retry)
    finally:
        tracker.close()  # whatever happened, no run of MLflow goes on


def _session(run: RunDirectory, tracker: Tracker, address: str, quiet: bool, started: float, retry: bool) -> Finished:
    """The same with a tracker that has begun."""
    study = run.study
    waiting = run.unfinished(retry)
    todo = {trial.replica_id(seed) for trial, seed in waiting}
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
                    tuner.fit(run, tracker, progress, session, waiting)
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
        raise InputError(breach)
    report = build_report(run.path)
    open_end = bool(left) or (work is not None and not work.search.finished)
    _close_study(run, tracker, report, open_end)
    warnings = tracker.close()
    spent = {name: value - seconds_before.get(name, 0.0) for name, value in _seconds(run).items()}
    now = time.time()
    split: TimeSplit | None = split_time(
        started, session.first_began, last_ended, now, study.resources.max_concurrent, spent, session.report_s
    )
    if not busy:
        split = None
    budget_spent = study.budget_min is not None and now - started >= study.budget_min * 60
    return Finished(report, split, warnings, open_end and not budget_spent, open_end and budget_spent, len(left))


def tracker_of(run: RunDirectory) -> Tracker:
    """What records a run; it has not begun."""
    study = run.study
    about = study.model_dump(include={"question", "trainable", "profile", "dataset", "backbone"})
    newest = study.extensions[-1].provenance if study.extensions else study.provenance  # of the runs that are to come
    return Tracker(run.path, study.study, study.run_id, study.mlflow_uri, provenance=newest, about=about)


def _all_diverged(run: RunDirectory) -> str:
    """Of a study from outside: that no replica gave a number; else nothing."""
    outcomes = [run.outcome(trial.replica_id(seed)) for trial, seed in run.replicas]
    if run.study.origin is None or any(outcome is None or outcome.status != "diverged" for outcome in outcomes):
        return ""
    return f"all {len(outcomes)} replicas diverged: a metric of train(config, seed) is not finite in any of them"


def _beginning(run: RunDirectory, work: SearchRun | None) -> str:
    """What starts, in two lines."""
    study = run.study
    fewest, most = (of(len(trial.seeds) for trial in study.trials) for of in (min, max))
    what = f"{len(study.trials)} configurations x {most if fewest == most else f'{fewest} to {most}'} seeds"
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


def _close_study(run: RunDirectory, tracker: Tracker, report: Report, open_end: bool) -> None:
    """Numbers over seeds of every trial; at the top the answer, the report, how many replicas ended how."""
    for trial in run.trials:
        tracker.finish_trial(trial.trial_id, over_seeds(run, trial))
    outcomes = [run.outcome(trial.replica_id(seed)) for trial, seed in run.replicas]
    counts = Counter(outcome.status if outcome else "interrupted" for outcome in outcomes)
    metrics = {f"replicas/{status}": float(counts[status]) for status in {**counts, "failed": 0, "diverged": 0}}
    metrics["configurations"] = float(len(run.trials))
    status = "interrupted" if open_end else "failed" if counts["failed"] else "finished"
    answer = "\n\n".join([f"**{run.study.question}**", *report.answer, "The page: artifact `report/index.html`"])
    tracker.finish_study(status, answer, metrics, [report.page.parent])
