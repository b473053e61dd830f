"""From a catalogue entry and the user's options to the trials that run. Nothing starts before this has succeeded."""

import importlib
import shlex
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records import SCHEMA_VERSION
from study.catalog import STUDIES
from study.ray_tune.resources import Device, Machine, allocate, choose_profile
from study.records.optuna_mirror import check_storage
from study.records.provenance import collect
from study.resolve.search_input import search_seeds
from study.resolve.search_options import SearchOptions, with_options
from study.resolve.settings import ConfigFile, parse_settings, read_config, seeds, suggest
from study.resolve.space import Plan, check_plan, check_space, make_trial, plan_search, validated
from study.search.racing import SeedSchedule
from study.spec import Profile, ResolvedStudy, Study
from study.tracking.tracker import resolve_uri
from trainables.configs import CONFIGS, TrainableConfig
from trainables.errors import InputError


@dataclass
class Options:
    """What the user asked for on the command line."""

    name: str
    profile: str = "auto"
    dataset: str | None = None
    backbone: str | None = None
    settings: list[str] = field(default_factory=list)
    config_files: list[Path] = field(default_factory=list)
    seeds: str | None = None
    trials: int | None = None
    mlflow: str | None = None
    device: Device = "auto"
    gpus_per_trial: float | None = None
    pack: str = "auto"
    max_concurrent: int | None = None
    budget_min: float | None = None
    search: SearchOptions = field(default_factory=SearchOptions)


def find_study(name: str) -> Study:
    """Raises InputError for a name that is not in the catalogue."""
    if name not in STUDIES:
        raise InputError(f"study {name!r}: unknown{suggest(name, list(STUDIES))}; allowed: {', '.join(STUDIES)}")
    return STUDIES[name]


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
    study = find_study(options.name)
    profile_name, notice = choose_profile(options.profile, study.profiles, machine, options.device)
    notices = [notice]
    profile = study.profiles[profile_name]
    files = [read_config(path, study.trainable) for path in options.config_files]
    dataset, backbone = _data_and_backbone(options, profile, profile_name, files, notices)
    plan = _plan(study, profile, options, files, dataset, backbone)
    if plan is None:
        replica_seeds = _seeds(options, profile, files)
    else:
        given = None if options.seeds is None else seeds(options.seeds, "--seeds")
        replica_seeds = search_seeds(given, SeedSchedule.parse(plan.spec.schedule))
        check_plan(plan, study.metrics or study.report, replica_seeds)
    if options.budget_min is not None and options.budget_min <= 0:
        raise InputError(f"--budget {options.budget_min:g}: minutes > 0 are allowed")
    resources = allocate(
        machine,
        options.device,
        profile,
        len(replica_seeds) if plan is None else 1,
        options.pack,
        options.gpus_per_trial,
        options.max_concurrent,
    )
    trainable = importlib.import_module(f"trainables.methods.{study.trainable}")
    configs = _configurations(study, profile, options, files, dataset, backbone) if plan is None else plan.configs
    known = list(configs.values()) or [plan.base_config] if plan else list(configs.values())
    materials = trainable.materials(known, load_data)
    notices += materials.notices

    def count(config: TrainableConfig) -> tuple[int, int]:
        return trainable.count_parameters(config, materials.classes)

    first = replica_seeds if plan is None else replica_seeds[: SeedSchedule.parse(plan.spec.schedule).totals[0]]
    trials = [
        make_trial(study.trainable, label, config, first, materials.classes, count) for label, config in configs.items()
    ]
    search = None
    if plan is not None:
        check_space(plan, count)
        search = plan.resolved(materials.classes, options.search.optuna_storage)
        notices += plan.notices
        if resources.device == "gpu" and options.pack == "auto":
            resources = resources.model_copy(update={"pack": search.confirm.seeds})
    command = " ".join(["lora-study", *map(shlex.quote, sys.argv[1:])])
    resolved = ResolvedStudy(
        schema_version=SCHEMA_VERSION, study=study.name, question=study.question,
        run_id=f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}", trainable=study.trainable,
        profile=profile_name, dataset=dataset, backbone=backbone, seeds=replica_seeds,
        boundary=CONFIGS[study.trainable].boundary, tasks=max(config.boundaries(materials.classes) for config in known),
        report=study.report, metrics=study.metrics or study.report, search=search,
        objective=study.objective, configurations={trial.configuration: trial.params for trial in trials},
        trials=tuple(trials), resources=resources, mlflow_uri=resolve_uri(options.mlflow, Path("runs").absolute())[0],
        budget_min=options.budget_min, reported=study.reported, reported_source=study.reported_source,
        reported_setting=study.reported_setting, contrasts=study.contrasts,
    )  # fmt: skip
    check_storage(resolved)
    spec = resolved.model_dump(mode="json", include={"study", "trainable", "trials", "search"})
    if spec["search"]:
        del spec["search"]["optuna_storage"]  # a copy for a dashboard decides no number
    provenance = collect(command, materials.data_hash, materials.weights_hash, spec)
    return resolved.model_copy(update={"provenance": provenance}), notices


