"""What is known of a final metric: its direction, unit, bounds and name. The method that measures it says so.

Runs have it in study.json under ``metrics``, by name; a name that ends in ``/*`` stands for all that begin so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FRACTIONS = ("accuracy", "top1", "ece", "gap", "forgetting", "transfer")
"""Parts of the names of fractions in runs of versions that did not say."""


@dataclass(frozen=True)
class MetricInfo:
    """``unit``: ``fraction`` (shown in per cent), ``s``, ``MiB``, ... or nothing; ``reproducible``: the same in a run
    that is repeated; ``front``: place among the axes of Pareto fronts, 0 for none."""

    name: str
    direction: str = "maximize"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    label: str = ""
    held_out: bool = False
    reproducible: bool = True
    front: int = 0

    @property
    def text(self) -> str:
        """As people read it."""
        return self.label or self.name.replace("_", " ")

    @property
    def fraction(self) -> bool:
        return self.unit == "fraction"

    @property
    def maximise(self) -> bool:
        return self.direction == "maximize"

    @property
    def scale(self) -> float:
        """From its unit to the one that is shown."""
        return 100.0 if self.fraction else 1.0

    @property
    def shown_unit(self) -> str:
        """Behind a value."""
        return "%" if self.fraction else self.unit

    @property
    def difference_unit(self) -> str:
        return "points" if self.fraction else self.unit

    @property
    def axis(self) -> str:
        """Title of an axis or a column; says no unit twice."""
        unit = self.shown_unit
        return f"{self.text} ({unit})" if unit and unit not in self.text.split() else self.text

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.2%}" if self.fraction else f"{value:.4g} {self.unit}".rstrip()

    def digits(self, size: float) -> int:
        """Decimals of values of which the largest, as shown, is of this size."""
        if self.fraction or self.unit == "parameters":
            return int(self.fraction)
        return min(max(3 - math.floor(math.log10(size)), 0), 6) if 0 < size < math.inf else 2

    def as_metadata(self) -> dict[str, str]:
        """For a Parquet column."""
        bounds = {name: f"{value:g}" for name, value in (("low", self.low), ("high", self.high)) if value is not None}
        about = {"unit": self.unit or "-", "meaning": f"final metric: {self.text}"}
        return about | {"direction": self.direction, **bounds}


def metric_info(metrics: Mapping[str, Mapping[str, Any]] | str | None, name: str) -> MetricInfo:
    """What study.json says of a metric.

    Args:
        metrics: its entry ``metrics``: a mapping, or a word in runs of earlier versions, in which names had to do.
    """
    if not isinstance(metrics, Mapping):
        return MetricInfo(name, unit="fraction" if any(part in name for part in _FRACTIONS) else "")
    head, _, part = name.partition("/")
    known = {key: value for key, value in (metrics.get(name) or metrics.get(f"{head}/*") or {}).items()
             if key in MetricInfo.__dataclass_fields__}  # fmt: skip
    if part and name not in metrics and known.get("label"):
        known["label"] += f", {part.replace('_', ' ').replace('/', ', ')}"
    return MetricInfo(name, **known)


def unreproducible(metrics: Mapping[str, Mapping[str, Any]] | str | None) -> frozenset[str]:
    """Names of the metrics of study.json that the clock or the machine decides."""
    known = metrics if isinstance(metrics, Mapping) else {}
    return frozenset(name for name, about in known.items() if not about.get("reproducible", True))


def metrics_of(study: Mapping[str, Any]) -> list[MetricInfo]:
    """All metrics that study.json describes."""
    known = study.get("metrics")
    return [metric_info(known, name) for name in known] if isinstance(known, Mapping) else []
