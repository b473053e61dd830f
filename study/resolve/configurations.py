"""Settings -> the configurations that run, or those that a search tries first and the space around them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from search_spaces.dimensions import Choice, Fixed, Float, Int, SpaceError, is_range
from search_spaces.space import Space
from study.resolve.settings import Settings
from study.resolved import ResolvedSearch
from study.search.samplers import random_fields
from study.spec import SearchSpec
from trainables.configs.base import TrainableConfig
from trainables.configs.names import aliases, flatten, nested, validated
from trainables.errors import InputError
from trainables.registry import TrainableSpec

DRAWS = 32
"""Random points of a space that must be valid configurations before anything starts."""


@dataclass
class Plan:
    """What runs, before the data are known.

    Attributes:
        configs: label -> configuration; of a search those that are tried first.
        base: of a search: parameters outside the space, flat.
        fields: of a search: label -> its values of the dimensions.
    """

    configs: dict[str, TrainableConfig] = field(default_factory=dict)
    search: SearchSpec | None = None
    base: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)

    def resolved(self, classes: int) -> ResolvedSearch | None:
        """The search with everything that its trials need."""
        if self.search is None:
            return None
        own = {"space_sha256": self.search.dimensions.sha256, "base": self.base, "classes": classes}
        return ResolvedSearch.model_validate(self.search.model_dump() | own | {"enqueue": self.fields})


def plan_configurations(settings: Settings, most: int | None) -> Plan:
    """The configurations of a study without a search, duplicates merged (a ``--set`` can make them equal).

    Args:
        most: only the first so many.

    Raises:
        InputError: a value that the trainable does not take, or ``most`` out of range.
    """
    plan, given = Plan(), settings.given
    for label, fields in settings.asked.items():
        config = validated(settings.spec.config, settings.base | fields | given)
        if config not in plan.configs.values():
            plan.configs[_with(label, fields, given)] = config
    if most is not None:
        if not 1 <= most <= len(plan.configs):
            number = len(plan.configs)
            raise InputError(
                f"--trials {most}: {settings.study.name} has {number} configurations; allowed: 1..{number}"
            )
        plan.configs = dict(list(plan.configs.items())[:most])
    return plan


def plan_space(settings: Settings, spec: SearchSpec) -> Plan:
    """The space of a search, and the configurations that are tried first.

    A range or the value of a dimension in ``--set`` changes the space, the rest every configuration.

    Raises:
        InputError: an impossible space, or a value that the trainable does not take.
    """
    model, given = settings.spec.config, settings.given
    if "evaluate" in given:
        raise InputError(
            "--set evaluate: a search looks at held-out training examples, its confirmation at the test set too"
        )
    space = spec.dimensions
    dimensions = {name: text for name, text in settings.texts.items() if name in space.dimensions or is_range(text)}
    plain = {name: value for name, value in given.items() if name not in dimensions}
    try:
        space = space.override(dimensions, set(aliases(model).values()))
    except SpaceError as error:
        raise InputError(f"--set: {error}") from error
    common = settings.base | plain
    held_out = {"evaluate": "validation"} if "evaluate" in model.model_fields else {}
    base = flatten(validated(model, common | held_out).model_dump(mode="json"))
    plan = Plan({}, SearchSpec.model_validate(spec.model_dump() | {"space": space}), base)
    fixed = {n: d.value for n, d in space.dimensions.items() if n in dimensions and isinstance(d, Fixed)}
    seen: set[str] = set()
    for label, own in settings.asked.items():
        if len(plan.configs) == spec.trials:
            break
        flat = flatten(validated(model, common | own | plain).model_dump(mode="json"))
        name = _with(label, own, plain | fixed)
        try:
            point = space.point({key: flat[key] for key in space.dimensions if key in flat and key not in fixed})
        except SpaceError as error:
            if settings.from_files:
                raise InputError(f"--config {label}: not in the search space ({error})") from error
            settings.notices.append(
                f"configuration {name!r} is outside the space that --set leaves and not tried ({error})"
            )
            continue
        if space.key(point) in seen:
            continue
        seen.add(space.key(point))
        plan.fields[name] = dict(space.fields(point))
        plan.configs[name] = validated(model, base | plan.fields[name])
    return plan


def check_space(plan: Plan, trainable: TrainableSpec, count: Callable[[TrainableConfig], tuple[int, int]]) -> None:
    """Refuse a space with values that the trainable does not take.

    Args:
        count: parameters of a configuration; raises InputError for one that does not fit the backbone.

    Raises:
        InputError: says which value.
    """
    assert plan.search is not None
    space, model = plan.search.dimensions, trainable.config
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
    for fields in random_fields(space, DRAWS):
        try:
            validated(model, plan.base | fields)
        except InputError as error:
            raise InputError(f"search space: it holds impossible configurations ({error})") from error


def _with(label: str, fields: dict[str, Any], changed: dict[str, Any]) -> str:
    """The label, which may name a value that is overridden, with what is."""
    overridden = [f"{key}={value}" for key, value in changed.items() if fields.get(key, value) != value]
    return f"{label} with {', '.join(overridden)}" if overridden else label


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
