"""The device that a process computes on."""

import subprocess
import sys
import warnings
from functools import cache

import torch

_PROBE = "import torch; torch.zeros(1, device='cuda')"
_PROBE_TIMEOUT_S = 120


@cache
def device() -> torch.device:
    """A GPU where there is one that starts, else the CPU; warns where there is one that does not."""
    if torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda")
        except RuntimeError as error:
            warnings.warn(f"{fallback(str(error))}", stacklevel=2)
        else:
            return torch.device("cuda")
    return torch.device("cpu")


def fallback(reason: str) -> str:
    """What to say where CUDA is there but cannot start."""
    lines = reason.strip().splitlines() or ["no reason given"]
    return f"CUDA is there but cannot start ({lines[0]}): the CPU is used"


@cache
def gpus() -> tuple[int, str]:
    """GPUs of this machine that start, and what to say where there are some and they do not.

    Asked in a process of its own, so that this one takes no memory of the GPU.
    """
    number = torch.cuda.device_count()
    if not number:
        return 0, ""
    try:
        subprocess.run([sys.executable, "-c", _PROBE], check=True, capture_output=True, timeout=_PROBE_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        return 0, fallback(said[-1] if said else type(error).__name__)
    return number, ""
