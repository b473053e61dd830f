"""The kinds of study that a report knows: data, and claims and sections of one file each."""

from analysis.report.document import Kind
from analysis.report.kinds.claims import claims_section, claims_sentence
from analysis.report.kinds.continual import CONTINUAL
from analysis.report.kinds.rank import RANK
from analysis.report.kinds.search import SEARCH
from analysis.report.kinds.sema import SEMA
from analysis.report.kinds.theory import THEORY
from analysis.report.sections import EVERY_STUDY, contrasts_section, curves_section
from analysis.report.trade_offs import trade_off_section

TUNING = Kind(
    "tuning",
    claims=(claims_sentence,),
    sections=(contrasts_section, claims_section, trade_off_section, curves_section, *EVERY_STUDY),
)
PLAIN = Kind("plain", sections=(contrasts_section, curves_section, *EVERY_STUDY))
"""Studies of which no more is known than their metrics."""
KINDS: dict[str, Kind] = {kind.name: kind for kind in (CONTINUAL, TUNING, RANK, THEORY, SEMA, SEARCH, PLAIN)}
