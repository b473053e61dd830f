"""Runs of a tiny study, trained in this process without Ray."""

from pathlib import Path
from typing import Any

from study.commands.run import train_and_report
from study.plugins import trainable_of
from study.ray_tune.resources import Machine
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolve.options import Options
from study.resolve.study import resolve
from trainables.packs.checkpoint import Checkpoints

TINY = [
    "data.classes=0:4", "data.train_per_class=4", "data.test_per_class=3", "init_cls=2", "increment=2", "epochs=1",
    "rank=4", "batch_size=8",
]  # fmt: skip


def tiny_run(path: Path, backbone: str, *settings: str, seeds: str = "2", trials: int = 2) -> RunDirectory:
    """Every replica finished, records written."""
    options = Options(
        "nested_alpha", "embedded", backbone=backbone, settings=[*TINY, *settings], seeds=seeds, trials=trials
    )
    study, _ = resolve(options, Machine(1, 0, "this machine"))
    run = RunDirectory.create(path, study)
    train_unfinished(run)
    return run


def train_unfinished(run: RunDirectory, failed: bool = True) -> None:
    """Train what a session would, without Ray, and write the records."""
    spec = trainable_of(run.study, run.path)
    waiting: dict[str, list[int]] = {}
    for trial, seed in run.unfinished(failed):
        waiting.setdefault(trial.trial_id, []).append(seed)
    for trial in run.trials:
        if seeds := waiting.get(trial.trial_id):
            ids = {seed: trial.replica_id(seed) for seed in seeds}
            checkpoints = Checkpoints(run.path / "checkpoints", ids, spec.config.boundary)
            spec.load().train(spec.config.model_validate(trial.params), seeds, lambda rows: None, checkpoints)
            for replica_id in ids.values():
                write_outcome(run.folder(replica_id), Outcome(status="finished"))
    run.export()


def without_ray(directory: RunDirectory, *options: Any) -> int:
    """In place of ``train_and_report`` of a command: trained in this process, so that only recording is left to do."""
    train_unfinished(directory)
    return train_and_report(directory, *options)
