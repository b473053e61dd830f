"""One MLflow run per study run, below it one per trial, below that one per replica; the same after an interruption.

The ids are in ``tracking.json``. A crash between the creation of a run and the writing of its id leaves a run that
only MLflow knows; it is found again by its tags and taken over instead of made twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.resolved import TrialSpec
from study.tracking.mlflow_connection import without_password
from study.tracking.tensorboard import safe_name
from trainables.packs.checkpoint import write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SCHEMA_VERSION = 1
STUDY = "study"
"""Key of the run at the top, as trial and replica ids are those of the others."""
PARENT = "mlflow.parentRunId"
# Limits of MLflow's database.
MAX_KEY = 250
MAX_PARAM_VALUE = 6000
MAX_TAG_VALUE = 8000


@lru_cache(maxsize=10_000)
def mlflow_key(name: str) -> str:
    """``name`` with what MLflow rejects in metrics and parameters replaced."""
    cleaned = re.sub(r"[^/\w.\- :]", "_", name)
    # MLflow takes names for paths: no empty part, no dots alone.
    parts = [part for part in cleaned.split("/") if part.strip(" .")]
    return "/".join(parts)[:MAX_KEY].rstrip("/") or "_"


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as ``outer.inner`` -> text, within MLflow's limits; every key stays distinct."""
    flat: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), inner)
            return
        key = base = mlflow_key(prefix)
        number = 1
        while key in flat:
            number += 1
            key = f"{base[: MAX_KEY - 10]}_{number}"
        text = json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)
        flat[key] = text[:MAX_PARAM_VALUE]

    if params:
        add("", params)
    return flat


