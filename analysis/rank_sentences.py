"""What a study of LoRA's rank says, in sentences: rank, saturation, head and full, and the rules for alpha."""

from collections.abc import Sequence

from analysis.captions import count
from analysis.differences import FEWEST_SEEDS, PairedDifference, difference
from analysis.rank_series import FINAL, Rule, Saturation, reference, rule_gaps, rules, saturation, scale, trend
from analysis.records import Run
from analysis.sentences import MOST_NAMED, any_final, comparison_sentences, interval, joined, others
from analysis.series import configurations, final_values
from analysis.tuning_series import parameters


def rank_answer(run: Run, found: Sequence[PairedDifference]) -> list[str]:
    """Where accuracy saturates under every rule, how far head and full are, the rules side by side, and what became of
    the replicas.

    Args:
        found: the paired differences from the first configuration in final top-1, for a run without LoRA.
    """
    if not any_final(run, FINAL):
        return [*start_sentences(run), *comparison_sentences(run, found, FINAL)]
    every = rules(run)
    said = [sentence for rule in every for sentence in rule_sentences(run, rule)]
    said += reference_sentences(run, every)
    if len(every) > 1:
        said += side_by_side(run, every)
    if not every:
        said += comparison_sentences(run, found, FINAL)
    total, finished = len(run.trials), int((run.trials["status"] == "finished").sum())
    trust = f"{finished} of {count(total, 'replica')} finished{others(list(run.trials['status']))}."
    return [*start_sentences(run), *said, trust]


def start_sentences(run: Run) -> list[str]:
    """That the encoder started from random weights, where it did."""
    random = [label for label in configurations(run) if parameters(run, label).get("pretrained") is False]
    if not random:
        return []
    which = "" if len(random) == len(configurations(run)) else f" in {joined(random[:MOST_NAMED], len(random))}"
    return [
        f"The encoder started from random weights{which} (pretrained=false): this says nothing about fine-tuning a "
        "pretrained one."
    ]


def rule_sentences(run: Run, rule: Rule) -> list[str]:
    """Does accuracy rise with rank under this rule, where does it saturate, and does it fall again?"""
    found, slope = saturation(run, rule), trend(run, rule)
    if found is None:
        return [f"With {rule.name} no seed has finished."]
    if len(rule.labels) < 2:
        return [f"With {rule.name} only rank {found.best} was run, so nothing can be said of more or less rank."]
    return [_trend(rule, slope), _saturates(run, rule, found)]


def _trend(rule: Rule, slope: PairedDifference | None) -> str:
    if slope is None:
        return f"With {rule.name} no seed has finished all ranks."
    ranks = f"from r={min(rule.labels)} to r={max(rule.labels)}"
    text = f"{100 * slope.mean:+.2f} points per doubling of the rank {ranks}"
    if slope.n < FEWEST_SEEDS:
        return f"With {rule.name} accuracy changes by {text} ({count(slope.n, 'seed')}, too few to tell it from none)."
    details = f"({interval(slope, 2)}, {count(slope.n, 'seed')})"
    if not slope.told_apart:
        return f"With {rule.name} accuracy cannot be told to change with the rank: {text} {details}."
    return f"With {rule.name} accuracy {'rises' if slope.mean > 0 else 'falls'}: {text} {details}."


def _saturates(run: Run, rule: Rule, found: Saturation) -> str:
    mean = 100 * final_values(run, rule.labels[found.best], FINAL).mean()
    best = f"r={found.best} has the highest mean ({mean:.2f} %)"
    if found.rank is None:
        return f"Of its ranks {best}; where it saturates cannot be told with fewer than {FEWEST_SEEDS} common seeds."
    below = [rank for rank in rule.labels if rank < found.rank]
    if found.rank == found.best:
        text = f"Of its ranks {best}, and every smaller one is below it" if below else f"Of its ranks {best}"
    else:
        gap = found.gaps[found.rank]
        text = (
            f"It saturates at r={found.rank}, the smallest that cannot be told apart from r={found.best} "
            f"({100 * gap.mean:+.2f} points, {interval(gap, 2)}), where the mean is highest ({mean:.2f} %)"
        )
    return f"{text}; {_falls_again(rule, found)}."


