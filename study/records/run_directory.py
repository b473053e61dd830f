"""The run directory: the only truth about a run. Everything else can be rebuilt from it.

``study.json`` says what runs; ``checkpoints/<replica>/`` holds each replica's state and rows after every task or
epoch and, once it has ended, its ``outcome.json``.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from analysis.io.records import (
    METRICS_FILE,
    STUDY_FILE,
    TRIALS_FILE,
    TRIALS_SCHEMA,
    read_metrics,
    read_trials,
    write_metrics,
    write_trials,
)
from study.resolved import ResolvedStudy, Status, TrialSpec
from study.search.journal import JOURNAL_FILE, read_journal
from trainables.configs.names import flatten
from trainables.errors import InputError
from trainables.metrics.finals import FINAL
from trainables.packs.checkpoint import Row, checkpoint_files, position_of, write_json

DYNAMIC = ("param.", "metric.")
"""How the names of a configuration's parameters and of final metrics begin in ``trials.parquet``."""
SPENT = ("data_s", "train_s", "eval_s", "checkpoint_s")
"""Timing rows that add up to a replica's time."""


class Outcome(BaseModel):
    """How a replica ended.

    Attributes:
        peak_memory_mib: of the GPU, or of the worker process where there is none (a process serves several replicas).
        began_at, ended_at: seconds since 1970; ``began_at`` is when the row clock ``wall_s`` was 0.
        report_s: seconds that the replica waited for the driver.
        notice: what the user should know of the worker, such as a GPU that does not start.
        breach: the function from outside does not do what was agreed; ``error`` says how.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status
    error: str | None = None
    peak_memory_mib: float = 0.0
    host: str = ""
    began_at: float = 0.0
    ended_at: float = 0.0
    report_s: float = 0.0
    notice: str = ""
    breach: bool = False


def write_outcome(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "outcome.json", outcome.model_dump(), indent=1)


class RunDirectory:
    """One run on disk; must be visible to all nodes."""

    def __init__(self, path: Path, study: ResolvedStudy) -> None:
        self.path, self.study = path, study
        self._trials = {trial.trial_id: trial for trial in study.trials}
        for trial in read_journal(path / JOURNAL_FILE)[1] if study.search else []:
            self.add(trial)

    @classmethod
    def create(cls, path: Path, study: ResolvedStudy) -> "RunDirectory":
        """Start a run in a new or empty folder.

        Raises:
            InputError: the folder holds a run or other files, or cannot be written.
        """
        if (path / STUDY_FILE).exists():
            held = cls.open(path).study
            kind = "this study" if held.study == study.study else f"another study ({held.study})"
            raise InputError(
                f"--out {path}: holds run {held.run_id} of {kind}; continue that one with `lora-study resume {path}`, "
                "or choose a new folder"
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"--out {path}: exists and is not an empty folder; a new or empty folder is allowed")
        try:
            (path / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise InputError(f"--out {path}: cannot be created ({error.strerror})") from error
        write_json(path / STUDY_FILE, study.model_dump(mode="json"), indent=1)
        return cls(path, study)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Raises InputError where there is no readable run."""
        try:
            return cls(path, ResolvedStudy.model_validate_json((path / STUDY_FILE).read_text()))
        except OSError as error:
            raise InputError(f"{path}: not a run directory ({STUDY_FILE}: {error.strerror})") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{path / STUDY_FILE}: not readable by this version "
                f"({'.'.join(map(str, first['loc']))}: {first['msg']})"
            ) from error

    def decide_pack(self, pack: int) -> None:
        """Write down how many replicas are trained together, so that a resume does the same."""
        resources = self.study.resources.model_copy(update={"pack": pack})
        self._write(self.study.model_copy(update={"resources": resources}))

    def extend(self, study: ResolvedStudy) -> None:
        """Write down a study without search whose trials have more seeds, before any of these is trained."""
        self._write(study)
        self._trials = {trial.trial_id: trial for trial in study.trials}

    def _write(self, study: ResolvedStudy) -> None:
        self.study = study
        write_json(self.path / STUDY_FILE, study.model_dump(mode="json"), indent=1)

    @property
    def trials(self) -> list[TrialSpec]:
        """Those of the study and those that its search has begun."""
        return list(self._trials.values())

    def add(self, trial: TrialSpec) -> None:
        """A trial of the search has begun, or has been given more seeds."""
        self._trials[trial.trial_id] = trial

    def trial(self, trial_id: str) -> TrialSpec | None:
        return self._trials.get(trial_id)

    def replica(self, replica_id: str) -> tuple[TrialSpec, int]:
        trial_id, _, seed = replica_id.rpartition("-s")
        return self._trials[trial_id], int(seed)

    @property
    def replicas(self) -> list[tuple[TrialSpec, int]]:
        return [(trial, seed) for trial in self.trials for seed in trial.seeds]

    def folder(self, replica_id: str) -> Path:
        return self.path / "checkpoints" / replica_id

    def outcome(self, replica_id: str) -> Outcome | None:
        path = self.folder(replica_id) / "outcome.json"
        return Outcome.model_validate_json(path.read_text()) if path.exists() else None

    def unfinished(self, failed: bool = True) -> list[tuple[TrialSpec, int]]:
        """Replicas that a resume has to work on: those without an outcome and, with ``failed``, those that failed.

        A failed replica of a search has been counted against its configuration and is not tried again.
        """
        return [
            (trial, seed)
            for trial, seed in self.replicas
            if (found := self.outcome(trial.replica_id(seed))) is None
            or (failed and found.status == "failed" and not is_searched(trial))
        ]

    def checkpoints(self, replica_id: str) -> list[Path]:
        """Weights files of a replica's checkpoints, first to last."""
        return [path.with_suffix(".safetensors") for path in checkpoint_files(self.folder(replica_id))]

    def boundaries_done(self, replica_id: str) -> int:
        """Tasks or epochs that a replica has completed."""
        files = checkpoint_files(self.folder(replica_id))
        return position_of(files[-1]) + 1 if files else 0

    def rows(self, replica_id: str) -> list[Row]:
        """Everything a replica has reported, from its last checkpoint."""
        files = checkpoint_files(self.folder(replica_id))
        return json.loads(files[-1].read_text())["rows"] if files else []

    def final_metrics(self, replica_id: str, boundaries: int | None = None) -> dict[str, float]:
        """What a replica ended with; empty before it has.

        Args:
            boundaries: as if its run were over after so many tasks or epochs.
        """
        finals = [row for row in self.rows(replica_id) if row["phase"] == FINAL]
        if not finals:
            return self._of_an_earlier_version.get(replica_id, {})
        length = boundaries or self.replica(replica_id)[0].boundaries
        if not length and (outcome := self.outcome(replica_id)) and outcome.status in ("finished", "diverged"):
            length = self.boundaries_done(replica_id)
        return {row["name"]: row["value"] for row in finals if row[self.study.boundary] == length - 1}

    @cached_property
    def _of_an_earlier_version(self) -> dict[str, dict[str, float]]:
        """Final metrics of replicas whose rows have none: before there was the phase ``final``."""
        if not (self.path / TRIALS_FILE).exists():
            return {}
        table = read_trials(self.path / TRIALS_FILE).to_pylist()
        return {row["replica_id"]: {name.removeprefix("metric."): value for name, value in row.items()
                                    if name.startswith("metric.") and value is not None} for row in table}  # fmt: skip

    def without_checkpoints(self) -> dict[str, dict[str, Any]]:
        """Rows of ``trials.parquet`` of the replicas that have ended and of which nothing else is left."""
        gone = {replica_id for trial, seed in self.replicas
                if not self.folder(replica_id := trial.replica_id(seed)).exists()}  # fmt: skip
        if not gone or not (self.path / TRIALS_FILE).exists():
            return {}
        table = read_trials(self.path / TRIALS_FILE)
        today = [name for name in table.column_names if name in TRIALS_SCHEMA.names or name.startswith(DYNAMIC)]
        rows = table.select(today).to_pylist()  # earlier versions had other columns
        return {row["replica_id"]: row for row in rows if row["replica_id"] in gone and row["status"] != "interrupted"}

    def export(self) -> None:
        """Write ``trials.parquet`` and ``metrics.parquet`` from what is there now.

        A replica whose checkpoints were deleted, or left behind when the run was copied, keeps the rows that it has.
        """
        tracked = self.path / "tracking.json"
        links = json.loads(tracked.read_text()).get("runs", {}) if tracked.exists() else {}
        trials: list[dict[str, Any]] = []
        metrics: list[dict[str, Any]] = []
        without = self.without_checkpoints()
        for trial, seed in self.replicas:
            replica_id = trial.replica_id(seed)
            if replica_id in without:
                trials.append(without[replica_id])
                continue
            rows, outcome = self.rows(replica_id), self.outcome(replica_id)
            seconds, provenance = seconds_by_name(rows), self.study.provenance_of(trial.trial_id, seed)
            trials.append(
                {
                    "study": self.study.study, "run_id": self.study.run_id, "trial_id": trial.trial_id,
                    "configuration": trial.configuration, "replica_id": replica_id, "seed": seed,
                    "status": outcome.status if outcome else "interrupted",
                    "error": outcome.error if outcome else None,
                    "trainable_params": trial.trainable_params, "total_params": trial.total_params,
                    "duration_s": sum(seconds.values()), "data_s": seconds.get("data_s", 0.0),
                    "train_s": seconds.get("train_s", 0.0), "eval_s": seconds.get("eval_s", 0.0),
                    "peak_memory_mib": outcome.peak_memory_mib if outcome else None,
                    "mlflow_run_id": links.get(replica_id),
                    **{key: provenance.get(key) for key in
                       ("git_commit", "diff_hash", "data_hash", "weights_hash", "environment_hash")},
                    **{f"param.{key}": value for key, value in flatten(trial.params).items()},
                    **{f"metric.{key}": value for key, value in self.final_metrics(replica_id).items()},
                }
            )  # fmt: skip
            metrics += [{"trial_id": trial.trial_id, "seed": seed, **row} for row in rows]
        if without:
            ended = {(row["trial_id"], row["seed"]) for row in without.values()}
            known = read_metrics(self.path / METRICS_FILE).to_pylist()
            metrics += [row for row in known if (row["trial_id"], row["seed"]) in ended]
        write_trials(self.path / TRIALS_FILE, trials, self.study.metrics)
        if isinstance(json.loads((self.path / STUDY_FILE).read_text()).get("metrics"), str):
            # of an earlier version, which did not say what reports need to know of its metrics
            self._write(self.study)
        write_metrics(self.path / METRICS_FILE, metrics, [trial.trial_id for trial in self.trials])


def is_searched(trial: TrialSpec) -> bool:
    """A trial of the search itself: its replicas never see a test image."""
    return trial.params.get("evaluate") == "validation"


def seconds_by_name(rows: list[Row]) -> dict[str, float]:
    """Sums of a replica's timing rows by name; a median of an epoch such as step_time_s is no part of the time."""
    total: dict[str, float] = {}
    for row in rows:
        if row["phase"] == "timing" and row["name"] in SPENT:
            total[row["name"]] = total.get(row["name"], 0.0) + row["value"]
    return total
