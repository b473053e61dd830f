"""Studies of LoRA's rank: from where on more does not help, whether it does harm, and what a fixed alpha does."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.along import along
from analysis.charts.curves import curves
from analysis.io.values import curve
from analysis.report.document import Kind, Section
from analysis.report.findings import BETTER, FEWEST_SEEDS, UNDECIDED, WORSE, Findings
from analysis.report.headline import shown_labels
from analysis.report.kinds.claims import claims_section, claims_sentence
from analysis.report.phrases import capital, clauses, count, fitting, margin_text
from analysis.report.sections import EVERY_STUDY, contrasts_section, curves_section
from analysis.report.tables import Cell, Estimate, Table
from analysis.report.trade_offs import trade_off_section

MOST_SEEDS = 100
REFERENCES = {"head": "head alone", "full": "full fine-tuning"}
METHODS = [
    "Saturation: from the largest rank down, each rank is tested against all others for being within the margin; the "
    "rank that is named is too small in at most 5 % of studies.",
    "Harm of more rank, a fixed alpha, claimed orders: paired by seed; one of them is wrong in at most 5 % of studies.",
]


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


def random_sentence(found: Findings) -> str:
    """A warning where the encoder was not pretrained; "" else."""
    known = (found.run.study.get("configurations") or {}).values()
    random = any(own.get("pretrained") is False for own in known)
    return "Warning: the encoder starts from random weights, which says nothing of a pretrained one." if random else ""


def rank_sentence(found: Findings, place: int) -> str:
    """Of the rule at this place: from which rank on more does not help, or that it does harm; "" without two ranks."""
    every = rules(found)
    if place >= len(every) or len(every[place].labels) < 2:
        return ""
    rule, about = every[place], f" with {every[place].name}" if len(every) > 1 else ""
    table, known = saturation(found, rule), comparisons(found)
    known = known[(known["rule"] == rule.name) & (known["other"] == "")]
    ranks, within = list(rule.labels), int(table["within"].sum())
    if within == len(ranks):
        return f"Every rank from r={ranks[0]} to r={ranks[-1]} is within {margin_text(found)} of the best{about}."
    before = ranks[-within - 1]
    if not within and (known["verdict"] == WORSE).any():
        row = known.loc[known["difference"].where(known["verdict"] == WORSE).abs().idxmax()]
        return f"More rank does harm{about}: r={before} differs from r={row['rank']} by {found.gap(row)}."
    if table.empty or int(table["n"].iloc[0]) < FEWEST_SEEDS:
        return ""
    if not within:
        text = f"Undecided: from which rank on {found.metric.text}{about} is within {margin_text(found)} of the best"
        return f"{text}{_needed(found, rule, before)}."
    margin, reach = margin_text(found), f"r={ranks[-1]} is" if within == 1 else "from there on every rank is"
    if (known.loc[known["rank"] == before, "verdict"] == BETTER).any():
        way = "still rises" if within == 1 else "saturates"
        text = f"{capital(found.metric.text)}{about} {way} at r={ranks[-within]}: {reach} within {margin} of the best"
        return f"{text}; r={before} is worse."
    reach = capital(reach.replace("there", f"r={ranks[-within]}"))
    return f"{reach} within {margin} of the best{about}; r={before} is undecided{_needed(found, rule, before)}."


def rule_sentence(found: Findings) -> str:
    """What a fixed alpha does at the ranks where it differs from one in proportion; "" without both."""
    known = comparisons(found).query("other != ''")
    if known.empty:
        return ""
    name, other = known.iloc[0][["rule", "other"]]
    decided = known[known["verdict"] != UNDECIDED]
    if decided.empty:
        return f"At none of {count(len(known), 'rank')} is {name} shown to differ from {other}."
    head = f"At {len(decided)} of {count(len(known), 'rank')} {name} differs from {other}"
    return fitting(head, clauses(found, decided.assign(name="r=" + decided["rank"].astype(str)), "name"))


def rank_section(found: Findings) -> Section | None:
    """The objective by rank, where it saturates, and the rules for alpha; None without a rank."""
    every = rules(found)
    if not every:
        return None
    places = pd.DataFrame([(rule.name, rank, label) for rule in every for rank, label in rule.labels.items()],
                          columns=["series", "x", "configuration"])  # fmt: skip
    known = found.run.study.get("configurations") or {}
    means = {label: found.estimate(label) for label in found.labels}
    lines = {text: mean for method, text in REFERENCES.items() for label, mean in means.items()
             if (known.get(label) or {}).get("method") == method and np.isfinite(mean)}  # fmt: skip
    chart = along(
        "by_rank", f"{capital(found.metric.text)} by rank",
        "Lines join means over seeds with 95 % intervals, one per rule for alpha; dots are seeds.",
        places.merge(found.means.rename(columns={"estimate": "y"}))[["series", "x", "y", "low", "high"]],
        [rule.name for rule in every], ("rank", found.metric.axis),
        places.merge(found.seeds.rename(columns={"value": "y"}))[["series", "seed", "x", "y"]], lines,
    )  # fmt: skip
    return Section.of("Rank", [], [_saturation(found), _comparisons(found)], [chart], METHODS)


def learning_section(found: Findings) -> Section | None:
    """Accuracy by step, also within epochs; by epoch where that was not measured."""
    parts = [curve(found.run, phase, "top1", "step") for phase in ("curve", "eval")]
    if parts[0].empty:
        return curves_section(found)
    measured = pd.concat(parts).sort_values(["trial_id", "seed", "at"])
    measured = measured.assign(at=measured["at"] - 1, value=100 * measured["value"])
    return Section.of("Learning curves", charts=[curves(
        "curves", "Top-1 by step", "Bold: means over seeds; thin: the seeds. Click a configuration in the legend.",
        measured, shown_labels(found, measured), "step", "top-1 (%)",
    )])  # fmt: skip


def _saturation(found: Findings) -> Table | None:
    unit, within = found.metric.difference_unit, f"within {margin_text(found)}" if found.margin else ""
    rows: list[dict[str, Cell]] = [
        {"rank": f"r={row.rank}, {rule.name}",
         f"from the best ({unit})": Estimate(row.difference, signed=True, digits=found.digits),
         "at least": Estimate(row.low, signed=True, digits=found.digits), "seeds": row.n,
         "verdict": within if row.within else UNDECIDED}
        for rule in rules(found)
        for row in saturation(found, rule).itertuples()
    ]  # fmt: skip
    caption = "Mean minus the best of the other means, and its lower bound; below an undecided rank nothing is tested."
    return Table.of("saturation", "Where the rank saturates", rows, caption)


def _comparisons(found: Findings) -> Table | None:
    rows: list[dict[str, Cell]] = [
        {"comparison": f"{row.rule} against {row.other} at r={row.rank}" if row.other else
         f"largest rank against r={row.rank}, {row.rule}",
         f"difference ({found.metric.difference_unit})": found.cell(row, "difference"), "seeds": row.n,
         "verdict": row.verdict}
        for row in comparisons(found).itertuples()
    ]  # fmt: skip
    return Table.of("ranks", "Ranks and rules for alpha", rows, "Paired by seed; intervals corrected for all rows.")


def _needed(found: Findings, rule: Rule, rank: int) -> str:
    """How many seeds would show a rank that is as good as the best to be; "" where their gaps do not differ."""
    wide = found.seeds.pivot(index="seed", columns="configuration", values="value")[list(rule.labels.values())].dropna()
    means = wide.mean().drop(rule.labels[rank])
    gaps = wide[rule.labels[rank]] - wide[means.idxmax() if found.metric.maximise else means.idxmin()]
    if found.margin is None or gaps.max() == gaps.min():
        return ""
    seeds = stats.seeds_needed(
        gaps.to_numpy(), found.margin, configurations=len(means) + 1, comparisons=len(means),
        level=found.level / len(rules(found)),
    )  # fmt: skip
    return f" (about {seeds} seeds would decide)" if seeds <= MOST_SEEDS else f" (more than {MOST_SEEDS} seeds needed)"


RANK = Kind(
    "rank",
    claims=(
        random_sentence, rule_sentence, lambda found: rank_sentence(found, 0), lambda found: rank_sentence(found, 1),
        lambda found: claims_sentence(found, share(found)),
    ),
    sections=(
        rank_section, lambda found: claims_section(found, share(found)), trade_off_section, contrasts_section,
        learning_section, *EVERY_STUDY,
    ),
)  # fmt: skip
