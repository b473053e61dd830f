"""Do the orders of configurations that the notes claim hold? A study declares them, every step of them is tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.charts.forest import forest
from analysis.io.metrics import MetricInfo, metric_info
from analysis.report.document import Section
from analysis.report.findings import BETTER, UNDECIDED, WORSE, Findings
from analysis.report.phrases import count, joined, shortest
from analysis.report.tables import Cell, Estimate, Table

HOLDS, CONTRADICTED = "holds", "is contradicted"
AS_CLAIMED, REVERSED = "as claimed", "reversed"
METHODS = [
    "Claimed orders: every step paired by seed, corrected for all steps. An order holds where each step is shown, and "
    "is contradicted where one is shown to be the other way."
]


@dataclass(frozen=True)
class Order:
    """A claimed order, best first. ``steps``: a row per step, columns better, worse, n, difference (of the two, in the
    unit that is shown), low, high, verdict (as claimed, reversed, undecided)."""

    labels: tuple[str, ...]
    metric: MetricInfo
    source: str
    steps: pd.DataFrame

    @property
    def verdict(self) -> str:
        """``holds``, ``is contradicted`` or ``undecided``."""
        known = set(self.steps["verdict"])
        return CONTRADICTED if REVERSED in known else HOLDS if known == {AS_CLAIMED} else UNDECIDED

    @property
    def text(self) -> str:
        return " > ".join(self.labels)

    @property
    def digits(self) -> int:
        """Decimals of a difference."""
        return self.metric.digits(self.steps["difference"].abs().max())


def orders(found: Findings, share: float = 1.0) -> list[Order]:
    """The claimed orders of the configurations that have a value, of at least two; at a share of the level, which
    metrics share in turn, any verdict on any step is wrong."""
    by_metric: dict[str, list[Mapping[str, Any]]] = {}
    for one in found.run.study.get("claims") or ():
        by_metric.setdefault(str(one.get("metric") or found.metric.name), []).append(one)
    known: list[Order] = []
    for name, declared in by_metric.items():
        about = found.metric if name == found.metric.name else metric_info(found.run.study.get("metrics"), name)
        known += _of_metric(found, declared, about, share / len(by_metric))
    return known


def _of_metric(
    found: Findings, declared: Sequence[Mapping[str, Any]], about: MetricInfo, share: float
) -> list[Order]:  # fmt: skip
    seeds = found.outcomes(about)
    present = set(seeds["configuration"])
    labels = [tuple(label for label in one["order"] if label in present) for one in declared]
    pairs = list(dict.fromkeys(pair for own in labels for pair in pairwise(own)))
    if not pairs:
        return []
    table = found.pairs(pairs, share, seeds, maximise=about.maximise)
    table["verdict"] = table["verdict"].replace({BETTER: AS_CLAIMED, WORSE: REVERSED})
    table = table.assign(better=[one for one, _ in pairs], worse=[one for _, one in pairs])
    places = {pair: place for place, pair in enumerate(pairs)}
    return [
        Order(own, about, str(one.get("source") or "the notes"), table.iloc[[places[pair] for pair in pairwise(own)]])
        for own, one in zip(labels, declared, strict=True)
        if len(own) > 1
    ]


def claims_sentence(found: Findings, share: float = 1.0) -> str:
    """Which of the claimed orders hold; "" for a study that declares none."""
    known = orders(found, share)
    if not known:
        return ""
    if len(known) == 1:
        names = (f"The order {known[0].text} of the notes", "The order that the notes claim")
        verdict = "is undecided" if known[0].verdict == UNDECIDED else known[0].verdict
        return shortest(*(_said(known[0], name, found) for name in names), f"{names[1]} {verdict}.")
    verdicts = [order.verdict for order in known]
    parts = []
    for verdict, one, several in (
        (HOLDS, "holds", "hold"), (CONTRADICTED, "is contradicted", "are contradicted"),
        (UNDECIDED, "is undecided", "are undecided"),
    ):  # fmt: skip
        if number := verdicts.count(verdict):
            if number == len(known):
                return f"{'Both' if number == 2 else f'All {number}'} orders that the notes claim {several}."
            parts.append(f"{number} {one if number == 1 else several}")
    return f"Of {count(len(known), 'order')} that the notes claim, {joined(parts)}."


def claims_section(found: Findings, share: float = 1.0) -> Section | None:
    """Every claimed order, step by step; None for a study that declares none."""
    known = orders(found, share)
    steps = [(order, step, f"{step.better} over {step.worse}") for order in known for step in order.steps.itertuples()]
    rows: list[dict[str, Cell]] = [
        {"step": name, "metric": order.metric.text, "difference": Estimate.of(step, "difference", order.digits),
         "seeds": step.n, "verdict": step.verdict, "claimed in": order.source} for order, step, name in steps
    ]  # fmt: skip
    caption = "Differences in points of fractions, else in the unit of the metric; intervals corrected for all steps."
    table = Table.of("claims", "Claimed orders, step by step", rows, caption)
    own = {name: step for order, step, name in steps if order.metric == found.metric}
    chart = forest(
        "claims", f"Steps of the claimed orders in {found.metric.text}",
        f"Points are the better minus the worse as claimed, paired by seed: claimed is "
        f"{'above' if found.metric.maximise else 'below'} 0. Lines: intervals, corrected for all steps.",
        pd.DataFrame(own.values()).assign(name=list(own)).rename(columns={"difference": "estimate"}),
        found.metric.difference_unit or found.metric.text,
    ) if own else None  # fmt: skip
    said = [_said(order, order.text, found) for order in known]
    return Section.of("What the notes claim", said, [table], [chart], METHODS) if known else None


def _said(order: Order, name: str, found: Findings) -> str:
    by = "" if order.metric == found.metric else f" by {order.metric.text}"
    steps = order.steps
    if order.verdict == CONTRADICTED:
        step = steps[steps["verdict"] == REVERSED].iloc[0]
        size = f"{abs(step['difference']):.{order.digits}f} {order.metric.difference_unit}".strip()
        return f"{name} {CONTRADICTED}{by}: {step['worse']} is {size} better than {step['better']}."
    if order.verdict == HOLDS:
        return f"{name} {HOLDS}{by} ({count(int(steps['n'].min()), 'shared seed')})."
    shown = int((steps["verdict"] == AS_CLAIMED).sum())
    return f"{name} is undecided{by}: {shown} of {count(len(steps), 'step')} {'is' if shown == 1 else 'are'} shown."
