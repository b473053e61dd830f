"""What trackers are told: points of curves, and the numbers over the seeds of a trial."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Point(NamedTuple):
    """One value of one curve."""

    key: str
    step: int
    value: float
    timestamp_ms: int


def point_of(row: Mapping[str, Any], started_at_s: float) -> Point:
    """A row as a point of the curve ``phase/name``, over steps in training, else over tasks, else over epochs."""
    places = ("step",) if row["phase"] == "train" else ("task", "epoch", "step")
    step = next((row[place] for place in places if row.get(place) is not None), 0)
    value = row["value"]
    timestamp_ms = max(0, int((started_at_s + (row.get("wall_s") or 0.0)) * 1000))
    return Point(f"{row['phase']}/{row['name']}", int(step), math.nan if value is None else float(value), timestamp_ms)


class OverSeeds(NamedTuple):
    """Numbers over the seeds of a trial.

    Attributes:
        status: ``finished`` where every seed is, else the worst of theirs.
        metrics: ``final/<name>/mean``, ``/std``, ``/low``, ``/high`` (95 % t interval of the mean), ``objective/...``,
            ``seeds/n``, ``/finished``, ``/diverged``, ``/failed``.
        curves: ``<curve>/mean`` and ``/std`` over the seeds that have the point; ``<phase>/seeds``, how many these are,
            where some lack points. Empty until every seed has ended: MLflow cannot take a point back.
    """

    status: str
    metrics: dict[str, float]
    curves: list[Point]

    @property
    def digest(self) -> str:
        """Of the curves: the same for the same values."""
        return hashlib.sha256(repr([point[:3] for point in self.curves]).encode()).hexdigest()[:16]
