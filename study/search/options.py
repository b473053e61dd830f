"""A search's options: from the command line's text to ``SearchSpec``, and whether they fit each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from search_spaces.dimensions import SpaceError
from search_spaces.space import Space
from study.search.racing import SeedSchedule, StepSchedule
from study.search.statistics import check_objective, label
from study.spec import Confirmation, Objective, OverSeeds, SearchSpec, Study
from trainables.errors import InputError
from trainables.registry import PARAMETERS, TrainableSpec

OBJECTIVE_FORM = (
    "[STATISTIC:]METRIC[,OPTION=VALUE...], e.g. mean:final_val_accuracy or cvar:final_val_accuracy,fraction=0.25"
)


@dataclass
class SearchOptions:
    """Options that only studies with a search take."""

    objectives: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    sampler: str | None = None
    racing: str | None = None
    stopping: str | None = None
    confirm: str | None = None
    replicas: int | None = None

    def given(self) -> list[str]:
        """Names of the options that were used."""
        names = {
            "--objective": self.objectives, "--constraint": self.constraints, "--sampler": self.sampler,
            "--racing": self.racing, "--stopping": self.stopping, "--confirm": self.confirm,
            "--replicas": self.replicas is not None,
        }  # fmt: skip
        return [name for name, value in names.items() if value]


def parse_objective(text: str) -> Objective:
    """``final_val_accuracy``, ``worst:final_val_accuracy``, ``collapse_rate:final_val_accuracy,threshold=0.2``.

    The direction is that of the metric unless ``direction=`` says otherwise.

    Raises:
        InputError: not of this form.
    """
    head, *options = text.split(",")
    statistic, separator, metric = head.strip().partition(":")
    if not separator:
        statistic, metric = "mean", statistic
    content: dict[str, Any] = {"metric": metric, "over_seeds": statistic}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key.strip() not in ("direction", "fraction", "c", "threshold", "failed_as"):
            raise InputError(f"--objective {text!r}: {OBJECTIVE_FORM} is expected")
        content[key.strip()] = value.strip()
    if statistic not in get_args(OverSeeds):
        raise InputError(
            f"--objective {text!r}: statistic {statistic!r} is unknown; allowed: {', '.join(get_args(OverSeeds))}"
        )
    try:
        return Objective.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--objective {text!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def with_options(study: Study, options: SearchOptions, trials: int | None) -> SearchSpec:
    """The study's search with what the user changed.

    Raises:
        InputError: an option that cannot be read.
    """
    assert study.search is not None
    changed: dict[str, Any] = {}
    if options.objectives:
        changed["objectives"] = tuple(map(parse_objective, options.objectives))
    if options.constraints:
        changed["constraints"] = tuple(options.constraints)
    if options.sampler is not None:
        changed["sampler"] = options.sampler
    if options.racing is not None:
        changed["schedule"] = options.racing
    if options.stopping is not None:
        changed["stopping"] = options.stopping
    if options.confirm is not None:
        changed["confirm"] = _confirmation(options.confirm)
    if options.replicas is not None:
        changed["replicas"] = options.replicas
    if trials is not None:
        if trials < 1:
            raise InputError(f"--trials {trials}: a number of configurations >= 1 is allowed")
        changed["trials"] = trials
    objectives = changed.get("objectives", study.search.objectives)
    changed["objectives"] = tuple(objective.directed(study.trainable) for objective in objectives)
    return study.search.model_copy(update=changed)


def check_metrics(named: Sequence[tuple[str, str]], spec: TrainableSpec) -> None:
    """Raises InputError for a metric that a search does not get; ``named``: (where it stands, metric)."""
    allowed = [name for name, metric in {**spec.metrics, **PARAMETERS}.items() if metric.held_out]
    for where, name in named:
        if spec.metrics and name not in allowed:
            raise InputError(
                f"{where} {name!r}: not reported during a search, which does not look at the test set; "
                f"allowed: {', '.join(allowed)}"
            )


def describe_search(search: SearchSpec) -> dict[str, str]:
    """Name -> text, for ``show``."""
    lines = {
        "objectives": "; ".join(f"{label(objective)} ({objective.direction})" for objective in search.objectives),
        "constraints": ", ".join(search.constraints) or "none",
        "sampler": search.sampler,
        "racing": search.schedule,
        "stopping": search.stopping or "none",
        "trials": str(search.trials) + (f", at most {search.replicas} replicas" if search.replicas else ""),
        "confirm": f"the best {search.confirm.configurations} and the first configuration above, on "
        f"{search.confirm.seeds} fresh seeds each, then tested",
    }
    return lines


def _confirmation(text: str) -> Confirmation:
    best, _, seeds = text.partition("x")
    try:
        return Confirmation(configurations=int(best), seeds=int(seeds))
    except ValueError as error:
        raise InputError(
            f"--confirm {text!r}: KxN is expected, e.g. 5x8: the best K >= 1 configurations on N >= 2 fresh seeds"
        ) from error


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
    if stopping is not None and len(objectives) > 1:
        raise InputError(f"early stopping: takes one objective, {len(objectives)} are given")
    if trials is None and replicas is None:
        raise InputError("trials or replicas: one of them must bound the search")
    if trials is not None and trials < 1:
        raise InputError(f"trials {trials}: a number >= 1 is allowed")
    if replicas is not None and replicas < schedule.totals[0]:
        raise InputError(f"replicas {replicas}: at least the first rung's {schedule.totals[0]} are allowed")


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
