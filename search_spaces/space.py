"""A search space as plain data: dimensions by field name, conditions between them, points and their identity.

A *point* is what is drawn (a ratio where a dimension is one); *fields* are what the trainable's configuration gets.
Both leave out the dimensions whose condition is not met.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.dimensions import (
    Choice,
    Dimension,
    Fixed,
    Float,
    Int,
    Scalar,
    SpaceError,
    describe,
    parse,
    same,
    show,
    wanted_values,
)

DIGITS = 12
"""Significant digits of a field that comes from a ratio, and by which two configurations are told apart."""
RATIO_DIGITS = 15
"""More than a field has, so that field -> ratio -> field is exact; less than a double, so that bounds are met."""

_CLASSES: dict[str, type[Any]] = {"float": Float, "int": Int, "choice": Choice, "fixed": Fixed}


@dataclass(frozen=True)
class Space:
    """Dimensions by the field name of a trainable's configuration; one that others depend on stands before them.

    Raises:
        SpaceError: no dimension that varies, a condition or ratio on an unknown, later or unsuitable dimension, a
            condition that can never be met.
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", dict(self.dimensions))
        before: dict[str, Dimension] = {}
        for name, dimension in self.dimensions.items():
            for parent, wanted in dimension.when.items():
                known = self._parent(name, parent, before, "condition")
                for value in wanted_values(wanted):
                    if not isinstance(known, Fixed) and not known.holds(value):
                        raise SpaceError(
                            f"{name}: condition {parent}={show(value)} is never met; {parent} is {describe(known)}"
                        )
            if isinstance(dimension, Float) and dimension.ratio_to is not None:
                known = self._parent(name, dimension.ratio_to, before, "ratio")
                if known.when and dict(known.when) != dict(dimension.when):
                    raise SpaceError(f"{name}: ratio to {dimension.ratio_to}, which is not always there")
                options = known.options if isinstance(known, Choice) else (getattr(known, "value", 1.0),)
                if any(isinstance(option, bool | str) or not option for option in options):
                    raise SpaceError(f"{name}: ratio to {dimension.ratio_to}, which is not a number other than 0")
            before[name] = dimension
        if not any(self.reachable(name) and not is_single(d) for name, d in self.dimensions.items()):
            raise SpaceError("the search space is empty: every dimension is fixed; leave at least one to search")

    def _parent(self, name: str, parent: str, before: Mapping[str, Dimension], relation: str) -> Dimension:
        if parent not in self.dimensions:
            raise SpaceError(f"{name}: {relation} on unknown dimension {parent!r}; known: {', '.join(self.dimensions)}")
        if parent not in before:
            raise SpaceError(f"{name}: {relation} on {parent}, which must stand before it")
        return before[parent]

    def active(self, name: str, point: Mapping[str, Any]) -> bool:
        """Whether a dimension is there, given the values of those before it."""
        return all(
            parent in point and any(same(point[parent], value) for value in wanted_values(wanted))
            for parent, wanted in self.dimensions[name].when.items()
        )

    def reachable(self, name: str) -> bool:
        """Whether any point has this dimension (none does where a condition meets a fixed field of another value)."""
        return all(
            self.reachable(parent) and any(map(self.dimensions[parent].holds, wanted_values(wanted)))
            for parent, wanted in self.dimensions[name].when.items()
        )

    def fields(self, point: Mapping[str, Any]) -> dict[str, Scalar]:
        """Configuration fields of a point: ratios multiplied out."""
        fields: dict[str, Scalar] = {}
        for name, value in point.items():
            dimension = self.dimensions[name]
            if isinstance(dimension, Float) and dimension.ratio_to is not None:
                value = _rounded(value * fields[dimension.ratio_to])
            fields[name] = value
        return fields

    def point(self, fields: Mapping[str, Any]) -> dict[str, Scalar]:
        """The point of given configuration fields; inactive ones are left out, fixed ones filled in.

        Raises:
            SpaceError: an unknown or missing field, or a value outside its dimension.
        """
        for name in fields:
            if name not in self.dimensions:
                raise SpaceError(f"{name}: no dimension of the space{suggestion(name, self.dimensions)}")
        point: dict[str, Scalar] = {}
        for name, dimension in self.dimensions.items():
            if not self.active(name, point):
                continue
            if name not in fields and not isinstance(dimension, Fixed):
                raise SpaceError(f"{name}: missing; {describe(dimension)} is allowed")
            given = fields.get(name, getattr(dimension, "value", None))
            value = given
            if isinstance(dimension, Float) and dimension.ratio_to is not None and isinstance(given, int | float):
                value = _rounded(given / float(fields.get(dimension.ratio_to, point[dimension.ratio_to])), RATIO_DIGITS)
            if not dimension.holds(value):
                raise SpaceError(f"{name}={show(given)}: {describe(dimension)} is allowed")
            point[name] = int(value) if isinstance(dimension, Int) else value
        return point

    def key(self, point: Mapping[str, Any]) -> str:
        """Identity of a configuration: canonical JSON of its fields, floats to ``DIGITS`` significant digits."""
        fields = {name: _rounded(value) for name, value in self.fields(point).items()}
        return json.dumps(fields, sort_keys=True)

    def override(self, settings: Mapping[str, str], fields: Collection[str]) -> "Space":
        """The space with dimensions given on the command line, conditions kept.

        Args:
            settings: field -> ``log:1e-4:1e-1``, ``choice:a,b``, a value that fixes it, ... (``dimensions.KINDS``).
            fields: all fields of the trainable's configuration.

        Raises:
            SpaceError: an unknown field, an impossible dimension, or one that the other settings rule out.
        """
        dimensions = dict(self.dimensions)
        for name, text in settings.items():
            if name not in fields and name not in dimensions:
                raise SpaceError(f"{name}: unknown field{suggestion(name, [*dimensions, *fields])}")
            try:
                dimension = parse(text)
            except SpaceError as error:
                raise SpaceError(f"{name}={text}: {error}") from error
            if name in dimensions:
                dimension = dataclasses.replace(dimension, when=dimensions[name].when)
            dimensions[name] = dimension
        space = Space(dimensions)
        for name in settings:
            if not space.reachable(name):
                raise SpaceError(f"{name}={settings[name]}: contradicts the space ({describe(dimensions[name])})")
        return space

    def describe(self) -> str:
        """One line per dimension, for ``show``."""
        width = max(map(len, self.dimensions))
        return "\n".join(
            f"{name:<{width}}  {describe(dimension)}{'' if self.reachable(name) else ' (never)'}"
            for name, dimension in self.dimensions.items()
        )

    def to_json(self) -> str:
        """Canonical JSON: the same space has the same text; the order of dimensions counts."""
        kinds = {cls: kind for kind, cls in _CLASSES.items()}
        return json.dumps(
            [
                {"name": name, "kind": kinds[type(dimension)]} | dataclasses.asdict(dimension)
                for name, dimension in self.dimensions.items()
            ],
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "Space":
        """Inverse of ``to_json``."""
        dimensions: dict[str, Dimension] = {}
        for entry in json.loads(text):
            name, kind = entry.pop("name"), entry.pop("kind")
            entry["when"] = {parent: _tuples(wanted) for parent, wanted in entry["when"].items()}
            dimensions[name] = _CLASSES[kind](**{key: _tuples(value) for key, value in entry.items()})
        return cls(dimensions)

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON, for provenance."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def is_single(dimension: Dimension) -> bool:
    """True where only one value can be drawn."""
    if isinstance(dimension, Choice):
        return len(dimension.options) == 1
    return isinstance(dimension, Fixed) or dimension.low == dimension.high


def suggestion(word: str, known: Collection[str]) -> str:
    """`` (did you mean ...?)`` for the nearest known word, or the known words."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _rounded(value: Any, digits: int = DIGITS) -> Any:
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
