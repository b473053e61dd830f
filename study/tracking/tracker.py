"""MLflow and TensorBoard, written by the driver: a copy of the results that can be looked at while they come in.

Experiment = study; in it a run at the top per run directory, below it one per trial, below that one per replica.
Nothing here can stop a study once it has begun.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from study.resolved import TrialSpec
from study.tracking.mlflow_connection import TrackingError, hopeless, open_client, resolve_uri, without_password
from study.tracking.mlflow_runs import MAX_TAG_VALUE, STUDY, MlflowRuns
from study.tracking.mlflow_writer import RunWriter
from study.tracking.outbox import Outbox, one_line
from study.tracking.outside import OutsideTrackers
from study.tracking.points import OverSeeds, Point, point_of
from study.tracking.tensorboard import EventFiles, safe_name
from trainables.metrics.finals import FINAL

STATUSES = {
    "finished": "FINISHED", "pruned": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "interrupted": "KILLED",
}  # fmt: skip
"""Status of a replica -> state of its MLflow run."""

_HASHES = ("diff_hash", "source_hash", "environment_hash", "data_hash", "weights_hash")


class Tracker:
    """Records one run directory in MLflow and TensorBoard. For one thread.

    Args:
        run_dir: holds ``tracking.json`` and ``tensorboard/``.
        run_id: name of this run of the study; the runs of an earlier process with the same one are continued.
        uri: tracking URI, see ``resolve_uri``.
        artifact_root: folder for artifacts; None leaves it to the server.
        provenance: what ``provenance.collect`` returned; its hashes become tags.
        about: tags of the run at the top, such as profile and data set.
        send_every_s: seconds for which curves are gathered before MLflow gets them; a call costs it 4 ms, a point
            in a larger call 0.06 ms. The end of a replica does not wait.
    """

    def __init__(
        self,
        run_dir: Path,
        study: str,
        run_id: str,
        uri: str,
        artifact_root: Path | None = None,
        provenance: Mapping[str, Any] | None = None,
        about: Mapping[str, str] | None = None,
        send_every_s: float = 5.0,
    ) -> None:
        self._run_dir, self._study, self._run_id, self._uri = run_dir, study, run_id, uri
        self._artifact_root, self._tags = artifact_root, _tags(study, provenance or {})
        self._about = {**(about or {}), "run_dir": str(run_dir)}
        self._runs: MlflowRuns | None = None
        self._writer: RunWriter | None = None
        self._outbox = Outbox(f"MLflow at {without_password(uri)}", hopeless)
        self._events = EventFiles(run_dir / "tensorboard")
        self._others = OutsideTrackers(run_dir, study)
        self._folders: dict[str, str] = {}  # replica -> folder of its curves
        self._places: dict[str, tuple[str, int]] = {}  # replica -> configuration and seed
        self._owners: dict[str, str] = {}  # folder of a configuration -> trial
        self._trials: dict[str, tuple[TrialSpec, str]] = {}  # with its folder
        self._told: dict[str, tuple] = {}  # trial -> its numbers over seeds
        self._waiting: dict[str, list[Point]] = {}
        self._send_every_s = send_every_s
        self._sent_at = -math.inf
        self._tensorboard_warning: list[str] = []
        self._closed = False

    def prepare(self, trials: Sequence[TrialSpec]) -> None:
        """Create or find the top and the runs of ``trials``, before work on them starts; more may come in later calls.

        Raises:
            TrackingError: in the first call, when the tracking URI cannot be used.
        """
        for trial in trials:
            folder = safe_name(trial.configuration)
            if self._owners.setdefault(folder, trial.trial_id) != trial.trial_id:
                folder = f"{folder}-{safe_name(trial.trial_id)}"
            self._trials[trial.trial_id] = trial, folder
            for seed in trial.seeds:
                self._folders[trial.replica_id(seed)] = f"{folder}/seed_{seed}"
                self._places[trial.replica_id(seed)] = trial.configuration, seed
        if self._runs is None:
            self._runs = self._connect(trials)
            self._writer = RunWriter(self._runs)
            self._submit("status of the study", lambda to: to.restart(STUDY))
        else:
            self._outbox.submit("runs of new trials", partial(self._runs.ensure, list(trials)))

    def log_rows(self, replica_id: str, rows: Iterable[Mapping[str, Any]], started_at_s: float) -> None:
        """Add rows (``phase, task, epoch, step, name, value, wall_s``) of a replica to its curves; those of phase
        ``final`` are none.

        Curves are named ``phase/name``. Their x axis is the row's step in training and the task elsewhere (the epoch
        where there is no task). After a restart hand in the rows of a replica from its first: TensorBoard's files are
        written anew, and the n-th point of a curve at a step is left out where MLflow has n of them already, even
        when a repeated step took another time or, on a GPU, came out in other digits.

        Args:
            replica_id: as in ``TrialSpec.replica_id``.
            rows: in the order in which they were reported.
            started_at_s: when ``wall_s`` was 0, in seconds since 1970; the same for the same row, always.

        Raises:
            ValueError: a replica that was not prepared.
        """
        folder = self._folder(replica_id)
        curves = [row for row in rows if row["phase"] != FINAL]
        points = [point_of(row, started_at_s) for row in curves]
        if not points:
            return
        self._others.tell(lambda to: to.log(*self._places[replica_id], curves))
        self._draw(lambda: self._events.write(folder, points))
        self._waiting.setdefault(replica_id, []).extend(points)
        if time.monotonic() >= self._sent_at + self._send_every_s:
            self._send_waiting()

    def finish_replica(
        self, replica_id: str, status: str, final_metrics: Mapping[str, float], artifacts: Sequence[Path] = ()
    ) -> None:
        """Close a replica's run: ``final/<name>`` metrics, artifacts under ``checkpoints``, its state.

        Raises:
            ValueError: a replica that was not prepared, or a status that is none of ``STATUSES``.
        """
        folder = self._folder(replica_id)
        metrics = {f"final/{name}": value for name, value in final_metrics.items()}
        self._check(status)
        self._send_waiting()
        if metrics:
            self._submit(f"final metrics of {replica_id}", lambda to: to.set_metrics(replica_id, metrics))
        self._add(replica_id, artifacts, "checkpoints")
        self._submit(f"status of {replica_id}", lambda to: to.set_status(replica_id, STATUSES[status], status))
        self._events.close(folder)
        self._others.tell(lambda to: to.finish(*self._places[replica_id], status, final_metrics))

    def finish_trial(self, trial_id: str, found: OverSeeds) -> None:
        """Close a trial's run with what its seeds say together; again, any time, where that may have changed.

        Raises:
            ValueError: a trial that was not prepared.
        """
        if trial_id not in self._trials:
            raise ValueError(f"trial {trial_id!r} was not prepared")
        (trial, folder), numbers = self._trials[trial_id], (found.status, found.metrics, found.digest)
        before, self._told[trial_id] = self._told.get(trial_id), numbers
        if before == numbers:
            return
        if found.curves and (before is None or before[-1] != found.digest):
            self._draw(lambda: self._events.write_band(f"{folder}/mean", found.curves))
        curves: dict[str, list[tuple[int, float]]] = {}
        for point in found.curves:
            curves.setdefault(point.key, []).append((point.step, point.value))
        self._others.over_seeds(trial.configuration, found.metrics, curves)
        self._submit(f"numbers of {trial_id}", lambda to: to.summarise(trial, found, STATUSES[found.status]))

    def finish_study(self, status: str, answer: str, metrics: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Close the run at the top: ``answer`` is its description."""
        self._check(status)
        told = {"mlflow.note.content": answer}
        self._submit("answer of the study", lambda to: to.set_metrics(STUDY, metrics, told))
        self._add(STUDY, artifacts, None)
        self._submit("status of the study", lambda to: to.set_status(STUDY, STATUSES[status], status))

    def close(self) -> list[str]:
        """Send what is left, and leave no run in state RUNNING: those not finished are interrupted.

        Returns:
            Warnings, one line each, for what is missing in MLflow or TensorBoard; empty when all is well, and the
            second time.
        """
        if self._closed:
            return []
        self._closed = True
        self._events.close()
        if self._runs is not None:
            self._send_waiting()
            for key in (*self._folders, *sorted(self._trials), STUDY):
                self._submit(f"end of {key}", partial(RunWriter.interrupt, key=key))
        self._others.tell(lambda to: to.close())
        warnings = self._tensorboard_warning + self._outbox.close() + self._others.warnings
        return [f"{line} (the results in {self._run_dir} are complete)" for line in warnings]

    def _check(self, status: str) -> None:
        if status not in STATUSES:
            raise ValueError(f"status {status!r}: allowed are {', '.join(STATUSES)}")

    def _draw(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._tensorboard_warning = [f"TensorBoard files could not be written: {one_line(error)}"]

    def _add(self, key: str, artifacts: Sequence[Path], under: str | None) -> None:
        for path in artifacts:
            self._submit(f"{path.name} of {key}", partial(RunWriter.add_artifact, key=key, path=path, under=under))

    def _send_waiting(self) -> None:
        for replica_id, points in self._waiting.items():
            self._submit(f"metrics of {replica_id}", partial(RunWriter.add_points, key=replica_id, points=points))
        self._waiting = {}
        self._sent_at = time.monotonic()

    def _connect(self, trials: Sequence[TrialSpec]) -> MlflowRuns:
        uri, beside = resolve_uri(self._uri, self._run_dir)
        client = open_client(uri)
        try:
            path, artifacts = self._run_dir / "tracking.json", self._artifact_root or beside
            runs = MlflowRuns(client, path, self._study, self._run_id, uri, artifacts, self._tags, self._about)
            runs.ensure(trials)
        except Exception as error:  # the first contact: whatever fails here is about the URI
            raise TrackingError(uri, f"cannot be used ({one_line(error)})") from error
        return runs

    def _folder(self, replica_id: str) -> str:
        if replica_id not in self._folders:
            raise ValueError(f"replica {replica_id!r} was not prepared")
        return self._folders[replica_id]

    def _submit(self, what: str, call: Callable[[RunWriter], None]) -> None:
        if self._writer is None:
            raise RuntimeError("prepare() comes before anything is recorded")
        self._outbox.submit(what, partial(call, self._writer))


def _tags(study: str, provenance: Mapping[str, Any]) -> dict[str, str]:
    """Tags of every run: the hashes, and what MLflow's own pages show as source and version."""
    found = {name: provenance.get(name) for name in ("git_commit", "git_dirty", *_HASHES)}
    tags = {name: str(value) for name, value in found.items() if value not in (None, "")}
    tags["mlflow.source.name"] = str(provenance.get("command") or f"study/run.py {study}")[:MAX_TAG_VALUE]
    if "git_commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git_commit"]
    return tags
