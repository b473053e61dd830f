"""A study with everything decided: what runs, how, and what study.json says."""

import hashlib
import json
from pathlib import PurePath
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator, model_validator

from study.spec import Claim, Contrast, Frozen, Objective, Reported, SearchSpec
from trainables.registry import named

Status = Literal["finished", "pruned", "diverged", "failed"]
"""How a replica ended."""


class ResolvedSearch(SearchSpec):
    """A search with everything that its trials need.

    Attributes:
        space_sha256: of the space as it is searched, with what the command line changed.
        base: parameters that are not searched, and values of dimensions that a configuration does not have.
        classes: of the data, for parameter counts and boundaries.
        enqueue: label -> configuration fields that are tried first; the first one is always confirmed.
    """

    space_sha256: str
    base: dict[str, Any]
    classes: int
    enqueue: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, content: Any) -> Any:
        return {k: v for k, v in content.items() if k != "optuna_storage"} if isinstance(content, dict) else content


class TrialSpec(Frozen):
    """One configuration and its seeds.

    Attributes:
        trial_id: hash of trainable and parameters; the same configuration has the same id in every run.
        params: every field of the trainable's configuration.
        boundaries: tasks or epochs, after each of which a replica reports and leaves a checkpoint; 0 where only its end
            tells how many there are.
    """

    trial_id: str
    configuration: str
    params: dict[str, Any]
    seeds: tuple[int, ...]
    trainable_params: int
    total_params: int
    boundaries: int

    def replica_id(self, seed: int) -> str:
        return f"{self.trial_id}-s{seed}"


class Resources(Frozen):
    """What one pack takes and how many run at once.

    Attributes:
        pack: replicas trained together; ``auto`` until the first steps have been measured.
    """

    device: Literal["cpu", "gpu"]
    pack: int | Literal["auto"]
    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int


class Origin(Frozen):
    """Where a study from outside comes from.

    Attributes:
        folder: what its modules are imported from; files below it are named relative to it.
        module: dotted name of the study's module.
        name: of the study in it.
        files: that module's, and those of everything beside it that it imports.
        source_hash: SHA-256 over names and contents of ``files``.
        cwd: where the user was; a worker goes there too, where it exists.
    """

    folder: str
    module: str
    name: str
    files: tuple[str, ...]
    source_hash: str
    cwd: str


class Extension(Frozen):
    """Seeds that were added to a run after it had been reported.

    Attributes:
        seeds: trial id -> those that were added.
        provenance: of the command that added them.
        changed: what had changed since the run began and was let pass, one line each.
    """

    seeds: dict[str, tuple[int, ...]]
    provenance: dict[str, Any] = {}
    changed: tuple[str, ...] = ()


class ResolvedStudy(Frozen):
    """Everything that decides the numbers of a run, and how to carry it out; the content of study.json.

    Attributes:
        boundary: what replicas report after, ``task`` or ``epoch``; ``tasks`` is how many (the most of any trial).
        metrics: what is known of the final metrics, by name: fields of ``Metric``.
        origin: of a study from outside.
        trials: all of them, or those that a search tries first (its journal holds them all).
        looks: for every report that somebody could act on, configuration -> seeds that it was to have by then: the
            first run, and one more for each extension. Empty for searches and runs of earlier versions.
    """

    schema_version: int
    study: str
    question: str
    run_id: str
    trainable: str
    profile: str
    dataset: str
    backbone: str
    seeds: tuple[int, ...]
    boundary: str
    tasks: int
    report: str
    metrics: dict[str, dict[str, Any]]
    objective: Objective
    search: ResolvedSearch | None = None
    configurations: dict[str, dict[str, Any]]
    trials: tuple[TrialSpec, ...]
    resources: Resources
    mlflow_uri: str
    budget_min: float | None = None
    reported: tuple[Reported, ...] = ()
    reported_source: str = ""
    reported_setting: dict[str, str] = {}
    contrasts: tuple[Contrast, ...] = ()
    claims: tuple[Claim, ...] = ()
    origin: Origin | None = None
    provenance: dict[str, Any] = {}
    looks: tuple[dict[str, int], ...] = ()
    extensions: tuple[Extension, ...] = ()

    @property
    def material(self) -> str:
        """Data and backbone, as people read them."""
        return " on ".join(filter(None, (self.dataset, self.backbone))) or "data of its own"

    @property
    def length(self) -> str:
        """``10 tasks``; nothing where only its end tells."""
        return f"{self.tasks} {self.boundary}s" if self.tasks else ""

    def provenance_of(self, trial_id: str, seed: int) -> dict[str, Any]:
        """Where a replica's code, data and versions are from: the run's beginning, or the extension that added it."""
        added = (one.provenance for one in self.extensions if seed in one.seeds.get(trial_id, ()))
        return next(added, self.provenance)

    @field_validator("metrics", mode="before")
    @classmethod
    def _of_earlier_versions(cls, metrics: Any, info: ValidationInfo) -> Any:
        return named(info.data["trainable"]).metrics_as_data() if isinstance(metrics, str) else metrics


def trial_id(trainable: str, params: dict[str, Any]) -> str:
    """Identity of a configuration: ten hex digits of a hash. Of paths only the last part counts, so that the same
    study on another machine has the same ids."""
    portable = {key: PurePath(value).name if key in ("dataset", "backbone") else value for key, value in params.items()}
    return hashlib.sha256(json.dumps([trainable, portable], sort_keys=True).encode()).hexdigest()[:10]
