"""LoRA by rank: where it saturates, the largest rank against smaller ones, and rules for alpha against each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.report.findings import Findings


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
    rows = []
    for label in found.labels:
        own = known.get(label) or {}
        if label in present and own.get("method") == "lora" and own.get("rank"):
            rank, fixed = int(own["rank"]), own.get("scaling") == "fixed"
            given = float(own.get("lora_alpha" if fixed else "c") or np.nan)
            name = f"alpha={given:g}" if fixed else f"alpha={given:g}r"
            rows.append((name, fixed, rank, label, given if fixed else given * rank))
    table = pd.DataFrame(rows, columns=["name", "fixed", "rank", "label", "alpha"]).drop_duplicates(["name", "rank"])
    table = table.sort_values(["fixed", "rank"], kind="stable")
    return [
        Rule(name, bool(fixed), dict(zip(one["rank"], one["label"], strict=True)),
             dict(zip(one["rank"], one["alpha"], strict=True)))
        for (fixed, name), one in table.groupby(["fixed", "name"], sort=False)
    ]  # fmt: skip


def saturation(found: Findings, rule: Rule) -> pd.DataFrame:
    """``stats.saturation`` of a rule at its share of the level, with the column rank; empty without two ranks or a
    margin."""
    if (margin := found.margin) is None or len(rule.labels) < 2:
        return pd.DataFrame(columns=["rank", "n", "difference", "low", "within"])
    order, maximise = list(rule.labels.values()), found.metric.maximise

    def test(seeds: pd.DataFrame, level: float) -> pd.DataFrame:
        return stats.saturation(seeds, "value", margin, order, maximize=maximise, level=level).assign(high=np.inf)

    table = found.tested(test, 1 / len(rules(found)))
    return table.assign(rank=list(rule.labels), within=table["within"][::-1].cummin())


def comparisons(found: Findings) -> pd.DataFrame:
    """``Findings.pairs`` with columns rule, other and rank, all tested together: the largest rank of every rule against
    each smaller one (``other``: ""), and a fixed alpha against one in proportion (``other``: its rule) where they
    differ."""
    every = rules(found)
    pairs = {(rule.name, "", rank): (rule.labels[max(rule.labels)], rule.labels[rank])
             for rule in every for rank in list(rule.labels)[:-1]}  # fmt: skip
    fixed, other = (next((one for one in every if one.fixed is wanted), None) for wanted in (True, False))
    if fixed and other:
        pairs |= {(fixed.name, other.name, rank): (label, other.labels[rank]) for rank, label in fixed.labels.items()
                  if rank in other.labels and fixed.alphas[rank] != other.alphas[rank]}  # fmt: skip
    if not pairs:
        return pd.DataFrame(columns=["rule", "other", "rank", "n", "difference", "low", "high", "different", "verdict"])
    table = found.pairs(list(pairs.values()), share(found))
    return table.join(pd.DataFrame(list(pairs), columns=["rule", "other", "rank"]))


def share(found: Findings) -> float:
    """What comparisons and claimed orders may each spend of the level."""
    return 0.5 if found.run.study.get("claims") else 1.0
