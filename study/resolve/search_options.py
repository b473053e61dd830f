"""What the command line says about a search, from text to ``SearchSpec``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from study.search.statistics import label
from study.spec import Confirmation, Objective, OverSeeds, SearchSpec, Study
from trainables.errors import InputError

LESS_IS_BETTER = frozenset(
    {"trainable_params", "total_params", "step_share_s", "peak_memory_mib", "final_val_ece", "final_val_nll"}
)
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
    optuna_storage: str | None = None

    def given(self) -> list[str]:
        """Names of the options that were used."""
        names = {
            "--objective": self.objectives, "--constraint": self.constraints, "--sampler": self.sampler,
            "--racing": self.racing, "--stopping": self.stopping, "--confirm": self.confirm,
            "--replicas": self.replicas is not None,
            "--optuna-storage": self.optuna_storage,
        }  # fmt: skip
        return [name for name, value in names.items() if value]


def parse_objective(text: str) -> Objective:
    """``final_val_accuracy``, ``worst:final_val_accuracy``, ``collapse_rate:final_val_accuracy,threshold=0.2``.

    The direction is that of the metric (``LESS_IS_BETTER``) unless ``direction=`` says otherwise.

    Raises:
        InputError: not of this form.
    """
    head, *options = text.split(",")
    statistic, separator, metric = head.strip().partition(":")
    if not separator:
        statistic, metric = "mean", statistic
    content: dict[str, Any] = {"metric": metric, "over_seeds": statistic}
    content["direction"] = "minimize" if metric in LESS_IS_BETTER else "maximize"
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
    return study.search.model_copy(update=changed)


def check_metrics(names: Sequence[tuple[str, str]], reported: Sequence[str]) -> None:
    """Raises InputError for a metric that a search does not get; ``names``: (where it stands, metric)."""
    for where, metric in names:
        if metric not in reported:
            raise InputError(
                f"{where} {metric!r}: not reported during a search, which does not look at the test set; "
                f"allowed: {', '.join(reported)}"
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
