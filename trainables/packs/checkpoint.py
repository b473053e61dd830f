"""Checkpoints of replicas: safetensors plus JSON, atomic, one pair of files per replica and task boundary or epoch.

Those of tasks are all kept; of epochs only what a resume can need, because a fully tuned model is large.

A checkpoint carries every row that its replica has reported so far. So a run that was killed between two reports
loses nothing: what a resumed replica reports again is equal, and whoever collects rows keeps one per key.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

Row = dict[str, Any]
"""phase, task, epoch, step, name, value and wall_s (seconds since the replica began) of one replica."""


@dataclass(frozen=True)
class Checkpoint:
    """State of one replica.

    Attributes:
        rows: everything that the replica has reported.
    """

    tensors: dict[str, Tensor]
    rows: list[Row]


class Checkpoints:
    """Checkpoints under ``directory/<replica id>/<boundary>_<nn>.{safetensors,json}``.

    Args:
        replica_ids: seed -> replica id.
        boundary: after what checkpoints are made.
    """

    def __init__(
        self, directory: Path, replica_ids: Mapping[int, str], boundary: Literal["task", "epoch"] = "task"
    ) -> None:
        self.directory = Path(directory)
        self.replica_ids = dict(replica_ids)
        self.boundary = boundary

    def folder(self, seed: int) -> Path:
        return self.directory / self.replica_ids[seed]

    def save(self, seed: int, position: int, tensors: Mapping[str, Tensor], rows: list[Row]) -> None:
        """Write the state of a replica after a task or epoch; the JSON comes last and makes the checkpoint valid."""
        path = self._path(seed, position)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(dict(tensors), temporary, metadata={"seed": str(seed), self.boundary: str(position)})
        os.replace(temporary, path)
        write_json(path.with_suffix(".json"), {"seed": seed, self.boundary: position, "rows": rows})
        if self.boundary == "epoch":  # a pack killed while it saves resumes from the epoch before
            for old in checkpoint_files(path.parent)[:-2]:
                old.unlink()
                old.with_suffix(".safetensors").unlink()

    def clear(self, seed: int) -> None:
        """Forget what a replica has left, because it begins anew."""
        for path in checkpoint_files(self.folder(seed)):
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)

    def load(self, seed: int, position: int) -> Checkpoint:
        path = self._path(seed, position)
        return Checkpoint(load_file(path), json.loads(path.with_suffix(".json").read_text())["rows"])

    def last_common(self, seeds: Sequence[int]) -> int | None:
        """Last task or epoch that every one of ``seeds`` has completed: where their pack can resume."""
        done = [set(map(position_of, checkpoint_files(self.folder(seed)))) for seed in seeds]
        return max(set.intersection(*done), default=None)

    def _path(self, seed: int, position: int) -> Path:
        return self.folder(seed) / f"{self.boundary}_{position:02d}.safetensors"


def checkpoint_files(folder: Path) -> list[Path]:
    """JSON files of the complete checkpoints in a replica's folder, first to last."""
    return sorted(folder.glob("*_[0-9]*.json"), key=position_of)


def position_of(path: Path) -> int:
    """Task or epoch of a checkpoint's file, from 0."""
    return int(path.stem.rpartition("_")[2])


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON atomically: readers see the old file or the new one, whatever kills the writer."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("w") as file:
        json.dump(content, file, indent=indent)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
