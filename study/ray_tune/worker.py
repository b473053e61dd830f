"""Tune function <-> a trainable's plain ``train(config, seeds, report, checkpoints)``. Runs in the worker."""

import os
import resource
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from study.plugins import trainable_of
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolved import ResolvedStudy
from trainables.errors import ContractError, InputError, first_line
from trainables.metrics.finals import FINAL
from trainables.packs.checkpoint import Checkpoints, Row
from trainables.registry import PARAMETERS

STOP_FILE = "stop"
"""In a replica's folder: its pack is to stop after its next report, as ``pruned``."""


class _StopPack(Exception):
    """The driver has stopped this pack."""


def run_pack(task: dict[str, Any]) -> None:
    """Train one pack and leave its outcome in the run directory.

    Args:
        task: ``pack`` holds run_dir, params, replica_ids (seed -> id) and device.

    An exception of the trainable becomes the status ``failed`` of its replicas; a killed process is left to Tune,
    which starts the pack again from its checkpoints.
    """
    from ray import tune

    pack = task["pack"]
    run_dir = Path(pack["run_dir"])
    if not (run_dir / "study.json").exists():
        raise RuntimeError(
            f"{run_dir} is not visible on node {socket.gethostname()}: --out must be on a file system all nodes share"
        )
    replica_ids: dict[int, str] = {int(seed): name for seed, name in pack["replica_ids"].items()}
    study = RunDirectory.open(run_dir).study
    if study.origin and Path(study.origin.cwd).is_dir():
        os.chdir(study.origin.cwd)
    spec = trainable_of(study, run_dir)
    checkpoints = Checkpoints(run_dir / "checkpoints", replica_ids, spec.config.boundary)
    clock = {"began_at": time.time(), "report_s": 0.0}
    diverged: set[int] = set()
    final: set[str] = set()

    def report(rows: dict[int, list[Row]]) -> None:
        start = time.monotonic()
        if not clock.get("first"):  # a resumed replica's clock began before this process did
            clock["began_at"] = time.time() - max((row["wall_s"] for new in rows.values() for row in new), default=0.0)
            clock["first"] = 1.0
        final.update(row["name"] for new in rows.values() for row in new if row["phase"] == FINAL)
        diverged.update(seed for seed, new in rows.items() for row in new if row["name"] == "diverged")
        tune.report({"rows": {str(seed): new for seed, new in rows.items()}, "began_at": clock["began_at"]})
        clock["report_s"] += time.monotonic() - start
        # report() returns when the driver has dealt with it, so its decision is there
        if any((run_dir / "checkpoints" / replica_id / STOP_FILE).exists() for replica_id in replica_ids.values()):
            raise _StopPack

    statuses: dict[int, tuple[Any, str | None]]
    breach = False
    try:
        prepare_device(pack["device"])
        spec.load().train(spec.config.model_validate(pack["params"]), list(replica_ids), report, checkpoints)
        missing = _asked_for(study, pack["params"]) - final
        if missing and not diverged:
            raise ContractError(
                f"metric {min(missing)!r}: the objective asks for it and {spec.name} does not report it; "
                f"it reports: {', '.join(sorted(final))}"
            )
    except _StopPack:
        statuses = {seed: ("diverged" if seed in diverged else "pruned", None) for seed in replica_ids}
    except Exception as error:
        breach = isinstance(error, ContractError)
        for replica_id in replica_ids.values():
            folder = run_dir / "checkpoints" / replica_id
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc())
        text = f"{'' if isinstance(error, InputError) else f'{type(error).__name__}: '}{first_line(error)}"
        statuses = {seed: ("failed", text) for seed in replica_ids}
    else:
        statuses = {seed: ("diverged" if seed in diverged else "finished", None) for seed in replica_ids}
    outcomes, notice = {}, _notice(pack["device"], pack["params"].get("precision"))
    for seed, (status, message) in statuses.items():
        outcome = Outcome(
            status=status, error=message, peak_memory_mib=_peak_memory_mib(pack["device"]), host=socket.gethostname(),
            began_at=clock["began_at"], ended_at=time.time(), report_s=clock["report_s"] / len(replica_ids),
            notice=notice, breach=breach,
        )  # fmt: skip
        write_outcome(run_dir / "checkpoints" / replica_ids[seed], outcome)
        outcomes[replica_ids[seed]] = outcome.model_dump()
    tune.report({"rows": {}, "began_at": clock["began_at"], "outcomes": outcomes})


def _asked_for(study: ResolvedStudy, params: dict[str, Any]) -> set[str]:
    """Metrics that a replica has to report."""
    if study.search and params.get("evaluate") == "validation":
        return {objective.metric for objective in study.search.objectives} - set(PARAMETERS)
    return {study.objective.metric}


def prepare_device(device: str) -> None:
    """One thread on a CPU; memory statistics from here on on a GPU."""
    import torch

    from trainables.packs.device import device as used

    if device == "cpu" or used().type == "cpu":
        torch.set_num_threads(1)
    else:
        torch.cuda.reset_peak_memory_stats()


def _notice(device: str, precision: str | None) -> str:
    """What to say where a GPU was given and is not used, or its precision was asked for and there is none."""
    from trainables.packs.device import device as used

    if device == "gpu" and used().type == "cpu":
        return f"{socket.gethostname()}: a GPU was given and does not start: CPU used"
    if precision == "fp16" and used().type == "cpu":
        return "precision=fp16: on a CPU the run is in fp32, as the notes' code did there"
    return ""


def _peak_memory_mib(device: str) -> float:
    if device == "gpu":
        import torch

        from trainables.packs.device import device as used

        if used().type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
