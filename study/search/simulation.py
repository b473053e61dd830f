"""A search on a virtual clock: jobs take simulated time on simulated workers, so searches are compared in seconds."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from study.search.candidates import Job
from study.search.seed_search import SeedSearch
from study.search.statistics import SeedResult

Function = Callable[[Mapping[str, Any], int], SeedResult | Mapping[str, float]]
"""(configuration fields, seed) -> what that replica gives."""


@dataclass(frozen=True)
class Simulation:
    """What a simulated search took.

    Attributes:
        clock_s: virtual seconds until the last job ended.
        busy_s: virtual worker-seconds in jobs.
    """

    clock_s: float
    busy_s: float
    jobs: int
    replicas: int


def duration_of_seeds(job: Job) -> float:
    """One virtual second per seed."""
    return float(len(job.seeds))


def simulate(
    search: SeedSearch,
    function: Function,
    workers: int = 1,
    duration_s: Callable[[Job], float] = duration_of_seeds,
    until_s: float = float("inf"),
) -> Simulation:
    """Run a search to its end, or to a moment: jobs that have not ended by ``until_s`` stay in flight.

    Jobs that are in flight already (after ``replay``) start first. Jobs that end together are told in the order of
    their start.

    Raises:
        ValueError: fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers {workers}: at least 1")
    clock, busy, jobs, replicas = 0.0, 0.0, 0, 0
    resumed = list(search.in_flight)
    running: list[tuple[float, int, Job]] = []
    while True:
        while len(running) < workers and (job := resumed.pop(0) if resumed else search.ask()) is not None:
            jobs += 1
            heapq.heappush(running, (clock + duration_s(job), jobs, job))
        if not running or running[0][0] > until_s:
            return Simulation(clock, busy, jobs, replicas)
        clock, _, job = heapq.heappop(running)
        busy += duration_s(job)
        replicas += len(job.seeds)
        search.tell(job, {seed: _result(function(job.params, seed)) for seed in job.seeds})


def _result(given: SeedResult | Mapping[str, float]) -> SeedResult:
    return given if isinstance(given, SeedResult) else SeedResult(metrics=dict(given))
