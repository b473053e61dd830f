"""Reads the Parquet that a run exports and says what it means, on a machine that has neither torch nor ray.

    import analysis

    run = analysis.read_run("runs/nested_alpha/20261121-175635-af59")
    seeds = analysis.outcomes(run)  # a row per replica: configuration, seed, status, value, lost
    analysis.mean_interval(seeds, "value", by="configuration")
    analysis.paired(seeds, "value", baseline="baseline")

The statistics take any DataFrame with a row per seed, also one that no run made. Names are imported when they are first
used.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "analysis.io.records": ("RecordsError", "Run", "read_run"),
    "analysis.io.values": ("configurations", "counts", "curve", "final_metrics", "outcomes", "references"),
    "analysis.io.data_set": ("merge_runs",),
    "analysis.stats": (
        "Interval", "all_pairs", "bad_seeds", "best_of", "collapse", "contrasts", "equivalence", "hypervolume",
        "iqm_interval", "mean_interval", "paired", "pareto_front", "rate_interval", "saturation",
        "seeds_needed", "smallest_difference", "std_interval", "variance_split",
    ),
    "analysis.stats.looks": ("spend",),
    "analysis.stats.next_seeds": ("next_seeds",),
    "analysis.report": ("Report", "build_report"),
    "analysis.report.findings": ("Findings", "findings"),
    "analysis.compare.runs": ("compare",),
    "analysis.charts.curves": ("curves",),
    "analysis.charts.dots": ("dots",),
    "analysis.charts.forest": ("forest",),
    "analysis.charts.scatter": ("scatter",),
}  # fmt: skip
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analysis' has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
