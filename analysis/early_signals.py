"""Which measurement, taken before any bad seed left the pack, tells the bad seeds from the others?

Every metric that was logged before the earliest departure of a configuration is tried: its last value, and for losses
also the highest spike (largest value over the median). Seeds are compared within their configuration only, so that a
signal is not credited for what differs between configurations. Timings are left out.

Sources: area under the curve as the Mann-Whitney statistic, Hanley and McNeil 1982; its interval, Newcombe 2006
(method 5); correction by the largest statistic over permuted labels, Westfall and Young 1993.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from analysis.departure import Departure
from analysis.differences import CONFIDENCE
from analysis.records import Run
from analysis.series import REPLICA, boundary_kind

PERMUTATIONS = 5_000
_MOST_LABELS = 20_000_000  # permuted labels held at once
_NOT_SIGNALS = ("timing",)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """One measurement as a predictor of bad seeds.

    ``auc``: probability that a bad seed's value is above that of another seed of its configuration, ties half: 1 or 0
    is a perfect predictor, 0.5 none. ``interval``: simultaneous over all signals that were tried, at level
    ``CONFIDENCE``. ``p``: two-sided permutation p-value, corrected for the number of signals. ``bad``, ``others``:
    seeds that were compared.
    """

    phase: str
    name: str
    summary: str
    auc: float
    interval: tuple[float, float]
    p: float
    bad: int
    others: int

    @property
    def label(self) -> str:
        return f"{self.phase} {self.name} ({self.summary})"


@dataclass(frozen=True)
class SignalSearch:
    """What was tried. ``smallest_p``: the least p-value these seeds can give at all. ``why_not``: one clause where
    nothing could be tried, else empty. ``signals``: furthest from 0.5 first."""

    signals: tuple[Signal, ...] = ()
    smallest_p: float = 1.0
    why_not: str = ""


def auc_interval(area: float, m: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of an area from m and n values; of positive width at 0 and 1, too.

    Args:
        area: in [0, 1].
        m: number of bad seeds, >= 1.
        n: number of others, >= 1.
        confidence: in (0, 1).
    """
    z = stats.norm.isf((1 - confidence) / 2)
    pairs = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) / (m * n) * (1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return float((area - theta) ** 2 - z**2 * variance)

    # Away from the area itself, where the variance is 0 at both ends of [0, 1].
    low = optimize.brentq(excess, 0.0, min(area, 1 - 1e-9)) if area > 0 else 0.0
    high = optimize.brentq(excess, max(area, 1e-9), 1.0) if area < 1 else 1.0
    return float(low), float(high)


def early_signals(run: Run, found: Sequence[Departure], rng: np.random.Generator) -> SignalSearch:
    """Search all metrics logged before the departures.

    Args:
        found: its departures.
        rng: permutes the labels.
    """
    left = [one for one in found if one.boundary is not None]
    if not left:
        return SignalSearch(why_not="no seed left a pack" if not found else "no bad seed has a pack that it left")
    earliest: dict[str, int] = {}
    for one in left:
        earliest[one.configuration] = min(earliest.get(one.configuration, one.boundary or 0), one.boundary or 0)
    windows = {label: boundary for label, boundary in earliest.items() if boundary > 0}
    if not windows:
        return SignalSearch(why_not=f"every bad seed left at the first {boundary_kind(run)}, with nothing before it")
    bad = {(one.trial_id, one.seed) for one in found}
    judged = run.trials[run.trials["status"].isin(["finished", "diverged"])]
    judged = judged[judged["configuration"].isin(windows)].set_index(REPLICA)[["configuration"]]
    is_bad = np.array([replica in bad for replica in judged.index])
    labels = judged["configuration"].to_numpy()
    mixed = [label for label in windows if 0 < is_bad[labels == label].sum() < (labels == label).sum()]
    keep = np.isin(labels, mixed)
    if not mixed:
        return SignalSearch(why_not="no configuration has both bad and other seeds")
    judged, is_bad = judged[keep], is_bad[keep]
    return rank_signals(_features(run, judged, windows), judged["configuration"].to_numpy(), is_bad, rng)


def rank_signals(
    features: pd.DataFrame, configuration: NDArray[np.object_], is_bad: NDArray[np.bool_], rng: np.random.Generator
) -> SignalSearch:
    """Judge signals by their area within configurations.

    Args:
        features: one row per replica, shape (N, F), columns (phase, name, summary). A configuration in which a replica
            lacks a value is left out of that signal.
        configuration: label per replica, shape (N,).
        is_bad: shape (N,).
        rng: permutes the labels within configurations.
    """
    strata = [np.flatnonzero(configuration == label) for label in dict.fromkeys(configuration)]
    table = features.to_numpy(dtype=np.float64)
    ranks, pairs, variance = np.zeros_like(table), np.zeros(table.shape[1]), np.zeros(table.shape[1])
    m_of, n_of = np.zeros(table.shape[1], dtype=int), np.zeros(table.shape[1], dtype=int)
    for rows in strata:
        m, n = int(is_bad[rows].sum()), int((~is_bad[rows]).sum())
        known = ~np.isnan(table[rows]).any(axis=0)
        # Centred, so that the sum of the bad seeds' ranks is U - m n / 2.
        own = stats.rankdata(table[np.ix_(rows, known)], axis=0) - (m + n + 1) / 2
        ranks[np.ix_(rows, known)] = own
        pairs[known] += m * n
        variance[known] += m * n / ((m + n) * (m + n - 1)) * (own**2).sum(axis=0)
        m_of[known] += m
        n_of[known] += n
    usable = np.flatnonzero(variance > 0)
    if not usable.size:
        return SignalSearch(why_not="nothing that was logged before differs between the seeds")
    ranks, deviation = ranks[:, usable], np.sqrt(variance[usable])
    observed = is_bad @ ranks
    largest = _largest_by_chance(ranks, deviation, strata, is_bad, rng)
    size = np.abs(observed) / deviation
    p = (1 + (largest[:, None] >= size - 1e-9).sum(axis=0)) / (1 + len(largest))
    level = 1 - (1 - CONFIDENCE) / usable.size
    found = []
    for place, column in enumerate(usable):
        area = 0.5 + float(observed[place] / pairs[column])
        m, n = int(m_of[column]), int(n_of[column])
        phase, name, summary = (str(part) for part in features.columns[column])
        found.append(Signal(phase, name, summary, area, auc_interval(area, m, n, level), float(p[place]), m, n))
    found.sort(key=lambda one: (-abs(one.auc - 0.5), one.p, one.label))
    patterns = sum(_log_choose(len(rows), int(is_bad[rows].sum())) for rows in strata)
    return SignalSearch(tuple(found), max(float(np.exp(-patterns)), 1 / (1 + len(largest))))


def _largest_by_chance(
    ranks: Values,
    deviation: Values,
    strata: Sequence[NDArray[np.intp]],
    is_bad: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Values:
    """The largest standardised statistic over all signals for permuted labels, shape (permutations,)."""
    count = min(PERMUTATIONS, max(200, _MOST_LABELS // len(ranks)))
    sums = np.zeros((count, ranks.shape[1]))
    for rows in strata:
        labels = rng.permuted(np.broadcast_to(is_bad[rows], (count, rows.size)), axis=1)
        sums += labels.astype(np.float64) @ ranks[rows]
    return (np.abs(sums) / deviation).max(axis=1)


def _features(run: Run, judged: pd.DataFrame, windows: dict[str, int]) -> pd.DataFrame:
    """One row per replica of ``judged``; columns (phase, name, summary)."""
    position, rows = boundary_kind(run), run.metrics
    seen = [label for label in windows if (judged["configuration"] == label).any()]
    rows = rows[~rows["phase"].isin(_NOT_SIGNALS) & rows[position].notna()]
    rows = rows[(rows[position] < max(windows[label] for label in seen)).to_numpy(dtype=bool)]
    rows = rows.join(judged, on=REPLICA, how="inner").dropna(subset="value")
    rows = rows[rows[position].astype(int) < rows["configuration"].map(windows)]
    key = [*REPLICA, "phase", "name"]
    # Rows of one name are stored in the order of task, epoch and step.
    grouped = rows.groupby(key, sort=False)["value"]
    parts = {"last value": grouped.last()}
    losses = rows[rows["name"].str.contains("loss")].groupby(key, sort=False)["value"]
    with np.errstate(divide="ignore", invalid="ignore"):
        spikes = losses.max() / losses.median()
    parts["highest spike"] = spikes[losses.size() > 2]
    wide = pd.concat(parts, names=["summary"]).unstack(["phase", "name", "summary"])
    return wide.reindex(judged.index)


def _log_choose(n: int, k: int) -> float:
    return float(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
