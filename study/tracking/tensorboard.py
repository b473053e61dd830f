"""TensorBoard event files, one folder per replica: ``tensorboard/<configuration>/seed_<s>``, and one for their mean."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.tracking.points import Point

FLUSH_EVERY_S = 10


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

    def write_band(self, folder: str, curves: Iterable[Point]) -> None:
        """Write means over seeds anew: in ``folder`` each has the name of the replicas' curves, so that one chart shows
        both, and as ``band/<name>/mean``, ``/low`` and ``/high`` a standard deviation to both sides; the page "Custom
        scalars" draws these as a band per configuration.

        Raises:
            OSError: the folder cannot be written.
        """
        self.close(folder)
        self._opened.pop(folder, None)
        values = {(point.key, point.step): point for point in curves}
        points, charts = [], dict[str, dict[str, list]]()
        for (key, step), mean in values.items():
            name, _, part = key.rpartition("/")
            if part != "mean":
                continue
            points.append(mean._replace(key=name))
            if std := values.get((f"{name}/std", step)):
                ends = {"mean": 0.0, "low": -std.value, "high": std.value}
                points += [mean._replace(key=f"band/{name}/{end}", value=mean.value + d) for end, d in ends.items()]
                phase, _, title = name.partition("/")
                charts.setdefault(phase, {})[title] = ["Margin", [f"band/{name}/{end}" for end in ends]]
        self.write(folder, points)
        if charts:
            self._open[folder].add_custom_scalars(charts)
        self.close(folder)

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
