"""What the tables, sentences and pictures of the linear theory are made of: errors, bounds and gaps as plain frames.

A case is one teacher and rank of one replica. Gaps are fractions of the bound, or of ||W* - W0||_F^2 where the bound is
0.

Row vocabulary (phase ``eval``, per epoch, counted from 0): ``error/<teacher>/r<rank>``, the squared Frobenius error
||W* - W0 - s B A||_F^2; ``gap/...``; once: ``bound/...``, the sum of the squared singular values beyond the rank, in
the first epoch; ``gap_of_optimum/...``, the gap of the exact minimum of the training loss, in the last.
"""

import re
from dataclasses import dataclass

import pandas as pd

from analysis.differences import PairedDifference, paired_difference
from analysis.records import Run
from analysis.series import REPLICA, configurations, measured
from analysis.tuning_series import parameters

CASE = re.compile(r"(error|bound|gap|gap_of_optimum)/(\w+)/r(\d+)")
"""Name of a row: what, teacher, rank."""
TOLERANCE = 0.01
"""Gap up to which the bound counts as met."""
SCALING = {"scaling", "c", "lora_alpha"}
"""Parameters in which the two scaling rules may differ."""
_WHERE = ["configuration", "status", *REPLICA, "epoch", "step", "teacher", "rank"]


def percent(fraction: float, digits: int = 0) -> str:
    """``0.0123`` -> ``1.23 %`` with two digits."""
    return f"{100 * fraction:.{digits}f} %"


def cases(run: Run) -> pd.DataFrame:
    """One row per case and epoch: configuration, status, trial_id, seed, epoch, step, teacher, rank, error, bound, gap
    and, in the last epoch, gap_of_optimum; in display order of the teachers."""
    frame = measured(run, "eval")
    frame[["what", "teacher", "rank"]] = frame["name"].str.extract(f"^{CASE.pattern}$")
    frame = frame[frame["what"].notna() & frame["epoch"].notna()].astype({"epoch": int, "step": int, "rank": int})
    wide = frame.pivot(index=_WHERE, columns="what", values="value").reset_index()
    wide = wide.reindex(columns=[*_WHERE, "error", "bound", "gap", "gap_of_optimum"])
    wide["bound"] = wide.groupby([*REPLICA, "teacher", "rank"])["bound"].transform("first")
    return wide.astype(dict.fromkeys(("error", "bound", "gap", "gap_of_optimum"), float))


def final_cases(every: pd.DataFrame) -> pd.DataFrame:
    """Those of ``cases`` after the last epoch of a finished replica."""
    last = every.groupby(REPLICA)["epoch"].transform("max")
    return every[(every["status"] == "finished") & (every["epoch"] == last)]


def teachers(run: Run, every: pd.DataFrame) -> list[str]:
    """Teachers in the order in which they were asked for."""
    asked = [str(parameters(run, label).get("teachers", "")) for label in configurations(run)]
    found = sorted(every["teacher"].unique())
    return sorted(found, key=lambda teacher: min((text.find(teacher) for text in asked if teacher in text), default=0))


def pairs(run: Run) -> list[tuple[str, str]]:
    """Configurations (fixed alpha, alpha = c r) that differ in their scaling alone."""
    known = {label: parameters(run, label) for label in configurations(run)}
    rest = {label: {key: its[key] for key in its.keys() - SCALING} for label, its in known.items()}
    return [
        (fixed, other)
        for fixed in known
        for other in known
        if known[fixed].get("scaling") == "fixed"
        and known[other].get("scaling") == "proportional"
        and rest[fixed] == rest[other]
    ]


@dataclass(frozen=True)
class Early:
    """Both rules at one rank, gaps averaged over teachers, paired by seed.

    Attributes:
        step: optimizer steps done when the gaps were measured, the first measurement.
        fixed, proportional: mean gap over seeds.
        gap: their difference.
    """

    rank: int
    step: int
    fixed: float
    proportional: float
    gap: PairedDifference


def early_gaps(every: pd.DataFrame, fixed: str, proportional: str) -> list[Early]:
    """The two rules after equally many steps, as few as were measured, rank by rank."""
    own = every[every["configuration"].isin([fixed, proportional]) & (every["status"] == "finished")]
    own = own[own["step"] == own["step"].min()]
    means = (
        own.groupby(["rank", "seed", "configuration"])["gap"].mean().unstack().reindex(columns=[fixed, proportional])
    )
    found = []
    for rank, rows in means.dropna().groupby(level="rank"):
        gap = paired_difference(fixed, proportional, rows[fixed], rows[proportional])
        step = int(own["step"].iloc[0])
        found.append(Early(int(str(rank)), step, float(rows[fixed].mean()), float(rows[proportional].mean()), gap))
    return found


def steps_to_bound(every: pd.DataFrame, configuration: str) -> "pd.Series[float]":
    """Median over seeds of the first measured step from which on all teachers stay within ``TOLERANCE``, by rank;
    infinite where most seeds never get there."""
    own = every[(every["configuration"] == configuration) & (every["status"] == "finished")]
    worst = own.groupby(["rank", "seed", "step"])["gap"].max()
    found = {}
    for case, gaps in worst.groupby(level=["rank", "seed"]):
        steps = gaps.index.get_level_values("step")
        outside = steps[gaps.to_numpy() > TOLERANCE]
        later = steps[steps > outside.max()] if len(outside) else steps
        found[case] = float(later.min()) if len(later) else float("inf")
    if not found:
        return pd.Series(dtype=float)
    # the lower median: with an even number of seeds the mean of a number and infinity would hide the number
    return pd.Series(found).groupby(level=0).quantile(0.5, interpolation="lower")
