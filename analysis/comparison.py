"""The same configurations and seeds run twice, under two versions of code, libraries or machine: what changed?

Verdict per configuration, over the seeds that both runs finished:

- ``not the same configuration``: a parameter has another value under the same label;
- ``identical``: every reproducible metric row has the same bits;
- ``shifted``: the paired differences have a mean other than 0;
- ``changed in spread``: not shifted, and the seeds scatter more, or less;
- ``same within rerun noise``: neither, and the differences are no larger than those between reruns;
- ``not told apart``: bits differ, but none of the above can be shown.

Both tests permute the two values within a seed (``analysis.permutation``), corrected after Holm for the number of
configurations. Where so few seeds cannot reach the level by permutation at all, the shift is tested by the paired t
test, and the spread not; which test decided depends on the number of seeds alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.comparison_verdicts import ConfigurationChange, RerunNoise, configuration_change, judged, rerun_noise
from analysis.metrics import unreproducible
from analysis.provenance_differences import provenance_differences
from analysis.records import RecordsError, Run
from analysis.row_differences import compare_rows
from analysis.series import REPLICA, objective_metric


@dataclass(frozen=True)
class Comparison:
    """``first``, ``second``: what the runs are called, their ids, or their folders where the ids agree. ``provenance``:
    (key, value in the first, value in the second) of what differs. ``new_metrics``, ``gone_metrics``: measured by one
    version alone. Configurations of one run alone are listed, not compared."""

    first: str
    second: str
    metric: str
    noise: RerunNoise
    changes: tuple[ConfigurationChange, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    provenance: tuple[tuple[str, str, str], ...]
    gone_metrics: tuple[str, ...]
    new_metrics: tuple[str, ...]


def compare(first: Run, second: Run, reruns: Sequence[Run] = (), metric: str | None = None) -> Comparison:
    """Compare two runs of the same study.

    Configurations are the same where their trial ids agree, else where their labels do; parameters that differ then are
    listed.

    Args:
        first: the run that is taken as it was.
        second: the run that may have changed.
        reruns: runs of the same code as ``first``, which show the rerun noise.
        metric: a final metric; the objective of ``first`` where None.

    Raises:
        RecordsError: the runs have no configuration in common.
    """
    metric = metric or objective_metric(first)
    pairs = _pairs(first, second)
    if not pairs:
        raise RecordsError(
            f"{first.path} and {second.path} have no configuration in common: nothing to compare "
            f"(studies {first.study.get('study')} and {second.study.get('study')})"
        )
    replicas = _common_replicas(first, second, pairs, metric)
    noisy = unreproducible(first.study.get("metrics")) | unreproducible(second.study.get("metrics"))
    rows = compare_rows(first.metrics, second.metrics, replicas, noisy)
    noise = rerun_noise(first, reruns, metric)
    by_trial = dict(iter(replicas.groupby("trial_id")))
    nothing = replicas.iloc[:0]
    trials = [dict(iter(run.trials.groupby("trial_id"))) for run in (first, second)]
    found = [
        configuration_change(
            trials[0][ids[0]], trials[1][ids[1]], by_trial.get(ids[0], nothing), rows.by_trial.get(ids[0]), noise
        )
        for ids in pairs
    ]
    only = _labels(first, {one for one, _ in pairs}), _labels(second, {other for _, other in pairs})
    origins = provenance_differences(first.study, second.study)
    changes = tuple(judged(found))
    return Comparison(*_names(first, second), metric, noise, changes, *only, origins, rows.only_first, rows.only_second)


def _names(first: Run, second: Run) -> tuple[str, str]:
    ids = (str(first.study.get("run_id") or first.path.name), str(second.study.get("run_id") or second.path.name))
    if ids[0] != ids[1]:
        return ids
    folders = (first.path.resolve().name, second.path.resolve().name)
    return folders if folders[0] != folders[1] else (str(first.path), str(second.path))


def _pairs(first: Run, second: Run) -> list[tuple[str, str]]:
    """Trial ids of the same configuration in both runs, in the order of the first."""
    known = {run.path: run.trials.drop_duplicates("trial_id") for run in (first, second)}
    labels = dict(zip(known[second.path]["configuration"], known[second.path]["trial_id"], strict=True))
    ids, pairs = set(labels.values()), []
    trials = known[first.path]
    taken = ids & set(trials["trial_id"])
    for trial, label in zip(trials["trial_id"], trials["configuration"], strict=True):
        other = trial if trial in ids else labels.get(label)
        if other is not None and (other == trial or other not in taken):
            pairs.append((str(trial), str(other)))
    return pairs


def _common_replicas(first: Run, second: Run, pairs: Sequence[tuple[str, str]], metric: str) -> pd.DataFrame:
    """Columns trial_id, seed, second_trial_id, status_first, status_second, first, second (final values, NaN where
    there is none): replicas that both runs have, whatever became of them."""
    matched = pd.DataFrame(pairs, columns=["trial_id", "second_trial_id"])
    a = _finals(first, metric, "first").merge(matched, on="trial_id")
    return a.merge(
        _finals(second, metric, "second").rename(columns={"trial_id": "second_trial_id"}),
        on=["second_trial_id", "seed"],
    )


def _finals(run: Run, metric: str, side: str) -> pd.DataFrame:
    final = run.trials.get(f"metric.{metric}", pd.Series(np.nan, run.trials.index)).astype(float)
    final = final.where(run.trials["status"] == "finished")
    return run.trials[[*REPLICA]].assign(**{f"status_{side}": run.trials["status"], side: final})


def _labels(run: Run, trials: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.trials.loc[~run.trials["trial_id"].isin(trials), "configuration"]))
