"""The answer of a study of LoRA's rank in short sentences: where it saturates, what else there is, and the seeds."""

from collections.abc import Sequence

from analysis.differences import FEWEST_SEEDS, PairedDifference, difference
from analysis.headline import compared_sentences, outcome, spread_in_brief
from analysis.rank_sentences import start_sentences
from analysis.rank_series import FINAL, Rule, reference, rule_gaps, rules, saturation
from analysis.records import Run
from analysis.sentences import any_final, incomparable, joined
from analysis.series import configurations, final_values


def rank_headline(run: Run, found: Sequence[PairedDifference]) -> list[str]:
    """Where accuracy saturates, what another rule for alpha, the head and full fine-tuning change, and how far the
    seeds agree; empty without any final value.

    Args:
        found: its paired differences in final top-1, for a run without LoRA.
    """
    if not any_final(run, FINAL):
        return []
    every = rules(run)
    if every:
        said = [joined([_saturates(run, rule) for rule in every], len(every)) + ".", _beside(run, every)]
    else:
        compared = compared_sentences(found, "final top-1") if found else [incomparable(run, FINAL)]
        said = [" ".join(compared)]
    known = [f"{sentence[0].upper()}{sentence[1:]}" for sentence in said if sentence]
    spread, last = spread_in_brief(run, FINAL, "final top-1"), outcome(run, FINAL)
    # A start from random weights changes what all the other sentences mean.
    first = [*start_sentences(run), *known]
    return [*first, f"{spread.removesuffix('.')}; {last}"] if len(first) > 1 else [*first, spread, last]


def _saturates(run: Run, rule: Rule) -> str:
    found = saturation(run, rule)
    if found is None:
        return f"with {rule.name} no seed has finished"
    if len(rule.labels) < 2:
        return f"with {rule.name} only rank {found.best} was run"
    mean = f"{100 * final_values(run, rule.labels[found.best], FINAL).mean():.1f} %"
    if found.rank is None:
        few = f"fewer than {FEWEST_SEEDS} common seeds cannot tell where it saturates"
        return f"with {rule.name}, r={found.best} has the highest mean ({mean}), but {few}"
    if found.rank == found.best:
        return f"with {rule.name}, r={found.best} is the best ({mean}) and every smaller rank is below it"
    gap = 100 * found.gaps[found.rank].mean
    return (
        f"with {rule.name}, r={found.rank} is the smallest rank that cannot be told apart from the best "
        f"(r={found.best} at {mean}, {abs(gap):.1f} points {'higher' if gap < 0 else 'lower'} on their common seeds)"
    )


def _beside(run: Run, every: Sequence[Rule]) -> str:
    """The second rule against the first, and head and full fine-tuning against the best rank of the first."""
    clauses, found = [], saturation(run, every[0])
    if len(every) > 1 and (gaps := rule_gaps(run, every[0], every[1])):
        apart = [f"r={rank} ({100 * gap.mean:+.1f} points)" for rank, gap in gaps.items() if gap.survives_correction]
        where = f"at {joined(apart, len(apart))}" if apart else "at no rank"
        clauses.append(f"{every[1].name} can be told apart from {every[0].name} {where}")
    for wanted, name in (("head", "the head alone"), ("full", "full fine-tuning")):
        label = reference(run, wanted)
        gap = difference(run, label, every[0].labels[found.best], FINAL) if found and label is not None else None
        if gap:
            doubt = "" if gap.told_apart else ", not told apart"
            where = "above" if gap.mean > 0 else "below"
            clauses.append(f"{name} ends {100 * abs(gap.mean):.1f} points {where} the best rank{doubt}")
    if not clauses:
        return "" if len(configurations(run)) > 1 else "No other configuration was run."
    return joined(clauses, len(clauses)) + "."
