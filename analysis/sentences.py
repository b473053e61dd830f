"""What a run says, in sentences: the answer to the study's question, and what became of its replicas."""

from collections.abc import Sequence

from analysis.captions import count
from analysis.differences import PairedDifference
from analysis.records import STATUSES, Run
from analysis.series import below_frozen, configurations, destructive_flags, final_table, final_values

MOST_NAMED = 4  # configurations in one sentence; the others are in the table


def answer_sentences(run: Run, found: Sequence[PairedDifference]) -> list[str]:
    """At most three sentences: what differs from the baseline, what cannot be told apart, how far to trust it.

    Args:
        found: the paired differences of that run.
    """
    compared = comparison_sentences(run, found, "final_accuracy")
    if not any_final(run, "final_accuracy"):
        return compared
    return [*compared, trust_sentence(run)]


def any_final(run: Run, metric: str) -> bool:
    """Whether any finished seed has a value of this final metric."""
    return not final_table(run.whole, metric).empty


def comparison_sentences(run: Run, found: Sequence[PairedDifference], metric: str) -> list[str]:
    """What differs from the first configuration and what cannot be told apart, or why nothing can be compared.

    Args:
        found: its paired differences in ``metric``.
    """
    statuses = list(run.whole.trials["status"])
    if not any_final(run, metric):
        if "finished" in statuses:
            return [f"{outcomes(statuses).capitalize()}, but without a complete evaluation: no answer yet."]
        return [f"No seed of any configuration has finished ({outcomes(statuses)}): no answer yet."]
    if not found:
        return [incomparable(run.whole, metric)]
    return [sentence for sentence in (_apart(found), _alike(found)) if sentence]


def incomparable(run: Run, metric: str) -> str:
    """Why no configuration can be compared with the first."""
    labels = configurations(run)
    if len(labels) == 1:
        return f"Only {labels[0]} was run, so there is nothing to compare it with."
    if final_values(run, labels[0], metric).empty:
        return f"No seed of {labels[0]} has finished, so nothing can be compared with it."
    return f"No configuration shares a finished seed with {labels[0]}, so nothing can be compared with it."


def _apart(found: Sequence[PairedDifference]) -> str:
    """The configurations that differ from the baseline, largest difference first."""
    apart = sorted((one for one in found if one.told_apart), key=lambda one: -abs(one.mean))
    if not apart:
        return ""
    clauses = []
    for one in apart[:MOST_NAMED]:
        way = "above" if one.mean > 0 else "below"
        p_values = [
            f"{_p(p)} by {test}"
            for p, test in ((one.p_t_holm, "t test"), (one.p_permutation_holm, "sign flips"))
            if p is not None
        ]
        doubt = "" if one.survives_correction else f": not significant once corrected for {len(found)} comparisons"
        clauses.append(
            f"{one.configuration} ends {100 * abs(one.mean):.1f} points {way} {one.baseline} "
            f"({interval(one)}, {count(one.n, 'common seed')}; Holm-corrected {', '.join(p_values)}{doubt})"
        )
    return joined(clauses, len(apart)) + "."


def _alike(found: Sequence[PairedDifference]) -> str:
    """The configurations that cannot be told apart from the baseline."""
    alike = sorted((one for one in found if not one.told_apart), key=lambda one: -one.n)
    if not alike:
        return ""
    # The same number of seeds for all in a complete run; with another number it is said for each.
    n = alike[0].n
    clauses = []
    for one in alike[:MOST_NAMED]:
        details = [f"{100 * one.mean:+.1f} points"]
        if one.low is not None:
            details.append(interval(one))
        if one.n != n:
            details.append(count(one.n, "common seed"))
        clauses.append(f"{one.configuration} ({', '.join(details)})")
    return f"{joined(clauses, len(alike))} cannot be told apart from {alike[0].baseline} with {count(n, 'seed')}."


def trust_sentence(run: Run) -> str:
    """What happened to the replicas of the whole run."""
    run = run.whole
    labels = configurations(run)
    total, finished = len(run.trials), int((run.trials["status"] == "finished").sum())
    text = f"{finished} of {count(total, 'replica')} finished{others(list(run.trials['status']))}"
    having = set(final_table(run, "final_accuracy").index)
    without = [label for label in labels if label not in having]
    if without:
        text += f", none of {joined(without[:MOST_NAMED], len(without))}"
    below = below_frozen(run)
    if compared := int(below["compared"].sum()):
        named = [f"{number} of {label}" for label, number in below["below"].items() if number]
        fallen = f"{below['below'].sum() or 'none'} of {compared}"
        text += f"; {fallen} ended below the frozen backbone"
        text += f" ({joined(named[:MOST_NAMED], len(named))})" if named else ""
    flags = destructive_flags(run)["value"]
    if len(flags):
        harmful = int((flags > 0).sum())
        asked_at = count(len(flags), "task boundary", "task boundaries")
        text += f"; the slow weights did harm at {harmful or 'none'} of {asked_at}"
    return f"{text}."


def outcomes(statuses: Sequence[str]) -> str:
    """``all 5 seeds diverged``, ``2 seeds diverged and 1 failed`` for seeds that did not finish."""
    counts = {status: statuses.count(status) for status in STATUSES if status in statuses}
    if not counts:
        return "no seed was started"
    if len(counts) == 1:
        ((status, n),) = counts.items()
        subject = {1: "the only seed", 2: "both seeds"}.get(n, f"all {n} seeds")
        return f"{subject} {_verb(status, n)}"
    clauses = [f"{n} {_verb(status, n)}" for status, n in counts.items()]
    return f"of {len(statuses)} seeds {joined(clauses, len(clauses))}"


def others(statuses: Sequence[str]) -> str:
    """`` (1 failed, 2 pruned)`` for the seeds that did not finish, else nothing."""
    counts = [f"{statuses.count(status)} {status}" for status in STATUSES[1:] if status in statuses]
    return f" ({', '.join(counts)})" if counts else ""


def _verb(status: str, n: int) -> str:
    return f"{'was' if n == 1 else 'were'} {status}" if status in ("pruned", "interrupted") else status


def interval(one: PairedDifference, digits: int = 1) -> str:
    """The 95 % interval in points."""
    if one.low is None or one.high is None:
        return "no interval"
    return f"95 % interval {100 * one.low:+.{digits}f} to {100 * one.high:+.{digits}f}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def joined(clauses: Sequence[str], total: int) -> str:
    """``a, b and c``; says how many of ``total`` are missing from ``clauses``."""
    named = list(clauses)
    if total > len(named):
        named.append(f"{total - len(named)} more (see the table)")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
