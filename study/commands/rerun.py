"""``rerun``: train one replica of a run again from scratch and say whether it is bit-equal: its rows, final metrics and
the tensors of its last checkpoint."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from analysis.compare.provenance import provenance_differences
from analysis.compare.rows import compare_rows
from analysis.io.records import Run, read_run
from study.plugins import SOURCE, trainable_of
from study.ray_tune.resources import this_machine, worker_environment
from study.records.provenance import SOURCE_ROOT, collect
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolve.study import command_line, new_run_id
from study.resolved import ResolvedStudy, TrialSpec
from trainables.errors import InputError, first_line
from trainables.packs.checkpoint import Checkpoints

MOST_LISTED = 6
COMPLETE = ("finished", "diverged")
"""Replicas that ended by themselves, so that training again can end at the same place."""


def rerun(path: Path, replica_id: str, out: Path | None, as_json: bool) -> int:
    """Train a replica again, in a process with the environment of a worker, and print whether its bits are the same.

    The original run is only read. What is trained is not tracked in MLflow.

    Args:
        out: run directory of the replica that is trained again; None: a temporary one.

    Returns:
        0 where all bits are the same, 1 where not.

    Raises:
        InputError: no such replica, one that did not end by itself, no GPU where the run had one, data or weights
            that cannot be had, or a folder that cannot be used.
    """
    original = RunDirectory.open(path.expanduser().absolute())
    trial, seed = _replica(original, replica_id)
    records = read_run(original.path)
    resources = original.study.resources
    if resources.device == "gpu" and not this_machine().gpus:
        raise InputError(f"{path}: this run used GPUs and this machine has none")
    target = out.expanduser().absolute() if out else None
    if target and target.resolve().is_relative_to(original.path.resolve()):
        raise InputError(f"--out {out}: lies in the run that is repeated; a new folder elsewhere is allowed")
    study = _study(original, trial, seed)
    with tempfile.TemporaryDirectory(prefix="lora-study-rerun-") as temporary:
        again = RunDirectory.create(target or Path(temporary) / "run", study)
        if study.origin:
            shutil.copytree(original.path / SOURCE, again.path / SOURCE)
        print(f"training {replica_id} again: {trial.configuration}, seed {seed}", file=sys.stderr)
        _train_in_worker(again)
        if target:
            again.export()
        found = differences(records, original, again, trial, seed)
    origin = provenance_differences(original.study.model_dump(mode="json"), study.model_dump(mode="json"))
    notes = [f"{key}: {first} originally, {second} now" for key, first, second in origin]
    if resources.device == "gpu" and resources.pack != 1:
        notes.append(f"trained alone, originally in packs of up to {resources.pack}: on a GPU that can change bits")
    if as_json:
        content = {"replica_id": replica_id, "bit_equal": not found, "differences": found, "changed_since": notes}
        print(json.dumps(content | {"run_dir": str(target) if target else None}, indent=2))
    else:
        _show(replica_id, found, notes, target)
    return 1 if found else 0


def train_here(path: Path) -> None:
    """Train the one replica of a run directory in this process and leave its outcome."""
    from study.ray_tune.worker import prepare_device

    run = RunDirectory.open(path)
    ((trial, seed),) = run.replicas
    replica_id, spec = trial.replica_id(seed), trainable_of(run.study, run.path)
    diverged = False

    def report(rows: dict[int, list]) -> None:
        nonlocal diverged
        diverged |= any(row["name"] == "diverged" for new in rows.values() for row in new)

    began = time.time()
    try:
        prepare_device(run.study.resources.device)
        checkpoints = Checkpoints(run.path / "checkpoints", {seed: replica_id}, spec.config.boundary)
        spec.load().train(spec.config.model_validate(trial.params), [seed], report, checkpoints)
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome(status="failed", error=f"{type(error).__name__}: {first_line(error)}")
    else:
        outcome = Outcome(status="diverged" if diverged else "finished")
    write_outcome(run.folder(replica_id), outcome.model_copy(update={"began_at": began, "ended_at": time.time()}))


def _replica(run: RunDirectory, replica_id: str) -> tuple[TrialSpec, int]:
    replicas = {trial.replica_id(seed): (trial, seed) for trial, seed in run.replicas}
    complete = [name for name in replicas if (end := run.outcome(name)) and end.status in COMPLETE]
    listed = ", ".join(complete[:MOST_LISTED]) or "none has finished"
    if len(complete) > MOST_LISTED:
        listed += f" and {len(complete) - MOST_LISTED} more"
    if replica_id not in replicas:
        raise InputError(f"--replica {replica_id}: not in {run.path}; allowed: {listed}")
    if replica_id not in complete:
        ended = run.outcome(replica_id)
        raise InputError(
            f"--replica {replica_id}: has status {ended.status if ended else 'interrupted'}, so there is nothing to "
            f"compare with; allowed: {listed}"
        )
    return replicas[replica_id]


def _study(original: RunDirectory, trial: TrialSpec, seed: int) -> ResolvedStudy:
    """The study with this replica alone, and the provenance of here and now."""
    study, spec = original.study, trainable_of(original.study, original.path)
    materials = spec.load().materials([spec.config.model_validate(trial.params)], True)
    outside = study.origin.source_hash if study.origin else None
    return study.model_copy(
        update={
            "run_id": new_run_id(), "seeds": (seed,), "trials": (trial.model_copy(update={"seeds": (seed,)}),),
            "configurations": {trial.configuration: trial.params}, "budget_min": None,
            "resources": study.resources.model_copy(update={"pack": 1, "max_concurrent": 1}),
            "provenance": collect(command_line(), materials.data_hash, materials.weights_hash, outside),
        }
    )  # fmt: skip


def _train_in_worker(run: RunDirectory) -> None:
    """Threads, memory and visible GPUs as a worker has them; they are read when a process starts."""
    paths = os.pathsep.join(filter(None, (str(SOURCE_ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | worker_environment(run.study.resources.device) | {"PYTHONPATH": paths}
    code = "import sys, pathlib, study.commands.rerun as rerun; rerun.train_here(pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-P", "-c", code, str(run.path)]  # -P: what lies in the current folder is not ours
    done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)  # stdout is for the result
    ((trial, seed),) = run.replicas
    if run.outcome(trial.replica_id(seed)) is None:
        error = f"the training process ended with code {done.returncode}"
        write_outcome(run.folder(trial.replica_id(seed)), Outcome(status="failed", error=error))


def differences(records: Run, original: RunDirectory, again: RunDirectory, trial: TrialSpec, seed: int) -> list[str]:
    """One line for each thing that differs, the first differing row first; none where all bits are the same.

    Args:
        records: the Parquet files of ``original``.
        again: the run directory of the same replica, trained again.
    """
    replica_id = trial.replica_id(seed)
    found = []
    statuses = [outcome.status if (outcome := one.outcome(replica_id)) else "none" for one in (original, again)]
    if statuses[0] != statuses[1]:
        error = (ending := again.outcome(replica_id)) and ending.error
        found.append(f"status: {statuses[0]} originally, {statuses[1]} now{f' ({error})' if error else ''}")
    stored = records.metrics[(records.metrics["trial_id"] == trial.trial_id) & (records.metrics["seed"] == seed)]
    kept, new = (_frame(one, trial, seed) for one in (original, again))
    metrics = trainable_of(original.study, original.path).metrics
    noisy = {name for name, metric in metrics.items() if not metric.reproducible}
    found += _rows("metrics.parquet", stored, new, noisy) + _rows("the last checkpoint", kept, new, noisy)
    own = records.trials[(records.trials["trial_id"] == trial.trial_id) & (records.trials["seed"] == seed)]
    finals = {
        str(name).removeprefix("metric."): float(own[name].iloc[0])
        for name in own
        if str(name).startswith("metric.") and pd.notna(own[name].iloc[0])
    }
    found += _finals(finals, again.final_metrics(replica_id), noisy)
    return found + _checkpoints(original.checkpoints(replica_id), again.checkpoints(replica_id))


def _frame(run: RunDirectory, trial: TrialSpec, seed: int) -> pd.DataFrame:
    columns = ["trial_id", "seed", "phase", "task", "epoch", "step", "name", "value", "wall_s"]
    rows = [{"trial_id": trial.trial_id, "seed": seed, **row} for row in run.rows(trial.replica_id(seed))]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"task": "Int32", "epoch": "Int32", "step": "Int64", "value": "float64"})


def _rows(source: str, first: pd.DataFrame, second: pd.DataFrame, noisy: Collection[str]) -> list[str]:
    if first.empty or second.empty:
        return [f"rows of {source}: {len(first)} originally, {len(second)} now"] if len(first) != len(second) else []
    trial, seed = str(second["trial_id"].iloc[0]), int(second["seed"].iloc[0])
    replicas = pd.DataFrame({"trial_id": [trial], "seed": [seed], "second_trial_id": [trial]})
    compared = compare_rows(first, second, replicas, noisy)
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


def _finals(first: Mapping[str, float], second: Mapping[str, float], noisy: Collection[str]) -> list[str]:
    found = []
    for name in dict.fromkeys([*first, *second]):
        if name in noisy:
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


def _show(replica_id: str, found: list[str], notes: list[str], target: Path | None) -> None:
    if found:
        print(f"{replica_id}: not bit-equal")
    else:
        print(f"{replica_id}: bit-equal (rows but for timings and memory, final metrics, last checkpoint)")
    for line in found:
        print(f"- {line}")
    if notes:
        print("changed since the original run:")
    for line in notes:
        print(f"- {line}")
    if target:
        print(f"run directory: {target}")
