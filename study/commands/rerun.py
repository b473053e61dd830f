"""``rerun``: train one replica of a run again from scratch and say whether it is bit-equal."""

import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

from analysis.provenance_differences import provenance_differences
from analysis.records import read_run
from study.ray_tune.resources import this_machine, worker_environment
from study.records.provenance import SOURCE_ROOT, collect
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.spec import ResolvedStudy, TrialSpec
from trainables.configs import CONFIGS
from trainables.errors import InputError
from trainables.packs.checkpoint import Checkpoints

MOST_LISTED = 6
COMPLETE = ("finished", "diverged")
"""Replicas that ended by themselves, so that training again can end at the same place."""


def rerun(path: Path, replica_id: str, out: Path | None, as_json: bool) -> int:
    """Train a replica again, in a process with the environment of a worker, and print whether its bits are the same.

    The original run is only read. What is trained is not tracked in MLflow.

    Args:
        path: the run directory.
        replica_id: which replica; finished or diverged.
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
        print(f"training {replica_id} again: {trial.configuration}, seed {seed}", file=sys.stderr)
        _train_in_worker(again)
        if target:
            again.export()
        from study.commands.bit_equality import differences  # torch

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
    replica_id, trainable = trial.replica_id(seed), run.study.trainable
    diverged = False

    def report(rows: dict[int, list]) -> None:
        nonlocal diverged
        diverged |= any(row["name"] == "diverged" for new in rows.values() for row in new)

    began = time.time()
    try:
        prepare_device(run.study.resources.device)
        checkpoints = Checkpoints(run.path / "checkpoints", {seed: replica_id}, CONFIGS[trainable].boundary)
        config = CONFIGS[trainable].model_validate(trial.params)
        importlib.import_module(f"trainables.methods.{trainable}").train(config, [seed], report, checkpoints)
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [""])[0]
        outcome = Outcome(status="failed", error=f"{type(error).__name__}: {reason}")
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
    study = original.study
    config = CONFIGS[study.trainable].model_validate(trial.params)
    materials = importlib.import_module(f"trainables.methods.{study.trainable}").materials([config], True)
    alone = trial.model_copy(update={"seeds": (seed,)})
    resources = study.resources.model_copy(update={"pack": 1, "max_concurrent": 1})
    resolved = study.model_copy(
        update={
            "run_id": f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}", "seeds": (seed,), "trials": (alone,),
            "configurations": {trial.configuration: trial.params}, "resources": resources, "budget_min": None,
        }
    )  # fmt: skip
    spec = resolved.model_dump(mode="json", include={"study", "trainable", "trials"})
    command = " ".join(["lora-study", *map(shlex.quote, sys.argv[1:])])
    return resolved.model_copy(
        update={"provenance": collect(command, materials.data_hash, materials.weights_hash, spec)}
    )


def _train_in_worker(run: RunDirectory) -> None:
    """Threads, memory and visible GPUs as a worker has them; they are read when a process starts."""
    paths = os.pathsep.join(filter(None, (str(SOURCE_ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | worker_environment(run.study.resources.device) | {"PYTHONPATH": paths}
    code = "import sys, pathlib, study.commands.rerun as rerun; rerun.train_here(pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(run.path)]
    done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)  # stdout is for the result
    ((trial, seed),) = run.replicas
    if run.outcome(trial.replica_id(seed)) is None:
        error = f"the training process ended with code {done.returncode}"
        write_outcome(run.folder(trial.replica_id(seed)), Outcome(status="failed", error=error))


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
