"""From a study's search, its profile and the user's settings to the space that is searched and what is tried first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from analysis.finals import HELD_OUT_METRICS
from search_spaces.dimensions import Choice, Fixed, Float, Int, SpaceError, is_range
from search_spaces.space import Space
from study.resolve.search_options import check_metrics
from study.resolve.settings import flatten, nested, parse_settings
from study.search.candidates import Job
from study.search.racing import SeedSchedule
from study.search.samplers import Sampler
from study.search.seed_search import SeedSearch
from study.search.statistics import parse_constraint
from study.search.stopping import StepSchedule
from study.spec import ResolvedSearch, ResolvedStudy, SearchSpec, Study, TrialSpec, trial_id
from trainables.configs import CONFIGS, TrainableConfig, aliases
from trainables.errors import InputError

DRAWS = 32
"""Random points of a space that must be valid configurations before anything starts."""
COUNTS = ("trainable_params", "total_params")
"""Metrics of a replica that no trainable has to report."""


@dataclass
class Plan:
    """What is searched, before the data are known.

    Attributes:
        base: parameters outside the space, flat.
        configs: label -> configuration that is tried first.
        fields: label -> its values of the dimensions.
    """

    spec: SearchSpec
    trainable: str
    base: dict[str, Any]
    configs: dict[str, TrainableConfig] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    @property
    def base_config(self) -> TrainableConfig:
        return configured(self.trainable, self.base, {})

    def resolved(self, classes: int, optuna_storage: str | None) -> ResolvedSearch:
        content = self.spec.model_dump() | {
            "space_sha256": self.spec.dimensions.sha256, "base": self.base, "classes": classes, "enqueue": self.fields,
            "optuna_storage": optuna_storage,
        }  # fmt: skip
        return ResolvedSearch.model_validate(content)


def plan_search(
    study: Study,
    spec: SearchSpec,
    settings: Mapping[str, Any],
    pairs: list[str],
    files: Mapping[str, Mapping[str, Any]],
) -> Plan:
    """Settle the space and the configurations that are tried first.

    Args:
        settings: what the profile, ``--dataset`` and ``--backbone`` say, dotted names.
        pairs: ``--set KEY=VALUE``: a range or a dimension's value changes the space, the rest every configuration.
        files: label -> fields of configuration files; they replace the study's own configurations.

    Raises:
        InputError: an impossible space, or a value that the trainable does not take.
    """
    model, given = CONFIGS[study.trainable], parse_settings(pairs, study.trainable)
    if "evaluate" in given:
        raise InputError(
            "--set evaluate: a search looks at held-out training examples, its confirmation at the test set too"
        )
    space = spec.dimensions
    texts = {name: pair.partition("=")[2] for name, pair in zip(given, pairs, strict=True)}
    dimensions = {name: text for name, text in texts.items() if name in space.dimensions or is_range(text)}
    plain = {name: value for name, value in given.items() if name not in dimensions}
    try:
        space = space.override(dimensions, set(aliases(model).values()))
    except SpaceError as error:
        raise InputError(f"--set: {error}") from error
    common = dict(settings) | plain
    base = flatten(validated(model, common | {"evaluate": "validation"}).model_dump(mode="json"))
    plan = Plan(SearchSpec.model_validate(spec.model_dump() | {"space": space}), study.trainable, base)
    fixed = {n: d.value for n, d in space.dimensions.items() if n in dimensions and isinstance(d, Fixed)}
    seen: set[str] = set()
    for label, own in (files or study.configurations).items():
        if len(plan.configs) == spec.trials:
            break
        flat = flatten(validated(model, common | dict(own) | plain).model_dump(mode="json"))
        changed = [f"{name}={value}" for name, value in (plain | fixed).items() if own.get(name, value) != value]
        name = f"{label} with {', '.join(changed)}" if changed else label
        try:
            point = space.point({key: flat[key] for key in space.dimensions if key not in fixed})
        except SpaceError as error:
            if files:
                raise InputError(f"--config {label}: not in the search space ({error})") from error
            plan.notices.append(
                f"configuration {name!r} is outside the space that --set leaves and not tried ({error})"
            )
            continue
        if space.key(point) in seen:
            continue
        seen.add(space.key(point))
        plan.fields[name] = dict(space.fields(point))
        plan.configs[name] = configured(study.trainable, base, plan.fields[name])
    return plan


def check_space(plan: Plan, count: Callable[[TrainableConfig], tuple[int, int]]) -> None:
    """Refuse a space with values that the trainable does not take.

    Args:
        count: parameters of a configuration; raises InputError for one that does not fit the backbone.

    Raises:
        InputError: says which value.
    """
    space, model = plan.spec.dimensions, CONFIGS[plan.trainable]
    for name, dimension in space.dimensions.items():
        if not space.reachable(name):
            continue
        for value in _extremes(space, name):
            try:
                config = model.model_validate(nested(plan.base | {name: value}))
            except ValidationError as error:
                # what concerns several fields depends on the others, which the draws below have
                first = next((e for e in error.errors() if ".".join(map(str, e["loc"])) == name), None)
                if first:
                    raise InputError(f"search space: {name}={value}: {first['msg']}") from error
            else:
                if isinstance(dimension, Int):
                    count(config)
    sampler = Sampler("random", space, ["maximize"], seed=0, population=1, startup=1)
    for number in range(DRAWS):
        fields = space.fields(sampler.suggest(number, 0, [])[0])
        try:
            configured(plan.trainable, plan.base, fields)
        except InputError as error:
            raise InputError(f"search space: it holds impossible configurations ({error})") from error


def check_plan(plan: Plan, kind: str, seeds: tuple[int, ...]) -> None:
    """Refuse settings of a search that do not fit each other, and metrics that a search cannot measure.

    Args:
        kind: of final metrics.

    Raises:
        InputError: one line.
    """
    build_search(plan.spec, plan.fields, seeds)
    reported = (*HELD_OUT_METRICS[kind], *COUNTS)
    objectives = plan.spec.objectives
    named = [("objective", objective.metric) for objective in objectives]
    named += [("constraint", parse_constraint(text, objectives).objective.metric) for text in plan.spec.constraints]
    check_metrics(named, reported)


def new_search(study: ResolvedStudy) -> SeedSearch:
    """The search of a study before its first job."""
    assert study.search is not None
    return build_search(study.search, study.search.enqueue, study.seeds)


def build_search(spec: SearchSpec, enqueue: Mapping[str, Mapping[str, Any]], seeds: tuple[int, ...]) -> SeedSearch:
    """Raises InputError for settings that do not fit each other."""
    return SeedSearch(
        spec.dimensions, spec.objectives, spec.constraints, sampler=spec.sampler,
        schedule=SeedSchedule.parse(spec.schedule), trials=spec.trials, replicas=spec.replicas, seed=spec.seed,
        enqueue=list(enqueue.values()), seeds=seeds,
        stopping=StepSchedule.parse(spec.stopping) if spec.stopping else None,
    )  # fmt: skip


def trial_of(
    study: ResolvedStudy, job: Job, seeds: tuple[int, ...], count: Callable[[TrainableConfig], tuple[int, int]],
    test: bool = False,
) -> TrialSpec:  # fmt: skip
    """A configuration of the search as a trial.

    Args:
        seeds: all that it has been given.
        test: for the confirmation: the test set is evaluated too.
    """
    search = study.search
    assert search is not None
    evaluate = {"evaluate": "test"} if test else {}
    config = configured(study.trainable, search.base, job.params | evaluate)
    label = label_of(search, job.trial_number)
    return make_trial(study.trainable, f"{label}, fresh seeds" if test else label, config, seeds, search.classes, count)


def label_of(search: ResolvedSearch, number: int) -> str:
    """Name of a configuration: as in the catalogue where it was tried first, else its number."""
    labels = list(search.enqueue)
    return labels[number] if number < len(labels) else f"trial {number}"


def make_trial(
    trainable: str, label: str, config: TrainableConfig, seeds: tuple[int, ...], classes: int,
    count: Callable[[TrainableConfig], tuple[int, int]],
) -> TrialSpec:  # fmt: skip
    """A validated configuration with its identity and sizes."""
    params, counts = config.model_dump(mode="json"), count(config)
    return TrialSpec(
        trial_id=trial_id(trainable, params), configuration=label, params=params, seeds=seeds,
        trainable_params=counts[0], total_params=counts[1], boundaries=config.boundaries(classes),
    )  # fmt: skip


def configured(trainable: str, base: Mapping[str, Any], fields: Mapping[str, Any]) -> TrainableConfig:
    """Configuration of a point's fields."""
    return validated(CONFIGS[trainable], dict(base) | dict(fields))


def validated(model: type[TrainableConfig], settings: dict[str, Any]) -> TrainableConfig:
    """A configuration from dotted names; raises InputError with one line for the first wrong value."""
    try:
        return model.model_validate(nested(settings))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}={first['input']!r}: {message}" if where else message) from error


def _extremes(space: Space, name: str) -> list[Any]:
    dimension = space.dimensions[name]
    if isinstance(dimension, Fixed):
        return [dimension.value]
    if isinstance(dimension, Choice):
        return list(dimension.options)
    if isinstance(dimension, Float) and dimension.ratio_to is not None:
        parents = [value for value in _extremes(space, dimension.ratio_to) if isinstance(value, int | float)]
        return [dimension.low * min(parents), dimension.high * max(parents)]
    return [dimension.low, dimension.high]
