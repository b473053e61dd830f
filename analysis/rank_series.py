"""What a study of LoRA's rank says, as numbers: ranks by rule of alpha, where they saturate, what lies on the front.

Accuracies are final top-1, fractions in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.differences import CONFIDENCE, FEWEST_SEEDS, PairedDifference, corrected, difference, paired_difference
from analysis.records import Run
from analysis.series import REPLICA, configurations, final_values, measured
from analysis.tuning_series import method, parameters, trainable_parameters

FINAL = "final_top1"


@dataclass(frozen=True)
class Rule:
    """Configurations of LoRA that differ in rank, under one rule for alpha.

    Attributes:
        name: such as ``alpha = 2 r`` or ``alpha = 16``.
        proportional: whether alpha grows with the rank.
        labels: rank -> configuration, ranks ascending; of several with one rank the first.
    """

    name: str
    proportional: bool
    labels: Mapping[int, str]


@dataclass(frozen=True)
class Saturation:
    """From which rank on more rank cannot be told to help.

    Attributes:
        best: rank with the highest mean.
        rank: the smallest that cannot be told apart from ``best``; None where too few seeds were finished to say.
        gaps: rank -> its accuracy minus that of ``best``, paired by seed, uncorrected; without ``best`` itself.
    """

    best: int
    rank: int | None
    gaps: Mapping[int, PairedDifference]


def rule_name(known: Mapping[str, Any]) -> str:
    """The rule for alpha in a configuration's parameters, empty where it trains no LoRA."""
    if known.get("method") != "lora":
        return ""
    if known.get("scaling") == "fixed":
        return f"alpha = {known.get('lora_alpha', 0):g}"
    return f"alpha = {known.get('c', 0):g} r"


def scale(known: Mapping[str, Any]) -> float | None:
    """alpha / r of a configuration; None where it trains no LoRA."""
    if known.get("method") != "lora":
        return None
    return float(known["lora_alpha"]) / int(known["rank"]) if known.get("scaling") == "fixed" else float(known["c"])


def rules(run: Run) -> list[Rule]:
    """Every rule for alpha of the run, in display order."""
    found: dict[str, tuple[bool, dict[int, str]]] = {}
    for label in configurations(run):
        known = parameters(run, label)
        if name := rule_name(known):
            proportional = known.get("scaling") != "fixed"
            found.setdefault(name, (proportional, {}))[1].setdefault(int(known["rank"]), label)
    return [Rule(name, kind, dict(sorted(labels.items()))) for name, (kind, labels) in found.items()]


def reference(run: Run, wanted: str) -> str | None:
    """The first configuration with method ``wanted`` (head or full)."""
    return next((label for label in configurations(run) if method(run, label) == wanted), None)


def seed_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """t interval at level ``CONFIDENCE`` of the mean over seeds, values (n,); None below 2 seeds."""
    if values.size < 2:
        return None
    half = stats.t.ppf((1 + CONFIDENCE) / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def saturation(run: Run, rule: Rule) -> Saturation | None:
    """Where a rule's accuracy saturates; None without a finished seed."""
    finals = {rank: final_values(run, label, FINAL) for rank, label in rule.labels.items()}
    means = {rank: float(own.mean()) for rank, own in finals.items() if len(own)}
    if not means:
        return None
    best = max(means, key=lambda rank: means[rank])  # the smallest of equals
    found = {rank: difference(run, rule.labels[rank], rule.labels[best], FINAL) for rank in means if rank != best}
    gaps = {rank: gap for rank, gap in found.items() if gap}
    smallest = None
    for rank in means:
        gap = gaps.get(rank)
        if rank != best and (gap is None or gap.n < FEWEST_SEEDS):
            break  # nothing can be said of this one, hence not which is the smallest
        if gap is None or not gap.told_apart:
            smallest = rank
            break
    return Saturation(best, smallest, gaps)


def trend(run: Run, rule: Rule) -> PairedDifference | None:
    """Change of accuracy per doubling of the rank: least-squares slope of every seed that finished all ranks, against
    none; None below 2 ranks or without such a seed."""
    table = pd.concat(
        [final_values(run, label, FINAL) for label in rule.labels.values()], axis=1, join="inner"
    ).to_numpy()
    if table.shape[0] == 0 or table.shape[1] < 2:
        return None
    slopes = np.polyfit(np.log2(list(rule.labels)), table.T, 1)[0]
    return paired_difference(rule.name, "none", slopes, np.zeros_like(slopes))


def rule_gaps(run: Run, first: Rule, second: Rule) -> dict[int, PairedDifference]:
    """Rank -> accuracy under ``second`` minus that under ``first``, paired by seed, Holm-corrected over the ranks."""
    common = [rank for rank in first.labels if rank in second.labels]
    found = {rank: difference(run, second.labels[rank], first.labels[rank], FINAL) for rank in common}
    known = {rank: gap for rank, gap in found.items() if gap}
    return dict(zip(known, corrected(list(known.values())), strict=True))


def on_front(run: Run) -> dict[str, bool]:
    """Whether no other configuration has a higher mean with at most as many trained parameters, by label; without
    configurations that have no finished seed."""
    points = {
        label: (trainable_parameters(run, label), final_values(run, label, FINAL).mean())
        for label in configurations(run)
    }
    known = {label: point for label, point in points.items() if point[0] is not None and np.isfinite(point[1])}
    if not known:
        return {}
    flags = moocore.is_nondominated(np.array(list(known.values()), dtype=float), maximise=[False, True])
    return {label: bool(flag) for label, flag in zip(known, flags, strict=True)}


def curves(run: Run, name: str = "top1") -> pd.DataFrame:
    """Columns configuration, trial_id, seed, step, value: the learning curve of every replica, finished or not."""
    frame = pd.concat([measured(run, "curve"), measured(run, "eval")])
    frame = frame[(frame["name"] == name) & frame["step"].notna()].astype({"step": int})
    return frame[["configuration", *REPLICA, "step", "value"]].sort_values([*REPLICA, "step"])
