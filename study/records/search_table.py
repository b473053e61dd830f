"""A search as Parquet: every configuration with its fate, its value in the search and on fresh seeds."""

import math
import warnings
from typing import Any

import numpy as np
from scipy import stats

from analysis.search_records import IMPORTANCE_FILE, SEARCH_FILE, write_importance, write_search
from study.plugins import trainable_of
from study.records.importance import importances
from study.records.run_directory import RunDirectory
from study.resolved import trial_id
from study.search.candidates import Configuration, Ranked
from study.search.plan import label_of, restored, searched_config
from study.search.seed_search import SeedSearch
from study.search.statistics import SeedResult, early, imputed, label, sense, summarise
from study.spec import Objective

CONFIDENCE = 0.95
DRAWS = 2000
"""Bootstrap samples of the seeds, for statistics other than the mean."""


def export(run: RunDirectory) -> None:
    """Write every Parquet file of a run."""
    run.export()
    if run.study.search:
        search = restored(run.study, run.path)
        write_search(run.path / SEARCH_FILE, _rows(run, search))
        write_importance(run.path / IMPORTANCE_FILE, importances(search))


def _rows(run: RunDirectory, search: SeedSearch) -> list[dict[str, Any]]:
    spec = run.study.search
    assert spec is not None
    ranked = {one.trial_number: (place, one) for place, one in enumerate(search.best(len(search.configurations)), 1)}
    rows = []
    for number in range(len(search.configurations) + len(search.duplicates)):
        original = search.duplicates.get(number, number)
        configuration = search.configurations[original]
        row: dict[str, Any] = {
            "trial": number, "configuration": label_of(spec, original),
            "trial_id": _trial_id(run, configuration, test=False), "enqueued": configuration.enqueued,
            "state": configuration.state, "seeds": 0, "failed": 0, "pruned": 0,
        }  # fmt: skip
        if original != number:
            rows.append(row | {"state": "duplicate", "duplicate_of": original, "enqueued": False})
            continue
        statuses = [result.status for result in configuration.results.values()]
        row |= {
            "rung": configuration.rung if configuration.rung >= 0 else None, "seeds": len(statuses),
            "failed": sum(status in ("failed", "diverged") for status in statuses),
            "pruned": statuses.count("pruned"),
        }  # fmt: skip
        if number in ranked:
            row |= _ranked(*ranked[number])
        if configuration.state == "infeasible":
            violations = search.contest.estimates.of(configuration, configuration.rung).violations
            found = {f"violation.{c.text}": v for c, v in zip(search.constraints, violations, strict=True) if early(c)}
            row |= {"feasible": False} | found
        rows.append(row | _fresh(run, search, configuration))
    return rows


def _ranked(place: int, one: Ranked) -> dict[str, Any]:
    row: dict[str, Any] = {"place": place, "feasible": one.feasible, "front": one.front}
    row |= {f"value.{name}": value for name, value in one.values.items() if math.isfinite(value)}
    return row | {f"violation.{name}": value for name, value in one.constraints.items() if math.isfinite(value)}


def _fresh(run: RunDirectory, search: SeedSearch, configuration: Configuration) -> dict[str, Any]:
    """Columns about fresh seeds; none where the configuration was not run again, or is not through."""
    wanted = _trial_id(run, configuration, test=True)
    trial = run.trial(wanted)
    if trial is None:
        return {}
    row: dict[str, Any] = {"fresh_trial_id": trial.trial_id, "fresh_configuration": trial.configuration}
    results = []
    for seed in trial.seeds:
        outcome = run.outcome(trial.replica_id(seed))
        if outcome is None:
            return row
        counts = {"trainable_params": float(trial.trainable_params), "total_params": float(trial.total_params)}
        metrics = run.final_metrics(trial.replica_id(seed)) | counts
        results.append(SeedResult(status=outcome.status, metrics=metrics))
    for objective in search.objectives:
        fresh = imputed(results, objective, search.contest.estimates.worst_possible(objective))
        trained = configuration.state != "infeasible"
        known = search.contest.estimates.seed_values(configuration, configuration.rung, objective) if trained else None
        if fresh is None or (known is None and trained):
            continue
        name, rng = label(objective), np.random.default_rng(0)
        low, high = _interval(fresh, objective, rng)
        row |= {f"fresh.{name}": summarise(fresh, objective), f"fresh_low.{name}": low, f"fresh_high.{name}": high}
        if known is not None:
            gap, gap_low, gap_high = _gap(known, fresh, objective, rng)
            row |= {f"gap.{name}": gap, f"gap_low.{name}": gap_low, f"gap_high.{name}": gap_high}
    return row


def _interval(values: np.ndarray, objective: Objective, rng: np.random.Generator) -> tuple[float, float]:
    """Of a statistic over seeds, values (N,), N >= 2: t interval of a mean, bootstrap percentiles of any other."""
    if objective.over_seeds == "mean":
        width = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        return float(values.mean() - width), float(values.mean() + width)
    low, high = np.quantile(_resampled(values, objective, rng), _TAILS)
    return float(low), float(high)


def _gap(
    known: np.ndarray, fresh: np.ndarray, objective: Objective, rng: np.random.Generator
) -> tuple[float, float, float]:
    """By how much the search (values (N,)) was better than the fresh seeds (M,), and its interval: Welch's of a
    difference of means, bootstrap percentiles of any other statistic."""
    sign = 1.0 if sense(objective) == "maximize" else -1.0
    gap = sign * (summarise(known, objective) - summarise(fresh, objective))
    if objective.over_seeds == "mean":
        if not (np.ptp(known) or np.ptp(fresh)):
            return gap, gap, gap
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of two samples one may be constant
            ends = stats.ttest_ind(sign * known, sign * fresh, equal_var=False).confidence_interval(CONFIDENCE)
        return gap, float(ends.low), float(ends.high)
    drawn = sign * (_resampled(known, objective, rng) - _resampled(fresh, objective, rng))
    low, high = np.quantile(drawn, _TAILS)
    return gap, float(low), float(high)


_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def _resampled(values: np.ndarray, objective: Objective, rng: np.random.Generator) -> np.ndarray:
    samples = rng.choice(values, size=(DRAWS, len(values)))
    return np.array([summarise(sample, objective) for sample in samples])


def _trial_id(run: RunDirectory, configuration: Configuration, test: bool) -> str:
    spec = run.study.search
    assert spec is not None
    trainable = trainable_of(run.study, run.path)
    config = searched_config(trainable, spec, configuration.params, test)
    return trial_id(trainable.name, config.model_dump(mode="json"))