def _data_and_backbone(
    options: Options, profile: Profile, profile_name: str, files: list[ConfigFile], notices: list[str]
) -> tuple[str, str]:
    """The command line wins; a notes' file counts in the paper profile and is set aside, aloud, in the embedded one."""
    chosen = {}
    for kind, asked, own in (
        ("dataset", options.dataset, profile.dataset), ("backbone", options.backbone, profile.backbone)
    ):  # fmt: skip
        named = {getattr(file, kind) for file in files} - {None}
        if len(named) > 1:
            raise InputError(f"--config: the files name several {kind}s ({', '.join(sorted(named))}); one is allowed")
        if asked is None and named and profile_name != "embedded":
            asked = named.pop()
        elif asked is None and named and named != {own}:
            notices.append(f"{kind} {named.pop()} of the configuration file is set aside: profile embedded uses {own}")
        value = asked or own
        path = Path(value).expanduser()
        chosen[kind] = str(path.absolute()) if path.exists() else value
    unused = sorted({key for file in files for key in file.unused})
    if unused:
        notices.append(f"keys of the configuration file without a meaning for this study: {', '.join(unused)}")
    return chosen["dataset"], chosen["backbone"]


def _seeds(options: Options, profile: Profile, files: list[ConfigFile]) -> tuple[int, ...]:
    if options.seeds is not None:
        return seeds(options.seeds, "--seeds")
    named = {file.seeds for file in files} - {None}
    if len(named) > 1:
        raise InputError("--config: the files name different seeds; say which with --seeds")
    return named.pop() or () if named else tuple(range(profile.seeds))


def _base(profile: Profile, dataset: str, backbone: str) -> dict[str, Any]:
    """What the profile says for every configuration, by dotted name."""
    data = {f"data.{key}": value for key, value in profile.data.items()} if dataset == profile.dataset else {}
    return profile.settings | data | {"dataset": dataset, "backbone": backbone}


def _plan(
    study: Study, profile: Profile, options: Options, files: list[ConfigFile], dataset: str, backbone: str
) -> Plan | None:
    """The search of a study that has one; raises InputError for its options where there is none."""
    if study.search is None:
        if given := options.search.given():
            searches = ", ".join(name for name, other in STUDIES.items() if other.search)
            raise InputError(f"{given[0]}: {study.name} is no search; allowed for: {searches}")
        return None
    spec = with_options(study, options.search, options.trials)
    own = {file.label: file.settings for file in files}
    return plan_search(study, spec, _base(profile, dataset, backbone), options.settings, own)


def _configurations(
    study: Study, profile: Profile, options: Options, files: list[ConfigFile], dataset: str, backbone: str
) -> dict[str, TrainableConfig]:
    """Label -> validated configuration, duplicates merged (a ``--set`` can make configurations equal)."""
    overrides = parse_settings(options.settings, study.trainable)
    asked = {file.label: file.settings for file in files} or {
        label: fields | profile.configurations.get(label, {}) for label, fields in study.configurations.items()
    }
    if len(asked) < len(files):
        raise InputError("--config: two files have the same name; configurations are named after their files")
    base = _base(profile, dataset, backbone)
    configs: dict[str, TrainableConfig] = {}
    for label, fields in asked.items():
        config = validated(CONFIGS[study.trainable], base | fields | overrides)
        overridden = [f"{key}={value}" for key, value in overrides.items() if fields.get(key, value) != value]
        # the label may name a value that is overridden
        name = f"{label} with {', '.join(overridden)}" if overridden else label
        if config not in configs.values():
            configs[name] = config
    if options.trials is not None:
        if not 1 <= options.trials <= len(configs):
            raise InputError(
                f"--trials {options.trials}: {study.name} has {len(configs)} configurations; allowed: 1..{len(configs)}"
            )
        configs = dict(list(configs.items())[: options.trials])
    return configs
