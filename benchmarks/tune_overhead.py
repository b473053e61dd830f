"""What a search costs beside the training: an instant trainable through Ray Tune, and 10,000 trials on a virtual clock.

    python benchmarks/tune_overhead.py                         # all of it
    python benchmarks/tune_overhead.py tune                    # 1,000 configurations through Ray Tune
    python benchmarks/tune_overhead.py virtual --sampler tpe   # 10,000 configurations without Ray

Both search the space of nested LoRA. Through Tune every job is a Tune trial on a reused actor, as in a study, but
nothing is written beside what Tune itself writes: no checkpoints, records or MLflow.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sections import circumstances, write_section  # noqa: E402
from search_spaces.nested import NESTED  # noqa: E402
from study.search.candidates import Job  # noqa: E402
from study.search.racing import DEFAULT_RACE, SeedSchedule  # noqa: E402
from study.search.seed_search import SeedSearch  # noqa: E402
from study.search.statistics import SeedResult  # noqa: E402
from study.spec import Objective  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "tune_overhead.md"
HEAD = "# What a search costs beside the training\n\nWritten by `benchmarks/tune_overhead.py`; each section is one run."
OBJECTIVES = (
    Objective(metric="final_accuracy"),
    Objective(metric="trainable_params", direction="minimize"),
    Objective(metric="step_share_s", direction="minimize"),
)
WINDOW = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("tune", "virtual"))
    parser.add_argument("--trials", type=int, help="configurations; default: 1000 through Tune, 10000 without")
    parser.add_argument("--sampler", help="default: tpe through Tune; tpe, nsga2 and random without")
    parser.add_argument("--objectives", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--schedule", help="default: the search's own")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    schedule = SeedSchedule.parse(options.schedule or DEFAULT_RACE)
    for what in [options.what] if options.what else ["tune", "virtual"]:
        samplers = ["tpe"] if what == "tune" else ["tpe", "nsga2", "random"]
        for sampler in [options.sampler] if options.sampler else samplers:
            measure(what, sampler, options, schedule)


def measure(what: str, sampler: str, options: argparse.Namespace, schedule: SeedSchedule) -> None:
    """In a process of its own, so that its peak memory is its own."""
    load = os.getloadavg()[0]
    trials = options.trials or (1000 if what == "tune" else 10_000)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        if what == "tune":
            text = pool.apply(through_tune, (trials, sampler, options.objectives, schedule, options.workers))
        else:
            text = as_text(pool.apply(on_virtual_clock, (trials, sampler, options.objectives, schedule)))
    rungs = ", ".join(map(str, schedule.totals))
    title = {"tune": "Ray Tune", "virtual": "Virtual clock"}[what] + f": {trials:,} configurations, {sampler}"
    title += f", {options.objectives} objective(s), {schedule.rule} {rungs} seeds"
    print(f"{title}\n{text}", flush=True)
    first = f"{circumstances('cpu', 'ray', 'optuna')}; load average at the start {load:.1f}."
    write_section(RESULTS, HEAD, title, f"{first}\n\n{text}")


def measured(params: Mapping[str, Any], seed: int) -> dict[str, float]:
    """What the instant trainable reports."""
    noise = np.random.default_rng([seed, int(params["lr_fast"] * 1e9)]).normal()
    alpha = params.get("consolidation_alpha", 1.0)
    height = 0.5 - 0.05 * abs(np.log10(params["lr_fast"] / 0.02)) - 0.1 * abs(alpha - 0.3)
    cost = {"trainable_params": 100.0 * params["rank"], "step_share_s": 1 + 0.01 * params["rank"]}
    return {"final_accuracy": height + 0.03 * noise} | cost


def new_search(trials: int, sampler: str, objectives: int, schedule: SeedSchedule) -> SeedSearch:
    return SeedSearch(NESTED, OBJECTIVES[:objectives], sampler=sampler, schedule=schedule, trials=trials)


def on_virtual_clock(trials: int, sampler: str, objectives: int, schedule: SeedSchedule) -> dict[str, Any]:
    """Process CPU time per new configuration: its suggestion, and telling its results.

    Returns:
        ``windows``: last trial of each window of ``WINDOW`` -> (mean ms per ask, median ms per ask, mean ms of tells
        per configuration); ``cpu_s`` of the whole search, ``memory_mib`` at its peak.
    """
    importlib.import_module("study.ray_tune.tuner")  # the driver's packages count into its memory
    search = new_search(trials, sampler, objectives, schedule)
    asks: list[float] = []
    tells: list[float] = []
    begin = time.process_time()
    while not search.finished:
        start = time.process_time()
        job = search.ask()
        assert job is not None
        if job.rung == 0:
            asks.append(time.process_time() - start)
            tells.append(0.0)
        results = {seed: SeedResult(metrics=measured(job.params, seed)) for seed in job.seeds}
        start = time.process_time()
        search.tell(job, results)
        tells[-1] += time.process_time() - start
    windows = {
        end: (1e3 * np.mean(asks[s]), 1e3 * np.median(asks[s]), 1e3 * np.mean(tells[s]))
        for end in (1000, 3000, 10_000)
        if end <= len(asks) and (s := slice(end - WINDOW, end))
    }
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"windows": windows, "cpu_s": time.process_time() - begin, "memory_mib": memory_mib}


def as_text(found: Mapping[str, Any]) -> str:
    lines = ["| up to trial | CPU per suggestion, mean (median) | CPU of tells per configuration |", "|---|---|---|"]
    for end, (mean, median, tell) in found["windows"].items():
        lines.append(f"| {end:,} | {mean:.1f} ms ({median:.1f} ms) | {tell:.2f} ms |")
    ends = [mean for mean, _, _ in found["windows"].values()]
    if len(ends) > 1:
        lines += ["", f"A suggestion costs {ends[-1] / ends[0]:.2f} x as much in the last of these as in the first."]
    total = (
        f"Whole search {found['cpu_s']:.0f} CPU s; peak memory, driver's packages included, {found['memory_mib']:.0f}"
    )
    return "\n".join([*lines, "", f"{total} MiB."])


class Instant:
    """Jobs whose results are computed by the trainable at once (``study.ray_tune.searcher.Work``)."""

    def __init__(self) -> None:
        self.jobs = 0

    def begin(self, job: Job) -> list[dict[str, Any]]:
        self.jobs += 1
        return [{"params": job.params, "seeds": list(job.seeds)}]

    def results(self, job: Job, error: bool) -> dict[int, SeedResult]:
        return {seed: SeedResult(metrics=measured(job.params, seed)) for seed in job.seeds}

    def intermediate(self, job: Job) -> None:
        pass

    def told(self) -> None:
        pass

    def afterwards(self) -> Iterator[dict[str, Any]]:
        return iter(())


def instant(config: dict[str, Any]) -> None:
    """The trainable."""
    from ray import tune

    values = [measured(config["params"], seed)["final_accuracy"] for seed in config["seeds"]]
    tune.report({"final_accuracy": float(np.mean(values))})


def through_tune(trials: int, sampler: str, objectives: int, schedule: SeedSchedule, workers: int) -> str:
    """Wall-clock time of Tune with ``workers`` CPUs, and what the driver took of it."""
    launch = importlib.import_module("study.ray_tune.tuner")
    from ray import tune

    from study.ray_tune.searcher import SeedSearcher

    class Timed(SeedSearcher):
        """The project's searcher, with the CPU time that asks and tells take in the driver."""

        cpu_s = 0.0

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
            start = time.process_time()
            found = super().suggest(trial_id)
            self.cpu_s += time.process_time() - start
            return found

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            start = time.process_time()
            super().on_trial_complete(trial_id, result, error)
            self.cpu_s += time.process_time() - start

    begin = time.monotonic()
    launch.start_ray("local", "cpu", launch.Machine(workers, 0, "this machine"))
    started = time.monotonic()
    work = Instant()
    searcher = Timed(new_search(trials, sampler, objectives, schedule), work)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(instant, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher, num_samples=-1, reuse_actors=True, max_concurrent_trials=workers
            ),
            run_config=tune.RunConfig(name="overhead", storage_path=folder, verbose=0),
        )
        cpu = time.process_time()
        tuner.fit()
        driver_cpu_s = time.process_time() - cpu
        ended = time.monotonic()
        launch.stop_ray()
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    search, jobs = searcher.search, work.jobs
    assert searcher.error is None and search.finished
    assert len(search.configurations) + len(search.duplicates) == trials
    return (
        f"{ended - begin:.0f} s on {workers} cores, of which {started - begin:.0f} s to start Ray: {jobs:,} jobs "
        f"(Tune trials), {1e3 * (ended - started) / jobs:.0f} ms each. CPU of driver {driver_cpu_s:.0f} s, of which "
        f"the search itself (asks and tells) {searcher.cpu_s:.0f} s; peak memory of the driver {memory_mib:.0f} MiB."
    )


if __name__ == "__main__":
    from benchmarks import tune_overhead  # by this name Ray's workers find the trainable

    tune_overhead.main()
