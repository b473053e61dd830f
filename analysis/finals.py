"""Final metrics of a replica, by kind of study: the ``metric.<key>`` columns of trials.parquet."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analysis import continual, rank, theory, tuning

FINAL_METRICS: dict[str, Callable[[Iterable[Mapping[str, Any]], int], dict[str, float]]] = {
    "continual": continual.final_metrics,
    "tuning": tuning.final_metrics,
    "theory": theory.final_metrics,
    "rank": rank.final_metrics,
}

COSTS = ("step_share_s", "step_time_s", "peak_memory_mib")
"""Final metrics that the clock and the machine decide: a replica that is trained again has others."""
_SEARCHED_COSTS = ("step_share_s", "peak_memory_mib")  # only a replica that trained alone has a step_time_s
_TUNING = ("best_val_top1", "final_val_top1", "final_val_ece", "final_val_nll", *_SEARCHED_COSTS)
HELD_OUT_METRICS: dict[str, tuple[str, ...]] = {
    "continual": ("final_val_accuracy", "average_incremental_val_accuracy", *_SEARCHED_COSTS),
    "tuning": _TUNING,
    "rank": (*_TUNING, "delta_norm"),
}
"""Final metrics that need no test images: what a search may look at."""


def final_metrics(kind: str, rows: Iterable[Mapping[str, Any]], boundaries: int) -> dict[str, float]:
    """Final metrics of one replica.

    Args:
        kind: key of ``FINAL_METRICS``.
        rows: all metric rows of the replica.
        boundaries: tasks or epochs of a complete run; an incomplete one has no final values.
    """
    return FINAL_METRICS[kind](rows, boundaries)
