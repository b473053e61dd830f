"""Keys and values as users write them: ``--set KEY=VALUE``, ``--seeds``."""

import difflib
import json
from typing import Any

from search_spaces.seeds import parse_seeds
from trainables.configs.names import aliases
from trainables.errors import InputError
from trainables.registry import TrainableSpec


def parse_settings(pairs: list[str], spec: TrainableSpec) -> dict[str, Any]:
    """``["lr_fast=0.02", "data.classes=1::2"]`` -> own dotted names and values.

    Raises:
        InputError: no ``=``, an unknown key (with the nearest known one), a key given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise InputError(f"--set {pair!r}: KEY=VALUE is expected, e.g. --set epochs=2")
        name = own_name(key.strip(), spec, "--set")
        if name in ("dataset", "backbone"):
            raise InputError(f"--set {key}: use --{name}")
        if name in settings:
            raise InputError(f"--set {key}: {name} is given twice")
        settings[name] = _value(text)
    return settings


def seeds(text: str, where: str) -> tuple[int, ...]:
    """``parse_seeds`` for user input: raises InputError that says where."""
    try:
        return parse_seeds(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def suggest(word: str, known: list[str]) -> str:
    """`` (did you mean ...?)`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def own_name(key: str, spec: TrainableSpec, where: str, also_known: tuple[str, ...] = ()) -> str:
    known = aliases(spec.config)
    if key not in known:
        raise InputError(
            f"{where} {key!r}: unknown key of trainable {spec.name!r}{suggest(key, [*known, *also_known])}"
        )
    return known[key]


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text
