"""Searches whose training is replayed from a formula: journal, checkpoints and outcomes as a real run leaves them."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.ray_tune.resources import Machine
from study.ray_tune.search_run import SearchRun
from study.ray_tune.searcher import SeedSearcher
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.records.search_table import export
from study.resolve.options import Options
from study.resolve.study import resolve
from study.search.options import SearchOptions
from study.terminal.progress import Progress
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import FINAL
from trainables.packs.checkpoint import Checkpoints

SMALL = ["data.classes=0:20", "init_cls=5", "increment=5", "rank=4", "epochs=1"]


class NoTracking:
    def prepare(self, trials: Any) -> None:
        pass


class Stopped(Exception):
    """The driver is gone."""


def begin(path: Path, **changed: Any) -> RunDirectory:
    search = SearchOptions(**({"confirm": "3x4", "racing": "halving:2,4"} | changed.pop("search", {})))
    options = Options(
        "nested_search", profile="embedded", device="cpu", search=search,
        **({"pack": "8", "trials": 8, "settings": SMALL} | changed),
    )  # fmt: skip
    study, _ = resolve(options, Machine(2, 0, "here"), load_data=False)
    return RunDirectory.create(path, study.model_copy(update={"run_id": "fixed"}))


def accuracy(params: dict[str, Any], seed: int, task: int) -> float:
    """Best near lr_fast = 0.05; noisy, and worse with every task."""
    noise = np.random.default_rng([seed, int(params["lr_fast"] * 1e9)]).normal()
    return float(np.clip(0.7 - 0.1 * abs(math.log10(params["lr_fast"] / 0.05)) - 0.05 * task + 0.03 * noise, 0, 1))


def train(run: RunDirectory, task: dict[str, Any], searcher: SeedSearcher, trial: str, diverging: float) -> None:
    """What a worker does with a pack, without training: rows, checkpoints, stop files, outcomes."""
    ids = {int(seed): name for seed, name in task["replica_ids"].items()}
    checkpoints = Checkpoints(run.path / "checkpoints", ids, "task")
    params, rows = task["params"], {seed: [] for seed in ids}
    phases = ("val",) if params["evaluate"] == "validation" else ("eval", "val")
    status = "diverged" if params["lr_fast"] > diverging else "finished"
    for position in range(4):
        for seed in ids:
            for phase in phases:
                value = accuracy(params, seed, position) - (0.05 if phase == "eval" else 0.0)
                rows[seed].append({"phase": phase, "task": position, "epoch": None, "step": None, "name": "accuracy",
                                   "value": value, "wall_s": 1.0})  # fmt: skip
            rows[seed] += [
                {"phase": FINAL, "task": position, "epoch": None, "step": None, "name": name, "value": value,
                 "wall_s": 1.0} for name, value in continual_finals(rows[seed], position + 1).items()
            ]  # fmt: skip
            checkpoints.save(seed, position, {"x": torch.zeros(1)}, rows[seed])
        searcher.on_trial_result(trial, {})
        if any((run.folder(name) / "stop").exists() for name in ids.values()):
            status = "pruned"
            break
    for name in ids.values():
        write_outcome(run.folder(name), Outcome(status=status, began_at=time.time(), ended_at=time.time()))


def drive(run: RunDirectory, jobs: float = math.inf, diverging: float = math.inf) -> SearchRun:
    """Ray Tune's part with one worker; the driver dies in the middle of pack number ``jobs``."""
    progress = Progress(run.study, run.trials, quiet=True, done_before=set())
    work = SearchRun(run, NoTracking(), progress)  # type: ignore[arg-type]
    searcher = SeedSearcher(work.search, work)
    number = 0
    while (task := searcher.suggest(f"t{number}")) != "FINISHED":
        assert isinstance(task, dict), "one worker never has to wait"
        number += 1
        if number > jobs:
            raise Stopped
        train(run, task["pack"], searcher, f"t{number - 1}", diverging)
        searcher.on_trial_complete(f"t{number - 1}", {})
    if searcher.error:
        raise searcher.error
    return work


def make_search_run(folder: Path) -> Path:
    """A finished search, exported into an empty folder."""
    run = begin(folder)
    drive(run)
    export(run)
    return run.path
