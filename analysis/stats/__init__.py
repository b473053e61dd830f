"""Statistics of replicas: pure functions on arrays and DataFrames, each with its measured error rates."""

from analysis.stats.best import best_of, saturation
from analysis.stats.collapse import bad_seeds, collapse
from analysis.stats.intervals import Interval, iqm_interval, mean_interval, rate_interval, std_interval
from analysis.stats.paired import all_pairs, contrasts, equivalence, paired
from analysis.stats.pareto import hypervolume, pareto_front
from analysis.stats.power import seeds_needed, smallest_difference
from analysis.stats.reported import reported_gap
from analysis.stats.variance import variance_split

__all__ = [
    "Interval", "all_pairs", "bad_seeds", "best_of", "collapse", "contrasts", "equivalence", "hypervolume",
    "iqm_interval", "mean_interval", "paired", "pareto_front", "rate_interval", "reported_gap", "saturation",
    "seeds_needed", "smallest_difference", "std_interval", "variance_split",
]  # fmt: skip
