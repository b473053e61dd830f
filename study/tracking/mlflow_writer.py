"""Writes metrics, artifacts and states into the MLflow runs of a study.

Every method can be called again after it failed or was cut off: nothing is there twice.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.resolved import TrialSpec
from study.tracking.mlflow_runs import MAX_TAG_VALUE, MlflowRuns, mlflow_key
from study.tracking.points import OverSeeds, Point

if TYPE_CHECKING:
    from mlflow.entities import Metric

BATCH = 1000  # metrics that MLflow takes in one call

Places = Counter[tuple[str, int]]
"""How many points a curve (its key) has at a step."""


class RunWriter:
    """Takes the study's own names (trial and replica ids) and leaves MLflow's ids to ``MlflowRuns``."""

    def __init__(self, runs: MlflowRuns) -> None:
        self._runs = runs
        self._earlier: dict[str, Places] = {}
        self._counted: dict[str, Places] = {}

    def add_points(self, key: str, points: Sequence[Point]) -> None:
        """Add points to the curves of run ``key``; new ones make a run that had ended run again.

        MLflow drops a point that is there with the same time. One that an interrupted process logged and that is
        computed again has another time: for a run found in MLflow, the n-th point of a curve at a step is therefore
        left out where n are there already.
        """
        from mlflow.entities import Metric

        run = self._runs.runs[key]
        fresh, counted = list(points), None
        if run not in self._runs.created:
            fresh, counted = self._not_there(key, run, points)
        if fresh:
            self.restart(key)
        self._log(run, [Metric(mlflow_key(point.key), _storable(point.value), point.timestamp_ms, point.step)
                        for point in fresh])  # fmt: skip
        if counted is not None:
            self._counted[key] = counted  # only now: a call that failed comes again with the same points

    def set_metrics(self, key: str, metrics: Mapping[str, float], tags: Mapping[str, str] | None = None) -> None:
        """Give run ``key`` these values (at step 0); one that is there already is left as it is."""
        run = self._runs.runs[key]
        self._log(run, _new(metrics, self._runs.client.get_run(run).data.metrics), tags)

    def summarise(self, trial: TrialSpec, found: OverSeeds, state: str) -> None:
        """Give the run of a trial what its seeds say together, and its state.

        Where its curves are of other seeds (some came later, or a failed one was tried again), another run takes its
        place: MLflow cannot take a point back. The tag ``curves`` tells, and is written last.
        """
        from mlflow.entities import Metric

        self._runs.ensure([trial])
        there = self._runs.client.get_run(self._runs.runs[trial.trial_id]).data
        digest = there.tags.get("curves")
        if found.curves and digest not in (None, found.digest):
            self._runs.replace(trial)
            there, digest = self._runs.client.get_run(self._runs.runs[trial.trial_id]).data, None
        curves, tags = [], {}
        if found.curves and digest is None:
            curves = [Metric(mlflow_key(point.key), point.value, point.timestamp_ms, point.step)
                      for point in found.curves]  # fmt: skip
            tags = {"curves": found.digest}
        run = self._runs.runs[trial.trial_id]
        self._log(run, curves + _new(found.metrics, there.metrics), tags)
        self._runs.set_status(run, state, found.status)

    def restart(self, key: str) -> None:
        """Let run ``key`` run again where it had ended."""
        run = self._runs.runs[key]
        if self._runs.status[run] != "RUNNING":
            self._runs.set_status(run, "RUNNING", "running")

    def add_artifact(self, key: str, path: Path, under: str | None) -> None:
        """Copy a file, or a folder with its name, to the artifacts of run ``key``, into the folder ``under``.

        Raises:
            FileNotFoundError: nothing is at ``path``.
        """
        run, client = self._runs.runs[key], self._runs.client
        if path.is_dir():
            client.log_artifacts(run, str(path), "/".join(part for part in (under, path.name) if part))
        elif path.exists():
            client.log_artifact(run, str(path), under)
        else:
            raise FileNotFoundError(path)

    def set_status(self, key: str, status: str, tag: str) -> None:
        """Set MLflow's state of run ``key`` and the tag ``status``."""
        self._runs.set_status(self._runs.runs[key], status, tag)

    def interrupt(self, key: str) -> None:
        """Mark run ``key`` as interrupted, unless it has ended or was never made."""
        run = self._runs.runs.get(key)
        if run is not None and self._runs.status[run] == "RUNNING":
            self._runs.set_status(run, "KILLED", "interrupted")

    def _log(self, run: str, metrics: Sequence[Metric], tags: Mapping[str, str] | None = None) -> None:
        """In as few calls as MLflow takes; the tags with the last one."""
        from mlflow.entities import RunTag

        every = [RunTag(name, value[:MAX_TAG_VALUE]) for name, value in (tags or {}).items()]
        batches = [metrics[start : start + BATCH] for start in range(0, len(metrics), BATCH)] or [[]] * bool(every)
        for batch in batches:
            self._runs.client.log_batch(run, metrics=batch, tags=every if batch is batches[-1] else ())

    def _not_there(self, key: str, run: str, points: Sequence[Point]) -> tuple[list[Point], Places]:
        """Points that an earlier process has not logged, and the count of all points up to here."""
        if key not in self._earlier:
            client = self._runs.client
            self._earlier[key] = Counter(
                (metric.key, metric.step)
                for name in client.get_run(run).data.metrics
                for metric in client.get_metric_history(run, name)
            )
        earlier, counted = self._earlier[key], self._counted.get(key, Counter()).copy()
        fresh = []
        for point in points:
            place = (mlflow_key(point.key), point.step)
            counted[place] += 1
            if counted[place] > earlier[place]:
                fresh.append(point)
        return fresh, counted


def _new(metrics: Mapping[str, float], there: Mapping[str, float]) -> list[Metric]:
    """Those that are not there with this value, for now."""
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    values = {mlflow_key(name): _storable(value) for name, value in metrics.items()}
    # repr, because nan != nan
    return [Metric(k, v, now_ms, 0) for k, v in values.items() if k not in there or repr(there[k]) != repr(v)]


def _storable(value: float) -> float:
    """MLflow turns an infinity into 1.8e308, which no chart survives; it keeps "not a number" as such."""
    value = float(value)
    return value if math.isfinite(value) else math.nan
