"""What moved the number: hyperparameters, the seed, a change of code or machine, or mere rerun noise?

All replicas of several runs are one data set. The variance of the final metric is split (``analysis.variance``) into
effects of each factor and of their combinations, and those are added up by cause: what a seed does within one
configuration counts for the seed, what a version does to one seed or one configuration alone counts for the version.
The largest is named. It is named as certain only when even the lower limit of one of its parts exceeds the sum of every
other cause; a factor that was not varied, or only together with another, is said to be unknown and not to be zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.observations import observations
from analysis.records import Run
from analysis.series import objective_metric
from analysis.variance import RESIDUAL, Split, split

HYPERPARAMETER, SEED, CODE, RERUN = "hyperparameter", "seed sensitivity", "code change", "rerun noise"
CAUSES = (HYPERPARAMETER, SEED, CODE, RERUN)
SEED_OR_RERUN = "seed sensitivity or rerun noise"
CODE_OR_RERUN = "code change or rerun noise"
_PARTS = {"hyperparameters": HYPERPARAMETER, "seed": SEED, "code": CODE}
_COMBINED = {
    "hyperparameters x seed": SEED,
    "code x hyperparameters": CODE,
    "code x seed": CODE,
    "code x hyperparameters x seed": CODE,
}


@dataclass(frozen=True)
class Cause:
    """``named``: the cause with the largest variance, empty where nothing moved or nothing can be told. ``certain``:
    see the module. ``shares``: cause -> fraction of the variance. ``std``: cause -> standard deviation, in the metric's
    unit. ``unknown``: cause -> why it cannot be told. ``n``: finished replicas."""

    named: str
    certain: bool
    shares: dict[str, float]
    std: dict[str, float]
    unknown: dict[str, str]
    n: int


def causes(frame: pd.DataFrame, rng: np.random.Generator, rerun_is_zero: bool = False) -> Cause:
    """Name what moved a number.

    Args:
        frame: one row per replica: columns hyperparameters, seed, code (any labels) and value; rows that agree in the
            first three are reruns.
        rng: simulates the limits.
        rerun_is_zero: reruns are known to give the same bits (CPU), so that differences are never put down to them.
    """
    n = len(frame)
    keys = list(_PARTS)
    varied = [key for key in keys if frame[key].nunique() > 1 and _changes_alone(frame, key)]
    entangled = [key for key in keys if frame[key].nunique() > 1 and key not in varied]
    factors = {key: frame[key].to_numpy() for key in keys if key not in entangled}
    for name in _COMBINED:
        parts = name.split(" x ")
        if all(part in varied for part in parts):
            factors[name] = frame.groupby(parts).ngroup().to_numpy()
    found = split(frame["value"].to_numpy(dtype=np.float64), factors, rng)
    if found is None:
        return Cause("", False, {}, {}, {}, n)
    return _named(found, _residual(frame, varied, rerun_is_zero), entangled, rerun_is_zero)


def cause_of_runs(runs: Sequence[Run], rng: np.random.Generator, metric: str | None = None) -> Cause:
    """``causes`` over all finished replicas of several runs; code and machine count as one, the version.

    Args:
        runs: at least one.
        rng: simulates the limits.
        metric: a final metric; the objective of the first run where None.
    """
    frame = observations(runs, metric or objective_metric(runs[0]))
    frame = frame.assign(code=frame["code"].astype(str) + frame["machine"].astype(str))
    on_cpu = all((run.study.get("resources") or {}).get("device") == "cpu" for run in runs)
    return causes(frame, rng, rerun_is_zero=on_cpu)


def cause_sentence(found: Cause) -> str:
    """The verdict in one sentence."""
    if not found.named:
        if found.n < 3:
            return "Fewer than three replicas finished, so what moved the number cannot be told."
        return f"All {found.n} replicas agree: nothing moved the number."
    shares = {name: f"{name} {100 * share:.0f} %" for name, share in found.shares.items() if share >= 0.005}
    text = f"What moved the number: {shares.pop(found.named)} of the variance over {found.n} replicas"
    if shares:
        text += f" (others: {', '.join(shares.values())})"
    if not found.certain:
        text += "; this is the largest found, but not for certain"
    if found.unknown:
        text += f"; not known: {', '.join(f'{name} ({reason})' for name, reason in found.unknown.items())}"
    return f"{text}."


def _changes_alone(frame: pd.DataFrame, key: str) -> bool:
    """Whether a factor has two levels at equal levels of the others; else its effect cannot be told from theirs."""
    return bool((frame.groupby([other for other in _PARTS if other != key])[key].nunique() > 1).any())


def _residual(frame: pd.DataFrame, varied: Sequence[str], rerun_is_zero: bool) -> str:
    """The cause that what no factor explains belongs to."""
    repeated = frame.duplicated([*_PARTS]).any()
    if repeated and not rerun_is_zero:
        return RERUN
    if "code" in varied:
        # The finest combination holds a version's effect on single seeds.
        return CODE if rerun_is_zero else CODE_OR_RERUN
    if "seed" in varied:
        return SEED if rerun_is_zero else SEED_OR_RERUN
    return HYPERPARAMETER if rerun_is_zero and "hyperparameters" in varied else RERUN


def _named(found: Split, residual: str, entangled: Sequence[str], rerun_is_zero: bool) -> Cause:
    cause_of = _PARTS | _COMBINED | {RESIDUAL: residual}
    variance: dict[str, float] = {}
    least: dict[str, float] = {}
    for one in found.components:
        name = cause_of[one.name]
        variance[name] = variance.get(name, 0.0) + one.variance
        least[name] = max(least.get(name, 0.0), one.low)
    unknown = {_PARTS[key]: reason for key, reason in found.unidentified.items() if key in _PARTS}
    unknown |= {_PARTS[key]: "it never changed alone" for key in entangled}
    unknown = {name: reason for name, reason in unknown.items() if name not in variance}
    if RERUN not in variance and not rerun_is_zero:
        unknown[RERUN] = "no replica was run twice"
    total = sum(variance.values())
    if total <= 0:
        return Cause("", False, {}, {}, unknown, found.n)
    named = max(variance, key=lambda name: variance[name])
    shares = {name: value / total for name, value in variance.items()}
    std = {name: float(np.sqrt(value)) for name, value in variance.items()}
    certain = least[named] > total - variance[named] and not entangled
    return Cause(named, certain, shares, std, unknown, found.n)
