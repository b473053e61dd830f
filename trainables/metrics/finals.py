"""Final metrics: what they are, and how a replica's rows give them. No torch, so that the command line stays quick.

Every method reports its own as rows of phase ``final`` at every boundary; those of the last one are the replica's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FINAL = "final"
"""Phase of the rows of final metrics."""

Row = Mapping[str, Any]
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before it is measured.

    Attributes:
        direction: which way it is good.
        unit: ``fraction`` (shown in per cent), ``s``, ``MiB``, ``nats``, ``parameters``, or nothing.
        low, high: bounds; the worse one is what a failed seed counts as.
        label: as people read it.
        held_out: measured without test data, hence allowed in a search.
        reproducible: False where the clock or the machine decides it.
        front: its place among the axes of Pareto fronts, from 1; 0: none.
    """

    direction: Direction = "maximize"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    label: str = ""
    held_out: bool = False
    reproducible: bool = True
    front: int = 0

    @property
    def worst(self) -> float | None:
        """The bound on the bad side."""
        return self.low if self.direction == "maximize" else self.high


_fraction = partial(Metric, unit="fraction", low=0.0, high=1.0)
_transfer = partial(Metric, unit="fraction", low=-1.0, high=1.0)
_cost = partial(Metric, "minimize", held_out=True, reproducible=False, low=0.0)

COSTS: dict[str, Metric] = {
    "step_share_s": _cost(unit="s", label="step time", front=3),
    "step_time_s": _cost(unit="s", label="step time of a lone replica", held_out=False),
    "peak_memory_mib": _cost(unit="MiB", label="peak memory", front=5),
}
CONTINUAL: dict[str, Metric] = {
    "final_accuracy": _fraction(label="final accuracy", front=1),
    "average_incremental_accuracy": _fraction(label="average incremental accuracy"),
    "forgetting": _transfer("minimize", label="forgetting"),
    "backward_transfer": _transfer(label="backward transfer"),
    "forward_transfer": _transfer(label="forward transfer"),
    "final_recency": _fraction("minimize", label="recency"),
    "final_old_accuracy": _fraction(label="accuracy on old classes"),
    "final_new_accuracy": _fraction(label="accuracy on new classes"),
    "final_ncm_accuracy": _fraction(label="nearest class mean"),
    "final_joint_accuracy": _fraction(label="joint head"),
    "final_frozen_accuracy": _fraction(label="frozen backbone"),
    "final_fast_accuracy": _fraction(label="fast alone"),
    "final_slow_accuracy": _fraction(label="slow alone"),
    "destructive_boundaries": Metric("minimize", "boundaries", low=0.0, label="destructive boundaries"),
    "final_val_accuracy": _fraction(label="final held-out accuracy", held_out=True),
    "average_incremental_val_accuracy": _fraction(label="average incremental held-out accuracy", held_out=True),
    **COSTS,
}
SEMA: dict[str, Metric] = {
    **CONTINUAL,
    "adapters_grown": Metric("minimize", "adapters", low=0.0, label="adapters grown", held_out=True),
    "added_params": Metric("minimize", "parameters", low=0.0, label="parameters added", held_out=True),
    "adapters/*": Metric("minimize", "adapters", low=1.0, label="adapters of a block", held_out=True),
    "final_routing/*": _fraction(label="another routing at inference"),
}
EPOCHS: dict[str, Metric] = {
    "final_top1": _fraction(label="final top-1", front=1),
    "best_top1": _fraction(label="best top-1"),
    "best_epoch": Metric("minimize", "epochs", low=0.0, label="best epoch"),
    "final_ece": _fraction("minimize", label="ECE", front=4),
    "final_ece_batch": _fraction("minimize", label="final ECE of batches"),
    "ece_near_best": _fraction("minimize", label="ECE near best"),
    "ece_batch_near_best": _fraction("minimize", label="ECE of batches near best"),
    "ece_after_temperature": _fraction("minimize", label="ECE after temperature"),
    "temperature": Metric("minimize", low=0.0, label="temperature"),
    "final_nll": Metric("minimize", "nats", low=0.0, label="final NLL"),
    "best_val_top1": _fraction(label="best held-out top-1", held_out=True),
    "final_val_top1": _fraction(label="final held-out top-1", held_out=True),
    "final_val_ece": _fraction("minimize", label="final held-out ECE", held_out=True),
    "final_val_nll": Metric("minimize", "nats", low=0.0, label="final held-out NLL", held_out=True),
    **COSTS,
}
RANK: dict[str, Metric] = EPOCHS | {
    "delta_norm": Metric("minimize", low=0.0, label="norm of LoRA's change", held_out=True)
}
THEORY: dict[str, Metric] = {
    "worst_gap": Metric("minimize", "fraction", label="worst gap"),
    "mean_gap": Metric("minimize", "fraction", label="mean gap"),
    "gap/*": Metric("minimize", "fraction", label="gap"),
}


