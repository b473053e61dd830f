"""When a bad seed leaves the pack: the first boundary after which it is, and stays, below the other seeds.

A seed is bad when it diverged, ended below its own frozen backbone, or is among the lowest that an outlier test sets
apart from the other seeds of its configuration. The pack are the seeds that are not bad. Its lower fence at a boundary
is the limit that one more seed of a normal pack would be below with probability ``LEVEL``. Seeds that failed, were
pruned or interrupted are not judged.

The outlier test asks for j = 1, 2, ... less than half of the n seeds how far the j-th lowest lies below the mean of the
seeds above it, in their standard deviations; the critical values are simulated for n normal values, at ``LEVEL`` over
all j together. Testing the second lowest against those above it finds two bad seeds that would hide each other. The j
seeds at the first excess are taken out and the rest is tested again.

Sources: outliers one after the other, Rosner 1983; prediction limit of a normal sample, Hahn 1969.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.records import Run
from analysis.series import REPLICA, accuracy_by_boundary, boundary_kind, configurations, task_count

LEVEL = 0.05  # chance that a configuration without a bad seed is said to have one
FEWEST_PACK = 3
SMALLEST_DEVIATION = 0.001  # accuracies closer than this are one: a few test images
_SIMULATED_VALUES = 3_000_000
_MOST_SIMULATED = 150

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Departure:
    """One bad seed.

    ``reason``: ``diverged``, ``below the frozen backbone`` or ``below the other seeds``. ``boundary``: task or epoch,
    counted from 0, after which it is first below the fence for good; None where there is no pack of ``FEWEST_PACK``
    seeds, or where it never was below the pack. ``accuracy`` and ``fence`` at that boundary, fractions; NaN accuracy
    where it was not reached. ``after_step``, ``by_step``: optimizer steps between which it left: the last ones of the
    boundary before (None at the first) and of this one (None where no step was logged).
    """

    configuration: str
    trial_id: str
    seed: int
    reason: str
    pack: int
    boundary: int | None = None
    accuracy: float | None = None
    fence: float | None = None
    after_step: int | None = None
    by_step: int | None = None


@cache
def critical_gaps(n: int) -> Values:
    """How far the j-th lowest of n normal values lies below those above it, at most, at ``LEVEL`` over all j.

    Args:
        n: sample size, ``FEWEST_PACK`` < n <= ``_MOST_SIMULATED``.

    Returns:
        in standard deviations of the values above it, shape (J,) for j = 1 ... J.
    """
    return np.quantile(
        _gaps(np.random.default_rng(n).normal(size=(min(50_000, _SIMULATED_VALUES // n), n))),
        1 - LEVEL / _most_bad(n),
        axis=0,
    )


def below_the_others(values: ArrayLike) -> NDArray[np.bool_]:
    """Which values are set apart below the others; none below ``FEWEST_PACK`` + 1 values.

    Args:
        values: shape (n,).
    """
    sample = np.asarray(values, dtype=np.float64)
    n = sample.size
    if n <= FEWEST_PACK:
        return np.zeros(n, dtype=bool)
    if n > _MOST_SIMULATED:
        # Many seeds: median and MAD are as good as known, and bear any minority.
        scale = stats.median_abs_deviation(sample, scale="normal")
        return sample < np.median(sample) - stats.norm.isf(LEVEL / n) * max(scale, SMALLEST_DEVIATION)
    order, low = np.argsort(sample, kind="stable"), 0
    while n - low > max(FEWEST_PACK, n // 2):
        apart = np.flatnonzero(_gaps(sample[None, order[low:]])[0] > critical_gaps(n - low))
        if not apart.size:
            break
        # What is left is a sample of its own, in which those taken out no longer hide others.
        low += int(apart[0]) + 1
    return np.isin(np.arange(n), order[:low])


def fence(pack: Values) -> Values:
    """Lower prediction limit for one more value.

    Args:
        pack: shape (m, ...), m >= 2.

    Returns:
        shape (...).
    """
    m = len(pack)
    deviation = np.maximum(pack.std(axis=0, ddof=1), SMALLEST_DEVIATION)
    return pack.mean(axis=0) - stats.t.isf(LEVEL, m - 1) * deviation * np.sqrt(1 + 1 / m)


def leaving_boundary(values: ArrayLike, fences: ArrayLike) -> int | None:
    """First boundary from which on the values are below the fences, or missing, until the end; None if not so there.

    Args:
        values: shape (T,), NaN where a boundary was not reached.
        fences: shape (T,).
    """
    sample = np.asarray(values, dtype=np.float64)
    inside = np.flatnonzero(sample >= np.asarray(fences, dtype=np.float64))
    first = int(inside[-1]) + 1 if inside.size else 0
    return first if first < sample.size else None


def departures(run: Run) -> list[Departure]:
    """Every bad seed of the run, by configuration and seed."""
    boundaries = task_count(run)
    frame = accuracy_by_boundary(run)
    judged = run.trials[run.trials["status"].isin(["finished", "diverged"])]
    if boundaries == 0 or judged.empty:
        return []
    frame = frame[frame["boundary"] < boundaries]
    curves = frame.pivot(index=REPLICA, columns="boundary", values="accuracy").reindex(columns=range(boundaries))
    table = curves.reindex(pd.MultiIndex.from_frame(judged[REPLICA])).to_numpy(dtype=np.float64)
    final = judged.get("metric.final_accuracy", pd.Series(np.nan, judged.index)).to_numpy(dtype=np.float64)
    frozen = judged.get("metric.final_frozen_accuracy", pd.Series(np.nan, judged.index)).to_numpy(dtype=np.float64)
    diverged = (judged["status"] == "diverged").to_numpy()
    places = {str(label): where for label, where in judged.groupby("configuration").indices.items()}
    found = []
    for label in configurations(run):
        rows = places.get(label, np.array([], dtype=int))
        finished = rows[~diverged[rows] & np.isfinite(table[rows, -1])]
        reasons = dict.fromkeys(finished[below_the_others(table[finished, -1])], "below the other seeds")
        reasons |= dict.fromkeys(finished[final[finished] < frozen[finished]], "below the frozen backbone")
        reasons |= dict.fromkeys(rows[diverged[rows]], "diverged")
        pack = np.array([row for row in finished if row not in reasons], dtype=int)
        for row in sorted(reasons, key=lambda row: int(judged["seed"].iloc[row])):
            trial, seed = str(judged["trial_id"].iloc[row]), int(judged["seed"].iloc[row])
            found.append(_departure(Departure(label, trial, seed, reasons[row], len(pack)), table[row], table[pack]))
    return _with_steps(run, found)


def _departure(bad: Departure, own: Values, pack: Values) -> Departure:
    if bad.pack < FEWEST_PACK:
        return bad
    fences = fence(pack)
    boundary = leaving_boundary(own, fences)
    if boundary is None:
        return bad
    return replace(bad, boundary=boundary, accuracy=float(own[boundary]), fence=float(fences[boundary]))


def _most_bad(n: int) -> int:
    """Less than half, and a pack must be left."""
    return min((n - 1) // 2, n - FEWEST_PACK)


def _gaps(samples: Values) -> Values:
    """Distance of the j lowest values from the mean of those above, in their standard deviations.

    Args:
        samples: shape (S, n).

    Returns:
        shape (S, J).
    """
    # Highest first and centred, so that running sums lose nothing to rounding.
    ordered = np.sort(samples, axis=1)[:, ::-1]
    ordered = ordered - ordered.mean(axis=1, keepdims=True)
    n, most = samples.shape[1], _most_bad(samples.shape[1])
    above = np.arange(n - 1, n - 1 - most, -1)  # how many lie above the j-th lowest
    total, squares = np.cumsum(ordered, axis=1)[:, above - 1], np.cumsum(ordered**2, axis=1)[:, above - 1]
    variance = np.maximum(squares - total**2 / above, 0) / (above - 1)
    return (total / above - ordered[:, above]) / np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)


def _with_steps(run: Run, found: list[Departure]) -> list[Departure]:
    if not any(one.boundary is not None for one in found):
        return found
    position, rows = boundary_kind(run), run.metrics
    rows = rows[rows["trial_id"].isin({one.trial_id for one in found}) & rows["seed"].isin({one.seed for one in found})]
    rows = rows[(rows["phase"] == "train") & rows["step"].notna() & rows[position].notna()]
    last = rows.groupby([*REPLICA, position])["step"].max().to_dict()
    return [
        one
        if one.boundary is None
        else replace(one, after_step=_step(last, one, one.boundary - 1), by_step=_step(last, one, one.boundary))
        for one in found
    ]


def _step(last: dict[tuple[str, int, int], int], one: Departure, boundary: int) -> int | None:
    step = last.get((one.trial_id, one.seed, boundary))
    return None if step is None else int(step)
