"""Whether a replica trained again left the same bits: rows, final metrics and the tensors of the last checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from analysis.finals import COSTS
from analysis.records import Run
from analysis.row_differences import compare_rows
from study.records.run_directory import RunDirectory
from study.spec import TrialSpec


def differences(records: Run, original: RunDirectory, again: RunDirectory, trial: TrialSpec, seed: int) -> list[str]:
    """One line for each thing that differs, the first differing row first; none where all bits are the same.

    Args:
        records: the Parquet files of ``original``.
        original: the run.
        again: the run directory of the same replica, trained again.
        trial: its configuration.
        seed: its seed.
    """
    replica_id = trial.replica_id(seed)
    found = []
    statuses = [outcome.status if (outcome := one.outcome(replica_id)) else "none" for one in (original, again)]
    if statuses[0] != statuses[1]:
        error = (ending := again.outcome(replica_id)) and ending.error
        found.append(f"status: {statuses[0]} originally, {statuses[1]} now{f' ({error})' if error else ''}")
    stored = records.metrics[(records.metrics["trial_id"] == trial.trial_id) & (records.metrics["seed"] == seed)]
    kept, new = (_frame(one, trial, seed) for one in (original, again))
    found += _rows("metrics.parquet", stored, new) + _rows("the last checkpoint", kept, new)
    own = records.trials[(records.trials["trial_id"] == trial.trial_id) & (records.trials["seed"] == seed)]
    finals = {
        str(name).removeprefix("metric."): float(own[name].iloc[0])
        for name in own
        if str(name).startswith("metric.") and pd.notna(own[name].iloc[0])
    }
    found += _finals(finals, again.final_metrics(replica_id))
    return found + _checkpoints(original.checkpoints(replica_id), again.checkpoints(replica_id))


def _frame(run: RunDirectory, trial: TrialSpec, seed: int) -> pd.DataFrame:
    columns = ["trial_id", "seed", "phase", "task", "epoch", "step", "name", "value", "wall_s"]
    rows = [{"trial_id": trial.trial_id, "seed": seed, **row} for row in run.rows(trial.replica_id(seed))]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"task": "Int32", "epoch": "Int32", "step": "Int64", "value": "float64"})


def _rows(source: str, first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    if first.empty or second.empty:
        return [f"rows of {source}: {len(first)} originally, {len(second)} now"] if len(first) != len(second) else []
    trial, seed = str(second["trial_id"].iloc[0]), int(second["seed"].iloc[0])
    replicas = pd.DataFrame({"trial_id": [trial], "seed": [seed], "second_trial_id": [trial]})
    compared = compare_rows(first, second, replicas)
    found = []
    if at := compared.by_trial.get(trial):
        if at.first is None or at.second is None:
            gap = f"only {'now' if at.first is None else 'originally'}"
        else:
            gap = f"{at.first:.17g} originally, {at.second:.17g} now (by {at.second - at.first:+.3g})"
        found.append(f"first row of {source} that differs: {at.place}: {gap}; {at.rows} of {at.compared} rows differ")
    for when, names in (("originally", compared.only_first), ("now", compared.only_second)):
        if names:
            found.append(f"metrics of {source} measured only {when}: {', '.join(names)}")
    return found


def _finals(first: Mapping[str, float], second: Mapping[str, float]) -> list[str]:
    found = []
    for name in dict.fromkeys([*first, *second]):
        if name in COSTS:
            continue
        one, other = first.get(name), second.get(name)
        equal = one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))
        if not equal:
            sides = ["none" if value is None else f"{value:.17g}" for value in (one, other)]
            found.append(f"final {name}: {sides[0]} originally, {sides[1]} now")
    return found


def _checkpoints(first: list[Path], second: list[Path]) -> list[str]:
    names = [files[-1].name if files else "none" for files in (first, second)]
    if names[0] != names[1]:
        return [f"last checkpoint: {names[0]} originally, {names[1]} now"]
    if not first:
        return []
    a, b = load_file(first[-1]), load_file(second[-1])
    if missing := sorted(a.keys() ^ b.keys()):
        return [f"tensors of {names[0]} that are in one checkpoint alone: {', '.join(missing)}"]
    differing = [name for name in a if not _same_bits(a[name], b[name])]
    if not differing:
        return []
    name = differing[0]
    text = f"first tensor of {names[0]} that differs: {name}"
    if a[name].shape == b[name].shape:
        gap = (a[name].double() - b[name].double()).abs()
        text += f", by at most {float(gap.max()):.3g} in {int((gap != 0).sum())} of {gap.numel()} numbers"
    return [f"{text}; {len(differing)} of {len(a)} tensors differ"]


def _same_bits(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))
