"""The linear theory of LoRA: whether training meets the best error of its rank, and what a fixed alpha changes.

A case is one teacher and rank of one replica. Its gap is the error beyond the Eckart-Young bound as a fraction of the
bound, or of ||W* - W0||_F^2 where the bound is 0. Rows of phase ``eval``, per epoch: ``error/<teacher>/r<rank>``,
``gap/...``, and, in the first epoch, ``bound/...``.
"""

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.along import along
from analysis.io.values import REPLICA
from analysis.report.document import Kind, Section
from analysis.report.findings import UNDECIDED, Findings, verdicts
from analysis.report.headline import shown_labels
from analysis.report.phrases import count, fitting
from analysis.report.sections import contrasts_section, seeds_section, variance_section
from analysis.report.tables import Cell, Estimate, Table

CASE = r"(error|bound|gap)/(\w+)/r(\d+)"
MET, LOWEST = 1.0, 0.01
"""Gaps in per cent: up to which the bound is met, and the least that is drawn."""
ROUNDING = 1e-6
"""Rise of the error with the rank, as a fraction of the largest error, that is no rise."""
AHEAD, BEHIND = "ahead", "behind"
BOUND = "Eckart-Young bound"
SCALING = {"scaling", "c", "lora_alpha"}
METHODS = [
    "Gap: squared Frobenius error beyond the smallest that any update of the rank can have, in per cent of that, or of "
    "the whole update where it is 0. A finite number of inputs leaves even the exact minimum of the loss a small gap.",
    "A fixed alpha on the way: gaps averaged over teachers, their ratios paired by seed, corrected for the ranks.",
]


def cases(found: Findings) -> pd.DataFrame:
    """A row per case and epoch of the seeds that finished: columns ``REPLICA``, step, teacher, rank, error, bound, gap
    (per cent)."""
    rows = found.run.metrics[found.run.metrics["phase"] == "eval"]
    names = rows["name"].astype(str).str.extract(f"^{CASE}$").set_axis(["what", "teacher", "rank"], axis=1)
    rows = rows.join(names).dropna(subset=["what", "step"]).astype({"rank": int, "step": int})
    finished = found.run.trials.loc[found.run.trials["status"] == "finished", REPLICA]
    keys = [*REPLICA, "step", "teacher", "rank"]
    rows = rows.merge(finished, on=["trial_id", "seed"]).drop_duplicates([*keys, "what"], keep="last")
    wide = rows.pivot(index=keys, columns="what", values="value").reindex(columns=["error", "bound", "gap"])
    wide["bound"] = wide.groupby([*REPLICA, "teacher", "rank"])["bound"].transform("first")
    wide["gap"] *= 100
    return wide.loc[[label for label in found.labels if label in wide.index]].reset_index()


def final_cases(found: Findings) -> pd.DataFrame:
    """Those of ``cases`` after the last step of their replica."""
    every = cases(found)
    return every[every["step"] == every.groupby(REPLICA)["step"].transform("max")]


def bound_sentence(found: Findings) -> str:
    """How many cases meet the bound; "" without a finished seed."""
    final = final_cases(found)
    if final.empty:
        return ""
    met, worst = int((final["gap"] <= MET).sum()), final.loc[final["gap"].idxmax()]
    if met == len(final):
        return f"All {met:,} cases (rank, teacher, seed) end within {MET:g} % of the Eckart-Young bound."
    where = f"{worst['gap']:.1f} % ({worst['configuration']}, rank {worst['rank']})"
    share = f"{met:,} of {count(len(final), 'case')} end within {MET:g} % of the Eckart-Young bound"
    return f"{share}; the largest gap is {where}."


