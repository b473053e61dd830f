"""``show`` and ``list``: what is in the catalogue."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from study.plugins import find_study, known_studies
from study.search.options import describe_search
from study.spec import Study
from trainables.configs.names import aliases, flatten


def list_studies() -> None:
    """Print a line for each study."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("study", "trainable", "configurations", "profiles", "question"):
        table.add_column(column)
    for study in known_studies():
        number = f"search of {study.search.trials}" if study.search else str(len(study.configurations))
        profiles = ", ".join(f"{name} ({profile.seeds} seeds)" for name, profile in study.profiles.items())
        table.add_row(study.name, study.trainable.name, number, profiles, study.question)
    Console().print(table)


def show(name: str) -> None:
    """Print everything about a study.

    Raises:
        InputError: no study has this name.
    """
    study, _ = find_study(name)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{study.name}: {study.question}\n")
    console.print("configurations that are tried first" if study.search else "configurations")
    width = max(12, *map(len, study.configurations))
    for label, fields in study.configurations.items():
        console.print(f"  {label:<{width}} {_listed(fields)}")
    _show_profiles(console, study)
    if study.search:
        console.print("\nsearch space")
        for line in study.search.dimensions.describe().splitlines():
            console.print(f"  {line}")
        console.print(
            "\nsearch (options --objective, --constraint, --sampler, --racing, --stopping, --trials, --replicas, "
            "--confirm)"
        )
        for term, text in describe_search(study.search).items():
            console.print(f"  {term:<12} {text}")
        console.print(f"\ntested by\n  {study.objective.metric}, {study.objective.direction}")
    else:
        over_seeds = f"{study.objective.over_seeds} over seeds"
        console.print(f"\nobjective\n  {study.objective.metric}, {over_seeds}, {study.objective.direction}")
    if study.reported:
        console.print(f"\nreported beside the measured numbers\n  {study.reported_source}")
    if study.notes_command:
        console.print("\ncommand line of the notes, and what stands for it here")
        for option, here in study.notes_command.items():
            console.print(f"  {option:<30} {here}")
    _show_keys(console, study)


def _show_profiles(console: Console, study: Study) -> None:
    console.print("\nprofiles")
    for label, profile in study.profiles.items():
        settings = profile.settings | {f"data.{key}": value for key, value in profile.data.items()}
        extra = f", {_listed(settings)}" if settings else ""
        place = " on ".join(filter(None, (profile.dataset, profile.backbone)))
        place = f"{place}, " if place else ""
        console.print(f"  {label:<12} {place}{profile.seeds} seeds{extra}")
        for configuration, fields in profile.configurations.items():
            console.print(f"  {'':<12} {configuration}: {_listed(fields)}")
        for departure in profile.departures:
            console.print(f"  {'':<12} not as in the notes: {departure}")


def _show_keys(console: Console, study: Study) -> None:
    console.print("\nkeys of --set and --config (names of the notes in brackets)")
    model = study.trainable.config
    names: dict[str, list[str]] = {}
    for alias, own in aliases(model).items():
        names.setdefault(own, []).extend([alias] if alias != own else [])
    defaults = flatten(model.model_validate({}).model_dump())
    for own, others in names.items():
        if own in ("dataset", "backbone"):
            continue
        bracket = f"  [{', '.join(others)}]" if others else ""
        console.print(f"  {own} = {defaults[own]}{bracket}" if own in defaults else f"  {own}")


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in fields.items())
