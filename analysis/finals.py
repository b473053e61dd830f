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


def final_metrics(kind: str, rows: Iterable[Mapping[str, Any]], boundaries: int) -> dict[str, float]:
    """Final metrics of one replica.

    Args:
        kind: of the closing report, as in ``analysis.report.REPORTS``.
        rows: all metric rows of the replica.
        boundaries: tasks or epochs of a complete run; an incomplete one has no final values.
    """
    return FINAL_METRICS[kind](rows, boundaries)