def on_the_way(found: Findings) -> pd.DataFrame:
    """The gap under a fixed alpha over that under one in proportion at the first measured step, rank by rank where the
    two differ. Gaps, means over teachers, differ between ranks by orders of magnitude: their logarithms are compared.

    Returns:
        ``Findings.pairs`` as factors, and columns rank, fixed, other (labels), step, verdict (of the fixed one: ahead,
        behind, undecided); empty where no two configurations differ in the rule for alpha alone.
    """
    every = cases(found)
    empty = pd.DataFrame(columns=["rank", "fixed", "other", "step", "n", "difference", "low", "high", "verdict"])
    known = found.run.study.get("configurations") or {}
    rest = {label: {key: own[key] for key in own.keys() - SCALING} for label, own in known.items()}
    fixed, other = next(((fixed, other) for fixed in known for other in known
                         if known[fixed].get("scaling") == "fixed" and known[other].get("scaling") == "proportional"
                         and rest[fixed] == rest[other] and {fixed, other} <= set(every["configuration"])),
                        ("", ""))  # fmt: skip
    if not fixed:
        return empty
    first = every[(every["step"] == every["step"].min()) & every["configuration"].isin([fixed, other])]
    means = first.groupby(["configuration", "seed", "rank"], sort=False)["gap"].mean().clip(lower=LOWEST)
    table = np.log(means).rename("value").reset_index()
    table["case"] = table["configuration"] + " " + table["rank"].astype(str)
    alpha, factor = float(known[fixed].get("lora_alpha", np.nan)), float(known[other].get("c", np.nan))
    ranks = [rank for rank in sorted(table["rank"].unique()) if alpha != factor * rank]
    if not ranks:
        return empty
    pairs = [(f"{fixed} {rank}", f"{other} {rank}") for rank in ranks]
    tested = found.pairs(pairs, seeds=table, by="case")
    verdict = verdicts(tested, False, (AHEAD, BEHIND))
    tested[["difference", "low", "high"]] = np.exp(tested[["difference", "low", "high"]])
    return tested.assign(rank=ranks, fixed=fixed, other=other, step=int(every["step"].min()), verdict=verdict)


def way_sentence(found: Findings) -> str:
    """What a fixed alpha changes after the first measured step; "" where there is nothing to compare."""
    table = on_the_way(found)
    if table.empty:
        return ""
    fixed, other, step = table.iloc[0][["fixed", "other", "step"]]
    decided = table[table["verdict"] != UNDECIDED]
    if decided.empty:
        return f"After {step} steps the gap of {fixed} is at no rank shown to differ from that of {other}."
    counted = decided["verdict"].value_counts().to_dict()
    where = " and ".join(f"{verdict} at {counted[verdict]}" for verdict in (BEHIND, AHEAD) if verdict in counted)
    row = decided.loc[np.log(decided["difference"]).abs().idxmax()]
    factor = Estimate(row["difference"], row["low"], row["high"])
    head = f"After {step} steps {fixed} is {where} of {count(len(table), 'rank')}"
    return fitting(head, [f"at rank {row['rank']} by a factor of {factor}"])


def monotone_sentence(found: Findings) -> str:
    """Whether every added rank lowers the error; "" without a finished seed."""
    final = final_cases(found).sort_values("rank")
    if final["rank"].nunique() < 2:
        return ""
    curves = final.groupby([*REPLICA, "teacher"])["error"]
    rises = int(curves.apply(lambda one: bool((one.diff() > ROUNDING * one.max()).any())).sum())
    where = f"{len(curves):,} curves (configuration, teacher, seed)"
    if not rises:
        return f"More rank never raises the error, in all {where}."
    return f"More rank raises the error somewhere in {rises:,} of {where}."


def bound_section(found: Findings) -> Section | None:
    """Error and bound by rank, and how many cases meet it; None without a finished seed."""
    final = final_cases(found)
    if final.empty:
        return None
    labels = shown_labels(found, final)
    bounds = final.drop_duplicates(["seed", "teacher", "rank"])
    drawn = pd.concat([bounds.assign(configuration=BOUND, error=bounds["bound"]), final]).rename(
        columns={"configuration": "series", "teacher": "panel", "rank": "x"}
    )
    points = stats.mean_interval(drawn, "error", by=["series", "panel", "x"]).rename(columns={"estimate": "y"})
    points["panel"] = points["panel"].str.replace("_", " ")
    positive = final.loc[final["bound"] > 0, "bound"]
    points = points[points["y"] > (positive.min() / 2 if len(positive) else 0.0)].assign(low=np.nan, high=np.nan)
    chart = along(
        "error_by_rank", "Error of the learned update against the smallest possible one",
        "Means over seeds, a panel per teacher; broad: the Eckart-Young bound. Errors where it is 0 are left out.",
        points, labels, ("rank", "squared error"), logarithmic=(True, True), ground=BOUND,
    )  # fmt: skip
    tables = [_met(final, labels), _gaps(final, labels)]
    return Section.of("The best error of a rank", [monotone_sentence(found)], tables, [chart], METHODS)


