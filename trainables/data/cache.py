"""What is computed once per node and mapped by every process after that."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def cache_dir() -> Path:
    """Root of the cache: ``LORA_STUDY_CACHE``, else the user's cache folder."""
    configured = os.environ.get("LORA_STUDY_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "lora-study"


def cached(kind: str, identity: Any, build: Callable[[Path], None]) -> Path:
    """A folder with what ``build`` writes into it, made at most once per node whoever asks first.

    The folder gets its name when it is complete, so a process that dies while it builds leaves nothing that looks so.

    Args:
        kind: such as ``images``.
        identity: everything that decides the content, as JSON.
        build: fills an empty folder; what it raises is raised here.
    """
    from filelock import FileLock

    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    path = cache_dir() / kind / name
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.is_dir():
            unfinished = path.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            unfinished.mkdir()
            build(unfinished)
            os.replace(unfinished, path)
    return path


def hash_tensors(tensors: Mapping[str, Tensor], digest: Any = None) -> str:
    """sha256 over names and values; ``digest``: of ``hashlib``, which has taken something before."""
    digest = digest or hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
