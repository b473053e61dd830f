"""Tracking: the same runs after every interruption, no point twice, and nothing lost without a word."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.resolved import TrialSpec
from study.tracking import mlflow_runs, outbox
from study.tracking.mlflow_connection import TrackingError, resolve_uri, without_password
from study.tracking.mlflow_runs import PARENT, STUDY, MlflowRuns, flat_params, mlflow_key
from study.tracking.points import OverSeeds, Point
from study.tracking.tracker import Tracker

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before anything imports mlflow

STARTED = 1_700_000_000.0
TOP = "nested_alpha r 1"


def trial(trial_id: str, configuration: str, params: dict, seeds: tuple[int, ...]) -> TrialSpec:
    return TrialSpec(
        trial_id=trial_id, configuration=configuration, params=params, seeds=seeds,
        trainable_params=0, total_params=0, boundaries=1,
    )  # fmt: skip


TRIALS = [
    trial("t0", "baseline", {"lr_fast": 0.01, "data": {"classes": [1, 2]}}, (0, 1)),
    trial("t1", "alpha=0.1", {"lr_fast": 0.05}, (0,)),
]
CREATE = """
import sys
from study.resolved import TrialSpec
from study.tracking.mlflow_connection import resolve_uri
from study.tracking.tracker import Tracker
from pathlib import Path
uri, artifacts = resolve_uri(None, Path(sys.argv[1]))
tracker = Tracker(Path(sys.argv[1]) / "run", "warm up", "run", uri, artifacts)
one = dict(trial_id="t", configuration="c", params={}, seeds=(0,), trainable_params=0, total_params=0, boundaries=1)
tracker.prepare([TrialSpec(**one)])
tracker.finish_replica("t-s0", "finished", {"accuracy": 1.0})
assert tracker.close() == []
"""


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str], Path]:
    """A database made by a process of its own from nothing (1.6 s, so once), what that printed, and where it ran."""
    root, cwd = tmp_path_factory.mktemp("template"), tmp_path_factory.mktemp("cwd")
    project = Path(__file__).resolve().parents[3]
    code = f"import sys; sys.path.insert(0, {str(project)!r})\n{CREATE}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(root)], cwd=cwd, capture_output=True, text=True, check=False
    )
    return root / "mlflow.db", done, cwd


class Place:
    """A ``runs`` folder with one run directory, and views of what was recorded there."""

    def __init__(self, root: Path) -> None:
        from mlflow import MlflowClient

        self.root = root
        self.run_dir = root / "nested_alpha" / "r 1"
        self.uri, self.artifacts = resolve_uri(None, root)
        self.client = MlflowClient(self.uri)

    def tracker(self, **more: Any) -> Tracker:
        return Tracker(self.run_dir, "nested_alpha", "r 1", self.uri, self.artifacts, **{"send_every_s": 0, **more})

    def runs(self) -> dict[str, Any]:
        """MLflow runs by name; two with one name fail."""
        experiment = self.client.get_experiment_by_name("nested_alpha")
        assert experiment is not None
        runs = list(self.client.search_runs([experiment.experiment_id]))
        named = {run.info.run_name: run for run in runs}
        assert len(named) == len(runs)
        return named

    def states(self) -> Counter[str]:
        return Counter(run.info.status for run in self.runs().values())

    def history(self, name: str, key: str) -> list[tuple[int, float]]:
        run = self.runs()[name].info.run_id
        return [(metric.step, metric.value) for metric in self.client.get_metric_history(run, key)]

    def curve(self, folder: str, key: str) -> list[tuple[int, float]]:
        """The same from TensorBoard's files."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self.run_dir / "tensorboard" / folder), purge_orphaned_data=False)
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars(key)]

    def written(self) -> dict[str, str]:
        return json.loads((self.run_dir / "tracking.json").read_text())["runs"]


@pytest.fixture
def place(tmp_path: Path, fresh_database: tuple[Path, Any, Path]) -> Place:
    root = tmp_path / "my runs"
    root.mkdir()
    shutil.copy(fresh_database[0], root / "mlflow.db")
    return Place(root)


