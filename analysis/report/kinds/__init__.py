"""The kinds of study that a report knows: data and claims of one file each. A new kind is a file and a line here."""

from analysis.report.kind import Kind
from analysis.report.kinds.continual import CONTINUAL
from analysis.report.kinds.plain import PLAIN
from analysis.report.kinds.rank import RANK
from analysis.report.kinds.search import SEARCH
from analysis.report.kinds.theory import THEORY
from analysis.report.kinds.tuning import TUNING

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CONTINUAL, TUNING, RANK, THEORY, SEARCH, PLAIN)}
