"""Checkpoints of replicas: safetensors plus JSON, atomic, one pair of files per replica and task boundary.

A checkpoint carries every row that its replica has reported so far. So a run that was killed between two reports
loses nothing: what a resumed replica reports again is equal, and whoever collects rows keeps one per key.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

Row = dict[str, Any]
"""phase, task, epoch, step, name, value and wall_s (seconds since the replica began) of one replica."""


@dataclass(frozen=True)
class Checkpoint:
    task: int
    tensors: dict[str, Tensor]
    rows: list[Row]


class Checkpoints:
    """Checkpoints under ``directory/<replica id>/task_<tt>.{safetensors,json}``.

    Args:
        replica_ids: seed -> replica id.
    """

    def __init__(self, directory: Path, replica_ids: Mapping[int, str]) -> None:
        self.directory = Path(directory)
        self.replica_ids = dict(replica_ids)

    def folder(self, seed: int) -> Path:
        return self.directory / self.replica_ids[seed]

    def save(self, seed: int, task: int, tensors: Mapping[str, Tensor], rows: list[Row]) -> None:
        """Write the state of a replica after ``task``; the JSON comes last and makes the checkpoint valid."""
        folder = self.folder(seed)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"task_{task:02d}.safetensors"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(dict(tensors), temporary, metadata={"seed": str(seed), "task": str(task)})
        os.replace(temporary, path)
        write_json(path.with_suffix(".json"), {"task": task, "seed": seed, "rows": rows})

    def tasks(self, seed: int) -> list[int]:
        """Tasks with a complete checkpoint, ascending."""
        return sorted(int(path.stem.removeprefix("task_")) for path in self.folder(seed).glob("task_*.json"))

    def load(self, seed: int, task: int) -> Checkpoint:
        path = self.folder(seed) / f"task_{task:02d}.safetensors"
        return Checkpoint(task, load_file(path), json.loads(path.with_suffix(".json").read_text())["rows"])

    def common_task(self, seeds: list[int] | tuple[int, ...]) -> int | None:
        """Last task that every one of ``seeds`` has completed: where their pack can resume."""
        common = set.intersection(*(set(self.tasks(seed)) for seed in seeds))
        return max(common, default=None)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON atomically: readers see the old file or the new one, whatever kills the writer."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("w") as file:
        json.dump(content, file, indent=indent)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