def costs(rows: Sequence[Row]) -> dict[str, float]:
    """step_share_s and step_time_s (medians over boundaries, so that a slow first one does not count) and
    peak_memory_mib (largest), where measured; ``step_time_s`` only of a replica that trained alone, since it stands
    beside the times of single runs.
    """
    seconds, shares, packs, memory = (
        [float(row["value"]) for row in rows if row["phase"] == "timing" and row["name"] == name and row["value"]]
        for name in ("step_time_s", "step_share_s", "pack", "peak_memory_mib")
    )
    found = {"step_share_s": float(np.median(shares))} if shares else {}
    if seconds and set(packs) == {1.0}:
        found["step_time_s"] = float(np.median(seconds))
    return found | ({"peak_memory_mib": max(memory)} if memory else {})


def per_position(rows: Iterable[Row], phase: str, name: str, positions: int, by: str) -> NDArray[np.float64]:
    """The value at each task or epoch, shape (positions,); NaN where nothing finite was measured.

    Args:
        by: ``task`` or ``epoch``, the column that counts.
    """
    values = np.full(positions, np.nan)
    for row in rows:
        at = row.get(by)
        if row["phase"] != phase or row["name"] != name or at is None or not 0 <= at < positions:
            continue
        if row["value"] is not None and math.isfinite(row["value"]):
            values[at] = row["value"]
    return values


def epoch_finals(rows: Sequence[Row], epochs: int) -> dict[str, float]:
    """Final metrics after ``epochs`` epochs; none where one of them was not evaluated, because the best would be over
    fewer than that of the others. A metric that was not measured is absent, never NaN.
    """
    tested, held_out = (_scores(rows, phase, epochs) for phase in ("eval", "val"))
    if not tested and not held_out:
        return {}
    kept = ("best_top1", "final_top1", "final_ece", "final_nll")
    found = tested | {name.replace("_", "_val_", 1): held_out[name] for name in kept if name in held_out}
    if tested:
        for name, source in (("temperature", "temperature"), ("ece_after_temperature", "ece_after")):
            values = [row["value"] for row in rows if row["phase"] == "calibration" and row["name"] == source]
            found[name] = float(values[-1]) if values and values[-1] is not None else math.nan
    found |= {"delta_norm": per_position(rows, "diagnostics", "delta_norm", epochs, "epoch")[-1]}
    return {name: float(value) for name, value in (found | costs(rows)).items() if math.isfinite(value)}


def gap_finals(rows: Iterable[Row], epoch: int) -> dict[str, float]:
    """Gaps of every teacher and rank after an epoch, the worst and their mean; none where none was measured."""
    gaps = {row["name"]: row["value"] for row in rows
            if row["epoch"] == epoch and row["phase"] == "eval" and row["name"].startswith("gap/")}  # fmt: skip
    return {"worst_gap": max(gaps.values()), "mean_gap": math.fsum(gaps.values()) / len(gaps)} | gaps if gaps else {}


def _scores(rows: Sequence[Row], phase: str, epochs: int) -> dict[str, float]:
    """Accuracy and calibration over a complete run's epochs."""
    top1 = per_position(rows, phase, "top1", epochs, "epoch")
    if epochs < 1 or not np.isfinite(top1).all():
        return {}
    best = int(top1.argmax())
    ece, of_batches, nll = (per_position(rows, phase, name, epochs, "epoch") for name in ("ece", "ece_batch", "nll"))
    return {
        "best_top1": top1[best], "best_epoch": float(best), "final_top1": top1[-1],
        "ece_near_best": ece[best], "ece_batch_near_best": of_batches[best],
        "final_ece": ece[-1], "final_ece_batch": of_batches[-1], "final_nll": nll[-1],
    }  # fmt: skip
