"""Dotted names of configuration fields: ``data.classes`` is the field ``classes`` of the nested model ``data``."""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError

from trainables.configs.base import TrainableConfig
from trainables.errors import InputError


def aliases(config: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every accepted key of a configuration -> its own dotted name, nested models included."""
    names: dict[str, str] = dict(config.shortcuts) if issubclass(config, TrainableConfig) else {}
    for name, field in config.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names |= aliases(annotation, f"{prefix}{name}.")
            continue
        choices = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        for key in (name, *(str(choice) for choice in choices)):
            names[f"{prefix}{key}"] = f"{prefix}{name}"
    return names


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names -> nested dictionaries, as pydantic reads them."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return result


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries -> dotted names."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def validated(model: type[TrainableConfig], settings: Mapping[str, Any]) -> TrainableConfig:
    """A configuration from dotted names; raises InputError with one line for the first wrong value."""
    try:
        return model.model_validate(nested(settings))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}={first['input']!r}: {message}" if where else message) from error
