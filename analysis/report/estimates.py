"""Every estimate of a report with its interval, in one tidy table."""

import pandas as pd

from analysis import stats
from analysis.export.results import RESULTS_SCHEMA
from analysis.report.findings import Findings

COLUMNS = RESULTS_SCHEMA.names


def estimates(found: Findings) -> pd.DataFrame:
    """Rows for ``write_results``; values of fractions are fractions again."""
    if found.seeds.empty:
        return pd.DataFrame(columns=COLUMNS)
    scale = found.metric.scale
    parts = []
    for name, table in (
        ("mean", found.means),
        ("std", stats.std_interval(found.seeds, "value", by="configuration")),
        ("iqm", stats.iqm_interval(found.seeds, "value", by="configuration")),
        ("difference", found.differences.rename(columns={"difference": "estimate"})),
    ):
        own = table[["configuration", "n", "estimate", "low", "high"]].rename(columns={"estimate": "value"})
        own[["value", "low", "high"]] = own[["value", "low", "high"]].astype(float) / scale
        parts.append(own.assign(estimate=name, baseline=found.baseline if name == "difference" else None))
    if len(found.collapses):
        own = found.collapses[["configuration", "n", "rate", "low", "high"]].rename(columns={"rate": "value"})
        parts.append(own.assign(estimate="collapse_rate", baseline=None))
    return pd.concat([part for part in parts if len(part)]).assign(metric=found.metric.name)[COLUMNS]
