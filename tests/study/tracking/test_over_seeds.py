"""From a run directory to MLflow: means over seeds, lost seeds counted, the same after a kill; training is replayed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from synthetic_search import SMALL, begin, drive

from analysis.stats import mean_interval
from study.commands.ui import newest, pages
from study.ray_tune import driver, tuner
from study.ray_tune.resources import Machine
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.records.search_table import export
from study.resolve.options import Options
from study.resolve.study import resolve
from study.resolved import TrialSpec
from study.tracking.mlflow_runs import PARENT, STUDY
from study.tracking.over_seeds import over_seeds
from trainables.errors import InputError
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import FINAL
from trainables.packs.checkpoint import Checkpoints

TASKS = 4
LOST = ("alpha=0", 1)
"""Diverges in its third task."""


def value(trial: TrialSpec, seed: int, task: int) -> float:
    return 0.7 - 0.1 * task + 0.01 * (seed + 1) ** 2 + 0.02 * len(trial.configuration)


def train(run: RunDirectory, trial: TrialSpec, seed: int, diverges: bool) -> None:
    """What a worker leaves of a replica."""
    replica_id = trial.replica_id(seed)
    checkpoints, rows = Checkpoints(run.path / "checkpoints", {seed: replica_id}, "task"), list[Any]()
    for task in range(2 if diverges else TASKS):
        place = {"task": task, "epoch": None, "step": None, "wall_s": 1.0 + task}
        rows.append({**place, "phase": "eval", "name": "accuracy", "value": value(trial, seed, task)})
        finals = continual_finals(rows, task + 1)
        rows += [{**place, "phase": FINAL, "name": name, "value": final} for name, final in finals.items()]
        checkpoints.save(seed, task, {"x": torch.zeros(1)}, rows)
    status = "diverged" if diverges else "finished"
    write_outcome(run.folder(replica_id), Outcome(status=status, began_at=1_700_000_000.0 + seed))


def replayed(path: Path, mlflow: str) -> RunDirectory:
    options = Options(
        "nested_alpha", profile="embedded", device="cpu", seeds="3", trials=2, settings=SMALL, mlflow=mlflow
    )
    study, _ = resolve(options, Machine(2, 0, "here"), load_data=False)
    run = RunDirectory.create(path, study.model_copy(update={"run_id": path.name}))
    for trial, seed in run.replicas:
        train(run, trial, seed, (trial.configuration, seed) == LOST)
    return run


class Recorded:
    """A run and what MLflow has of it, after a first driver was killed in the middle and a second one ended it."""

    def __init__(self, runs: Path) -> None:
        uri = f"sqlite:///{runs.parent / 'mlflow.db'}"
        self.run = replayed(runs / "first", uri)
        beside = driver.tracker_of(second := replayed(runs / "second", uri))
        beside.prepare(second.trials)  # its runs are in the same experiment
        beside.close()
        self.client = MlflowClient(uri)
        killed = driver.tracker_of(self.run)
        killed.prepare(self.run.trials)
        for trial, seed in self.run.replicas[:4]:
            tuner.record(self.run, killed, trial.replica_id(seed))
        self.before = self.written()
        driver.execute(RunDirectory.open(self.run.path), "local", True, 0.0)

    def written(self) -> dict[str, str]:
        return json.loads((self.run.path / "tracking.json").read_text())["runs"]

    def of(self, key: str) -> Any:
        return self.client.get_run(self.written()[key])

    def curve(self, key: str, name: str) -> list[float]:
        return [metric.value for metric in self.client.get_metric_history(self.written()[key], name)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("runs") / "nested_alpha")


def test_a_resume_continues_the_same_top_and_leaves_none_running(recorded: Recorded) -> None:
    assert recorded.written() == recorded.before
    runs = recorded.client.search_runs(["1"])
    assert Counter(run.info.status for run in runs) == {"FINISHED": 1 + 1 + 5, "FAILED": 2, "KILLED": 9}
    tops = [run for run in runs if PARENT not in run.data.tags]
    assert {run.info.run_name for run in tops} == {"nested_alpha first", "nested_alpha second"}
    top = recorded.of(STUDY)
    children = {run.info.run_name for run in runs if run.data.tags.get(PARENT) == top.info.run_id}
    assert children == {trial.configuration for trial in recorded.run.trials}


def test_the_top_has_the_answer_and_the_page(recorded: Recorded) -> None:
    top = recorded.of(STUDY)
    assert {"dataset": "glyphs100", "profile": "embedded", "run_dir": str(recorded.run.path)}.items() <= (
        top.data.tags.items()
    )
    assert recorded.run.study.question in top.data.tags["mlflow.note.content"]
    assert top.data.metrics == {
        "replicas/finished": 5, "replicas/diverged": 1, "replicas/failed": 0, "configurations": 2,
    }  # fmt: skip
    stored = {item.path for item in recorded.client.list_artifacts(top.info.run_id, "report")}
    assert "report/index.html" in stored


def test_curves_are_numpys_mean_and_deviation_of_the_replicas(recorded: Recorded) -> None:
    for trial in recorded.run.trials:
        for task in range(TASKS):
            seeds = [seed for seed in trial.seeds if task < 2 or (trial.configuration, seed) != LOST]
            values = [value(trial, seed, task) for seed in seeds]
            assert recorded.curve(trial.trial_id, "eval/accuracy/mean")[task] == pytest.approx(np.mean(values))
            assert recorded.curve(trial.trial_id, "eval/accuracy/std")[task] == pytest.approx(np.std(values, ddof=1))
        assert len(recorded.curve(trial.trial_id, "eval/accuracy/mean")) == TASKS
        counts = [3, 3, 2, 2] if trial.configuration == LOST[0] else []
        assert recorded.curve(trial.trial_id, "eval/seeds") == counts


def test_a_lost_seed_counts_with_the_worst_value(recorded: Recorded) -> None:
    for trial in recorded.run.trials:
        lost = trial.configuration == LOST[0]
        finals = [0.0 if (trial.configuration, seed) == LOST else value(trial, seed, TASKS - 1) for seed in trial.seeds]
        found = recorded.of(trial.trial_id).data.metrics
        interval = mean_interval(finals)
        assert found["objective/mean of final_accuracy"] == pytest.approx(np.mean(finals))
        assert found["final/final_accuracy/mean"] == pytest.approx(np.mean(finals))
        assert found["final/final_accuracy/low"] == pytest.approx(interval.low)
        assert found["final/final_accuracy/high"] == pytest.approx(interval.high)
        assert (found["seeds/n"], found["seeds/finished"], found["seeds/diverged"]) == (3, 3 - lost, lost)
        assert recorded.of(trial.trial_id).data.tags["status"] == ("diverged" if lost else "finished")


def test_seeds_that_still_run_are_absent_and_give_no_curve(tmp_path: Path) -> None:
    run = replayed(tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db")
    trial = run.trials[0]
    (run.folder(trial.replica_id(2)) / "outcome.json").unlink()
    found = over_seeds(run, trial)
    assert (found.status, found.curves) == ("interrupted", [])
    finals = [value(trial, seed, TASKS - 1) for seed in (0, 1)]
    assert found.metrics["final/final_accuracy/mean"] == pytest.approx(np.mean(finals))
    assert found.metrics["seeds/n"] == 2


def test_the_links_of_ui_are_of_this_run_alone(recorded: Recorded, tmp_path: Path) -> None:
    links = pages(recorded.run.path, "first", "http://127.0.0.1:8080")
    of_list, of_top = (urlsplit(link.replace("/#", "")) for link in links.values())
    assert of_list.path == "/experiments/1/runs"
    (which,) = parse_qs(of_list.query)["searchFilter"]
    runs = recorded.client.search_runs(["1"], which)
    assert {run.info.run_id for run in runs} == set(recorded.written().values())
    assert of_top.path == f"/experiments/1/runs/{recorded.written()[STUDY]}"
    assert newest(recorded.run.path.parents[1]) in {recorded.run.path, recorded.run.path.with_name("second")}
    with pytest.raises(InputError, match="RUN_DIR"):
        newest(tmp_path)


def test_a_search_has_its_trials_below_it(recorded: Recorded, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", mlflow=recorded.run.study.mlflow_uri, trials=4)
    drive(run, diverging=0.03)
    export(run)
    tracker = driver.tracker_of(run)
    tracker.prepare(run.trials)
    for trial in run.trials:
        tracker.finish_trial(trial.trial_id, over_seeds(run, trial))
    assert tracker.close() == []
    runs = recorded.client.search_runs(["2"])
    assert [run.info.run_name for run in runs if PARENT not in run.data.tags] == ["nested_search fixed"]
    found = {run.data.tags["trial_id"]: run.data.metrics for run in runs if run.data.tags["kind"] == "trial"}
    name = "mean of final_val_accuracy"
    table = pd.read_parquet(run.path / "search.parquet").dropna(subset=[f"value.{name}"]).set_index("trial_id")
    assert table["failed"].any() and not table["failed"].all()
    for trial_id, value_in_search in table[f"value.{name}"].items():
        assert found[trial_id][f"objective/{name}"] == pytest.approx(value_in_search)