def way_section(found: Findings) -> Section | None:
    """Gaps by step, and what a fixed alpha changes on the way; None without two measured steps."""
    every = cases(found)
    if every["step"].nunique() < 2:
        return None
    several = every["teacher"].nunique() > 1
    panel = every["configuration"] + (", " + every["teacher"].str.replace("_", " ") if several else "")
    drawn = every.assign(panel=panel, series=every["rank"], x=every["step"])
    points = stats.mean_interval(drawn, "gap", by=["series", "panel", "x"]).rename(columns={"estimate": "y"})
    points = points.assign(y=points["y"].clip(lower=LOWEST), low=np.nan, high=np.nan)
    chart = along(
        "gap_by_step", "Gap to the bound by step",
        f"Means over seeds in per cent, a line per rank; gaps below {LOWEST:g} % are drawn there.",
        points, sorted(every["rank"].unique()), ("step", "gap (%)"), logarithmic=(False, True), shades="rank",
    )  # fmt: skip
    rows: list[dict[str, Cell]] = [
        {"rank": row.rank, f"gap of {row.fixed} over that of {row.other} after {row.step} steps":
         Estimate(row.difference, row.low, row.high, digits=2), "seeds": row.n, "verdict": row.verdict}
        for row in on_the_way(found).itertuples()
    ]  # fmt: skip
    return Section.of("On the way", [], [Table.of("way", "A fixed alpha on the way", rows)], [chart], METHODS)


def _met(final: pd.DataFrame, labels: list[str]) -> Table | None:
    """How many cases, and how many seeds in all of their cases, meet the bound."""
    met = (final["gap"] <= MET).groupby([final["configuration"], final["seed"]]).mean().reset_index(name="met")
    shares = stats.mean_interval(met, "met", by="configuration").set_index("configuration")
    whole = stats.rate_interval(met.assign(met=met["met"] == 1), value="met", by="configuration")
    whole, groups = whole.set_index("configuration"), final.groupby("configuration")["gap"]
    rows: list[dict[str, Cell]] = [
        {"configuration": label, "cases": len(own := groups.get_group(label)),
         f"within {MET:g} % (%)": Estimate.of(shares.loc[label], scale=100),
         "seeds with every case within (%)": Estimate.of(whole.loc[label], digits=0, scale=100),
         "largest gap (%)": Estimate(own.max(), digits=2)} for label in labels
    ]  # fmt: skip
    return Table.of("bound_met", "Is the bound met?", rows, "After the last step; 95 % intervals over seeds.")


def _gaps(final: pd.DataFrame, labels: list[str]) -> Table | None:
    """Gap by teacher and rank."""
    keys = ["teacher", "rank", "configuration"]
    means = stats.mean_interval(final, "gap", by=keys).set_index(keys)
    known = {key: Estimate.of(one, digits=3) for key, one in means.iterrows()}
    rows: list[dict[str, Cell]] = [
        {"teacher, rank": f"{teacher.replace('_', ' ')}, rank {rank}",
         **{label: known.get((teacher, rank, label)) for label in labels}}
        for teacher, rank in final[["teacher", "rank"]].drop_duplicates().itertuples(index=False)
    ]  # fmt: skip
    return Table.of("gaps", "Gap to the bound (%)", rows, "Means with 95 % intervals, after the last step.")


THEORY = Kind(
    "theory",
    claims=(bound_sentence, way_sentence, monotone_sentence),
    sections=(bound_section, way_section, contrasts_section, seeds_section, variance_section),
)
