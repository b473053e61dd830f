"""Ray Tune's side of a search: a job, the new seeds of one configuration, is one Tune trial per pack."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.search.candidates import Job
from study.search.seed_search import SeedSearch
from study.search.statistics import SeedResult


class Work(Protocol):
    """What jobs are made of."""

    def begin(self, job: Job) -> list[dict[str, Any]]:
        """Tune configurations of the packs of a job that starts now; none: its results are there already."""

    def results(self, job: Job, error: bool) -> Mapping[int, SeedResult] | None:
        """What the seeds of a job that has ended gave; None: it was interrupted. ``error``: its process died."""

    def intermediate(self, job: Job) -> None:
        """A running job has reported."""

    def told(self) -> None:
        """Results have been told to the search."""

    def afterwards(self) -> Iterator[dict[str, Any]]:
        """Tune configurations of what runs after the search."""


class SeedSearcher(Searcher):
    """Hands out jobs and tells results; the search's own journal, not Tune's checkpoints, restores it.

    Attributes:
        error: what went wrong in the driver; Tune would take it for a failure of the trial at hand.
    """

    def __init__(self, search: SeedSearch, work: Work) -> None:
        super().__init__()
        self.search, self.work = search, work
        self.jobs: dict[str, Job] = {}
        self.waiting = list(search.in_flight)
        self.packs: list[tuple[Job, dict[str, Any]]] = []  # of jobs that have begun
        self.after: Iterator[dict[str, Any]] | None = None
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore of its own

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Tune's configuration of the next pack, None while nothing can start, FINISHED when all are handed out."""
        if self.error is not None:
            return Searcher.FINISHED
        try:
            return self._next(trial_id)
        except Exception as error:
            self.error = error
            return Searcher.FINISHED

    def _next(self, trial_id: str) -> dict[str, Any] | str | None:
        while not self.packs and (job := self.waiting.pop(0) if self.waiting else self.search.ask()):
            self.packs = [(job, task) for task in self.work.begin(job)]
            if not self.packs:
                self._tell(job, error=False)
        if self.packs:
            self.jobs[trial_id], task = self.packs.pop(0)
            return task
        if not self.search.finished:
            return None
        if self.after is None:
            self.after = self.work.afterwards()
        return next(self.after, Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if self.error is None and trial_id in self.jobs:
            try:
                self.work.intermediate(self.jobs[trial_id])
            except Exception as error:
                self.error = error

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self.jobs.pop(trial_id, None)
        others = [*self.jobs.values(), *(job for job, _ in self.packs)]
        if self.error is None and job is not None and job not in others:
            try:
                self._tell(job, error)
            except Exception as failure:
                self.error = failure

    def _tell(self, job: Job, error: bool) -> None:
        results = self.work.results(job, error)
        if results is not None:
            self.search.tell(job, results)
            self.work.told()

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(b"")  # Tune's own checkpoints are never restored

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is restored from its journal")
