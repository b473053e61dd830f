"""What a study is, as validated data: the definition in the catalogue and the resolved form that runs."""

import json
from itertools import chain
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_validator, model_validator

from search_spaces.space import Space
from trainables.methods.plain import PlainConfig, plain, with_keys
from trainables.registry import TrainableSpec, named


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


OverSeeds = Literal["mean", "iqm", "worst", "cvar", "mean_minus_std", "collapse_rate", "spread"]


class Objective(Frozen):
    """What a configuration is judged by: a final metric of its replicas, and how seeds are summarised.

    Attributes:
        over_seeds: see ``study.search.statistics.summarise``.
        direction: which way the metric is good; where not given, as its trainable says.
        fraction: share of the worst seeds that ``cvar`` averages.
        c: standard deviations that ``mean_minus_std`` takes off.
        threshold: metric below which a seed has collapsed (above which, where the metric is minimized), for
            ``collapse_rate``, for instance the accuracy of the frozen backbone.
        failed_as: metric that a failed or diverged seed counts as; None: its worst possible value where it has one,
            else the worst that any seed has had (``study.search.statistics.imputed``).
    """

    metric: str
    over_seeds: OverSeeds = "mean"
    direction: Literal["maximize", "minimize"] = "maximize"
    fraction: float = Field(0.25, gt=0.0, le=1.0)
    c: float = Field(1.0, ge=0.0)
    threshold: float | None = None
    failed_as: float | None = Field(None, allow_inf_nan=False)

    def directed(self, spec: TrainableSpec) -> "Objective":
        """With the direction that the trainable gives its metric, where none was asked for."""
        metric = spec.metric(self.metric)
        given = "direction" in self.model_fields_set or metric is None
        return self if given or metric is None else self.model_copy(update={"direction": metric.direction})


class Profile(Frozen):
    """Data, backbone and settings of one way to run a study.

    Attributes:
        settings: configuration fields that differ from the trainable's defaults.
        departures: where and why this profile is not what the notes ran, one line each; ``show`` prints them.
        data: ``data.*`` fields that belong to this profile's data set (left out when ``--dataset`` names another).
        configurations: label -> fields in which that configuration of the study differs in this profile.
        gpus_per_trial: share of a GPU that one pack takes where there are GPUs.
    """

    dataset: str = ""
    backbone: str = ""
    seeds: int = Field(5, ge=1)
    settings: dict[str, Any] = {}
    data: dict[str, Any] = {}
    configurations: dict[str, dict[str, Any]] = {}
    gpus_per_trial: float = 1.0
    departures: tuple[str, ...] = ()


class Contrast(Frozen):
    """A difference that a study asks for: the objective summed over ``plus`` minus that over ``minus``, seed by seed.

    One label on each side is what a change is worth; two are how much a change moves the gap between two
    configurations.

    Attributes:
        name: what is changed, such as ``loss over all classes seen``.
        plus, minus: labels of configurations, equally many.
        group: heading under which the report lists it.
    """

    name: str
    plus: tuple[str, ...] = Field(min_length=1)
    minus: tuple[str, ...] = Field(min_length=1)
    group: str = ""

    @model_validator(mode="after")
    def _balanced(self) -> "Contrast":
        if len(self.plus) != len(self.minus):
            raise ValueError(f"contrast {self.name!r}: plus has {len(self.plus)} labels, minus {len(self.minus)}")
        return self


