"""From a catalogue entry and the user's options to the trials that run. Nothing starts before this has succeeded."""

import importlib
import shlex
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.records import SCHEMA_VERSION
from study.catalog import STUDIES
from study.overrides import ConfigFile, nested, parse_settings, read_config, seeds, suggest
from study.provenance import collect
from study.resources import Device, Machine, allocate, choose_profile
from study.spec import Profile, ResolvedStudy, Study, TrialSpec, trial_id
from study.tracking import resolve_uri
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
    replica_seeds = _seeds(options, profile, files)
    if options.budget_min is not None and options.budget_min <= 0:
        raise InputError(f"--budget {options.budget_min:g}: minutes > 0 are allowed")
    resources = allocate(
        machine,
        options.device,
        profile,
        len(replica_seeds),
        options.pack,
        options.gpus_per_trial,
        options.max_concurrent,
    )
    configs = _configurations(study, profile, options, files, dataset, backbone)
    trainable = importlib.import_module(f"trainables.{study.trainable}")
    materials = trainable.materials(list(configs.values()), load_data)
    notices += materials.notices
    trials = []
    for label, config in configs.items():
        counts = trainable.count_parameters(config, materials.classes)
        params = config.model_dump(mode="json")
        trials.append(
            TrialSpec(
                trial_id=trial_id(study.trainable, params), configuration=label, params=params, seeds=replica_seeds,
                trainable_params=counts[0], total_params=counts[1],
                boundaries=config.boundaries(materials.classes),
            )
        )  # fmt: skip
    command = " ".join(["lora-study", *map(shlex.quote, sys.argv[1:])])
    resolved = ResolvedStudy(
        schema_version=SCHEMA_VERSION, study=study.name, question=study.question,
        run_id=f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}", trainable=study.trainable,
        profile=profile_name, dataset=dataset, backbone=backbone, seeds=replica_seeds, 
        boundary=CONFIGS[study.trainable].boundary, tasks=max(trial.boundaries for trial in trials),
        report=study.report,
        objective=study.objective, configurations={trial.configuration: trial.params for trial in trials},
        trials=tuple(trials), resources=resources, mlflow_uri=resolve_uri(options.mlflow, Path("runs").absolute())[0],
        budget_min=options.budget_min, reported=study.reported, reported_source=study.reported_source,
        reported_setting=study.reported_setting,
    )  # fmt: skip
    spec = resolved.model_dump(mode="json", include={"study", "trainable", "trials"})
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


def _configurations(
    study: Study, profile: Profile, options: Options, files: list[ConfigFile], dataset: str, backbone: str
) -> dict[str, TrainableConfig]:
    """Label -> validated configuration, duplicates merged (a ``--set`` can make configurations equal)."""
    overrides = parse_settings(options.settings, study.trainable)
    asked = {file.label: file.settings for file in files} or study.configurations
    if len(asked) < len(files):
        raise InputError("--config: two files have the same name; configurations are named after their files")
    base = dict(profile.settings)
    if dataset == profile.dataset:
        base |= {f"data.{key}": value for key, value in profile.data.items()}
    configs: dict[str, TrainableConfig] = {}
    for label, fields in asked.items():
        settings = base | fields | overrides | {"dataset": dataset, "backbone": backbone}
        config = _validated(CONFIGS[study.trainable], nested(settings))
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


def _validated(model: type[TrainableConfig], fields: dict[str, Any]) -> TrainableConfig:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}={first['input']!r}: {message}" if where else message) from error
