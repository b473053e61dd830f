"""What a study is, as validated data: the definition in the catalogue and the resolved form that runs."""

import hashlib
import json
from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Objective(Frozen):
    """What a configuration is judged by: a final metric of its replicas, and how seeds are summarised."""

    metric: str
    over_seeds: Literal["mean"] = "mean"
    direction: Literal["maximize", "minimize"] = "maximize"


class Profile(Frozen):
    """Data, backbone and settings of one way to run a study.

    Attributes:
        settings: configuration fields that differ from the trainable's defaults.
        data: ``data.*`` fields that belong to this profile's data set (left out when ``--dataset`` names another).
        gpus_per_trial: share of a GPU that one pack takes where there are GPUs.
        pack: replicas in a pack of ``--pack auto``; None: one on a CPU, all of a configuration on a GPU.
    """

    dataset: str
    backbone: str
    seeds: int
    settings: dict[str, Any] = {}
    data: dict[str, Any] = {}
    gpus_per_trial: float = 1.0
    pack: int | None = Field(None, ge=1)


class Reported(Frozen):
    """Numbers that the notes report for one configuration: never measured here, always shown as reported."""

    configuration: str
    label: str
    accuracy: tuple[float, ...] = ()
    """Per task, fractions in [0, 1]."""
    ablation: dict[str, float] = {}
    metrics: dict[str, float] = {}
    """best_top1, ece_near_best, top1, ece (fractions in [0, 1]), step_time_s (seconds), trainable_params."""


class Study(Frozen):
    """An entry of the catalogue.

    Attributes:
        question: what the study answers, one sentence.
        trainable: key of ``trainables.configs.CONFIGS``.
        configurations: label -> configuration fields; the first one is the baseline of the comparisons.
        report: kind of closing report in ``analysis.report``.
        reported_source: data, backbone and number of runs behind ``reported``, as text.
        reported_setting: its ``dataset`` and ``backbone`` by the names that profiles use.
        notes_command: options of the notes' command line -> what stands for them here; ``show`` prints it.
    """

    name: str
    question: str
    trainable: str
    configurations: dict[str, dict[str, Any]] = Field(min_length=1)
    objective: Objective
    profiles: dict[str, Profile]
    report: str
    reported: tuple[Reported, ...] = ()
    reported_source: str = ""
    reported_setting: dict[str, str] = {}
    notes_command: dict[str, str] = {}


class TrialSpec(Frozen):
    """One configuration and its seeds.

    Attributes:
        trial_id: hash of trainable and parameters; the same configuration has the same id in every run.
        params: every field of the trainable's configuration.
        boundaries: tasks or epochs, after each of which a replica reports and leaves a checkpoint.
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
    """What one pack takes and how many run at once."""

    device: Literal["cpu", "gpu"]
    pack: int
    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int


class ResolvedStudy(Frozen):
    """Everything that decides the numbers of a run, and how to carry it out; the content of study.json.

    Attributes:
        boundary: what replicas report after, ``task`` or ``epoch``; ``tasks`` is how many (the most of any trial).
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
    objective: Objective
    configurations: dict[str, dict[str, Any]]
    trials: tuple[TrialSpec, ...]
    resources: Resources
    mlflow_uri: str
    budget_min: float | None = None
    reported: tuple[Reported, ...] = ()
    reported_source: str = ""
    reported_setting: dict[str, str] = {}
    provenance: dict[str, Any] = {}


def trial_id(trainable: str, params: dict[str, Any]) -> str:
    """Identity of a configuration: ten hex digits of a hash. Of paths only the last part counts, so that the same
    study on another machine has the same ids."""
    portable = {key: PurePath(value).name if key in ("dataset", "backbone") else value for key, value in params.items()}
    return hashlib.sha256(json.dumps([trainable, portable], sort_keys=True).encode()).hexdigest()[:10]
