"""One dimension of a search space: what may be drawn, when it is drawn, and its form on the command line."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = bool | int | float | str | None
KINDS = {
    "uniform": "uniform:LOW:HIGH",
    "log": "log:LOW:HIGH",
    "int": "int:LOW:HIGH[:STEP]",
    "logint": "logint:LOW:HIGH",
    "choice": "choice:A,B,...",
    "ratio": "ratio:FIELD:LOW:HIGH",
}
"""How a dimension is written on the command line; anything else is a value that fixes it."""


class SpaceError(ValueError):
    """A search space, a dimension or a point that is not possible; the message is one line for the user."""


@dataclass(frozen=True)
class _Dimension:
    when: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict, kw_only=True, hash=False)
    """Other dimension -> value (or one of several values) it must have; the dimension is absent from all other
    configurations."""


@dataclass(frozen=True)
class Float(_Dimension):
    """A real number in [low, high].

    Attributes:
        log: drawn uniformly in the logarithm.
        ratio_to: the draw is the field's ratio to this other field; bounds are those of the ratio.
        also: further values that an enqueued configuration may have (of the ratio, where there is one), such as 0
            beside a log range; never drawn, and the sampler learns nothing from them.
    """

    low: float
    high: float
    log: bool = False
    ratio_to: str | None = None
    also: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (self.low <= value <= self.high or value in self.also)


@dataclass(frozen=True)
class Int(_Dimension):
    """A whole number in low, low + step, ..., high; ``log`` draws uniformly in the logarithm (step 1)."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (self.low, self.high)):
            raise SpaceError(f"bounds {self.low}..{self.high}: whole numbers are allowed")
        _check_range(self.low, self.high, self.log)
        if self.step < 1 or (self.high - self.low) % self.step or (self.log and self.step != 1):
            raise SpaceError(
                f"step {self.step} in {self.low}..{self.high}: allowed: a whole number >= 1 that divides the range, "
                "1 with log"
            )

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return (
            number
            and value == int(value)
            and self.low <= value <= self.high
            and (int(value) - self.low) % self.step == 0
        )


@dataclass(frozen=True)
class Choice(_Dimension):
    """One of several values."""

    options: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError("a choice of nothing: at least one option is needed")
        if len({json.dumps(option) for option in self.options}) < len(self.options):
            raise SpaceError(f"options {show(self.options)}: an option is given twice")

    def holds(self, value: Any) -> bool:
        return any(same(value, option) for option in self.options)


@dataclass(frozen=True)
class Fixed(_Dimension):
    """A field with one value for the whole search."""

    value: Scalar

    def holds(self, value: Any) -> bool:
        return same(value, self.value)


Dimension = Float | Int | Choice | Fixed


def same(a: Any, b: Any) -> bool:
    """Equal as configuration values: 1 and 1.0 are, 1 and True are not."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def wanted_values(wanted: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """The values that meet a condition."""
    return wanted if isinstance(wanted, tuple) else (wanted,)


def show(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(show, value))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_range(text: str) -> bool:
    """True for ``log:1e-4:1e-1`` and its like, False for a value."""
    kind, separator, _ = text.partition(":")
    return bool(separator) and kind in KINDS


def parse(text: str) -> Dimension:
    """``log:1e-4:1e-1``, ``int:1:32``, ``choice:zero,reinit``, ... (``KINDS``); a plain value gives ``Fixed``.

    Raises:
        SpaceError: wrong number of parts, not numbers, or a range that is not possible.
    """
    if not is_range(text):
        return Fixed(value(text))
    kind, _, rest = text.partition(":")
    parts = rest.split(":")
    try:
        if kind == "choice":
            return Choice(tuple(value(part) for part in rest.split(",") if part.strip()))
        if kind == "ratio":
            parent, low, high = parts
            return Float(float(low), float(high), log=True, ratio_to=parent)
        if kind in ("uniform", "log"):
            low, high = parts
            return Float(float(low), float(high), log=kind == "log")
        bounds = [int(part) for part in parts]
        if len(bounds) == 3 and kind == "int":
            return Int(bounds[0], bounds[1], step=bounds[2])
        low_int, high_int = bounds
        return Int(low_int, high_int, log=kind == "logint")
    except SpaceError:
        raise
    except ValueError:
        raise SpaceError(f"{text!r}: {KINDS[kind]} is expected") from None


def value(text: str) -> Scalar:
    """``true``, ``none``, ``3``, ``0.1``, ``zero`` as typed values."""
    word = text.strip()
    if word.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(word.lower())
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def describe(dimension: Dimension) -> str:
    """One dimension as text, in the form of the command line."""
    if isinstance(dimension, Fixed):
        text = show(dimension.value)
    elif isinstance(dimension, Choice):
        text = f"choice:{show(dimension.options)}"
    elif isinstance(dimension, Int):
        text = f"{'logint' if dimension.log else 'int'}:{dimension.low}:{dimension.high}"
        text += f":{dimension.step}" if dimension.step > 1 else ""
    else:
        kind = "log" if dimension.log else "uniform"
        kind += f" ratio to {dimension.ratio_to}" if dimension.ratio_to else ""
        text = f"{kind}:{show(dimension.low)}:{show(dimension.high)}"
        text += f" (enqueued also {show(dimension.also)})" if dimension.also else ""
    conditions = ", ".join(
        f"{name}={'|'.join(map(show, wanted_values(wanted)))}" for name, wanted in dimension.when.items()
    )
    return f"{text}, when {conditions}" if conditions else text


def _check_range(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"range {show(low)}:{show(high)}: finite bounds are allowed")
    if low > high:
        raise SpaceError(f"range {show(low)}:{show(high)}: the lower bound is above the upper one")
    if log and low <= 0:
        raise SpaceError(f"log range {show(low)}:{show(high)}: bounds > 0 are allowed")
