"""What the Pareto fronts of a run say: a table of who is on which front, one of the fronts, and sentences."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.captions import count, measured_setting
from analysis.cells import Cell, Spread, Table
from analysis.objectives import Objective, seed_values
from analysis.pareto import MOST_RESAMPLED, REFERENCE, RESAMPLES, Front, pareto_front
from analysis.records import Run
from analysis.selection import MOST_SHOWN
from analysis.sentences import MOST_NAMED, joined
from analysis.series import configurations, replicas


def fronts(run: Run, objectives: Sequence[Objective], rng: np.random.Generator) -> list[Front]:
    """The first objective against each other one, then all at once where there are more than two.

    Empty with fewer than two objectives, or where fewer than two configurations have them.
    """
    sets: list[tuple[Objective, ...]] = [(objectives[0], other) for other in objectives[1:]]
    if len(objectives) > 2:
        sets.append(tuple(objectives))
    found = []
    for chosen in sets:
        values = seed_values(run.whole, chosen)
        if values.index.get_level_values("configuration").nunique() > 1:
            found.append(pareto_front(values, chosen, rng))
    return found


def front_table(run: Run, found: Sequence[Front], noisy: Sequence[Objective] = ()) -> Table:
    """A row per configuration: its means, and for every front whether it is on it, how surely, or who dominates it.

    Args:
        noisy: objectives that were left out, since the seeds alone may explain them.
    """
    labels, whole = shown_labels(run, found), run.whole
    objectives = list(dict.fromkeys(objective for front in found for objective in front.objectives))
    columns = ["configuration", *(objective.heading for objective in objectives), *map(_heading, found)]
    shown = replace(whole, trials=whole.trials[whole.trials["configuration"].isin(labels)])
    values = [seed_values(shown, [one]).groupby(level="configuration")[one.column] for one in objectives]
    measured = [{str(label): own.to_numpy() for label, own in groups} for groups in values]
    rows: list[list[Cell]] = []
    for label in labels:
        planned = replicas(whole, label)["seed"].nunique()
        spreads = [
            _value(own.get(label, np.empty(0)), one, planned) for own, one in zip(measured, objectives, strict=True)
        ]
        rows.append([label, *spreads, *(_place(front, label) for front in found)])
    caption = (
        f"Measured: {measured_setting(whole)}; mean ± standard deviation over finished seeds. A configuration is on a "
        "front when no other is as good in all of its objectives and better in one."
    )
    if any(front.probability is not None for front in found):
        caption += (
            f" In brackets: share of {RESAMPLES:,} resamplings of the seeds in which it is on the front, or, after "
            "'behind', in which that member of the front dominates it."
        )
    if any(front.probability is None for front in found):
        caption += " Of a configuration with a single seed no probability can be said."
    if any(len(front.labels) > MOST_RESAMPLED for front in found):
        caption += f" Resampled are the {MOST_RESAMPLED} configurations of lowest Pareto rank."
    if len(labels) < len(configurations(whole)):
        caption += (
            f" Of {len(configurations(whole)):,} configurations {len(labels)} have a row, members of a front first."
        )
    if noisy:
        names = joined([objective.name for objective in noisy], len(noisy))
        caption += f" Left out, since the seeds alone may explain how it differs (analysis of variance): {names}."
    return Table("Pareto fronts: configurations", columns, rows, caption, "pareto_configurations")


def shown_labels(run: Run, found: Sequence[Front], most: int = MOST_SHOWN) -> list[str]:
    """At most this many configurations, in display order: members of a front before those that the run shows."""
    members = [label for front in found for label in front.members]
    kept = set(list(dict.fromkeys([*members, *configurations(run)]))[:most])
    return [label for label in configurations(run.whole) if label in kept]


def fronts_table(found: Sequence[Front]) -> Table:
    """A row per front: its members, its knee and its hypervolume."""
    rows: list[list[Cell]] = []
    for front in found:
        knee = None if front.knee is None else front.knee
        if front.knee is not None and front.knee_probability is not None:
            knee = f"{front.knee} ({front.knee_probability:.2f})"
        volume = f"{front.hypervolume:.3f}"
        if front.interval:
            volume += f" ({front.interval[0]:.3f} to {front.interval[1]:.3f})"
        members = f"{len(front.members)} of {len(front.labels)}: {', '.join(front.members[:6])}"
        members += f" and {len(front.members) - 6} more" if len(front.members) > 6 else ""
        rows.append([front.name, members, knee, volume])
    caption = (
        "Knee: the member with the smallest sum of the objectives, each scaled to [0, 1] over the front, if that is "
        "below 1; in two objectives it lies farthest below the line between the front's ends; in brackets the share of "
        "the resamplings in which it is the knee. Hypervolume: share of the box between the best value of any seed in "
        f"every objective and the reference point, {REFERENCE:g} times the range of the seeds' values from there, with "
        "a 95 % percentile interval over the resamplings; since a front takes the best of noisy means it is optimistic."
        " Counts of parameters are compared by their logarithm."
    )
    return Table("Pareto fronts", ["objectives", "on the front", "knee", "hypervolume"], rows, caption, "pareto_fronts")


def front_sentences(found: Sequence[Front]) -> list[str]:
    """One sentence per front: who is on it, how surely, who is dominated and by whom."""
    return [_sentence(front) for front in found]


def _sentence(front: Front) -> str:
    members = front.members
    text = f"{front.name[0].upper()}{front.name[1:]}: on the front {'is' if len(members) == 1 else 'are'} "
    text += joined([_member(front, label) for label in members[:MOST_NAMED]], len(members))
    behind = [
        (label, shares[0])
        for label, shares, on in zip(front.labels, front.dominators, front.on_front, strict=True)
        if not on and shares
    ]
    if behind:
        clauses = [
            f"{label} is dominated by {over}{'' if share is None else f' ({share:.2f})'}"
            for label, (over, share) in behind[:MOST_NAMED]
        ]
        text += f"; {joined(clauses, len(behind))}"
    if front.knee is not None:
        text += f"; the knee is {front.knee}"
    return f"{text}."


def _member(front: Front, label: str) -> str:
    if front.probability is None:
        return label
    return f"{label} ({front.probability[front.labels.index(label)]:.2f})"


def _value(values: NDArray[np.float64], objective: Objective, planned: int) -> Cell:
    if objective.logarithmic and len(values) and np.ptp(values) == 0:
        return int(values[0])  # a count has no spread
    return Spread.of(values, planned, objective.scale, objective.digits)


def _place(front: Front, label: str) -> Cell:
    if label not in front.labels:
        return None
    place = front.labels.index(label)
    share = None if front.probability is None else front.probability[place]
    certainty = "" if share is None or np.isnan(share) else f" ({share:.2f})"
    if front.on_front[place]:
        return f"on it{certainty}"
    over, dominated = front.dominators[place][0]
    more = len(front.dominators[place]) - 1
    text = f"no{certainty}, behind {over}{'' if dominated is None else f' ({dominated:.2f})'}"
    return f"{text} and {count(more, 'other')}" if more else text


def _heading(front: Front) -> str:
    if len(front.objectives) > 2:
        return f"front of all {len(front.objectives)}"
    return f"front with {front.objectives[1].name}"


def pairs(found: Sequence[Front]) -> list[tuple[Front, tuple[Objective, Objective]]]:
    """The fronts of two objectives, which can be drawn."""
    return [(front, (front.objectives[0], front.objectives[1])) for front in found if len(front.objectives) == 2]
