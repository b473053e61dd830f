"""What the seeds of a configuration say together: the numbers that MLflow shows for a trial and TensorBoard as a band.

They are computed from the run directory, so they are the same after any interruption.
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis.stats import mean_interval
from study.records.run_directory import RunDirectory
from study.resolved import Status, TrialSpec
from study.search.statistics import SPREADS, SeedResult, imputed, label, summarise
from study.spec import Objective
from study.tracking.points import OverSeeds, Point, point_of
from trainables.metrics.finals import FINAL
from trainables.registry import PARAMETERS

WORST_FIRST = ("interrupted", "failed", "diverged", "pruned")
COUNTED = ("finished", "diverged", "failed")


def over_seeds(run: RunDirectory, trial: TrialSpec) -> OverSeeds:
    """From what the seeds of ``trial`` that have ended left in the run directory.

    A failed or diverged seed counts in a final metric as in a search: with the metric's worst possible value, or the
    worst that any seed of the run has had. It does not in metrics of which no good direction is known and in costs.
    """
    outcomes = {seed: found for seed in trial.seeds if (found := run.outcome(trial.replica_id(seed))) is not None}
    statuses = [outcomes[seed].status if seed in outcomes else "interrupted" for seed in trial.seeds]
    results = [_result(run, trial, seed, end.status) for seed, end in outcomes.items() if end.status != "pruned"]
    metrics = {"seeds/n": float(len(results))} | {f"seeds/{name}": float(statuses.count(name)) for name in COUNTED}
    objectives = run.study.search.objectives if run.study.search else [run.study.objective]
    wanted = {objective.metric: objective for objective in objectives}
    names = {name: None for result in results for name in result.metrics if name not in PARAMETERS}
    for name in {**names, **wanted} if results else ():
        values = _values(run, results, name, wanted.get(name))
        if values is not None and len(values) and name not in PARAMETERS:
            metrics |= {f"final/{name}/{part}": value for part, value in mean_and_interval(values).items()}
    for objective in objectives if results else ():
        values = _values(run, results, objective.metric, objective)
        if values is not None and len(values) > (objective.over_seeds in SPREADS):
            metrics[f"objective/{label(objective)}"] = summarise(values, objective)
    status = next((status for status in WORST_FIRST if status in statuses), "finished")
    ended = {seed: outcome.began_at for seed, outcome in outcomes.items()}
    return OverSeeds(status, metrics, _curves(run, trial, ended) if len(ended) == len(trial.seeds) else [])


def mean_and_interval(values: np.ndarray) -> dict[str, float]:
    """``mean``; ``std`` from two values on; ``low`` and ``high`` of the 95 % t interval where the values differ."""
    interval = mean_interval(values)
    found = {"mean": interval.estimate, "low": interval.low, "high": interval.high}
    found["std"] = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _result(run: RunDirectory, trial: TrialSpec, seed: int, status: Status) -> SeedResult:
    counts = {"trainable_params": float(trial.trainable_params), "total_params": float(trial.total_params)}
    return SeedResult(status=status, metrics=run.final_metrics(trial.replica_id(seed)) | counts)


def _values(
    run: RunDirectory, results: Sequence[SeedResult], name: str, objective: Objective | None
) -> np.ndarray | None:
    """A final metric per seed, those of lost seeds filled in where that can be; None where it cannot be yet."""
    values = [result.value(name) for result in results]
    known = run.study.metrics.get(name) or run.study.metrics.get(f"{name.partition('/')[0]}/*") or {}
    if objective is None and known and known.get("reproducible", True):
        objective = Objective(metric=name, direction=known["direction"])
    if objective is None or None not in values:
        return np.array([value for value in values if value is not None], dtype=float)
    worst = known.get("low" if objective.direction == "maximize" else "high")
    if worst is None and objective.failed_as is None:
        every = [
            value
            for trial, seed in run.replicas
            if (outcome := run.outcome(trial.replica_id(seed)))
            and (value := _result(run, trial, seed, outcome.status).value(name)) is not None
        ]
        worst = (min if objective.direction == "maximize" else max)(every, default=None)
    return imputed(results, objective, worst)


def _curves(run: RunDirectory, trial: TrialSpec, began_at: dict[int, float]) -> list[Point]:
    """Of a replica's several points at one place the last counts; values that are not finite do not."""
    places: dict[tuple[str, int], dict[int, Point]] = {}
    for seed, started in began_at.items():
        for row in run.rows(trial.replica_id(seed)):
            point = point_of(row, started)
            if row["phase"] != FINAL and math.isfinite(point.value):
                places.setdefault((point.key, point.step), {})[seed] = point
    curves, seeds = [], dict[tuple[str, int], Point]()
    for (key, step), found in sorted(places.items()):
        n, at = len(found), max(point.timestamp_ms for point in found.values())
        mean = math.fsum(point.value for point in found.values()) / n
        curves.append(Point(f"{key}/mean", step, mean, at))
        if n > 1:
            variance = math.fsum((point.value - mean) ** 2 for point in found.values()) / (n - 1)
            curves.append(Point(f"{key}/std", step, math.sqrt(variance), at))
        counted = Point(f"{key.partition('/')[0]}/seeds", step, float(n), at)
        seeds[counted.key, step] = max(counted, seeds.get((counted.key, step), counted))
    lacking = {point.key for point in seeds.values() if point.value < len(began_at)}
    return curves + [point for point in seeds.values() if point.key in lacking]
