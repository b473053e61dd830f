"""Final metrics of one replica of the linear theory, from the rows that its trainable reported.

Row vocabulary used here (phase ``eval``, per epoch, counted from 0): ``error/<teacher>/r<rank>``, the squared Frobenius
error ||W* - W0 - s B A||_F^2; ``gap/...``, the error beyond the bound as a fraction of the bound, or of ||W* - W0||_F^2
where the bound is 0. Once: ``bound/...``, the sum of the squared singular values beyond the rank, in the first epoch;
``gap_of_optimum/...``, the gap of the exact minimum of the training loss, in the last.

Source: notes seeds/004, part I; Eckart and Young 1936.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

CASE = re.compile(r"(error|bound|gap|gap_of_optimum)/(\w+)/r(\d+)")
"""Name of a row: what, teacher, rank."""


def final_metrics(rows: Iterable[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """Final metrics of one replica, the values of the ``metric.<key>`` columns of its trial row.

    Args:
        rows: all metric rows of the replica; of rows for the same entry the last counts.
        epochs: E, the number of epochs of the replica's own configuration.

    Returns:
        worst_gap and mean_gap over teachers and ranks after the last epoch, and ``gap/<teacher>/r<rank>`` of each;
        nothing for a replica that did not get there.
    """
    gaps = {
        str(row["name"]): float(row["value"])
        for row in rows
        if row["phase"] == "eval" and row["epoch"] == epochs - 1 and _is_gap(row)
    }
    if not gaps:
        return {}
    return {"worst_gap": max(gaps.values()), "mean_gap": math.fsum(gaps.values()) / len(gaps)} | gaps


def _is_gap(row: Mapping[str, Any]) -> bool:
    case = CASE.fullmatch(str(row["name"]))
    return case is not None and case[1] == "gap" and row["value"] is not None and math.isfinite(row["value"])
