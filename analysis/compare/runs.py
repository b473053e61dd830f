"""Two or more runs of the same configurations: what moved between them, by the objective of their study."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.compare.provenance import other_parameters, provenance_differences
from analysis.compare.rows import FirstDifference, RowComparison, compare_rows
from analysis.compare.verdicts import BIT_EQUAL, UNDECIDED, Gap, judged
from analysis.io.metrics import MetricInfo, unreproducible
from analysis.io.records import RecordsError, Run
from analysis.io.values import ended, objective

_NUMBERED = re.compile(r"trial \d+")
"""Label of what a search tried: the number says nothing of what it is."""


@dataclass(frozen=True)
class Verdict:
    """One configuration in the two runs of a pair; what comes in twos is of the baseline and of the run.

    ``seeds``: common ones, of which ``lost`` diverged, failed or were not finite. ``only``: seeds that ended in one of
    the two. ``parameters``: what differs under the same label. ``gap``: None where there was nothing to test.
    """

    configuration: str
    verdict: str
    seeds: tuple[int, ...]
    lost: tuple[int, int]
    only: tuple[tuple[int, ...], tuple[int, ...]]
    parameters: tuple[str, ...]
    first_difference: FirstDifference | None
    gap: Gap | None


@dataclass(frozen=True)
class Pair:
    """A run against its baseline; what comes in twos is of the baseline and of the run.

    ``provenance``: key and both values of what differs. ``only``: configurations of one alone; ``only_metrics``: what
    one alone measures. ``differing`` of ``replicas``, the common ones with the same parameters, gave other numbers;
    ``rerun_std``: standard deviation between repetitions, NaN unless all that is recorded of the two is the same.
    """

    baseline: str
    run: str
    verdicts: tuple[Verdict, ...]
    provenance: tuple[tuple[str, str, str], ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    only_metrics: tuple[tuple[str, ...], tuple[str, ...]]
    replicas: int
    differing: int
    rerun_std: float


@dataclass(frozen=True)
class Comparison:
    """``runs``: what they are called, the baseline first: their ids, or their folders where the ids agree."""

    runs: tuple[str, ...]
    metric: MetricInfo
    pairs: tuple[Pair, ...]


def compare(runs: Sequence[Run], all_pairs: bool = False) -> Comparison:
    """Compare runs of the same study by its objective.

    Args:
        runs: at least two; the first is the baseline of the others.
        all_pairs: every run with every other; p-values are corrected for as many.

    Raises:
        RecordsError: two of them have no configuration in common.
    """
    metric, names = objective(runs[0]), _names(runs)
    values = [ended(run, metric) for run in runs]
    known = pd.concat([frame["value"] for frame in values])
    worst = known.min() if metric.maximise else known.max()  # of all: one that is lost in two runs makes no gap
    values = [frame.assign(value=frame["value"].fillna(worst)) for frame in values]
    places = list(combinations(range(len(runs)), 2)) if all_pairs else [(0, other) for other in range(1, len(runs))]
    common = [_common((runs[one], runs[other]), (values[one], values[other])) for one, other in places]
    gaps = judged([_unequal(replicas) for _, replicas, _ in common])
    pairs = [_pair((runs[one], runs[other]), (names[one], names[other]), *shared, gap)
             for (one, other), shared, gap in zip(places, common, gaps, strict=True)]  # fmt: skip
    return Comparison(names, metric, tuple(pairs))


def matched(first: Run, second: Run) -> pd.DataFrame:
    """The configurations of both runs: the same parameters, which trial ids are made of, else the same label. Columns
    configuration (label in ``first``), trial_id, second_trial_id, in the order of ``first``."""
    one, other = (run.trials.drop_duplicates("trial_id")[["configuration", "trial_id"]] for run in (first, second))
    alike = set(one["trial_id"]) & set(other["trial_id"])
    left = other[~other["trial_id"].isin(alike) & ~other["configuration"].map(_NUMBERED.fullmatch).astype(bool)]
    by_label = left.drop_duplicates("configuration").set_index("configuration")["trial_id"]
    labelled = one[~one["trial_id"].isin(alike)].drop_duplicates("configuration")["configuration"].map(by_label)
    match = one["trial_id"].where(one["trial_id"].isin(alike), labelled)
    return one.assign(second_trial_id=match).dropna(subset="second_trial_id")


def _common(
    runs: tuple[Run, Run], values: tuple[pd.DataFrame, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame, RowComparison]:
    """What two runs share: their configurations (see ``matched``), the replicas of these that ended in either (columns
    trial_id, second_trial_id, seed, both, bit_equal; status, value and lost with _baseline and _run), their rows."""
    first, second = runs
    same = matched(first, second)
    if same.empty:
        studies = " and ".join(str(run.study.get("study")) for run in runs)
        raise RecordsError(
            f"{first.path} and {second.path} have no configuration in common: nothing to compare (studies {studies})"
        )
    ids, key = same[["trial_id", "second_trial_id"]], ["trial_id", "second_trial_id", "seed"]
    own = values[0].merge(ids, on="trial_id")
    others = values[1].rename(columns={"trial_id": "second_trial_id"}).merge(ids, on="second_trial_id")
    replicas = own.merge(others, on=key, how="outer", suffixes=("_baseline", "_run"), indicator="both")
    replicas["both"] = replicas["both"] == "both"
    noisy = unreproducible(first.study.get("metrics")) | unreproducible(second.study.get("metrics"))
    rows = compare_rows(first.metrics, second.metrics, replicas.loc[replicas["both"], key], noisy)
    differing = pd.MultiIndex.from_frame(replicas[["trial_id", "seed"]]).isin(list(rows.differing))
    a, b = replicas["value_baseline"], replicas["value_run"]
    equal = (replicas["status_baseline"] == replicas["status_run"]) & ((a == b) | (a.isna() & b.isna()))
    return same, replicas.assign(bit_equal=equal & ~differing), rows


def _unequal(replicas: pd.DataFrame) -> pd.DataFrame:
    """Common replicas of the configurations that are not bit-equal."""
    both = replicas[replicas["both"]]
    return both[~both.groupby("trial_id")["bit_equal"].transform("all")]


def _pair(
    runs: tuple[Run, Run], names: tuple[str, str], same: pd.DataFrame, replicas: pd.DataFrame, rows: RowComparison,
    gaps: dict[str, Gap],
) -> Pair:  # fmt: skip
    trials = [dict(iter(run.trials.groupby("trial_id"))) for run in runs]
    by_trial, nothing = dict(iter(replicas.groupby("trial_id"))), replicas.iloc[:0]
    verdicts, repeated = [], [nothing]
    for label, one, other in same.itertuples(index=False):
        own, gap = by_trial.get(one, nothing), gaps.get(one)
        both, single = own[own["both"]], own[~own["both"]]
        parameters = () if one == other else other_parameters(trials[0][one], trials[1][other])
        verdict = BIT_EQUAL if len(both) and both["bit_equal"].all() else gap.verdict if gap else UNDECIDED
        lost = int(both["lost_baseline"].sum()), int(both["lost_run"].sum())
        alone = [tuple(single.loc[single[name].notna(), "seed"]) for name in ("status_baseline", "status_run")]
        only, at = (alone[0], alone[1]), rows.by_trial.get(one)
        verdicts.append(Verdict(label, verdict, tuple(both["seed"]), lost, only, parameters, at, gap))
        repeated.append(nothing if parameters else both)
    provenance = provenance_differences(runs[0].study, runs[1].study)
    again = pd.concat(repeated)
    differences = (again["value_run"] - again["value_baseline"]).dropna()
    noise = float(np.sqrt((differences**2).mean() / 2)) if len(differences) and not provenance else np.nan
    labels = _labels(runs[0], same["trial_id"]), _labels(runs[1], same["second_trial_id"])
    metrics = (rows.only_first, rows.only_second)
    return Pair(
        *names, tuple(verdicts), provenance, labels, metrics, len(again), int((~again["bit_equal"]).sum()), noise
    )


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    ways = ([str(run.study.get("run_id") or run.path.name) for run in runs], [run.path.resolve().name for run in runs])
    return tuple(next((names for names in ways if len(set(names)) == len(runs)), [str(run.path) for run in runs]))


def _labels(run: Run, shared: "pd.Series[str]") -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.trials.loc[~run.trials["trial_id"].isin(shared), "configuration"]))