class Claim(Frozen):
    """An order that the notes claim: every configuration better than the next.

    Attributes:
        order: labels of configurations, best first.
        metric: a final metric; "": the study's objective.
        source: where it is claimed.
    """

    order: tuple[str, ...] = Field(min_length=2)
    metric: str = ""
    source: str = ""

    @field_validator("order")
    @classmethod
    def _each_once(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({label for label in order if order.count(label) > 1}):
            raise ValueError(f"a claimed order has each configuration once, not twice {', '.join(twice)}")
        return order


class Reported(Frozen):
    """Numbers that the notes report for one configuration: never measured here, always shown as reported."""

    configuration: str
    label: str
    accuracy: tuple[float, ...] = ()
    """Per task, fractions in [0, 1]."""
    ablation: dict[str, float] = {}
    metrics: dict[str, float] = {}
    """best_top1, final_top1, ece_near_best, final_ece_batch, top1, ece (fractions in [0, 1]), step_time_s (seconds),
    trainable_params, final_accuracy, average_incremental_accuracy."""


class Confirmation(Frozen):
    """After a search: the best ``configurations`` are run again on ``seeds`` fresh seeds, and tested."""

    configurations: int = Field(5, ge=1)
    seeds: int = Field(8, ge=2)


class SearchSpec(Frozen):
    """How a study searches its space.

    Attributes:
        space: ``Space.to_json`` as data; a ``Space`` is taken too.
        objectives: statistics over seeds of metrics that need no test data (``Metric.held_out``).
        constraints: such as ``collapse_rate<=0.1``.
        sampler: see ``study.search.samplers.KINDS``.
        schedule: who gets how many seeds, see ``study.search.racing.SeedSchedule.parse``.
        stopping: within a run, see ``study.search.racing.StepSchedule.parse``; None: packs run to their end.
        trials: configurations, duplicates included.
        replicas: at most, confirmation aside; what the race leaves of them goes to the best that it held back. None: no
            bound.
        seed: of the suggestions.
    """

    space: tuple[dict[str, Any], ...]
    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: tuple[str, ...] = ()
    sampler: str = "tpe"
    schedule: str = "halving:2,4,8"
    stopping: str | None = None
    trials: int = Field(20, ge=1)
    replicas: int | None = None
    seed: int = 0
    confirm: Confirmation = Confirmation()

    @field_validator("space", mode="before")
    @classmethod
    def _space_as_data(cls, space: Any) -> Any:
        return json.loads(space.to_json()) if isinstance(space, Space) else space

    @property
    def dimensions(self) -> Space:
        return Space.from_json(json.dumps(self.space))


class Study(Frozen):
    """An entry of the catalogue.

    Attributes:
        question: what the study answers, one sentence.
        trainable: a method, its name, or a function ``train(config, seed)`` (``trainables.methods.plain``).
        configurations: label -> configuration fields; the first one is the baseline of the comparisons.
        report: kind of closing report in ``analysis.report``; default: that of searches, or of the trainable.
        search: the study searches a space; ``configurations`` are tried first.
        reported_source: data, backbone and number of runs behind ``reported``, as text.
        reported_setting: its ``dataset`` and ``backbone`` by the names that profiles use.
        notes_command: options of the notes' command line -> what stands for them here; ``show`` prints it.
        contrasts: differences between configurations that answer the question, tested together.
        claims: orders of configurations that the notes claim; the report says which hold.
    """

    name: str = Field(min_length=1)
    question: str
    trainable: InstanceOf[TrainableSpec]
    configurations: dict[str, dict[str, Any]] = Field(min_length=1)
    objective: Objective
    profiles: dict[str, Profile] = Field({"default": Profile()}, min_length=1)
    report: str = ""
    search: SearchSpec | None = None
    reported: tuple[Reported, ...] = ()
    reported_source: str = ""
    reported_setting: dict[str, str] = {}
    notes_command: dict[str, str] = {}
    contrasts: tuple[Contrast, ...] = ()
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_a_function(cls, content: Any) -> Any:
        """A plain method takes the keys that the study has, and no others."""
        trainable = content.get("trainable")
        if isinstance(trainable, str):
            return content | {"trainable": named(trainable)}
        if callable(trainable):
            trainable = plain(trainable)
        if isinstance(trainable, TrainableSpec) and trainable.config is PlainConfig:
            profiles = map(Profile.model_validate, content.get("profiles", {}).values())
            search = content.get("search")
            fields = [*content.get("configurations", {}).values(), *(profile.settings for profile in profiles)]
            space = SearchSpec.model_validate(search).dimensions.dimensions if search else {}
            trainable = with_keys(trainable, {*chain.from_iterable(fields), *space})
        return content | {"trainable": trainable}

    @property
    def kind_of_report(self) -> str:
        return self.report or ("search" if self.search else self.trainable.report)

    @model_validator(mode="after")
    def _contrasts_name_configurations(self) -> "Study":
        named = {label for contrast in self.contrasts for label in (*contrast.plus, *contrast.minus)}
        if unknown := named - set(self.configurations):
            raise ValueError(f"study {self.name!r}: contrasts name no configuration: {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _claims_name_what_is_measured(self) -> "Study":
        if unknown := {label for claim in self.claims for label in claim.order} - set(self.configurations):
            raise ValueError(f"study {self.name!r}: claims name no configuration: {', '.join(sorted(unknown))}")
        metrics = {claim.metric for claim in self.claims if claim.metric}
        if unknown := {name for name in metrics if self.trainable.metric(name) is None}:
            raise ValueError(f"study {self.name!r}: claims name no final metric: {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _profiles_name_configurations(self) -> "Study":
        named = {label for profile in self.profiles.values() for label in profile.configurations}
        if unknown := named - set(self.configurations):
            raise ValueError(f"study {self.name!r}: profiles name no configuration: {', '.join(sorted(unknown))}")
        return self
