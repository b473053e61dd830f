"""The road from the user's options to the trials that run; nothing starts before it has been walked.

Options -> validated settings -> configurations, or space -> trials -> resources.
"""

import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from analysis.io.records import SCHEMA_VERSION
from study.catalog import STUDIES
from study.catalog.reported_sema import SEMA_FILES, SEMA_FILES_SOURCE
from study.ray_tune.resources import Machine, allocate
from study.records.provenance import collect
from study.resolve.configurations import Plan, check_space, plan_configurations, plan_space
from study.resolve.options import Options
from study.resolve.settings import Settings, settle
from study.resolved import ResolvedStudy
from study.search.options import check_metrics, search_seeds, with_options
from study.search.plan import build_search, make_trial, metric_bounds
from study.search.racing import SeedSchedule
from study.search.statistics import parse_constraint
from study.tracking.mlflow_connection import resolve_uri
from trainables.configs.base import TrainableConfig
from trainables.configs.names import validated
from trainables.errors import InputError


def resolve(options: Options, machine: Machine, load_data: bool = True) -> tuple[ResolvedStudy, list[str]]:
    """Validate everything and work out the trials.

    Args:
        load_data: decode the data set (or find it in the cache) and load the backbone's weights, so that whatever is
            missing shows now; False for a dry run, which loads data only if its number of classes is not known.

    Returns:
        The resolved study, and notices for the user, one line each.

    Raises:
        InputError: anything the user can mend; one line.
    """
    settings = settle(options, machine)
    study, spec = settings.study, settings.spec
    plan = _plan(settings, options)
    seeds, at_first = _seeds(settings, plan)
    together = max(len(seeds), plan.search.confirm.seeds if plan.search else 1) if spec.packable else 1
    resources = allocate(
        machine, options.device, settings.profile, together, options.pack, options.gpus_per_trial,
        options.max_concurrent,
    )  # fmt: skip
    method = spec.load()
    configs = list(plan.configs.values()) or [validated(spec.config, plan.base)]
    materials = method.materials(configs, load_data)
    _check_classes(settings, configs, materials.classes)

    def count(config: TrainableConfig) -> tuple[int, int]:
        return method.count_parameters(config, materials.classes)

    trials = [
        make_trial(spec, label, config, at_first, materials.classes, count) for label, config in plan.configs.items()
    ]
    if plan.search is not None:
        check_space(plan, spec, count)
    resolved = ResolvedStudy(
        schema_version=SCHEMA_VERSION, study=study.name, question=study.question, run_id=new_run_id(),
        trainable=spec.name, profile=settings.profile_name, dataset=settings.dataset, backbone=settings.backbone,
        seeds=seeds, boundary=spec.config.boundary,
        tasks=max(config.boundaries(materials.classes) for config in configs), report=study.kind_of_report,
        metrics=spec.metrics_as_data(), search=plan.resolved(materials.classes),
        objective=study.objective.directed(spec), trials=tuple(trials), resources=resources,
        configurations={trial.configuration: trial.params for trial in trials},
        mlflow_uri=resolve_uri(options.mlflow, Path("runs").absolute())[0], budget_min=options.budget_min,
        **_reported(settings), reported_setting=study.reported_setting,
        contrasts=study.contrasts, claims=study.claims, origin=settings.origin,
        looks=() if plan.search else ({trial.configuration: len(seeds) for trial in trials},),
        provenance=collect(
            command_line(), materials.data_hash, materials.weights_hash,
            settings.origin.source_hash if settings.origin else None,
        ),
    )  # fmt: skip
    return resolved, [*settings.notices, *materials.notices]


def new_run_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"


def command_line() -> str:
    """As the user typed it."""
    return " ".join(["lora-study", *map(shlex.quote, sys.argv[1:])])


def _plan(settings: Settings, options: Options) -> Plan:
    """Raises InputError for a search's options where there is none, or metrics that a search does not see."""
    study, spec = settings.study, settings.spec
    if study.search is None:
        if given := options.search.given():
            searches = ", ".join(name for name, other in STUDIES.items() if other.search)
            raise InputError(f"{given[0]}: {study.name} is no search; allowed for: {searches}")
        return plan_configurations(settings, options.trials)
    search = with_options(study, options.search, options.trials)
    named = [("objective", objective.metric) for objective in search.objectives]
    named += [("constraint", parse_constraint(text, search.objectives).objective.metric) for text in search.constraints]
    check_metrics(named, spec)
    return plan_space(settings, search)


def _reported(settings: Settings) -> dict[str, Any]:
    """Reported numbers and their source: those of published configuration files where these run, else the study's."""
    files = settings.asked if settings.from_files and settings.spec.name == "sema" else {}
    if known := tuple(SEMA_FILES[label] for label in files if label in SEMA_FILES):
        return {"reported": known, "reported_source": SEMA_FILES_SOURCE}
    return {"reported": settings.study.reported, "reported_source": settings.study.reported_source}


def _check_classes(settings: Settings, configs: list[TrainableConfig], classes: int) -> None:
    """Raises InputError where a folder has another number of classes than the data set that a file names."""
    from trainables.data.images import KNOWN_CLASSES, OF_FOLDERS

    if settings.dataset in KNOWN_CLASSES or any(
        getattr(getattr(config, "data", None), "classes", None) for config in configs
    ):
        return
    for label, named in settings.named.items():
        expected = (KNOWN_CLASSES | OF_FOLDERS).get(named, classes)
        if expected != classes:
            raise InputError(
                f"--config {label}.json: {named} has {expected} classes, {settings.dataset} has {classes}; other data "
                "are allowed with --set data.classes=START:STOP:STEP, which says that they are meant"
            )


def _seeds(settings: Settings, plan: Plan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All seeds of the study, and those that its configurations get at first."""
    if plan.search is None:
        seeds = settings.seeds or tuple(range(settings.profile.seeds))
        return seeds, seeds
    schedule = SeedSchedule.parse(plan.search.schedule)
    seeds = search_seeds(settings.seeds, schedule)
    build_search(plan.search, plan.fields, seeds, metric_bounds(settings.spec))  # whether the settings fit each other
    return seeds, seeds[: schedule.totals[0]]
