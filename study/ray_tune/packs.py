"""Replicas that are trained together, as tasks for ``bridge.run_pack``."""

from collections.abc import Sequence
from typing import Any

from study.records.run_directory import RunDirectory
from study.spec import TrialSpec


def pack_task(run: RunDirectory, trial: TrialSpec, seeds: Sequence[int]) -> dict[str, Any]:
    """Argument ``pack`` of ``bridge.run_pack``."""
    return {
        "run_dir": str(run.path), "trainable": run.study.trainable, "params": trial.params,
        "replica_ids": {str(seed): trial.replica_id(seed) for seed in seeds}, "device": run.study.resources.device,
    }  # fmt: skip


def packs(run: RunDirectory) -> list[dict[str, Any]]:
    """The unfinished replicas, cut into packs: seed by seed over all configurations, so that every configuration has
    results early and comparisons are paired."""
    size = run.study.resources.pack
    assert size != "auto"
    waiting: dict[str, list[int]] = {}
    specs = {trial.trial_id: trial for trial in run.trials}
    for trial, seed in run.unfinished():
        waiting.setdefault(trial.trial_id, []).append(seed)
    cut = [
        (start, list(specs).index(trial_id), trial_id, seeds[start : start + size])
        for trial_id, seeds in waiting.items()
        for start in range(0, len(seeds), size)
    ]
    return [
        pack_task(run, specs[trial_id], seeds) for _, _, trial_id, seeds in sorted(cut, key=lambda entry: entry[:2])
    ]