def rows(tasks: range, wall_s: float = 0.0) -> list[dict[str, Any]]:
    """Two training rows and two evaluation rows per task, the latter at the same place on the x axis."""
    found: list[dict[str, Any]] = []
    for task in tasks:
        for phase, epoch, step, name in [("train", 0, 2 * task, "loss"), ("train", 1, 2 * task + 1, "loss")]:
            found.append(dict(phase=phase, task=task, epoch=epoch, step=step, name=name, value=step / 10))
        for epoch in (0, 1):
            found.append(dict(phase="eval", task=task, epoch=epoch, step=None, name="accuracy", value=task + epoch / 2))
    return [{**row, "wall_s": wall_s + number} for number, row in enumerate(found)]


def failing(monkeypatch: pytest.MonkeyPatch, *methods: str) -> Callable[[], None]:
    """Make methods of MLflow's client fail until the returned function is called."""
    from mlflow import MlflowClient

    away = [True]

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if away[0]:
                raise ConnectionError("nobody there\nsecond line")
            return method(*args, **kwargs)

        return call

    for name in methods:
        monkeypatch.setattr(MlflowClient, name, wrap(getattr(MlflowClient, name)))
    return lambda: away.__setitem__(0, False)


WRITING = ("log_batch", "log_artifact", "log_artifacts", "set_tag", "set_terminated", "update_run", "create_run")


def test_fresh_database_is_made_without_a_word(fresh_database: tuple[Path, Any, Path]) -> None:
    database, done, cwd = fresh_database
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert database.exists()
    assert list(cwd.iterdir()) == []


def over(*means: float, status: str = "finished", **metrics: float) -> OverSeeds:
    """Numbers over seeds with this curve of means."""
    curve = [Point(f"eval/accuracy/{part}", step, value, 1_700_000_000_000)
             for step, mean in enumerate(means) for part, value in (("mean", mean), ("std", 0.1))]  # fmt: skip
    return OverSeeds(status, metrics, curve)


def test_study_trial_replica(place: Place) -> None:
    provenance = {"git_commit": "abc", "git_dirty": True, "diff_hash": "", "data_hash": None}
    tracker = place.tracker(provenance=provenance, about={"profile": "embedded", "dataset": "glyphs100"})
    tracker.prepare(TRIALS)
    runs = place.runs()
    assert set(runs) == {TOP, "baseline", "baseline seed 0", "baseline seed 1", "alpha=0.1", "alpha=0.1 seed 0"}
    top, parent, child = runs[TOP], runs["baseline"], runs["baseline seed 1"]
    assert child.data.tags[PARENT] == parent.info.run_id
    assert parent.data.tags[PARENT] == runs["alpha=0.1"].data.tags[PARENT] == top.info.run_id
    assert [name for name, run in runs.items() if PARENT not in run.data.tags] == [TOP], "one row at the top"
    expected = {"study": "nested_alpha", "run_id": "r 1", "kind": "study", "run_dir": str(place.run_dir),
                "profile": "embedded", "dataset": "glyphs100", "git_commit": "abc"}  # fmt: skip
    assert expected.items() <= top.data.tags.items()
    for run in (parent, child):
        expected = {"study": "nested_alpha", "run_id": "r 1", "trial_id": "t0", "configuration": "baseline"}
        assert expected.items() <= run.data.tags.items()
        assert {"git_commit": "abc", "git_dirty": "True"}.items() <= run.data.tags.items()
        assert not {"diff_hash", "data_hash"} & set(run.data.tags)
        assert run.data.params["lr_fast"] == "0.01"
        assert run.data.params["data.classes"] == "[1, 2]"
    assert child.data.params["seed"] == "1"
    assert place.written() == {
        STUDY: top.info.run_id,
        "t0": parent.info.run_id,
        "t0-s0": runs["baseline seed 0"].info.run_id,
        "t0-s1": child.info.run_id,
        "t1": runs["alpha=0.1"].info.run_id,
        "t1-s0": runs["alpha=0.1 seed 0"].info.run_id,
    }


def test_curves(place: Place) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.log_rows("t1-s0", rows(range(2)), STARTED)
    assert tracker.close() == []
    assert place.history("alpha=0.1 seed 0", "train/loss") == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert place.history("alpha=0.1 seed 0", "eval/accuracy") == [(0, 0.0), (0, 0.5), (1, 1.0), (1, 1.5)]
    assert place.curve("alpha=0.1/seed_0", "train/loss") == [(i, pytest.approx(i / 10)) for i in range(4)]


