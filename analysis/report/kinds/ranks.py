"""LoRA by rank: where it saturates, the largest rank against smaller ones, and rules for alpha against each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.report.findings import BETTER, UNDECIDED, WORSE, Findings


@dataclass(frozen=True)
class Rule:
    """LoRA by rank, under one rule for alpha. ``labels``: rank -> configuration, ascending; ``alphas``: -> alpha."""

    name: str
    fixed: bool
    labels: Mapping[int, str]
    alphas: Mapping[int, float]


def rules(found: Findings) -> list[Rule]:
    """Every rule for alpha with a measured rank, alpha in proportion to the rank before a fixed one."""
    present, known = set(found.seeds["configuration"]), found.run.study.get("configurations") or {}
    own = {label: known.get(label) or {} for label in found.labels if label in present}
    rows = [
        {"label": label, "rank": int(one["rank"]), "fixed": fixed,
         "alpha": given if fixed else given * int(one["rank"]), "name": f"alpha={given:g}{'' if fixed else 'r'}"}
        for label, one in own.items()
        if one.get("method") == "lora" and one.get("rank")
        for fixed in [one.get("scaling") == "fixed"]
        for given in [float(one.get("lora_alpha" if fixed else "c") or np.nan)]
    ]  # fmt: skip
    if not rows:
        return []
    table = pd.DataFrame(rows).drop_duplicates(["name", "rank"]).sort_values(["fixed", "rank"], kind="stable")
    return [
        Rule(str(name), bool(one["fixed"].iloc[0]), dict(zip(one["rank"], one["label"], strict=True)),
             dict(zip(one["rank"], one["alpha"], strict=True)))
        for name, one in table.groupby("name", sort=False)
    ]  # fmt: skip


def saturation(found: Findings, rule: Rule) -> pd.DataFrame:
    """``stats.saturation`` of a rule at its share of the level, with the column rank; empty without two ranks or a
    margin."""
    if found.margin is None or len(rule.labels) < 2:
        return pd.DataFrame(columns=["rank", "n", "difference", "low", "within"])
    table = stats.saturation(
        found.seeds, "value", found.margin, list(rule.labels.values()), maximize=found.metric.maximise,
        level=found.level / len(rules(found)),
    )  # fmt: skip
    return table.assign(rank=list(rule.labels))


def comparisons(found: Findings) -> pd.DataFrame:
    """The largest rank of every rule against each smaller one (``other``: ""), and a fixed alpha against one in
    proportion (``other``: its rule) at every rank where they differ, all tested together.

    Returns:
        ``stats.contrasts`` with columns rule, other, rank and verdict: the largest rank, or the fixed alpha, is better,
        worse or undecided.
    """
    every = rules(found)
    pairs = [((rule.name, "", rank), (rule.labels[max(rule.labels)], rule.labels[rank]))
             for rule in every for rank in list(rule.labels)[:-1]]  # fmt: skip
    fixed, other = (next((one for one in every if one.fixed is wanted), None) for wanted in (True, False))
    if fixed and other:
        pairs += [((fixed.name, other.name, rank), (label, other.labels[rank])) for rank, label in fixed.labels.items()
                  if rank in other.labels and fixed.alphas[rank] != other.alphas[rank]]  # fmt: skip
    if not pairs:
        return pd.DataFrame(columns=["rule", "other", "rank", "n", "difference", "low", "high", "different", "verdict"])
    weights = {str(number): {one: 1.0, another: -1.0} for number, (_, (one, another)) in enumerate(pairs)}
    table = stats.contrasts(found.seeds, "value", weights, level=share(found))
    table[["rule", "other", "rank"]] = pd.DataFrame([about for about, _ in pairs], dtype=object)
    better = (table["difference"] > 0) == found.metric.maximise
    verdict = np.where(table["different"], np.where(better, BETTER, WORSE), UNDECIDED)
    return table.assign(verdict=verdict)


def share(found: Findings) -> float:
    """What comparisons and claimed orders may each spend of the level."""
    return found.level / 2 if found.run.study.get("claims") else found.level
