"""Run the packs of a resolved study with Ray Tune and record what they report."""

import contextlib
import logging
import os
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.ray_tune.packs import Choice, choose, measure, measurements, packs
from study.ray_tune.resources import Machine, worker_environment
from study.ray_tune.search_run import SearchRun, expected_jobs
from study.ray_tune.worker import run_pack
from study.records.provenance import PACKAGES, SOURCE_ROOT
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolved import TrialSpec
from study.terminal.progress import Progress
from study.tracking.over_seeds import over_seeds
from study.tracking.tracker import Tracker
from trainables.errors import InputError, first_line

# Read by ray when it is imported; nothing in the project imports ray before this module.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the newer output prints even at verbose=0

import ray  # noqa: E402
from ray import tune  # noqa: E402

OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing large travels through Ray: data are mapped from the node's cache, results are rows."""
CONNECT_TIMEOUT_S = 5.0
EXPORT_EVERY_S = 30.0
WORKER_FAILURES = 2
"""Times that a pack is started again, from its checkpoints, after its process or node died."""


def start_ray(address: str, device: str, machine: Machine | None) -> None:
    """Start Ray on this machine (``local``) or join a running cluster.

    Raises:
        InputError: no cluster at the address.
    """
    environment: dict[str, Any] = {"env_vars": worker_environment(device)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": environment}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address == "local":
            assert machine is not None
            environment["env_vars"]["PYTHONPATH"] = os.pathsep.join(
                filter(None, (str(SOURCE_ROOT), os.environ.get("PYTHONPATH")))
            )
            # Ray puts the current folder before everything on the workers' path: a user's study/ there is not ours
            with contextlib.chdir(SOURCE_ROOT):
                ray.init(
                    address="local", num_cpus=machine.cpus, include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES, **quiet,
                )  # fmt: skip
            return
        found = _reachable(address)
        environment["py_modules"] = [str(SOURCE_ROOT / name) for name in PACKAGES]
        try:
            with contextlib.chdir(SOURCE_ROOT):
                ray.init(address=found, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address {address}: the Ray cluster cannot be joined ({first_line(error)})") from error


def _reachable(address: str) -> str:
    """HOST:PORT of a cluster that answers; Ray itself tries an address that does not for minutes.

    Raises:
        InputError: none is running, or nothing listens there.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    allowed = "allowed: local, auto, HOST:PORT of a running Ray cluster"
    try:
        found = canonicalize_bootstrap_address_or_die(address) if address == "auto" else address
        host, _, port = found.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S):
            return found
    except (ConnectionError, ValueError, OSError) as error:
        reason = first_line(error) or type(error).__name__
        raise InputError(f"--address {address}: no Ray cluster there ({reason}); {allowed}") from error


def cluster() -> Machine:
    """What the joined cluster offers, or may grow to where it is autoscaled."""
    from ray._private.state import state

    total = ray.cluster_resources()
    limit = state.get_max_resources_from_cluster_config() or {}
    total = {name: max(total.get(name, 0), limit.get(name, 0)) for name in ("CPU", "GPU")}
    return Machine(int(total["CPU"]), int(total["GPU"]), "the cluster")


@dataclass
class Session:
    """What this session saw, for the closing lines.

    Attributes:
        first_began: when the first pack's clock started, seconds since 1970.
        report_s: worker-seconds spent waiting for the driver to record.
        breach: why no replica can give what the study asks for; all stop.
    """

    first_began: float | None = None
    report_s: float = 0.0
    breach: str | None = None


class _Breach(tune.Stopper):
    """Stops everything when a function from outside has broken its contract."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.session.breach is not None


class Recorder(tune.Callback):
    """Driver side of the reports: tracking, progress, Parquet."""

    def __init__(self, run: RunDirectory, tracker: Tracker, progress: Progress, session: Session) -> None:
        self.run, self.tracker, self.progress, self.session = run, tracker, progress, session
        ids = [trial.replica_id(seed) for trial, seed in run.replicas]
        self.known = {name: run.boundaries_done(name) for name in ids}
        self.exported, self.said = time.monotonic(), {""}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore of its own; ours starts from the run directory

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for replica_id in trial.config["pack"]["replica_ids"].values():
            self.progress.started(replica_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        began_at = result["began_at"]
        if self.session.first_began is None:
            self.session.first_began = began_at
        ids = {str(seed): name for seed, name in trial.config["pack"]["replica_ids"].items()}
        for seed, rows in result["rows"].items():
            self.tracker.log_rows(ids[seed], rows, began_at)
            position = max((row[self.run.study.boundary] for row in rows), default=-1)
            self.progress.boundary_done(ids[seed], position, resumed=position < self.known.get(ids[seed], 0))
        for replica_id, outcome in result.get("outcomes", {}).items():
            self._close(replica_id, Outcome.model_validate(outcome))
        if time.monotonic() - self.exported > EXPORT_EVERY_S:
            self.run.export()
            self.exported = time.monotonic()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker died more often than ``WORKER_FAILURES``."""
        for replica_id in trial.config["pack"]["replica_ids"].values():
            reason = "the worker process or its node died (out of memory?)"
            outcome = Outcome(status="failed", error=reason, ended_at=time.time())
            write_outcome(self.run.folder(replica_id), outcome)
            self._close(replica_id, outcome)

    def _close(self, replica_id: str, outcome: Outcome) -> None:
        self.session.report_s += outcome.report_s
        if outcome.breach:
            self.session.breach = self.session.breach or outcome.error
        if outcome.notice not in self.said:
            self.said.add(outcome.notice)
            self.progress.notice(outcome.notice)
        metrics = record(self.run, self.tracker, replica_id, rows=False)
        trial, seed = self.run.replica(replica_id)
        self.progress.replica_done(trial, seed, outcome, metrics)


def record(run: RunDirectory, tracker: Tracker, replica_id: str, rows: bool = True) -> dict[str, float]:
    """Close the MLflow run of a replica that has ended, with its last checkpoint as artifact, and that of its trial
    after the last seed (in a search more seeds may follow: at its end); returns final metrics.

    Args:
        rows: also hand in all rows again (those that MLflow has are left out).
    """
    outcome = run.outcome(replica_id)
    assert outcome is not None
    all_rows = run.rows(replica_id)
    metrics = run.final_metrics(replica_id)
    if rows:
        tracker.log_rows(replica_id, all_rows, outcome.began_at)
    tracker.finish_replica(replica_id, outcome.status, metrics, run.checkpoints(replica_id)[-1:])
    trial, _ = run.replica(replica_id)
    if run.study.search is None and all(run.outcome(trial.replica_id(seed)) for seed in trial.seeds):
        tracker.finish_trial(trial.trial_id, over_seeds(run, trial))
    return metrics


def _decide_pack(
    run: RunDirectory, progress: Progress, jobs: Mapping[int, int], samples: Callable[[], Sequence[TrialSpec]]
) -> None:  # fmt: skip
    """Settle ``--pack auto`` by measuring the first steps on the resources that a pack gets; ``jobs`` as ``choose``
    takes them, ``samples``: configurations, of which the largest is measured."""
    resources = run.study.resources
    if resources.pack != "auto":
        return
    probe = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial)(measure)
    task = measurements(run, samples())
    try:
        choice = choose(jobs, resources.max_concurrent, lambda size: ray.get(probe.remote(task(size))))
    except ray.exceptions.RayError as error:  # what is wrong with the study its replicas say themselves
        cause = (str(getattr(error, "cause", None) or error).strip().splitlines() or [""])[-1]
        choice = Choice(1, f"every replica by itself, because the first steps could not be measured ({cause})")
    run.decide_pack(choice.pack)
    progress.notice(f"pack auto: {choice.reason}")


def fit(
    run: RunDirectory, tracker: Tracker, progress: Progress, session: Session, todo: Sequence[tuple[TrialSpec, int]]
) -> None:  # fmt: skip
    """Train these replicas; returns when all have ended, the budget is spent or the user interrupts."""
    jobs = Counter(Counter(trial.trial_id for trial, _ in todo).values())
    _decide_pack(run, progress, jobs, lambda: [trial for trial, _ in todo])
    cut = packs(run, todo)
    _forget_failures(run, todo)
    _tune(run, Recorder(run, tracker, progress, session), {"param_space": {"pack": tune.grid_search(cut)}}, {})


def search(work: SearchRun, session: Session) -> None:
    """Search, then confirm; returns as ``fit`` does.

    Raises:
        Exception: what went wrong in the driver between two jobs.
    """
    from study.ray_tune.searcher import SeedSearcher

    run = work.run
    _decide_pack(run, work.progress, expected_jobs(run.study, work.search), work.samples)
    _forget_failures(run, run.unfinished())
    searcher = SeedSearcher(work.search, work)
    recorder = Recorder(run, work.tracker, work.progress, session)
    _tune(run, recorder, {}, {"search_alg": searcher, "num_samples": -1})
    if searcher.error is not None:
        raise searcher.error


def _forget_failures(run: RunDirectory, todo: Sequence[tuple[TrialSpec, int]]) -> None:
    """A failed replica gets another chance."""
    for trial, seed in todo:
        (run.folder(trial.replica_id(seed)) / "outcome.json").unlink(missing_ok=True)


def _tune(run: RunDirectory, recorder: Recorder, space: dict[str, Any], what: dict[str, Any]) -> None:
    resources = run.study.resources
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    attempt = len(list((run.path / "ray").glob("session_*")))
    share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    budget = run.study.budget_min
    tuner = tune.Tuner(
        tune.with_resources(run_pack, share),
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=resources.max_concurrent,
            time_budget_s=budget * 60 if budget else None,
            trial_dirname_creator=lambda trial: next(iter(trial.config["pack"]["replica_ids"].values())),
            **what,
        ),
        run_config=tune.RunConfig(
            name=f"session_{attempt}",
            storage_path=str(run.path / "ray"),
            callbacks=[recorder],
            stop=_Breach(recorder.session),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=WORKER_FAILURES),
        ),
        **space,
    )
    tuner.fit()


def stop_ray() -> None:
    """Leave the cluster, or stop the one that was started here."""
    ray.shutdown()
