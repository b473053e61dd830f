"""Does a claimed order of methods hold, and what does the floor of the learning rate change? Both paired by seed.

Source of the claims: seeds/002, the table ("layerwise > LoRA > norm") and the note on fairness: there the layerwise
runs had a floor (eta_min) and the others had none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.differences import (
    CONFIDENCE,
    FEWEST_SEEDS_PERMUTATION,
    PairedDifference,
    corrected,
    difference,
    paired_difference,
)
from analysis.records import Run
from analysis.series import configurations, final_values
from analysis.tuning_series import method, parameters, policy

CLAIMED_ORDER = ("hybrid_layerwise", "lora", "norm")
CLAIMED_POLICY = "deep_lora"
SCHEDULE = ("epochs", "eta_min", "cosine_epochs")  # an order under unlike schedules is not only one of methods
# Five equal seeds all lean one way with probability 1/32; with fewer, a unanimous bootstrap proves nothing.
FEWEST_SEEDS_ORDER = FEWEST_SEEDS_PERMUTATION
RESAMPLES = 10_000


@dataclass(frozen=True)
class Ranking:
    """A claimed order of configurations, best first, judged by one final metric over their common finished seeds.

    ``means``: fractions, one per label. ``gaps``: each label minus the next, paired, uncorrected. ``probability``:
    share of paired bootstrap samples of the seeds in which the whole order holds, None below 2 seeds. ``context``: what
    these configurations have in common and others have not; ``unlike``: parts of the schedule in which they differ.
    """

    labels: tuple[str, ...]
    metric: str
    n: int
    means: tuple[float, ...]
    gaps: tuple[PairedDifference, ...]
    probability: float | None
    context: str = ""
    unlike: tuple[str, ...] = ()

    @property
    def holds_in_means(self) -> bool:
        return all(first > second for first, second in zip(self.means, self.means[1:], strict=False))

    @property
    def refuted(self) -> bool:
        """Some configuration ends below the next in the order, told apart even after correction over the gaps."""
        return any(gap.mean < 0 and gap.survives_correction for gap in corrected(self.gaps))

    @property
    def verdict(self) -> str:
        """``holds`` or ``does not hold`` at level ``CONFIDENCE``, else ``cannot be told``.

        Few seeds can refute an order, by one gap that is clearly reversed; they cannot confirm it.
        """
        if self.refuted:
            return "does not hold"
        if self.probability is None or self.n < FEWEST_SEEDS_ORDER:
            return "cannot be told"
        if self.probability >= CONFIDENCE:
            return "holds"
        return "does not hold" if self.probability <= 1 - CONFIDENCE else "cannot be told"


def order_probability(values: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES) -> float:
    """Share of paired bootstrap samples in which the means fall strictly from the first row to the last.

    Args:
        values: a final metric, shape (m, n): m >= 2 configurations in the claimed order, the same n >= 2 seeds each.
        rng: draws the samples.
        resamples: number of samples.

    Raises:
        ValueError: fewer than 2 configurations or seeds.

    Source: percentile bootstrap over pairs, Efron and Tibshirani 1993; ``scipy.stats.bootstrap``.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"at least 2 configurations and 2 seeds needed, found shape {table.shape}")

    def smallest_gap(*rows: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        means = np.stack([row.mean(axis=axis) for row in rows])
        return (means[:-1] - means[1:]).min(axis=0)

    drawn = stats.bootstrap(
        tuple(table), smallest_gap, paired=True, vectorized=True, n_resamples=resamples, method="percentile", rng=rng
    ).bootstrap_distribution
    # Equal means differ by rounding only, which is no order.
    return float((drawn > 1e-12).mean())


def rankings(run: Run, metrics: Sequence[str], rng: np.random.Generator) -> list[Ranking]:
    """The claimed order in every context in which its first method and another were run, by each metric.

    Only contexts with a finished seed in common are in the list.
    """
    found = []
    for context, labels in _claims(run):
        known = [parameters(run, label) for label in labels]
        unlike = tuple(key for key in SCHEDULE if len({_text(one.get(key)) for one in known}) > 1)
        for metric in metrics:
            table = pd.concat([final_values(run, label, metric) for label in labels], axis=1, join="inner").to_numpy().T
            if table.shape[1] == 0:
                continue
            gaps = tuple(
                paired_difference(labels[row], labels[row + 1], table[row], table[row + 1])
                for row in range(len(labels) - 1)
            )
            probability = order_probability(table, rng) if table.shape[1] > 1 else None
            means = tuple(float(mean) for mean in table.mean(axis=1))
            found.append(Ranking(tuple(labels), metric, table.shape[1], means, gaps, probability, context, unlike))
    return found


def floor_effects(run: Run, metric: str) -> list[PairedDifference]:
    """Configurations with a floor minus the one that differs in nothing else and has the lowest, Holm-corrected.

    ``cosine_epochs`` may differ too, since a cosine that is longer than the run is another way to keep a floor.
    """
    pairs = [pair for labels in floor_groups(run) for pair in ((label, labels[0]) for label in labels[1:])]
    return corrected([one for label, lowest in pairs if (one := difference(run, label, lowest, metric))])


def floor_groups(run: Run) -> list[list[str]]:
    """Configurations that differ in ``eta_min`` alone, at least two in a group, lowest floor first."""
    alike: dict[str, list[tuple[float, str]]] = {}
    for label in configurations(run):
        known = parameters(run, label)
        if "eta_min" in known:
            rest = {key: value for key, value in known.items() if key not in ("eta_min", "cosine_epochs")}
            alike.setdefault(repr(sorted(rest.items())), []).append((float(known["eta_min"]), label))
    ordered = [sorted(members, key=lambda member: member[0]) for members in alike.values()]
    return [[label for _, label in members] for members in ordered if members[0][0] < members[-1][0]]


def _claims(run: Run) -> list[tuple[str, list[str]]]:
    """Context and labels, in the claimed order, of each set of configurations that can be ranked.

    A context is one choice of all parameters that vary within a method, such as eta_min in a study with pairs. Where no
    context has two methods, as with unmatched floors, the first configuration of each method stands for it.
    """
    candidates: dict[str, list[str]] = {}
    for wanted in CLAIMED_ORDER:
        labels = [label for label in configurations(run) if method(run, label) == wanted]
        if policies := [policy(run, label) for label in labels]:
            # Only the layerwise hybrid has policies; one stands for it.
            chosen = CLAIMED_POLICY if CLAIMED_POLICY in policies else policies[0]
            candidates[wanted] = [label for label, own in zip(labels, policies, strict=True) if own == chosen]
    if len(candidates) < 2 or CLAIMED_ORDER[0] not in candidates:
        return []  # what is claimed is where the layerwise hybrid stands
    known = {label: parameters(run, label) for labels in candidates.values() for label in labels}
    keys = sorted(set().union(*known.values()))
    varying = [key for key in keys if any(_distinct(known, labels, key) > 1 for labels in candidates.values())]
    contexts: dict[str, dict[str, str]] = {}
    for wanted, labels in candidates.items():
        for label in labels:
            context = ", ".join(f"{key} {_text(known[label].get(key))}" for key in varying)
            contexts.setdefault(context, {}).setdefault(wanted, label)
    complete = [(context, list(chosen.values())) for context, chosen in contexts.items() if len(chosen) > 1]
    return complete or [("", [labels[0] for labels in candidates.values()])]


def _distinct(known: dict[str, dict[str, Any]], labels: Sequence[str], key: str) -> int:
    return len({_text(known[label].get(key)) for label in labels})


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
