"""Studies of which no more is known than their metrics."""

from analysis.report.kind import Kind
from analysis.report.sections import (
    contrasts_section,
    curves_section,
    metrics_section,
    reported_section,
    seeds_section,
    variance_section,
)

PLAIN = Kind(
    "plain",
    sections=(contrasts_section, curves_section, seeds_section, variance_section, metrics_section, reported_section),
)
