"""Final metrics of one replica of a study of LoRA's rank, from the rows that its trainable reported.

Row vocabulary beyond that of ``analysis.tuning``: ``diagnostics``, per epoch: ``delta_norm`` (Frobenius norm of LoRA's
change of the weights); ``curve``, at steps within an epoch and before the first: ``top1``, ``ece``, ``nll``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis import tuning


def final_metrics(rows: Iterable[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """Final metrics of one replica: those of ``tuning.final_metrics``, and delta_norm after the last epoch.

    Args:
        rows: all metric rows of the replica; of rows for the same entry the last counts.
        epochs: E, the number of epochs of the replica's own configuration.
    """
    rows = list(rows)
    metrics = tuning.final_metrics(rows, epochs)
    norm = tuning.per_epoch(rows, "diagnostics", "delta_norm", epochs)
    if metrics and np.isfinite(norm[-1]):
        metrics["delta_norm"] = float(norm[-1])
    return metrics
