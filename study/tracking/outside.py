"""Trackers from outside: every entry point of ``lora_study.trackers`` hears of all replicas, as MLflow does."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from study.tracking.outbox import one_line
from trainables.errors import InputError

GROUP = "lora_study.trackers"


class OutsideTracker(Protocol):
    """What an entry point's ``factory(run_dir, study)`` gives. After a resume rows may come again."""

    def log(self, configuration: str, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """New rows of a replica: ``phase, task, epoch, step, name, value, wall_s``."""

    def finish(self, configuration: str, seed: int, status: str, metrics: Mapping[str, float]) -> None:
        """A replica has ended."""

    def over_seeds(
        self, configuration: str, metrics: Mapping[str, float], curves: Mapping[str, Sequence[tuple[int, float]]]
    ) -> None:
        """What the seeds of a configuration say together (``study.tracking.over_seeds``), once all have ended and again
        where that changes; ``curves`` are (step, value). A tracker without this method is not told."""

    def close(self) -> None:
        """The session ends."""


class OutsideTrackers:
    """All of them. One that raises hears nothing more and becomes a warning: tracking cannot stop a study.

    Raises:
        InputError: one cannot be made; no work has started then.
    """

    def __init__(self, run_dir: Path, study: str) -> None:
        self._trackers: dict[str, OutsideTracker] = {}
        self.warnings: list[str] = []
        for entry in entry_points(group=GROUP):
            try:
                self._trackers[entry.name] = entry.load()(run_dir, study)
            except Exception as error:
                text = f"entry point {entry.name} = {entry.value}: no tracker can be made of it ({one_line(error)})"
                raise InputError(text) from error

    def over_seeds(self, *numbers: Any) -> None:
        """Tell those that have the method."""
        self.tell(lambda to: getattr(to, "over_seeds", lambda *numbers: None)(*numbers))

    def tell(self, call: Callable[[OutsideTracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:
                del self._trackers[name]
                self.warnings.append(f"tracker {name} failed and was left out from then on: {one_line(error)}")
