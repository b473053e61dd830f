"""Options -> validated settings: which study and profile, on what, with which fields and seeds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.plugins import find_study
from study.ray_tune.resources import Machine, choose_profile
from study.resolve.config_file import ConfigFile, read_config
from study.resolve.keys import parse_settings, seeds
from study.resolve.options import Options
from study.resolved import Origin
from study.spec import Profile, Study
from trainables.errors import InputError
from trainables.registry import TrainableSpec


@dataclass(frozen=True)
class Settings:
    """What the options say, checked one by one.

    Attributes:
        origin: of a study from outside.
        base: fields of every configuration that the profile, ``--dataset`` and ``--backbone`` give, dotted names.
        given: those of ``--set``, which win over everything.
        texts: field -> the text that ``--set`` gives it; a range of a search is such a text.
        asked: label -> fields of the configurations, in order: the study's, or those of ``--config``.
        from_files: they are those of ``--config``.
        named: label -> the data set that its file names.
        seeds: those that were asked for; None: as the profile or the search has them.
        notices: for the user, one line each.
    """

    study: Study
    origin: Origin | None
    profile_name: str
    profile: Profile
    dataset: str
    backbone: str
    base: dict[str, Any]
    given: dict[str, Any]
    texts: dict[str, str]
    asked: dict[str, dict[str, Any]]
    from_files: bool
    named: dict[str, str]
    seeds: tuple[int, ...] | None
    notices: list[str]

    @property
    def spec(self) -> TrainableSpec:
        return self.study.trainable


def settle(options: Options, machine: Machine) -> Settings:
    """Raises InputError for an option that is wrong by itself; one line."""
    study, origin = find_study(options.name)
    profile_name, notice = choose_profile(options.profile, study.profiles, machine, options.device)
    profile, notices = study.profiles[profile_name], [notice]
    files = [read_config(path, study.trainable) for path in options.config_files]
    if len({file.label for file in files}) < len(files):
        raise InputError("--config: two files have the same name; configurations are named after their files")
    if options.budget_min is not None and options.budget_min <= 0:
        raise InputError(f"--budget {options.budget_min:g}: minutes > 0 are allowed")
    dataset, backbone = _data_and_backbone(options, profile, profile_name, files, notices)
    own_data = {f"data.{key}": value for key, value in profile.data.items()} if dataset == profile.dataset else {}
    given = parse_settings(options.settings, study.trainable)
    asked = {label: fields | profile.configurations.get(label, {}) for label, fields in study.configurations.items()}
    return Settings(
        study, origin, profile_name, profile, dataset, backbone,
        base=profile.settings | own_data | {"dataset": dataset, "backbone": backbone},
        given=given,
        texts={name: pair.partition("=")[2] for name, pair in zip(given, options.settings, strict=True)},
        asked={file.label: file.settings for file in files} or asked,
        from_files=bool(files),
        named={file.label: file.dataset for file in files if file.dataset},
        seeds=_seeds(options, files),
        notices=notices,
    )  # fmt: skip


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
        chosen[kind] = str(path.absolute()) if value and path.exists() else value
    unused = sorted({key for file in files for key in file.unused})
    if unused:
        notices.append(f"keys of the configuration file without a meaning for this study: {', '.join(unused)}")
    return chosen["dataset"], chosen["backbone"]


def _seeds(options: Options, files: list[ConfigFile]) -> tuple[int, ...] | None:
    if options.seeds is not None:
        return seeds(options.seeds, "--seeds")
    named = {file.seeds for file in files} - {None}
    if len(named) > 1:
        raise InputError("--config: the files name different seeds; say which with --seeds")
    return named.pop() if named else None
