"""The names of objectives over seeds: what the columns of search.parquet are called by."""

from collections.abc import Mapping
from typing import Any


def objective_label(objective: Mapping[str, Any]) -> str:
    """Name of the statistic, e.g. ``cvar(0.25) of final_accuracy``.

    Args:
        objective: fields of ``study.spec.Objective``, as study.json has them.
    """
    statistic, metric = objective["over_seeds"], objective["metric"]
    if statistic == "collapse_rate":
        return f"collapse_rate of {metric} (threshold {objective['threshold']:g})"
    option = {"cvar": "fraction", "mean_minus_std": "c"}.get(statistic)
    return f"{statistic}{f'({objective[option]:g})' if option else ''} of {metric}"
