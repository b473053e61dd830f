"""The same configurations and seeds run twice, under two versions of code, libraries or machine: what changed?

Verdict per configuration, over the seeds that both runs finished:

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
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.differences import CONFIDENCE, PairedDifference, corrected, holm, paired_difference
from analysis.observations import observations
from analysis.permutation import smallest_permutation_p, spread_p
from analysis.records import RecordsError, Run
from analysis.row_differences import FirstDifference, compare_rows
from analysis.series import REPLICA, objective_metric

IDENTICAL, WITHIN_NOISE, SHIFTED, SPREAD, UNDECIDED = (
    "identical",
    "same within rerun noise",
    "shifted",
    "changed in spread",
    "not told apart",
)
FEWEST_SEEDS_SPREAD = 7  # see permutation.spread_p
_NOT_COMPARED = ("started_at", "command", "spec_hash")


@dataclass(frozen=True)
class RerunNoise:
    """``std`` of a final metric between runs of the same replica, ``freedom`` its degrees of freedom (None where it is
    0 by contract), ``source`` where it is from. ``std`` None: not known."""

    std: float | None
    freedom: int | None
    source: str


@dataclass(frozen=True)
class ConfigurationChange:
    """One configuration under both versions; differences are second minus first.

    ``only_first``, ``only_second``: seeds that one run alone finished. ``difference``: paired, None without a common
    finished seed. ``test``: what decided on a shift. ``p_shift``, ``p_spread``: Holm-corrected; ``p_spread`` None where
    it was not tested. ``spread_ratio``: standard deviation of the second over the first, None where undefined.
    ``p_noise``: probability of differences as large from rerun noise alone, None where that is not known.
    """

    configuration: str
    verdict: str
    seeds: tuple[int, ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    difference: PairedDifference | None = None
    test: str = ""
    p_shift: float | None = None
    p_spread: float | None = None
    spread_ratio: float | None = None
    p_noise: float | None = None
    first_difference: FirstDifference | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """``provenance``: (key, value in the first, value in the second) of what differs. ``new_metrics``,
    ``gone_metrics``: measured by one version alone. Configurations of one run alone are listed, not compared."""

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
    rows = compare_rows(first, second, replicas)
    noise = rerun_noise(first, reruns, metric)
    by_trial = dict(iter(replicas.groupby("trial_id")))
    nothing = replicas.iloc[:0]
    trials = [dict(iter(run.trials.groupby("trial_id"))) for run in (first, second)]
    found = [
        _change(trials[0][ids[0]], trials[1][ids[1]], by_trial.get(ids[0], nothing), rows.by_trial.get(ids[0]), noise)
        for ids in pairs
    ]
    return Comparison(
        first=str(first.study.get("run_id") or first.path.name),
        second=str(second.study.get("run_id") or second.path.name),
        metric=metric,
        noise=noise,
        changes=tuple(_judged(found)),
        only_first=_labels(first, {one for one, _ in pairs}),
        only_second=_labels(second, {other for _, other in pairs}),
        provenance=provenance_differences(first, second),
        gone_metrics=rows.only_first,
        new_metrics=rows.only_second,
    )


def rerun_noise(run: Run, reruns: Sequence[Run], metric: str) -> RerunNoise:
    """Standard deviation between runs of the same replica, pooled; 0 on a CPU by contract where there are none.

    Args:
        run: a run.
        reruns: runs of the same code.
        metric: a final metric.
    """
    frame = observations([run, *reruns], metric)
    groups = frame.groupby(["hyperparameters", "seed"])["value"]
    freedom = int((groups.size() - 1).sum()) if len(frame) else 0
    if reruns and freedom:
        squares = float(((frame["value"] - groups.transform("mean")) ** 2).sum())
        return RerunNoise(float(np.sqrt(squares / freedom)), freedom, f"measured over {freedom} reruns")
    if (run.study.get("resources") or {}).get("device") == "cpu":
        return RerunNoise(0.0, None, "none on a CPU: the same code and seed give the same bits")
    return RerunNoise(None, None, "not known: no reruns were given, and this run is not known to be on a CPU")


def provenance_differences(first: Run, second: Run) -> tuple[tuple[str, str, str], ...]:
    """What differs in code, versions, hardware, data, weights and setting: key, first value, second value."""
    sides = []
    for run in (first, second):
        known = {key: run.study.get(key) for key in ("study", "trainable", "profile", "dataset", "backbone")}
        known["device"] = (run.study.get("resources") or {}).get("device")
        provenance = {k: v for k, v in (run.study.get("provenance") or {}).items() if k not in _NOT_COMPARED}
        sides.append(known | pd.json_normalize(provenance, sep=".").iloc[0].to_dict() if provenance else known)
    a, b = sides
    keys = [key for key in dict.fromkeys([*a, *b]) if _text(a.get(key)) != _text(b.get(key))]
    return tuple((str(key), _text(a.get(key)), _text(b.get(key))) for key in keys)


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


def _change(
    first: pd.DataFrame,
    second: pd.DataFrame,
    own: pd.DataFrame,
    earliest: FirstDifference | None,
    noise: RerunNoise,
) -> ConfigurationChange:
    """One configuration, its p-values not yet corrected and its verdict open unless identical."""
    label = str(first["configuration"].iloc[0])
    seeds = [
        set(rows["seed"].to_numpy()[(rows["status"] == "finished").to_numpy()].tolist()) for rows in (first, second)
    ]
    paired = own.dropna(subset=["first", "second"])
    a, b = paired["first"].to_numpy(dtype=np.float64), paired["second"].to_numpy(dtype=np.float64)
    unequal = (own["status_first"] != own["status_second"]).any() or (a != b).any()
    same = len(own) > 0 and earliest is None and not unequal
    found = ConfigurationChange(
        label,
        IDENTICAL if same else UNDECIDED,
        tuple(int(seed) for seed in paired["seed"]),
        tuple(sorted(seeds[0] - seeds[1])),
        tuple(sorted(seeds[1] - seeds[0])),
        first_difference=earliest,
        parameters=_parameters(first, second),
    )
    if not a.size:
        return found
    spread = spread_p(a, b) if a.size >= FEWEST_SEEDS_SPREAD else None
    ratio = float(b.std(ddof=1) / a.std(ddof=1)) if a.size > 1 and a.std(ddof=1) > 0 else None
    return replace(
        found,
        difference=paired_difference(label, str(first["run_id"].iloc[0]), b, a),
        p_spread=None if spread is None else float(spread),
        spread_ratio=ratio,
        p_noise=_noise_p(b - a, same, noise),
    )


def _noise_p(gaps: NDArray[np.float64], same: bool, noise: RerunNoise) -> float | None:
    """Probability that rerun noise alone makes differences with so large a mean square; of shape (n,)."""
    if noise.std is None:
        return None
    if noise.std == 0:
        # Without noise any difference in bits is a change.
        return float(same)
    return float(stats.f.sf((gaps**2).mean() / (2 * noise.std**2), gaps.size, noise.freedom))


def _judged(found: Sequence[ConfigurationChange]) -> list[ConfigurationChange]:
    """The same with corrected p-values and verdicts."""
    differences = iter(corrected([one.difference for one in found if one.difference]))
    spreads = holm([one.p_spread for one in found])
    tested = sum(one.difference is not None for one in found)
    level = 1 - CONFIDENCE
    judged = []
    for one, p_spread in zip(found, spreads, strict=True):
        if one.difference is None:
            judged.append(one)
            continue
        difference = next(differences)
        by_signs = smallest_permutation_p(difference.n) * tested <= level
        p_shift = difference.p_permutation_holm if by_signs else difference.p_t_holm
        verdict = one.verdict
        if verdict != IDENTICAL:
            if p_shift is not None and p_shift <= level:
                verdict = SHIFTED
            elif p_spread is not None and p_spread <= level:
                verdict = SPREAD
            elif one.p_noise is not None and one.p_noise > level:
                verdict = WITHIN_NOISE
        test = "sign flips" if by_signs else "paired t test"
        judged.append(
            replace(one, verdict=verdict, difference=difference, test=test, p_shift=p_shift, p_spread=p_spread)
        )
    return judged


def _parameters(first: pd.DataFrame, second: pd.DataFrame) -> tuple[str, ...]:
    """``name: value -> value`` of the parameters in which a configuration differs between the runs."""
    a, b = (
        {name: rows[name].iloc[0] for name in rows if name.startswith("param.") and pd.notna(rows[name].iloc[0])}
        for rows in (first, second)
    )
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    return tuple(f"{key.removeprefix('param.')}: {_text(a.get(key))} -> {_text(b.get(key))}" for key in keys)


def _labels(run: Run, trials: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.trials.loc[~run.trials["trial_id"].isin(trials), "configuration"]))


def _text(value: object) -> str:
    return "not recorded" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)