def test_same_row_twice_is_one_point(place: Place) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.log_rows("t0-s0", rows(range(3)), STARTED)
    tracker.log_rows("t0-s0", rows(range(3)), STARTED)
    assert len(place.history("baseline seed 0", "train/loss")) == 6
    assert len(place.history("baseline seed 0", "eval/accuracy")) == 6


def test_curves_are_gathered_for_some_seconds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    calls, now, real = [], [100.0], MlflowClient.log_batch
    tracker = place.tracker(send_every_s=5.0)
    tracker.prepare(TRIALS)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a, **k: (calls.append(now[0]), real(*a, **k)))
    monkeypatch.setattr("study.tracking.tracker.time.monotonic", lambda: now[0])
    for task in range(12):
        tracker.log_rows("t0-s0", rows(range(task, task + 1)), STARTED)
        now[0] += 1
    assert calls == [100.0, 105.0, 110.0]
    tracker.finish_replica("t0-s0", "finished", {})
    assert len(place.history("baseline seed 0", "train/loss")) == 24


def test_more_rows_than_a_batch_holds(place: Place) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS[1:])
    many = [
        dict(phase="train", task=0, epoch=0, step=i, name="loss", value=1 / (i + 1), wall_s=i / 100)
        for i in range(2100)
    ]
    tracker.log_rows("t1-s0", many, STARTED)
    assert len(place.history("alpha=0.1 seed 0", "train/loss")) == 2100


def test_values_that_are_not_finite_and_odd_names(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    odd = [("a=b (%)", math.nan), ("../up//x", math.inf), ("none", None), ("ok", 2)]
    tracker.log_rows(
        "t0-s0",
        [dict(phase="eval", task=1, epoch=None, step=None, name=n, value=v, wall_s=None) for n, v in odd],
        STARTED,
    )
    tracker.finish_replica("t0-s0", "diverged", {"accuracy": math.nan, "loss": -math.inf})
    tracker.finish_replica("t0-s0", "diverged", {"accuracy": math.nan, "loss": -math.inf})
    assert tracker.close() == []
    found = place.runs()["baseline seed 0"].data.metrics
    assert set(found) == {"eval/a_b ___", "eval/up/x", "eval/none", "eval/ok", "final/accuracy", "final/loss"}
    assert found.pop("eval/ok") == 2
    assert all(map(math.isnan, found.values()))
    assert len(place.history("baseline seed 0", "final/accuracy")) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "key"), [("a/b", "a/b"), ("", "_"), ("..", "_"), ("/x/", "x"), ("é=1", "é_1"), ("x" * 400, "x" * 250)]
)
def test_mlflow_takes_every_key(name: str, key: str) -> None:
    from mlflow.utils.validation import _validate_metric

    assert mlflow_key(name) == key
    _validate_metric(mlflow_key(name), 1.0, 0, 0)


def test_flat_params() -> None:
    flat = flat_params({"a": {"b": 1, "c": {}}, "x=": None, "x?": True, "long": "y" * 10_000})
    assert flat == {"a.b": "1", "a.c": "{}", "x_": "None", "x__2": "True", "long": "y" * 6000}
    assert flat_params({}) == {}


def test_second_prepare_uses_the_same_runs(place: Place) -> None:
    first = place.tracker()
    first.prepare(TRIALS)
    before = place.written()
    first.prepare(TRIALS)
    place.tracker().prepare(TRIALS)
    assert place.written() == before
    assert {run.info.run_id for run in place.runs().values()} == set(before.values())


def test_later_trials_are_added(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS[:1])
    before = place.written()
    monkeypatch.delattr(MlflowRuns, "_search")  # looking through all runs for every trial of a search takes hours
    tracker.prepare(TRIALS)
    tracker.log_rows("t1-s0", rows(range(1)), STARTED)
    assert before.items() <= place.written().items()
    assert len(place.runs()) == 6
    assert len(place.history("alpha=0.1 seed 0", "train/loss")) == 2


@pytest.mark.parametrize("survives", range(6))
def test_crash_between_creating_and_writing_down(place: Place, monkeypatch: pytest.MonkeyPatch, survives: int) -> None:
    """The run that only MLflow knows is taken over, whichever it is, and ends with the others."""

    class Killed(BaseException):
        pass

    writes = []
    real = mlflow_runs.write_json

    def write(*arguments: Any, **options: Any) -> None:
        if len(writes) == survives:
            raise Killed
        writes.append(None)
        real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(mlflow_runs, "write_json", write)
        place.tracker().prepare(TRIALS)
    assert len(place.runs()) == survives + 1

    tracker = place.tracker()
    tracker.prepare(TRIALS)
    runs = place.runs()
    assert len(runs) == 6
    assert set(place.written().values()) == {run.info.run_id for run in runs.values()}
    assert all("lr_fast" in run.data.params for name, run in runs.items() if name != TOP), (
        "missing parameters are added"
    )
    assert tracker.close() == []
    assert place.states() == {"KILLED": 6}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"runs": 3}'])
