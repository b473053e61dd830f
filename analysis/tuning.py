"""Final metrics of one replica of a study that compares ways of fine-tuning, from the rows that its trainable reported.

Epochs are counted from 0; accuracies and calibration errors are fractions in [0, 1]. Row vocabulary used here (phase:
names): ``eval`` (test images) and ``val`` (held-out training images), per epoch: ``top1``, ``ece`` (expected
calibration error of all images), ``ece_batch`` (mean of the errors of batches, biased upwards), ``nll``;
``calibration``, after the last epoch: ``temperature``, ``ece_after``; ``timing``, per epoch: ``step_time_s`` (of a step
of the whole pack), ``step_share_s`` (divided by the replicas of the pack), ``pack`` (how many these are),
``peak_memory_mib``.

Sources: the columns are those of the notes' table (seeds/002); expected calibration error and temperature scaling,
Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def final_metrics(rows: Iterable[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """Final metrics of one replica, the values of the ``metric.<key>`` columns of its trial row.

    A replica of which not every epoch was evaluated has none: its best would be over fewer epochs than that of the
    others. A key that was not measured is absent, never NaN.

    Args:
        rows: all metric rows of the replica; of rows for the same entry the last counts.
        epochs: E, the number of epochs of the replica's own configuration.

    Returns:
        best_top1 (over epochs, on the test set, hence optimistic), best_epoch (the first with that accuracy, from 0),
        final_top1, ece_near_best (in the best epoch), final_ece, of batches ece_batch_near_best and final_ece_batch,
        ece_after_temperature, temperature, final_nll, of held-out training images best_val_top1, final_val_top1,
        final_val_ece and final_val_nll, and ``costs``.
    """
    rows = list(rows)
    tested, held_out = (_scores(rows, phase, epochs) for phase in ("eval", "val"))
    if not tested and not held_out:
        return {}
    metrics = dict(tested) | {name.replace("_", "_val_", 1): held_out[name] for name in _HELD_OUT if name in held_out}
    if tested:
        metrics["temperature"] = _last(rows, "calibration", "temperature")
        metrics["ece_after_temperature"] = _last(rows, "calibration", "ece_after")
    metrics |= costs(rows)
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """step_share_s and step_time_s (medians over epochs or tasks, so that a slow first one does not count) and
    peak_memory_mib (largest), where measured.

    ``step_time_s`` only of a replica that trained alone, since it stands beside the times of single runs. Rows from
    before there was a ``step_share_s`` hold the share under the name ``step_time_s``.
    """
    seconds, shares, packs, memory = (
        [float(row["value"]) for row in rows if row["phase"] == "timing" and row["name"] == name and row["value"]]
        for name in ("step_time_s", "step_share_s", "pack", "peak_memory_mib")
    )
    found = {"step_share_s": float(np.median(shares or seconds))} if shares or seconds else {}
    if seconds and set(packs) == {1.0}:
        found["step_time_s"] = float(np.median(seconds))
    return found | ({"peak_memory_mib": max(memory)} if memory else {})


_HELD_OUT = ("best_top1", "final_top1", "final_ece", "final_nll")


def _scores(rows: list[Mapping[str, Any]], phase: str, epochs: int) -> dict[str, float]:
    """Accuracy and calibration over a complete run's epochs; nothing where one was not evaluated."""
    top1 = per_epoch(rows, phase, "top1", epochs)
    if epochs < 1 or not np.isfinite(top1).all():
        return {}
    best = int(top1.argmax())
    ece, of_batches = (per_epoch(rows, phase, name, epochs) for name in ("ece", "ece_batch"))
    return {
        "best_top1": top1[best],
        "best_epoch": best,
        "final_top1": top1[-1],
        "ece_near_best": ece[best],
        "ece_batch_near_best": of_batches[best],
        "final_ece": ece[-1],
        "final_ece_batch": of_batches[-1],
        "final_nll": per_epoch(rows, phase, "nll", epochs)[-1],
    }


def per_epoch(rows: Iterable[Mapping[str, Any]], phase: str, name: str, epochs: int) -> NDArray[np.float64]:
    """The value of each epoch, shape (E,); NaN where nothing finite was measured."""
    values = np.full(epochs, np.nan)
    for row in rows:
        epoch = row.get("epoch")
        if row["phase"] != phase or row["name"] != name or epoch is None or not 0 <= epoch < epochs:
            continue
        if row["value"] is not None and math.isfinite(row["value"]):
            values[epoch] = row["value"]
    return values


def _last(rows: Iterable[Mapping[str, Any]], phase: str, name: str) -> float:
    """The last value of that name, NaN where there is none."""
    found = [row["value"] for row in rows if row["phase"] == phase and row["name"] == name]
    return float(found[-1]) if found and found[-1] is not None else math.nan
