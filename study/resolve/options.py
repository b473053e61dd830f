"""What the user asked for on the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from study.ray_tune.resources import Device
from study.search.options import SearchOptions


@dataclass
class Options:
    """Of ``run``; see ``study.cli`` for each."""

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
