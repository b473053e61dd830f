"""What moved the numbers between two runs, as far as their verdicts say so.

Nothing is estimated here: a cause is what a verdict leaves, so that the two cannot contradict each other.
"""

import math
from enum import StrEnum

from analysis.compare.runs import Pair, Verdict
from analysis.compare.verdicts import BIT_EQUAL, UNDECIDED


class Cause(StrEnum):
    """``NONE``: nothing moved. ``OPEN``: too few common seeds to test anything."""

    HYPERPARAMETER = "hyperparameter"
    CODE = "code or environment"
    HYPERPARAMETER_OR_CODE = "hyperparameter, code or environment"
    RERUN = "rerun"
    SEED = "seed"
    OPEN = "not known"
    NONE = "nothing"


def cause(one: Verdict, pair: Pair) -> Cause:
    """What moved the number of a configuration.

    - ``HYPERPARAMETER``, ``CODE``: its verdict is a shift or a change of spread, and they differ;
    - ``RERUN``: numbers of the same seeds differ although everything recorded is the same;
    - ``SEED``: code or parameters differ, but the gaps are no larger than other random numbers make them; or all common
      seeds are bit-equal and the runs have others besides.
    """
    if one.verdict == BIT_EQUAL:
        return Cause.SEED if any(one.only) else Cause.NONE
    if not one.parameters and not pair.provenance:
        return Cause.RERUN
    if one.verdict == UNDECIDED:
        return Cause.SEED if one.gap and math.isfinite(one.gap.p) else Cause.OPEN
    if one.parameters:
        return Cause.HYPERPARAMETER_OR_CODE if pair.provenance else Cause.HYPERPARAMETER
    return Cause.CODE
