"""The names of objectives over seeds, which columns of search.parquet have, and of what was searched."""

from collections.abc import Mapping
from typing import Any


def objective_label(objective: Mapping[str, Any]) -> str:
    """Name of the statistic, e.g. ``cvar(0.25) of final_accuracy``, from the fields of an objective in study.json."""
    statistic, metric = objective["over_seeds"], objective["metric"]
    if statistic == "collapse_rate":
        return f"collapse_rate of {metric} (threshold {objective['threshold']:g})"
    option = {"cvar": "fraction", "mean_minus_std": "c"}.get(statistic)
    return f"{statistic}{f'({objective[option]:g})' if option else ''} of {metric}"


def dimension_label(dimension: Mapping[str, Any]) -> str:
    """Name of a parameter of study.json's ``search.space``: ``lr_slow / lr_fast`` where the search drew their ratio."""
    ratio = dimension.get("ratio_to")
    return f"{dimension['name']} / {ratio}" if ratio else str(dimension["name"])
