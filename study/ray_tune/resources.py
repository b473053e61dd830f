"""Where packs run: what the machine or cluster has, what one pack takes, how many run at once."""

import os
from dataclasses import dataclass
from typing import Literal

from study.resolved import Resources
from study.spec import Profile
from trainables.errors import InputError

Device = Literal["auto", "gpu", "cpu"]

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}
"""glibc gives big activations back to the kernel at every step otherwise; up to 1.8x on CPU. One arena, because Tune
runs every pack in a new thread and what a dead thread's arena keeps is lost: 20 MiB per replica of the embedded ViT."""


@dataclass(frozen=True)
class Machine:
    """Processors and GPUs that are there to use.

    Attributes:
        notice: what keeps GPUs that are there from being used.
    """

    cpus: int
    gpus: int
    name: str
    notice: str = ""


def this_machine() -> Machine:
    """The machine that the driver runs on."""
    from trainables.packs.device import gpus

    number, notice = gpus()
    return Machine(len(os.sched_getaffinity(0)), number, "this machine", notice)


def worker_environment(device: str) -> dict[str, str]:
    """Environment of worker processes; set before they start, because glibc reads it only then."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    return quiet | SINGLE_THREAD | (KEEP_MEMORY | {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def choose_profile(asked: str, profiles: dict[str, Profile], machine: Machine, device: Device) -> tuple[str, str]:
    """Name of the profile to run, and why in one line.

    Raises:
        InputError: unknown profile.
    """
    if asked != "auto":
        if asked not in profiles:
            raise InputError(f"--profile {asked}: allowed: auto, {', '.join(profiles)}")
        return asked, f"profile {asked}, as asked"
    if not {"paper", "embedded"} <= set(profiles):
        name, *others = profiles
        return name, f"profile {name}, the {'first' if others else 'only one'}"
    if machine.gpus and device != "cpu":
        return "paper", f"profile paper, because {machine.name} has {machine.gpus} GPU(s)"
    reason = "--device cpu" if machine.gpus else machine.notice or f"{machine.name} has no GPU"
    return "embedded", f"profile embedded, because {reason} (--profile paper overrides)"


def allocate(
    machine: Machine, device: Device, profile: Profile, seeds: int, pack: str, gpus_per_trial: float | None,
    max_concurrent: int | None,
) -> Resources:  # fmt: skip
    """What one pack takes and how many packs run at once.

    On CPU one single-threaded process per core, on GPUs as many packs as the share of a GPU allows. ``auto`` stays for
    ``study.ray_tune.packing`` to decide, unless there is one seed only.

    Raises:
        InputError: a GPU asked for where there is none, or a number out of range.
    """
    if device == "gpu" and not machine.gpus:
        raise InputError(f"--device gpu: {machine.notice or f'{machine.name} has no GPU'}; allowed here: cpu or auto")
    use_gpu = machine.gpus > 0 and device != "cpu"
    if gpus_per_trial is not None:
        if gpus_per_trial > 0 and not use_gpu:
            raise InputError(f"--gpus-per-trial {gpus_per_trial:g}: {machine.name} has no GPU to use; allowed here: 0")
        whole = gpus_per_trial == int(gpus_per_trial)
        if not 0 <= gpus_per_trial <= max(machine.gpus, 0) or (gpus_per_trial > 1 and not whole):
            raise InputError(
                f"--gpus-per-trial {gpus_per_trial:g}: allowed: a fraction up to 1, or whole GPUs up to {machine.gpus}"
            )
        use_gpu = gpus_per_trial > 0
    gpus = (gpus_per_trial or profile.gpus_per_trial) if use_gpu else 0.0
    size: int | Literal["auto"]
    if pack == "auto":
        size = "auto" if seeds > 1 else 1
    elif pack.isdigit() and int(pack) >= 1:
        size = int(pack)
    else:
        raise InputError(f"--pack {pack}: allowed: auto or a number of replicas >= 1")
    if max_concurrent is not None and max_concurrent < 1:
        raise InputError(f"--max-concurrent {max_concurrent}: allowed: 1 or more")
    fitting = machine.cpus
    if gpus:
        fitting = min(fitting, int(machine.gpus // gpus) if gpus >= 1 else machine.gpus * int(1 / gpus + 1e-9))
    at_once = max(1, min(fitting, max_concurrent or fitting))
    return Resources(
        device="gpu" if use_gpu else "cpu", pack=size, cpus_per_trial=1, gpus_per_trial=gpus, max_concurrent=at_once
    )
