"""What a run of the linear theory says: whether the bound is met, what fixed alpha does, whether rank always helps."""

import pandas as pd

from analysis.captions import count
from analysis.records import Run
from analysis.sentences import joined, others, outcomes
from analysis.series import configurations, final_values, replicas
from analysis.theory_series import TOLERANCE, early_gaps, final_cases, pairs, percent

ROUNDING = 1e-6
"""Rise of the error with the rank, as a fraction of the largest error, that is no rise."""


def theory_answer(run: Run, every: pd.DataFrame) -> list[str]:
    """Is the bound met, by which configuration; what does fixed alpha change; is the error monotone in the rank?"""
    final = final_cases(every)
    if final.empty:
        return [f"{outcomes(list(run.trials['status'])).capitalize()}: no answer yet."]
    lines = [_bound_met(final[final["configuration"] == label], label) for label in configurations(run)]
    lines += [sentence for pair in pairs(run) if (sentence := _fixed_alpha(every, *pair))]
    return [*filter(None, lines), _monotone(final)]


def theory_headline(run: Run, every: pd.DataFrame) -> list[str]:
    """The same in short sentences, over all configurations; empty where no seed has finished."""
    final = final_cases(every)
    if final.empty:
        return []
    within, worst = final["gap"] <= TOLERANCE, final.loc[final["gap"].idxmax()]
    reached = "all" if within.all() else f"{int(within.sum()):,} of"
    where = f"{worst['configuration']}, {worst['teacher']}, rank {worst['rank']}"
    met = (
        f"Training ends within {percent(TOLERANCE)} of the Eckart-Young bound in {reached} {len(final):,} cases "
        f"(configuration, teacher, rank, seed); the worst gap is {percent(worst['gap'], 2)} ({where})."
    )
    clauses = []
    for fixed, proportional in pairs(run):
        if found := early_gaps(every, fixed, proportional):
            one, seeds = found[-1], count(found[-1].gap.n, "seed")
            verdict = "" if one.gap.told_apart else ", not told apart"
            gaps = f"{percent(one.fixed, 1)} against {percent(one.proportional, 1)}"
            clauses.append(f"{fixed} has a gap of {gaps} of {proportional} (rank {one.rank}, {seeds}{verdict})")
    way = [f"After the first {found[-1].step} steps {joined(clauses, len(clauses))}."] if clauses else []
    statuses = list(run.trials["status"])
    done = f"{statuses.count('finished')} of {count(len(statuses), 'replica')} finished{others(statuses)}"
    return [met, *way, f"{_monotone(final).removesuffix('.')}; {done}."]


def spread_sentence(run: Run, configuration: str) -> str:
    """How far apart the seeds of a configuration ended."""
    statuses, worst = list(replicas(run, configuration)["status"]), final_values(run, configuration, "worst_gap")
    if worst.empty:
        return f"{configuration}: {outcomes(statuses)}."
    return (
        f"{configuration}: {outcomes(statuses)}; a seed's worst gap lies between {percent(worst.min(), 3)} and "
        f"{percent(worst.max(), 3)}."
    )


def _bound_met(own: pd.DataFrame, label: str) -> str:
    if own.empty:
        return ""
    within = int((own["gap"] <= TOLERANCE).sum())
    worst = own.loc[own["gap"].idxmax()]
    met = f"all {len(own)}" if within == len(own) else f"{within} of {len(own)}"
    text = (
        f"{label}: within {percent(TOLERANCE)} of the Eckart-Young bound in {met} cases (teacher, rank, seed) after "
        f"{count(int(own['step'].max()), 'step')}; the worst gap is {percent(worst['gap'], 2)} "
        f"({worst['teacher']}, rank {worst['rank']}, seed {worst['seed']})"
    )
    if pd.notna(worst["gap_of_optimum"]):
        text += f", where the exact minimum of the training loss has {percent(worst['gap_of_optimum'], 2)}"
    return text + "."


def _fixed_alpha(every: pd.DataFrame, fixed: str, proportional: str) -> str:
    found = early_gaps(every, fixed, proportional)
    if not found:
        return ""
    slower = [one.rank for one in found if one.gap.told_apart and one.gap.mean > 0]
    faster = [one.rank for one in found if one.gap.told_apart and one.gap.mean < 0]
    largest = found[-1]
    text = (
        f"{fixed} against {proportional}, after {largest.step} steps: at rank {largest.rank} the gap is "
        f"{percent(largest.fixed, 1)} against {percent(largest.proportional, 1)}"
    )
    if largest.gap.low is not None and largest.gap.high is not None:
        text += f" (95 % interval of the difference {100 * largest.gap.low:+.1f} to {100 * largest.gap.high:+.1f})"
    verdicts = [
        f"{word} at {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))}"
        for word, ranks in (("behind", slower), ("ahead", faster))
        if ranks
    ]
    text += f"; fixed alpha is {' and '.join(verdicts)}" if verdicts else "; the rules cannot be told apart at any rank"
    return text + "."


def _monotone(final: pd.DataFrame) -> str:
    """Whether each added rank lowers the learned error."""
    rising, curves = [], 0
    for (label, _, seed, teacher), own in final.groupby(["configuration", "trial_id", "seed", "teacher"], sort=False):
        errors = own.sort_values("rank")["error"]
        curves += 1
        if (errors.diff() > ROUNDING * errors.max()).any():
            rising.append(f"{label}, {teacher}, seed {seed}")
    if not rising:
        return f"The error never rises with the rank, in all {curves} curves (configuration, teacher, seed)."
    return f"The error rises with the rank somewhere in {len(rising)} of {curves} curves, first in {rising[0]}."