def test_damaged_or_missing_record_is_made_again(place: Place, damage: str) -> None:
    place.tracker().prepare(TRIALS)
    before = place.written()
    (place.run_dir / "tracking.json").write_text(damage)
    place.tracker().prepare(TRIALS)
    assert place.written() == before


def test_run_made_twice_does_not_stay_running(place: Place) -> None:
    """A creation whose answer was lost leaves two runs of one replica; one is used, the other ended."""
    first = place.tracker()
    first.prepare(TRIALS)
    kept = place.runs()["baseline seed 0"]
    tags = {key: value for key, value in kept.data.tags.items() if key != "mlflow.runName"}
    place.client.create_run(kept.info.experiment_id, tags=tags, run_name="spare")
    second = place.tracker()
    second.prepare(TRIALS)
    assert place.written()["t0-s0"] == kept.info.run_id
    assert place.runs()["spare"].info.status == "KILLED"


def test_resume_continues_without_a_point_twice(place: Place) -> None:
    """Killed in task 2 after the checkpoint of task 1: tasks 0 and 1 are handed in again, task 2 is computed again."""
    killed = place.tracker()
    killed.prepare(TRIALS)
    killed.log_rows("t0-s0", rows(range(2)), STARTED)
    killed.log_rows("t0-s0", rows(range(2, 3), wall_s=50)[:3], STARTED)
    killed._events.close()  # what the operating system does for a killed process, but for the last seconds

    resumed = place.tracker()
    resumed.prepare(TRIALS)
    resumed.log_rows("t0-s0", rows(range(2)), STARTED)
    resumed.log_rows("t0-s0", rows(range(2, 4), wall_s=777), STARTED)
    resumed.finish_replica("t0-s0", "finished", {"accuracy": 0.5})
    assert resumed.close() == []

    expected = [(0, 0.0), (0, 0.5), (1, 1.0), (1, 1.5), (2, 2.0), (2, 2.5), (3, 3.0), (3, 3.5)]
    assert sorted(place.history("baseline seed 0", "eval/accuracy")) == expected
    assert place.curve("baseline/seed_0", "eval/accuracy") == expected
    assert len(place.history("baseline seed 0", "train/loss")) == 8
    assert len(place.curve("baseline/seed_0", "train/loss")) == 8


def test_rows_of_a_finished_replica_leave_it_finished(place: Place) -> None:
    first = place.tracker()
    first.prepare(TRIALS)
    first.log_rows("t0-s0", rows(range(2)), STARTED)
    first.finish_replica("t0-s0", "finished", {})
    first.close()
    again = place.tracker()
    again.prepare(TRIALS)
    again.log_rows("t0-s0", rows(range(2)), STARTED)
    again.close()
    assert place.runs()["baseline seed 0"].info.status == "FINISHED"


def test_interrupted_replica_runs_again(place: Place) -> None:
    first = place.tracker()
    first.prepare(TRIALS)
    first.finish_replica("t0-s0", "interrupted", {"accuracy": 0.1})
    first.close()
    assert place.states() == {"KILLED": 6}
    again = place.tracker()
    again.prepare(TRIALS)
    assert place.runs()[TOP].info.status == "RUNNING"
    again.log_rows("t0-s0", rows(range(1)), STARTED)
    run = place.runs()["baseline seed 0"]
    assert (run.info.status, run.data.tags["status"]) == ("RUNNING", "running")
    again.finish_replica("t0-s0", "finished", {"accuracy": 0.7})
    run = place.runs()["baseline seed 0"]
    assert (run.info.status, run.data.metrics["final/accuracy"]) == ("FINISHED", 0.7)


