"""A search's jobs as packs: no larger than ``--pack``, whatever their size the same search; stops in later rungs."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from synthetic_search import SMALL, NoTracking, Stopped, begin, drive

from analysis.report import build_report
from study.ray_tune import tuner
from study.ray_tune.packs import Choice
from study.ray_tune.search_run import SearchRun, expected_jobs, expected_replicas
from study.ray_tune.searcher import SeedSearcher
from study.records.run_directory import RunDirectory
from study.records.search_table import export
from study.search.journal import JOURNAL_FILE, read_journal
from study.terminal.progress import Progress


def sizes(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, jobs: float = float("inf")) -> Counter[int]:
    """Drive a search; pack size -> how many such packs were handed out."""
    found: Counter[int] = Counter()
    suggest = SeedSearcher.suggest

    def counted(self: SeedSearcher, trial_id: str) -> object:
        task = suggest(self, trial_id)
        if isinstance(task, dict):
            found[len(task["pack"]["replica_ids"])] += 1
        return task

    with monkeypatch.context() as patched:
        patched.setattr(SeedSearcher, "suggest", counted)
        drive(run, jobs)
    return found


def work_of(run: RunDirectory) -> SearchRun:
    return SearchRun(run, NoTracking(), Progress(run.study, run.trials, quiet=True, done_before=set()))  # type: ignore[arg-type]


@pytest.mark.slow
def test_packs_are_no_larger_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin(tmp_path / "whole", pack="8", trials=4)
    assert set(sizes(whole, monkeypatch)) == {2, 4}  # two seeds a job, four in the confirmation
    for pack, expected in (("1", {1}), ("3", {1, 2, 3})):
        run = begin(tmp_path / pack, pack=pack, trials=4)
        assert set(sizes(run, monkeypatch)) == expected
        assert (run.path / JOURNAL_FILE).read_bytes() == (whole.path / JOURNAL_FILE).read_bytes()


@pytest.mark.parametrize("jobs", [2, 7])
def test_a_search_killed_between_the_packs_of_a_job_goes_on(tmp_path: Path, jobs: int) -> None:
    whole, cut = (begin(tmp_path / name, pack="1", trials=4) for name in ("whole", "cut"))
    drive(whole)
    with pytest.raises(Stopped):
        drive(cut, jobs)
    drive(RunDirectory.open(cut.path))
    assert (cut.path / JOURNAL_FILE).read_bytes() == (whole.path / JOURNAL_FILE).read_bytes()
    assert not RunDirectory.open(cut.path).unfinished()


@pytest.mark.slow
def test_auto_is_measured_before_the_first_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path / "run", pack="auto")
    work, order = work_of(run), []

    def chosen(jobs: Counter[int], at_once: int, step_s: object) -> Choice:
        order.append("measured")
        assert jobs == expected_jobs(run.study, work.search) == {2: 12, 4: 4}
        return Choice(2, "because")

    monkeypatch.setattr(tuner, "choose", chosen)
    monkeypatch.setattr(tuner.ray, "remote", lambda **share: lambda task: None)
    monkeypatch.setattr(tuner, "_tune", lambda *arguments: order.append("searched"))
    tuner.search(work, tuner.Session())
    assert order == ["measured", "searched"] and RunDirectory.open(run.path).study.resources.pack == 2
    assert expected_replicas(run.study, work.search) == 12 * 2 + 4 * 4
    assert len(work.samples()) == 3 + 32


def test_a_run_is_stopped_in_a_later_rung_too(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", trials=14, search={"stopping": "asha:1,2"})
    work = drive(run)
    rungs: dict[int, int] = {}
    steps = Counter[int]()
    for event in read_journal(run.path / JOURNAL_FILE)[0]:
        if event["event"] == "ask":
            rungs[event["trial"]] = event["rung"]
        elif event["event"] == "step":
            steps[rungs[event["trial"]]] += 1
    assert steps[0] and steps[1]
    stopped = [
        one for one in work.search.configurations.values() if one.state == "eliminated" and len(one.results) == 4
    ]
    assert all(one.rung == 0 for one in stopped)


@pytest.mark.slow
def test_what_a_constraint_excludes_is_in_the_table_and_trains_nothing(tmp_path: Path) -> None:
    run = begin(
        tmp_path / "run",
        settings=[*SMALL[:3], "rank=int:2:16", "epochs=1"],
        search={"constraints": ["trainable_params<=20000"]},
    )
    drive(run)
    export(run)
    frame = pd.read_parquet(run.path / "search.parquet")
    out = frame[frame["state"] == "infeasible"]
    assert len(out) and (out["seeds"] == 0).all() and not out["feasible"].any()
    assert (out["violation.trainable_params<=20000"] > 0).all()
    assert (frame.loc[frame["seeds"] > 0, "violation.trainable_params<=20000"] <= 0).all()
    assert "infeasible" in next(table for table in build_report(run.path).tables if table.name == "race").columns
