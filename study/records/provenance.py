"""What is needed to run a study again: code, versions, hardware, and hashes of what went in.

Nothing heavy is imported: versions come from the metadata of the installed packages, so this takes milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("study", "search_spaces", "trainables", "analysis", "lora_study")
PROJECT = "lora-study"
VERSIONS_OF = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the four packages: a checkout, or site-packages for an installed copy."""


def collect(
    command: str, data_hash: str | None, weights_hash: str | None, outside: str | None = None, root: Path = SOURCE_ROOT
) -> dict[str, Any]:
    """Everything a later reader needs to repeat this run, ready for JSON.

    Args:
        command: the command line as the user typed it.
        data_hash: content hash of the decoded data set; None where there is none.
        weights_hash: content hash of the backbone's weights; None where there is none.
        outside: hash of the modules of a study from outside; None for one of the project's.
        root: folder with the four packages. What counts is the repository of the code, not the current directory.

    Returns:
        ``command``, ``data_hash``, ``weights_hash``, ``git_commit`` (None outside a repository or
        without git), ``git_dirty``, ``diff_hash`` ("" when clean), ``source_hash``, ``versions``,
        ``environment_hash`` (over the versions), ``hardware`` (memory in MiB), ``started_at`` (ISO 8601, UTC).
    """
    versions = package_versions()
    return {
        "command": command,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **git_state(root),
        "source_hash": json_hash([source_hash(root), outside]) if outside else source_hash(root),
        "data_hash": data_hash,
        "weights_hash": weights_hash,
        "versions": versions,
        "environment_hash": json_hash(versions),
        "hardware": hardware(),
    }


def json_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``: keys sorted, no spaces, so the order of writing does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def source_hash(root: Path = SOURCE_ROOT) -> str:
    """SHA-256 over names and contents of the packages' ``*.py``: gives a pip-installed copy an identity too."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        _add_file(digest, root, path)
    return digest.hexdigest()


def git_state(root: Path = SOURCE_ROOT) -> dict[str, Any]:
    """``git_commit`` (or None), ``git_dirty`` and ``diff_hash`` of the repository that the code at ``root`` belongs to.

    The diff hash covers ``git diff HEAD`` and the content of untracked Python files in the four packages.
    An installed copy that merely lies inside someone's repository (a virtual environment there) belongs to none:
    git must not ignore it.
    """
    nothing = {"git_commit": None, "git_dirty": False, "diff_hash": ""}
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None or "site-packages" in root.parts or _git(root, "check-ignore", "--quiet", ".") is not None:
        return nothing
    # --binary: the content of a changed weights file counts, not only that it differs.
    diff = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color", "--", ".") or b""
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *PACKAGES) or b""
    untracked = sorted(root / os.fsdecode(name) for name in listed.split(b"\0") if name.endswith(b".py"))
    dirty = bool(diff or untracked)
    digest = hashlib.sha256(diff)
    for path in untracked:
        _add_file(digest, root, path)
    return {
        "git_commit": commit.decode().strip(),
        "git_dirty": dirty,
        "diff_hash": digest.hexdigest() if dirty else "",
    }


def package_versions() -> dict[str, str | None]:
    """Versions of Python, this project and the packages that can change a number; None for one not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*VERSIONS_OF, PROJECT):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def hardware() -> dict[str, Any]:
    """``cpu`` model, ``cores`` usable by this process, ``memory_mib``, ``platform``, ``gpus`` (one text each)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "platform": platform.platform(),
        "gpus": _gpus(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Name, memory in MiB and driver of each GPU, as nvidia-smi lists them."""
    out = _run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], timeout_s=10)
    return [line.strip() for line in (out or b"").decode(errors="replace").splitlines() if line.strip()]


def _add_file(digest: Any, root: Path, path: Path) -> None:
    """Name and content, each closed off, so that moving bytes from one to the other changes the hash."""
    content = path.read_bytes()
    digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
    digest.update(content)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Output of a git command at ``root``; None where it fails or git is missing."""
    return _run(["git", "-c", "core.quotepath=off", "-C", str(root), *arguments], timeout_s=30)


def _run(command: list[str], timeout_s: float) -> bytes | None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
