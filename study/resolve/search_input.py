"""Checks of a search's arguments before anything runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.dimensions import SpaceError
from search_spaces.space import Space
from study.search.racing import SeedSchedule
from study.search.statistics import MEANS, check_objective, label
from study.search.stopping import StepSchedule
from study.spec import Objective
from trainables.errors import InputError


def check_search(
    objectives: Sequence[Objective],
    schedule: SeedSchedule,
    trials: int | None,
    replicas: int | None,
    stopping: StepSchedule | None,
) -> None:
    """Raises InputError for arguments of ``SeedSearch`` that are impossible or do not fit each other."""
    if not objectives:
        raise InputError("objectives: none given; at least one is needed")
    names = [label(objective) for objective in objectives if objective.over_seeds != "collapse_rate"]
    if len(set(names)) < len(names):
        raise InputError(f"objectives: one is given twice ({', '.join(names)})")
    for objective in objectives:
        check_objective(objective, schedule.totals[0])
    for what, single in (("schedule wilcoxon", schedule.rule == "wilcoxon"), ("early stopping", stopping is not None)):
        if single and len(objectives) > 1:
            raise InputError(f"{what}: takes one objective, {len(objectives)} are given")
    if trials is None and replicas is None:
        raise InputError("trials or replicas: one of them must bound the search")
    if trials is not None and trials < 1:
        raise InputError(f"trials {trials}: a number >= 1 is allowed")
    if replicas is not None and replicas < schedule.totals[0]:
        raise InputError(f"replicas {replicas}: at least the first rung's {schedule.totals[0]} are allowed")


def default_schedule(objectives: Sequence[Objective]) -> SeedSchedule:
    """One seed to begin with where that says something about every objective, else two."""
    return SeedSchedule() if all(o.over_seeds in MEANS for o in objectives) else SeedSchedule(rungs=(2, 4, 8))


def search_seeds(seeds: Sequence[int] | None, schedule: SeedSchedule) -> tuple[int, ...]:
    """The seeds that every configuration gets in this order, as many as the last rung has.

    Raises:
        InputError: too few, or a seed twice.
    """
    needed = schedule.totals[-1]
    if seeds is None:
        return tuple(range(needed))
    if len(seeds) < needed or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {','.join(map(str, seeds))}: {needed} distinct seeds are needed by the schedule")
    return tuple(seeds[:needed])


def enqueued_points(space: Space, configurations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points of the enqueued configurations.

    Raises:
        InputError: one is outside the space; says which.
    """
    points = []
    for index, fields in enumerate(configurations):
        try:
            points.append(space.point(fields))
        except SpaceError as error:
            raise InputError(f"enqueued configuration {index}: {error}") from error
    return points