def _falls_again(rule: Rule, found: Saturation) -> str:
    top = max(rule.labels)
    if top == found.best:
        return "the highest rank is the best, so nothing degrades at high rank"
    gap = found.gaps.get(top)
    if gap is None or gap.n < FEWEST_SEEDS:
        return f"whether r={top} degrades cannot be told"
    if gap.told_apart:
        return f"r={top} is {100 * abs(gap.mean):.2f} points below it ({interval(gap, 2)}): more rank does harm"
    return f"r={top} cannot be told apart from it ({100 * gap.mean:+.2f} points), so no degradation at high rank shows"


def reference_sentences(run: Run, every: Sequence[Rule]) -> list[str]:
    """How far the head alone and full fine-tuning are from the best rank of the first rule."""
    found = saturation(run, every[0]) if every else None
    clauses = []
    for wanted, name in (("head", "the head alone"), ("full", "full fine-tuning")):
        label = reference(run, wanted)
        if found is None or label is None:
            continue
        gap = difference(run, label, every[0].labels[found.best], FINAL)
        if gap is None:
            continue
        way = f"{100 * abs(gap.mean):.2f} points {'above' if gap.mean > 0 else 'below'}" if gap.mean else "level with"
        details = [interval(gap, 2), count(gap.n, "seed")]
        if not gap.told_apart:
            details.append("cannot be told apart")
        clauses.append(f"{name} ends {way} r={found.best} ({', '.join(details)})")
    if not clauses:
        return []
    text = joined(clauses, len(clauses))
    return [f"{text[0].upper()}{text[1:]}."]


def side_by_side(run: Run, every: Sequence[Rule]) -> list[str]:
    """The first two rules against each other: their saturation, the highest rank, and where they must agree."""
    first, second = every[:2]
    ends = {rule.name: saturation(run, rule) for rule in (first, second)}
    clauses = [
        f"r={one.rank} with {name}" if one and one.rank is not None else f"cannot be told with {name}"
        for name, one in ends.items()
    ]
    said = [f"Smallest rank that cannot be told apart from the best: {' and '.join(clauses)}."]
    gaps = rule_gaps(run, first, second)
    if not gaps:
        return said
    apart = [f"at r={rank} by {100 * gap.mean:+.2f} points ({interval(gap, 2)})"
             for rank, gap in gaps.items() if gap.survives_correction]  # fmt: skip
    if apart:
        said.append(f"{second.name} differs from {first.name}, Holm-corrected over {len(gaps)} ranks, "
                    f"{joined(apart, len(apart))}.")  # fmt: skip
    else:
        said.append(
            f"At no rank can {second.name} be told apart from {first.name} once corrected for {len(gaps)} ranks."
        )
    fixed = next((rule for rule in (first, second) if not rule.proportional), None)
    if fixed and first.proportional != second.proportional:
        said.append(_artefact(ends[fixed.name], fixed, gaps, sign=1 if fixed is second else -1))
    same = [rank for rank in gaps if scale(parameters(run, first.labels[rank]))
            == scale(parameters(run, second.labels[rank]))]  # fmt: skip
    for rank in same:
        values = [final_values(run, rule.labels[rank], FINAL) for rule in (first, second)]
        equal = "agree in every seed" if values[0].equals(values[1]) else "do not agree, as they should"
        said.append(f"At r={rank} both rules are the same factor, and the two {equal}.")
    return said


def _artefact(found: Saturation | None, fixed: Rule, gaps: dict[int, PairedDifference], sign: int) -> str:
    """The notes' artefact: under a fixed alpha high ranks end lower, although they can express more."""
    name = "The artefact that the notes describe (a fixed alpha makes high ranks worse)"
    top = max(fixed.labels)
    within, between = (found.gaps.get(top) if found else None), gaps.get(top)
    if between is None or between.n < FEWEST_SEEDS:
        return f"{name} cannot be judged with fewer than {FEWEST_SEEDS} common seeds."
    falls = within is not None and within.told_apart
    behind = between.survives_correction and sign * between.mean < 0
    if falls and behind:
        return f"{name} shows: r={top} is below its own best rank and below r={top} with alpha = c r."
    if behind:
        return f"{name} shows in part: r={top} is below r={top} with alpha = c r, but not below its own best."
    if falls:
        return f"{name} shows in part: r={top} is below its own best rank, but not below r={top} with alpha = c r."
    return f"{name} does not show at r={top}."
