"""The top of a report: the answer in three short sentences. Intervals and p-values are in the details below it."""

from collections.abc import Sequence

from analysis.captions import count, measured_setting
from analysis.differences import PairedDifference
from analysis.ranking import Ranking
from analysis.records import Run
from analysis.sentences import any_final, incomparable, joined, others, outcomes
from analysis.series import configurations, final_table

SENTENCES = 3
MOST_IN_BRIEF = 4  # configurations in a short sentence


def three_sentences(run: Run, lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Exactly three sentences for the top, and those that go to the details.

    Where a kind of report has fewer to say, what became of the replicas and what was measured complete them.
    """
    known = list(lines)
    for more in (outcome(run), f"Measured on {measured_setting(run)}."):
        if len(known) < SENTENCES and more not in known:
            known.append(more)
    if len(known) < SENTENCES:
        known.append("Nothing more can be said from these records.")
    return known[:SENTENCES], known[SENTENCES:]


def tuning_headline(
    run: Run, found: Sequence[PairedDifference], orders: Sequence[Ranking], floors: Sequence[PairedDifference]
) -> list[str]:
    """The order of the methods, the floor or the differences from the first configuration, what became of all.

    Args:
        orders: the claimed orders; those by final top-1 are told.
        floors: the effects of the floor on final top-1.
    """
    metric = "final_top1"
    if not any_final(run, metric):
        return []
    compared = _compared(run, found, metric, "final top-1")
    ranked = _ranked([one for one in orders if one.metric == metric])
    second = _floors(floors) or compared[0]
    return [*([ranked, second] if ranked else [second, compared[1]]), outcome(run, metric)]


def _compared(run: Run, found: Sequence[PairedDifference], metric: str, name: str) -> list[str]:
    """Two sentences: what differs from the first configuration, and what does not or how far the seeds differ."""
    said = compared_sentences(found, name) if found else [incomparable(run, metric)]
    return said if len(said) > 1 else [*said, spread_in_brief(run, metric, name)]


def compared_sentences(found: Sequence[PairedDifference], name: str) -> list[str]:
    """What differs from the first configuration, and, where there is both, what does not.

    Args:
        found: at least one difference.
        name: of the metric.
    """
    baseline = found[0].baseline
    told = sorted((one for one in found if one.survives_correction), key=lambda one: -abs(one.mean))
    alike = sorted((one for one in found if not one.survives_correction), key=lambda one: -abs(one.mean))
    seeds = common_seeds([one.n for one in found])
    if not told and len(alike) == 1:
        (one,) = alike
        return [f"{one.configuration} cannot be told apart from {baseline} in {name} ({_points(one)} points, {seeds})."]
    if not told:
        return [
            f"None of the {len(alike)} other configurations can be told apart from {baseline} in {name} with {seeds} "
            f"(in points: {_named(alike)})."
        ]
    differ = f"Beside {baseline}, {name} changes in points by: {_named(told)} ({seeds}, Holm-corrected p < 0.05)."
    return [differ, f"Not told apart from {baseline} with these seeds: {_named(alike)}."] if alike else [differ]


def spread_in_brief(run: Run, metric: str, name: str) -> str:
    """How far the seeds of a configuration differ, from the steadiest to the least steady."""
    table = 100 * final_table(run.whole, metric)
    table = table[table.notna().sum(axis=1) > 1]
    ranges = (table.max(axis=1) - table.min(axis=1)).to_dict()
    if not ranges:
        return f"With a single finished seed per configuration nothing can be said about the spread of {name}."
    steady, loose = min(ranges, key=lambda label: ranges[label]), max(ranges, key=lambda label: ranges[label])
    if len(ranges) == 1:
        return f"Over the seeds of {steady}, {name} differs by up to {ranges[steady]:.1f} points."
    return (
        f"From seed to seed {name} differs by up to {ranges[steady]:.1f} points ({steady}) to {ranges[loose]:.1f} "
        f"points ({loose})."
    )


def _ranked(orders: Sequence[Ranking]) -> str:
    if not orders:
        return ""
    labels = {one.labels for one in orders}
    order = " > ".join(orders[0].labels) if len(labels) == 1 else "layerwise hybrid > LoRA > norm"
    means = {one: " / ".join(f"{100 * mean:.1f}" for mean in one.means) + " %" for one in orders}
    if len({(one.verdict, one.n) for one in orders}) == 1:
        seen = [f"{one.context}: {means[one]}" if one.context else means[one] for one in orders]
        text = f"{orders[0].verdict} with {count(orders[0].n, 'common seed')} ({'; '.join(seen[:MOST_IN_BRIEF])})"
    else:
        clauses = [
            f"{one.verdict} for {one.context} ({means[one]}, {count(one.n, 'common seed')})"
            for one in orders[:MOST_IN_BRIEF]
        ]
        text = joined(clauses, len(orders))
    unlike = sorted({key for one in orders for key in one.unlike})
    caveat = f"; these differ in {', '.join(unlike)} too" if unlike else ""
    return f"By final top-1 the order {order} {text}{caveat}."


def _floors(floors: Sequence[PairedDifference]) -> str:
    if not floors:
        return ""
    told = [one for one in floors if one.survives_correction]
    low, high = min(one.mean for one in floors), max(one.mean for one in floors)
    effect = f"{100 * low:+.2f}" if low == high else f"{100 * low:+.2f} to {100 * high:+.2f}"
    verdict = f"{len(told) or 'none'} of {count(len(floors), 'effect')} can be told from none"
    return f"A floor under the learning rate changes final top-1 by {effect} points; {verdict}."


def outcome(run: Run, metric: str = "") -> str:
    """What became of the replicas, and which configurations have no final value of ``metric``."""
    total, statuses = len(run.whole.trials), list(run.whole.trials["status"])
    if not total:
        return f"Of the replicas {outcomes(statuses)}."
    text = f"{statuses.count('finished')} of {count(total, 'replica')} finished{others(statuses)}"
    having = set(final_table(run.whole, metric).index)
    without = [label for label in configurations(run.whole) if label not in having]
    if metric and without:
        text += f", no {metric.replace('_top1', ' top-1')} of {joined(without[:MOST_IN_BRIEF], len(without))}"
    return f"{text}."


def common_seeds(numbers: Sequence[int]) -> str:
    """How many, or from how many to how many."""
    low, high = min(numbers), max(numbers)
    return count(low, "common seed") if low == high else f"{low} to {high} common seeds"


def _named(found: Sequence[PairedDifference]) -> str:
    """The configurations with the largest differences and these, in points."""
    return joined([f"{one.configuration} {_points(one)}" for one in found[:MOST_IN_BRIEF]], len(found))


def _points(one: PairedDifference) -> str:
    return f"{100 * one.mean:+.1f}"
