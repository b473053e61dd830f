"""Packs: replicas that are trained together as one job; what they are cut into, and how large they should be.

Which size is faster depends on the model, the batch and the machine: on a GPU a pack shares its products over the
frozen weights, on a CPU each replica has a forward pass of its own and packing saves next to nothing. So the size is
measured in the first steps of the study at hand.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.plugins import trainable_of
from study.ray_tune.worker import prepare_device
from study.records.run_directory import RunDirectory
from study.resolved import TrialSpec

WARM_UP_STEPS = 2
MEASURED_STEPS = 10
ENOUGH_S = 2.0
"""A measurement ends after so many seconds, or steps, whichever comes first; one step at least."""
WORTH = 0.95
"""A larger pack has to bring the study below this share of its time: small packs leave results earlier."""


def pack_task(run: RunDirectory, trial: TrialSpec, seeds: Sequence[int]) -> dict[str, Any]:
    """Argument ``pack`` of ``worker.run_pack``."""
    return {
        "run_dir": str(run.path), "params": trial.params,
        "replica_ids": {str(seed): trial.replica_id(seed) for seed in seeds}, "device": run.study.resources.device,
    }  # fmt: skip


def cut(run: RunDirectory, seeds: Sequence[int]) -> list[Sequence[int]]:
    """Seeds of one configuration, as many together as was asked for or decided."""
    size = run.study.resources.pack
    assert size != "auto"
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def packs(run: RunDirectory, todo: Sequence[tuple[TrialSpec, int]]) -> list[dict[str, Any]]:
    """The replicas to train, cut into packs: seed by seed over all configurations, so that every configuration has
    results early and comparisons are paired."""
    waiting: dict[str, list[int]] = {}
    specs = {trial.trial_id: trial for trial in run.trials}
    for trial, seed in todo:
        waiting.setdefault(trial.trial_id, []).append(seed)
    found = [
        (turn, place, pack_task(run, specs[trial_id], seeds))
        for trial_id, own in waiting.items()
        for turn, seeds in enumerate(cut(run, own))
        for place in [list(specs).index(trial_id)]
    ]
    return [task for *_, task in sorted(found, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class Choice:
    """A pack size, and why in one line."""

    pack: int
    reason: str


def choose(jobs: Mapping[int, int], at_once: int, step_s: Callable[[int], float]) -> Choice:
    """Take the pack size for which all jobs end first, trying larger ones as long as they pay.

    Args:
        jobs: replicas of a job, which can be trained together -> how many such jobs there are.
        at_once: packs that run side by side.
        step_s: pack size -> seconds of one training step of such a pack; infinite where it does not fit into memory.
    """
    measured: dict[int, float] = {}
    best = 1
    for size in sizes(max(jobs)):
        measured[size] = step_s(size)
        if size > 1 and _span(jobs, at_once, size, measured) > WORTH * _span(jobs, at_once, best, measured):
            break
        best = size
    return Choice(best, _reason(best, measured))


def sizes(seeds: int) -> list[int]:
    """Pack sizes to try, ascending: powers of two below ``seeds``, and ``seeds`` itself."""
    return [2**n for n in range(seeds.bit_length()) if 2**n < seeds] + [seeds]


def _span(jobs: Mapping[int, int], at_once: int, size: int, step_s: Mapping[int, float]) -> float:
    """Seconds that all jobs take for one step of every replica, packs running side by side undisturbed."""
    seconds = 0.0
    for replicas, number in jobs.items():
        step = min(tried for tried in step_s if tried >= min(size, replicas))
        seconds += math.ceil(number * math.ceil(replicas / size) / at_once) * step_s[step]
    return seconds


def _reason(best: int, measured: Mapping[int, float]) -> str:
    steps = ", ".join(
        f"{size} together {'do not fit into memory' if math.isinf(seconds) else f'{1e3 * seconds:.3g} ms'}"
        for size, seconds in measured.items()
        if size > 1
    )
    chosen = "every replica by itself" if best == 1 else f"{best} replicas together"
    return f"{chosen}, measured: a step of 1 replica takes {1e3 * measured[1]:.3g} ms, {steps}"


def measure(task: dict[str, Any]) -> float:
    """Seconds per training step of one pack (median); runs in a worker.

    Args:
        task: run_dir, params, seeds and device, as for ``worker.run_pack``.
    """
    import torch

    from trainables.packs.device import device

    prepare_device(task["device"])
    run = RunDirectory.open(Path(task["run_dir"]))
    spec = trainable_of(run.study, run.path)
    config = spec.config.model_validate(task["params"])
    try:
        steps = spec.load().start(config, task["seeds"]).training(0)  # type: ignore[attr-defined]  # packable ones have it
        taken: list[float] = []
        began = before = time.perf_counter()
        for number, _ in enumerate(steps, 1):
            if device().type == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            taken.append(now - before)
            before = now
            if number >= WARM_UP_STEPS + MEASURED_STEPS or (now - began > ENOUGH_S and number > WARM_UP_STEPS):
                break
    except torch.OutOfMemoryError:
        return math.inf
    counted = sorted(taken[WARM_UP_STEPS:] or taken[-1:])  # a task or epoch may be shorter than the warm-up
    return counted[len(counted) // 2]


def measurements(run: RunDirectory, trials: Sequence[TrialSpec]) -> Callable[[int], dict[str, Any]]:
    """Pack size -> argument of ``measure``: the configuration with the most trainable parameters."""
    largest = max(trials, key=lambda trial: trial.trainable_params)
    return lambda size: {
        "run_dir": str(run.path), "params": largest.params, "seeds": list(range(size)),
        "device": run.study.resources.device,
    }  # fmt: skip