@pytest.mark.parametrize(
    ("status", "state"),
    [("finished", "FINISHED"), ("pruned", "FINISHED"), ("diverged", "FAILED"), ("failed", "FAILED")]
    + [("interrupted", "KILLED")],
)
def test_status(place: Place, status: str, state: str) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.finish_replica("t0-s0", status, {"accuracy": 0.25})
    run = place.runs()["baseline seed 0"]
    assert (run.info.status, run.data.tags["status"]) == (state, status)
    assert run.data.metrics == {"final/accuracy": 0.25}


def test_artifacts_and_no_run_left_running(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "task_9"
    folder.mkdir()
    for path in (folder / "state.json", tmp_path / "bank.safetensors", tmp_path / "accuracy.png"):
        path.write_text(path.name)
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    for replica in ("t0-s0", "t0-s1", "t1-s0"):
        tracker.finish_replica(replica, "finished", {}, [folder, tmp_path / "bank.safetensors"])
    report = tmp_path / "report"
    report.mkdir()
    (report / "index.html").write_text("the page")
    for _ in range(2):
        for trial in ("t0", "t1"):
            tracker.finish_trial(trial, over(0.25, 0.5, **{"final/accuracy/mean": 0.5}))
        tracker.finish_study("finished", "No difference is shown.", {"replicas/finished": 3.0}, [report])
    assert tracker.close() == []

    runs = place.runs()
    child, top = runs["baseline seed 0"].info.run_id, runs[TOP]
    assert {f.path for f in place.client.list_artifacts(child, "checkpoints")} == {
        "checkpoints/task_9",
        "checkpoints/bank.safetensors",
    }
    assert [f.path for f in place.client.list_artifacts(top.info.run_id, "report")] == ["report/index.html"]
    assert top.data.tags["mlflow.note.content"] == "No difference is shown."
    assert top.data.metrics == {"replicas/finished": 3}
    found = {"eval/accuracy/mean": 0.5, "eval/accuracy/std": 0.1, "final/accuracy/mean": 0.5}
    assert runs["baseline"].data.metrics == found
    assert len(place.history("baseline", "final/accuracy/mean")) == 1
    assert place.history("baseline", "eval/accuracy/mean") == [(0, 0.25), (1, 0.5)]
    assert place.states() == {"FINISHED": 6}


def test_curves_over_other_seeds_take_the_place_of_the_old_ones(place: Place) -> None:
    """A failed seed is tried again, or more are added: a point cannot be taken back, so the trial gets another run."""
    first = place.tracker()
    first.prepare(TRIALS)
    first.finish_trial("t0", over(0.1, 0.2, status="failed"))
    first.close()
    before = place.written()
    second = place.tracker()
    second.prepare(TRIALS)
    second.finish_trial("t0", over(0.1, 0.2, status="failed"))
    assert place.written() == before, "nothing is new"
    second.finish_trial("t0", over(0.3, 0.4))
    assert second.close() == []
    runs = place.runs()
    assert place.history("baseline", "eval/accuracy/mean") == [(0, 0.3), (1, 0.4)]
    assert place.curve("baseline/mean", "eval/accuracy") == [(0, pytest.approx(0.3)), (1, pytest.approx(0.4))]
    assert runs["baseline"].data.params["lr_fast"] == "0.01"
    assert runs["baseline"].info.run_id != before["t0"] and runs["baseline"].info.status == "FINISHED"
    below = {name for name, run in runs.items() if run.data.tags.get(PARENT) == runs["baseline"].info.run_id}
    assert below == {"baseline seed 0", "baseline seed 1"}
    assert {k: v for k, v in before.items() if k != "t0"}.items() <= place.written().items()
    assert len(runs) == 6 and runs["baseline"].data.tags[PARENT] == runs[TOP].info.run_id


@pytest.mark.parametrize("survives", range(4))
def test_an_exchange_of_runs_that_is_cut_off_is_made_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    class Killed(BaseException):
        pass

    first = place.tracker()
    first.prepare(TRIALS)
    first.finish_trial("t0", over(0.1))
    from mlflow import MlflowClient

    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(calls) == survives:
                raise Killed
            calls.append(name)
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("delete_run", "create_run", "set_tag", "log_batch"):
            patch.setattr(MlflowClient, name, wrap(name, getattr(MlflowClient, name)))
        first.finish_trial("t0", over(0.2))
    second = place.tracker()
    second.prepare(TRIALS)
    second.finish_trial("t0", over(0.2))
    assert second.close() == []
    runs = place.runs()
    assert place.history("baseline", "eval/accuracy/mean") == [(0, 0.2)]
    assert len(runs) == 6 and "RUNNING" not in place.states()
    assert runs["baseline seed 1"].data.tags[PARENT] == runs["baseline"].info.run_id


@pytest.mark.parametrize("call", ["delete_run", "create_run", "set_tag", "log_batch"])
def test_an_exchange_during_an_outage_is_made_up_for(place: Place, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.finish_trial("t0", over(0.1))
    back = failing(monkeypatch, call)
    tracker.finish_trial("t0", over(0.2))
    back()
    assert tracker.close() == []
    assert len(place.runs()) == 6 and place.history("baseline", "eval/accuracy/mean") == [(0, 0.2)]
    assert place.runs()["baseline seed 1"].data.tags[PARENT] == place.runs()["baseline"].info.run_id


def test_runs_of_earlier_versions_get_a_top(place: Place) -> None:
    first = place.tracker()
    first.prepare(TRIALS)
    first.close()
    before = place.written()
    place.client.delete_run(before.pop(STUDY))
    for trial in ("t0", "t1"):
        place.client.delete_tag(before[trial], PARENT)
    record = json.loads((place.run_dir / "tracking.json").read_text())
    (place.run_dir / "tracking.json").write_text(json.dumps(record | {"runs": before}))
    second = place.tracker()
    second.prepare(TRIALS)
    runs = place.runs()
    assert before.items() <= place.written().items() and len(runs) == 6
    assert [name for name, run in runs.items() if PARENT not in run.data.tags] == [TOP]


def test_tensorboard_draws_a_band(place: Place) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.finish_trial("t0", over(0.3, 0.5))
    tracker.close()
    for end, values in {"low": (0.2, 0.4), "mean": (0.3, 0.5), "high": (0.4, 0.6)}.items():
        assert place.curve("baseline/mean", f"band/eval/accuracy/{end}") == list(enumerate(map(pytest.approx, values)))
    events = EventAccumulator(str(place.run_dir / "tensorboard" / "baseline" / "mean"))
    events.Reload()
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    (series,) = layout.category[0].chart[0].margin.series
    assert (series.lower, series.value, series.upper) == tuple(
        f"band/eval/accuracy/{x}" for x in ("low", "mean", "high")
    )


def test_outage_in_the_middle_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkpoint = tmp_path / "bank.safetensors"
    checkpoint.write_text("weights")
    tracker = place.tracker()
    tracker.prepare(TRIALS[:1])
    tracker.log_rows("t0-s0", rows(range(1)), STARTED)
    back = failing(monkeypatch, *WRITING)
    tracker.log_rows("t0-s0", rows(range(1, 2), wall_s=10), STARTED)
    tracker.prepare(TRIALS)
    tracker.log_rows("t1-s0", rows(range(2)), STARTED)
    tracker.finish_replica("t0-s0", "finished", {"accuracy": 0.5}, [checkpoint])
    assert place.history("baseline seed 0", "eval/accuracy") == [(0, 0.0), (0, 0.5)]
    back()
    tracker.log_rows("t0-s1", rows(range(1)), STARTED)
    assert len(tracker._outbox) == 0, "the next call brings all that waited"
    assert tracker.close() == []
    assert len(place.history("baseline seed 0", "train/loss")) == 4
    assert len(place.history("alpha=0.1 seed 0", "train/loss")) == 4
    run = place.runs()["baseline seed 0"]
    assert (run.info.status, run.data.metrics["final/accuracy"]) == ("FINISHED", 0.5)
    assert [f.path for f in place.client.list_artifacts(run.info.run_id, "checkpoints")]
    assert place.states() == {"FINISHED": 1, "KILLED": 5}


def test_outage_until_the_end_is_told_in_one_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    failing(monkeypatch, *WRITING)
    tracker.log_rows("t0-s0", rows(range(1)), STARTED)
    tracker.finish_replica("t0-s0", "finished", {"accuracy": 0.5})
    warnings = tracker.close()
    assert len(warnings) == 1
    assert "\n" not in warnings[0]
    for part in (place.uri, "metrics of t0-s0", "ConnectionError: nobody there", str(place.run_dir)):
        assert part in warnings[0]
    assert place.curve("baseline/seed_0", "train/loss"), "TensorBoard does not depend on MLflow"


def test_lost_artifact_is_reported_and_holds_up_nothing(place: Place, tmp_path: Path) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    tracker.finish_replica("t0-s0", "finished", {"accuracy": 0.5}, [tmp_path / "gone.safetensors"])
    warnings = tracker.close()
    assert len(warnings) == 1
    assert "gone.safetensors of t0-s0" in warnings[0]
    assert place.runs()["baseline seed 0"].info.status == "FINISHED"


def test_one_call_that_always_fails_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    box, done = outbox.Outbox("MLflow", lambda error: False), []

    def bad() -> None:
        raise RuntimeError("always")

    box.submit("bad", bad)
    for number in range(3):
        box.submit(f"good {number}", lambda number=number: done.append(number))
    assert done == []
    (warning,) = box.close()
    assert done == [0, 1, 2]
    assert "1 call(s) are missing" in warning and "bad: RuntimeError: always" in warning


def test_a_server_that_hangs_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now[0])
    box = outbox.Outbox("MLflow", lambda error: False)

    def slow() -> None:
        calls.append(now[0])
        now[0] += 30
        raise TimeoutError

    box.submit("first", slow)
    for _ in range(100):
        now[0] += 1
        box.submit("more", slow)
    assert calls == [0.0], "30 s lost, so 300 s of peace"
    now[0] = 400.0
    box.submit("more", slow)
    assert calls == [0.0, 400.0]


def test_unknown_replica_trial_and_status_are_errors(place: Place) -> None:
    tracker = place.tracker()
    tracker.prepare(TRIALS)
    for call in (
        lambda: tracker.log_rows("t9-s0", rows(range(1)), STARTED),
        lambda: tracker.finish_replica("t9-s0", "finished", {}),
        lambda: tracker.finish_trial("t9", over()),
        lambda: tracker.finish_replica("t0-s0", "done", {}),
    ):
        with pytest.raises(ValueError, match="t9|done"):
            call()


def test_folders_are_safe_and_never_shared(place: Place) -> None:
    tracker = place.tracker()
    names = ["../up", ".._up", "a b", "a_b", "same", "same"]
    tracker.prepare([trial(f"t{i}", name, {}, (0,)) for i, name in enumerate(names)])
    for i in range(len(names)):
        tracker.log_rows(f"t{i}-s0", rows(range(1)), STARTED)
    tracker.close()
    root = place.run_dir / "tensorboard"
    assert len(list(root.glob("*/seed_0/events.out.tfevents.*"))) == len(names)
    assert len(list(place.root.rglob("events.out.tfevents.*"))) == len(names)


def test_tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(None, tmp_path) == (f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlartifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org:5000")
    assert resolve_uri(None, tmp_path) == ("http://example.org:5000", None)
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///x/y.db", Path("/r")) == (f"sqlite:///{tmp_path}/x/y.db", tmp_path / "x/mlartifacts")
    uri = "postgresql+psycopg2://me:secret@db/mlflow"
    assert resolve_uri(uri, tmp_path) == (uri, tmp_path / "mlartifacts")
    assert without_password(uri) == "postgresql+psycopg2://***@db/mlflow"


@pytest.mark.parametrize(
    "uri", ["file:///tmp/mlruns", "mlruns", "ftp://x", "sqlite://", "sqlite:///:memory:", "http://"]
)
def test_uri_that_cannot_work(uri: str, place: Place) -> None:
    with pytest.raises(TrackingError) as caught:
        resolve_uri(uri, place.root)
    assert uri in str(caught.value) and "allowed: sqlite:///FILE" in str(caught.value)
    with pytest.raises(TrackingError):
        Tracker(place.run_dir, "s", "r", uri).prepare(TRIALS)


@pytest.mark.parametrize("kind", ["closed port", "closed database port", "no database", "folder"])
def test_place_that_is_not_there_is_told_at_once(kind: str, place: Place, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (tmp_path / "text.db").write_text("this is not a database")
    uri = {
        "closed port": f"http://user:secret@127.0.0.1:{port}",
        "closed database port": f"postgresql://user:secret@127.0.0.1:{port}/mlflow",
        "no database": f"sqlite:///{tmp_path}/text.db",
        "folder": f"sqlite:///{tmp_path}",
    }[kind]
    start = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        Tracker(place.run_dir, "nested_alpha", "r", uri).prepare(TRIALS)
    assert time.monotonic() - start < 20
    assert "\n" not in str(caught.value) and "allowed:" in str(caught.value)
    assert "secret" not in str(caught.value)