class MlflowRuns:
    """Creates, finds and remembers the MLflow runs of one run directory.

    Args:
        path: ``tracking.json`` of the run directory.
        run_id: name of the run directory, tag of every run in it.
        uri: where ``client`` leads; written down without a password.
        artifact_root: folder for artifacts of a new experiment; None leaves it to the server.
        tags: further tags of every run, such as hashes.
        about: tags of the run at the top alone.
    """

    def __init__(
        self, client: MlflowClient, path: Path, study: str, run_id: str, uri: str, artifact_root: Path | None,
        tags: Mapping[str, str], about: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.client, self._path = client, path
        self._common, self._about = {**tags, "study": study, "run_id": run_id}, {**about, "kind": STUDY}
        self.experiment_id = self._experiment(study, artifact_root)
        self._record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION, "study": study, "run_id": run_id, "uri": without_password(uri),
            "experiment_id": self.experiment_id, "runs": self._written_ids(),
        }  # fmt: skip
        self.runs: dict[str, str] = {}
        """``STUDY``, trial or replica id -> MLflow run id, for those that are certainly there."""
        self.status: dict[str, str] = {}
        """MLflow run id -> RUNNING, FINISHED, FAILED or KILLED, as far as this process knows."""
        self.created: set[str] = set()
        """MLflow run ids that this process created, so nothing was logged to them before."""
        self._parents: dict[str, str | None] = {}  # MLflow run id -> that of the run above
        self._found: dict[str, list[Run]] | None = None  # runs that others made; None: to be looked for

    def ensure(self, trials: Iterable[TrialSpec]) -> None:
        """Make the top and every run of ``trials`` exist exactly once and be written down; earlier versions had no top.

        Safe to repeat after any failure.
        """
        wanted = [trial for trial in trials if not self._complete(trial)]
        if STUDY in self.runs and not wanted:
            return
        # once, not for every trial of a search: what appears from here on is this process's own, unless a call fails
        found = self._search() if self._found is None else self._found
        self._found = None
        name = f"{self._common['study']} {self._common['run_id']}"
        top = self._ensure_run(STUDY, name, {}, self._about, found)
        for trial in wanted:
            own = {"trial_id": trial.trial_id, "configuration": trial.configuration}
            tags = {**own, "kind": "trial", PARENT: top}
            params = flat_params(trial.params)
            parent = self._ensure_run(trial.trial_id, trial.configuration, params, tags, found)
            for seed in trial.seeds:
                replica = trial.replica_id(seed)
                below = {**own, "kind": "replica", "seed": str(seed), PARENT: parent}
                name = f"{trial.configuration} seed {seed}"
                self._ensure_run(replica, name, {**params, "seed": str(seed)}, below, found)
        self._found = found

    def replace(self, trial: TrialSpec) -> None:
        """Delete the run of a trial and make a new one above its replicas."""
        old = self.runs[trial.trial_id]
        if self.client.get_run(old).info.lifecycle_stage == "active":  # else this is the call's second attempt
            self.client.delete_run(old)
        del self.runs[trial.trial_id]
        (self._found or {}).pop(trial.trial_id, None)
        self.ensure([trial])

    def set_status(self, run: str, status: str, tag: str) -> None:
        """Give an MLflow run its state, and the study's own word for it as tag ``status``."""
        self.client.set_tag(run, "status", tag)
        if status == "RUNNING":
            self.client.update_run(run, status=status)
        else:
            self.client.set_terminated(run, status)
        self.status[run] = status

    def _complete(self, trial: TrialSpec) -> bool:
        parent = self.runs.get(trial.trial_id)
        below = [self.runs.get(trial.replica_id(seed), "") for seed in trial.seeds]
        return parent is not None and all(self._parents.get(run) == parent for run in below)

    def _ensure_run(
        self, key: str, name: str, params: dict[str, str], tags: dict[str, str], found: dict[str, list[Run]]
    ) -> str:
        chosen = self.runs.get(key) or self._make_or_find(key, name, params, tags, found.get(key, []))
        parent = tags.get(PARENT)
        if parent is not None and self._parents[chosen] != parent:
            self.client.set_tag(chosen, PARENT, parent)
            self._parents[chosen] = parent
        self.runs[key] = chosen
        return chosen

    def _make_or_find(
        self, key: str, name: str, params: dict[str, str], tags: dict[str, str], candidates: list[Run]
    ) -> str:  # fmt: skip
        from mlflow.entities import Param

        written = self._record["runs"].get(key)
        run = next((each for each in candidates if each.info.run_id == written), candidates[0] if candidates else None)
        if run is None:
            every = {**self._common, **tags, "replica_or_trial": key, "status": "running"}
            every = {k: v[:MAX_TAG_VALUE] for k, v in every.items()}
            run = self.client.create_run(self.experiment_id, tags=every, run_name=name)
            self.created.add(run.info.run_id)
        chosen = run.info.run_id
        self.status[chosen], self._parents[chosen] = run.info.status, run.data.tags.get(PARENT)
        if written != chosen:
            self._record["runs"][key] = chosen
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._record, indent=1)
        if params and not run.data.params:
            self.client.log_batch(chosen, params=[Param(k, v) for k, v in params.items()])
        for spare in candidates:
            # A creation that was answered too late and made again.
            if spare.info.run_id != chosen and spare.info.status == "RUNNING":
                self.set_status(spare.info.run_id, "KILLED", "interrupted")
        return chosen

    def _search(self) -> dict[str, list[Run]]:
        """Runs of this run directory by trial or replica id, oldest first."""
        found: dict[str, list[Run]] = {}
        run_id = self._common["run_id"]
        quote = '"' if "'" in run_id else "'"
        token, which = None, f"tags.run_id = {quote}{run_id}{quote}"
        while True:
            order = ["attributes.start_time ASC"]
            page = self.client.search_runs([self.experiment_id], which, order_by=order, page_token=token)
            for run in page:
                found.setdefault(run.data.tags.get("replica_or_trial", ""), []).append(run)
            token = page.token
            if not token:
                return found

    def _experiment(self, study: str, artifact_root: Path | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(study)
        if experiment is None:
            location = None if artifact_root is None else (artifact_root.resolve() / safe_name(study)).as_uri()
            try:
                return self.client.create_experiment(study, artifact_location=location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self.client.get_experiment_by_name(study)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _written_ids(self) -> dict[str, str]:
        """Ids of an earlier process; nothing where there was none or its file is damaged: the tags still find them."""
        try:
            return dict(json.loads(self._path.read_text())["runs"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
