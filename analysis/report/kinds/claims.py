"""Do the orders of configurations that the notes claim hold? A study declares them, every step of them is tested."""

from dataclasses import dataclass

import pandas as pd

from analysis import stats
from analysis.charts.forest import forest
from analysis.io.metrics import MetricInfo, metric_info
from analysis.io.values import outcomes
from analysis.report.document import Section
from analysis.report.findings import UNDECIDED, Findings
from analysis.report.phrases import count, fits, joined
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


def orders(found: Findings, level: float | None = None) -> list[Order]:
    """The claimed orders of the configurations that have a value; those of fewer than two are left out.

    Args:
        level: chance that any verdict on any step is wrong; that of the report where it is None. Metrics share it.
    """
    declared = [dict(one) for one in found.run.study.get("claims") or ()]
    metrics = list(dict.fromkeys(str(one.get("metric") or found.metric.name) for one in declared))
    known: list[Order] = []
    for name in metrics:
        about = found.metric if name == found.metric.name else metric_info(found.run.study.get("metrics"), name)
        own = [one for one in declared if str(one.get("metric") or found.metric.name) == name]
        known += _of_metric(found, own, about, (level or found.level) / len(metrics))
    return known


def _of_metric(found: Findings, declared: list[dict[str, object]], about: MetricInfo, level: float) -> list[Order]:
    seeds = found.seeds
    if about.name != found.metric.name:
        seeds = outcomes(found.run, about.name)
        seeds = seeds.assign(value=seeds["value"] * about.scale)
    present = set(seeds["configuration"])
    labels = [tuple(label for label in one["order"] if label in present) for one in declared]  # type: ignore[attr-defined]
    pairs = list(dict.fromkeys(pair for own in labels for pair in zip(own, own[1:], strict=False)))
    if not pairs:
        return []
    weights = {str(number): {better: 1.0, worse: -1.0} for number, (better, worse) in enumerate(pairs)}
    table = stats.contrasts(seeds, "value", weights, level=level)
    table[["better", "worse"]] = pairs
    right = (table["difference"] > 0) == about.maximise
    table["verdict"] = UNDECIDED
    table.loc[table["different"], "verdict"] = right.map({True: AS_CLAIMED, False: REVERSED})
    table.index = pd.MultiIndex.from_tuples(pairs)
    columns = ["better", "worse", "n", "difference", "low", "high", "verdict"]
    return [
        Order(own, about, str(one.get("source") or "the notes"),
              table.loc[list(zip(own, own[1:], strict=False)), columns].reset_index(drop=True))
        for own, one in zip(labels, declared, strict=True)
        if len(own) > 1
    ]  # fmt: skip


def claims_sentence(found: Findings, level: float | None = None) -> str:
    """Which of the claimed orders hold; "" for a study that declares none."""
    known = orders(found, level)
    if not known:
        return ""
    if len(known) == 1:
        names = (f"The order {known[0].text} of the notes", "The order that the notes claim")
        sentences = [*(_said(found, known[0], name) for name in names), f"{names[1]} {_verb(known[0].verdict)}."]
        return next(filter(fits, sentences), "")
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


def claims_section(found: Findings, level: float | None = None) -> Section | None:
    """Every claimed order, step by step; None for a study that declares none."""
    known = orders(found, level)
    if not known:
        return None
    rows: list[list[Cell]] = []
    for order in known:
        for _, step in order.steps.iterrows():
            shown = Estimate(step["difference"], step["low"], step["high"], signed=True, digits=_digits(found, order))
            rows.append([_step(step), order.metric.text, shown, int(step["n"]), step["verdict"], order.source])
    columns = ["step", "metric", "difference", "seeds", "verdict", "claimed in"]
    caption = "Differences in points of fractions, else in the unit of the metric; intervals corrected for all steps."
    table = Table("claims", "Claimed orders, step by step", columns, rows, caption)
    said = [_said(found, order, order.text) for order in known]
    own = [order.steps.assign(name=order.steps.apply(_step, axis=1)) for order in known if order.metric == found.metric]
    charts = []
    if own:
        steps = pd.concat(own).drop_duplicates("name").rename(columns={"difference": "estimate"})
        charts.append(forest(
            "claims", f"Steps of the claimed orders in {found.metric.text}",
            f"Points are the better minus the worse as claimed, paired by seed: claimed is "
            f"{'above' if found.metric.maximise else 'below'} 0. Lines: intervals, corrected for all steps.",
            steps[["name", "estimate", "low", "high", "verdict"]], found.difference_unit or found.metric.text,
        ))  # fmt: skip
    return Section("What the notes claim", said, [table], charts, METHODS)


def _said(found: Findings, order: Order, name: str) -> str:
    by = "" if order.metric == found.metric else f" by {order.metric.text}"
    steps = order.steps
    if order.verdict == CONTRADICTED:
        step = steps[steps["verdict"] == REVERSED].iloc[0]
        unit = "points" if order.metric.fraction else order.metric.unit
        size = f"{abs(step['difference']):.{_digits(found, order)}f} {unit}".strip()
        return f"{name} {CONTRADICTED}{by}: {step['worse']} is {size} better than {step['better']}."
    if order.verdict == HOLDS:
        return f"{name} {HOLDS}{by} ({count(int(steps['n'].min()), 'shared seed')})."
    shown = int((steps["verdict"] == AS_CLAIMED).sum())
    return f"{name} is undecided{by}: {shown} of {count(len(steps), 'step')} {'is' if shown == 1 else 'are'} shown."


def _verb(verdict: str) -> str:
    return "is undecided" if verdict == UNDECIDED else verdict


def _step(step: "pd.Series[str]") -> str:
    return f"{step['better']} over {step['worse']}"


def _digits(found: Findings, order: Order) -> int:
    return found.digits if order.metric == found.metric else 1 if order.metric.fraction else 3
