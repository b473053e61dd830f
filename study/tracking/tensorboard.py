"""TensorBoard event files, one folder per replica: ``tensorboard/<configuration>/seed_<s>``."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

FLUSH_EVERY_S = 10


class Point(NamedTuple):
    """One value of one curve."""

    key: str
    step: int
    value: float
    timestamp_ms: int


def safe_name(name: str) -> str:
    """``name`` as one part of a path. What had to be changed gets a hash, so that two names never share a folder."""
    cleaned = re.sub(r"[^\w.=+,-]+", "_", name).lstrip(".")[:100]
    return cleaned if cleaned == name and cleaned else f"{cleaned}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class EventFiles:
    """Writes curves below ``root``, and each point of them once.

    A folder is emptied of event files the first time this object writes to it: a resumed study hands in the rows of
    a replica from its first, and the files of the interrupted process would show them twice.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, Any] = {}
        self._opened: dict[str, int] = {}

    def write(self, folder: str, points: Iterable[Point]) -> None:
        """Append ``points`` to the curves in ``folder``, a path relative to the root.

        Raises:
            OSError: the folder cannot be written.
        """
        writer = self._open.get(folder) or self._start(folder)
        for point in points:
            writer.add_scalar(point.key, point.value, point.step, point.timestamp_ms / 1000)

    def close(self, folder: str | None = None) -> None:
        """Finish the file in ``folder``, or all of them; another write to it starts one more file beside it."""
        for name in list(self._open) if folder is None else [folder]:
            writer = self._open.pop(name, None)
            if writer is not None:
                writer.close()

    def _start(self, folder: str) -> Any:
        from tensorboardX import SummaryWriter

        # One line on the terminal for every value of a diverged replica otherwise; its status says it once.
        logging.getLogger("tensorboardX").setLevel(logging.ERROR)
        path = self._root / folder
        path.mkdir(parents=True, exist_ok=True)
        if folder not in self._opened:
            for old in path.glob("events.out.tfevents.*"):
                old.unlink()
        # The names hold the time in whole seconds; the number keeps two files of the same second apart.
        number = self._opened[folder] = self._opened.get(folder, 0) + 1
        writer = SummaryWriter(str(path), max_queue=1000, flush_secs=FLUSH_EVERY_S, filename_suffix=f".{number}")
        self._open[folder] = writer
        return writer
