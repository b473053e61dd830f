"""Studies that compare ways of fine-tuning."""

from analysis.report.kind import Kind
from analysis.report.kinds.claims import claims_section, claims_sentence
from analysis.report.sections import (
    contrasts_section,
    curves_section,
    metrics_section,
    reported_section,
    seeds_section,
    variance_section,
)
from analysis.report.trade_offs import trade_off_section

TUNING = Kind(
    "tuning",
    claims=(claims_sentence,),
    sections=(
        contrasts_section, claims_section, trade_off_section, curves_section, seeds_section, variance_section,
        metrics_section, reported_section,
    ),
)  # fmt: skip
