"""Searches as studies: from the command line over the journal to records and report. Training is replayed from a
formula except in the slow test, which runs a real one."""

import json
import shutil
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from commands import call
from synthetic_search import Stopped, accuracy, begin, drive

from analysis.report import build_report
from study.commands.ui import command_of
from study.ray_tune.search_run import confirmed
from study.records.optuna_mirror import build_mirror
from study.records.run_directory import RunDirectory, is_searched
from study.records.search_table import export
from study.search.journal import JOURNAL_FILE, JournalWriter, read_journal
from study.search.plan import restored
from trainables.errors import InputError

CHANGING = {"duration_s", "data_s", "train_s", "eval_s", "peak_memory_mib", "git_commit", "diff_hash"}
"""Columns that a clock changes, or an edit of the code between two tests."""


def tables(run: RunDirectory) -> dict[str, pd.DataFrame]:
    export(run)
    frames = {name: pd.read_parquet(run.path / f"{name}.parquet") for name in ("search", "importance", "trials")}
    return {name: frame.drop(columns=[c for c in frame if c in CHANGING]) for name, frame in frames.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = begin(tmp_path_factory.mktemp("search") / "run")
    drive(run)
    return run


def test_a_search_races_confirms_on_fresh_seeds_and_tests_only_then(finished: RunDirectory) -> None:
    search = restored(finished.study, finished.path)
    assert search.finished and len(search.configurations) + len(search.duplicates) == 8
    in_search = [trial for trial in finished.trials if is_searched(trial)]
    fresh = [trial for trial in finished.trials if not is_searched(trial)]
    assert {seed for trial in in_search for seed in trial.seeds} == {0, 1, 2, 3}
    assert all(trial.seeds == (4, 5, 6, 7) for trial in fresh)
    assert 3 <= len(fresh) <= 4 and len(confirmed(finished.study, search)) == len(fresh)
    assert "alpha=0.1, fresh seeds" in {trial.configuration for trial in fresh}
    frames = tables(finished)
    metrics = pd.read_parquet(finished.path / "metrics.parquet")
    tested = set(metrics.loc[metrics["phase"] == "eval", "trial_id"])
    assert tested == {trial.trial_id for trial in fresh}
    done = frames["trials"].set_index("replica_id")
    assert done.loc[[f"{in_search[0].trial_id}-s0"], "metric.final_val_accuracy"].notna().all()
    assert done.loc[[f"{in_search[0].trial_id}-s0"], "metric.final_accuracy"].isna().all()


def test_the_search_table_says_what_every_configuration_is_worth(finished: RunDirectory) -> None:
    frame = tables(finished)["search"].set_index("trial")
    name = "mean of final_val_accuracy"
    assert len(frame) == 8 and set(frame["state"]) <= {"completed", "eliminated", "duplicate"}
    best = frame[frame["place"] == 1].iloc[0]
    trials = {trial.trial_id: trial for trial in finished.trials}
    params, fresh = trials[best["trial_id"]].params, trials[best["fresh_trial_id"]]
    assert best["seeds"] == 4
    assert best[f"value.{name}"] == pytest.approx(np.mean([accuracy(params, seed, 3) for seed in range(4)]))
    known = [accuracy(params, seed, 3) for seed in fresh.seeds]
    assert best[f"fresh.{name}"] == pytest.approx(np.mean(known))
    assert best[f"gap.{name}"] == pytest.approx(best[f"value.{name}"] - best[f"fresh.{name}"])
    assert best[f"gap_low.{name}"] < best[f"gap.{name}"] < best[f"gap_high.{name}"]
    assert frame.loc[frame["fresh_trial_id"].isna(), f"fresh.{name}"].isna().all()


@pytest.mark.parametrize("jobs", [9, *(pytest.param(jobs, marks=pytest.mark.slow) for jobs in (1, 5, 14))])
def test_a_killed_search_ends_like_an_undisturbed_one(finished: RunDirectory, tmp_path: Path, jobs: int) -> None:
    run = begin(tmp_path / "run")
    with pytest.raises(Stopped):
        drive(run, jobs)
    with (run.path / JOURNAL_FILE).open("a") as file:
        file.write('{"event": "ask", "tri')  # the line that the kill interrupted
    drive(RunDirectory.open(run.path))
    again = RunDirectory.open(run.path)
    assert (run.path / JOURNAL_FILE).read_bytes() == (finished.path / JOURNAL_FILE).read_bytes()
    for name, frame in tables(finished).items():
        pd.testing.assert_frame_equal(tables(again)[name], frame)


def test_a_search_without_its_checkpoints_keeps_its_tables(finished: RunDirectory, tmp_path: Path) -> None:
    export(finished)
    shutil.copytree(finished.path, tmp_path / "copied", ignore=shutil.ignore_patterns("checkpoints"))
    export(RunDirectory.open(tmp_path / "copied"))
    for name in ("trials", "metrics", "search", "importance"):
        assert (tmp_path / "copied" / f"{name}.parquet").read_bytes() == (
            finished.path / f"{name}.parquet"
        ).read_bytes()


def test_packs_that_fall_behind_are_stopped_and_a_resume_stops_them_again(tmp_path: Path) -> None:
    stopping = {"search": {"stopping": "asha:1,2"}}
    whole, cut = begin(tmp_path / "whole", **stopping), begin(tmp_path / "cut", **stopping)
    drive(whole)
    frame = tables(whole)["search"]
    assert (frame["state"] == "pruned").any() and frame["pruned"].sum() >= 2
    assert frame.loc[(frame["state"] == "pruned") & (frame["trial"] > 0), "fresh_trial_id"].isna().all()
    replicas = pd.read_parquet(whole.path / "trials.parquet")
    assert (replicas["status"] == "pruned").sum() == frame["pruned"].sum()
    assert replicas.loc[replicas["status"] == "pruned", "metric.final_val_accuracy"].isna().all()
    with pytest.raises(Stopped):
        drive(cut, 6)
    drive(RunDirectory.open(cut.path))
    pd.testing.assert_frame_equal(tables(RunDirectory.open(cut.path))["search"], frame)


def test_diverged_seeds_count_against_their_configuration(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    drive(run, diverging=0.03)
    frame = tables(run)["search"]
    failed = frame[frame["failed"] > 0]
    assert len(failed) and (failed["value.mean of final_val_accuracy"] == 0.0).all()
    assert frame.loc[frame["place"] == 1, "failed"].item() == 0
    assert not RunDirectory.open(run.path).unfinished()


def test_a_copy_for_the_dashboard_is_made_when_it_is_asked_for(finished: RunDirectory, tmp_path: Path) -> None:
    search = restored(finished.study, finished.path)
    for _ in range(2):
        url = build_mirror(finished.study, search, tmp_path)
    trials = optuna.load_study(study_name="nested_search", storage=url).trials
    assert len(trials) == len(search.configurations)
    by_number = {trial.user_attrs["trial"]: trial for trial in trials}
    best = search.best(1)[0]
    assert by_number[best.trial_number].value == pytest.approx(best.values["mean of final_val_accuracy"])


def test_a_search_for_several_objectives_shows_them_all_and_its_front(tmp_path: Path) -> None:
    objectives = ["final_val_accuracy", "spread:final_val_accuracy", "trainable_params",
                  "cvar:final_val_accuracy,fraction=0.25", "cvar:final_val_accuracy,fraction=0.5"]  # fmt: skip
    run = begin(tmp_path / "run", search={"objectives": objectives, "sampler": "nsga3"})
    drive(run)
    export(run)
    report = build_report(run.path)
    table = next(table for table in report.tables if table.name == "confirmed")
    values = "final held-out accuracy (%), fresh seeds"
    assert {f"spread of {values}", "mean of trainable parameters, fresh seeds", f"cvar(0.25) of {values}",
            f"cvar(0.5) of {values}", "on the front"} <= set(table.columns)  # fmt: skip
    front = pd.read_parquet(run.path / "search.parquet").query("front == True")["configuration"]
    shown = next(table for table in report.tables if table.name == "search_front")
    assert {row[0] for row in shown.rows} == set(front)


def test_servers_listen_on_this_machine_alone(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    for server in ("mlflow", "tensorboard"):
        words, _ = command_of(finished.path, server, 8123)  # type: ignore[arg-type]
        assert words[words.index("--host") + 1] == "127.0.0.1" and "8123" in words
    monkeypatch.setattr("study.commands.ui.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        command_of(finished.path, "optuna", 8123)


def test_a_damaged_journal_is_refused(finished: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_FILE
    lines = (finished.path / JOURNAL_FILE).read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + "nonsense\n" + "".join(lines[3:]))
    with pytest.raises(InputError, match="line 4 is not an event"):
        read_journal(path)
    path.write_text("".join(lines[:5]) + '{"half')
    JournalWriter(path)
    assert path.read_text() == "".join(lines[:5])


BAD = {
    "log range with 0": (["--set", "lr_fast=log:0:0.1"], "bounds > 0"),
    "empty range": (["--set", "lr_fast=log:0.1:0.01"], "the lower bound is above"),
    "contradiction": (["--set", "consolidation=false", "--set", "alpha=0.1"], "contradicts the space"),
    "beyond the field": (["--set", "alpha=uniform:0:2"], "consolidation_alpha=2"),
    "beyond the backbone": (["--set", "rank=int:2:200"], "allowed: 1..64"),
    "unknown field": (["--set", "lr_fats=log:0.01:0.1"], "did you mean"),
    "test metric": (["--objective", "final_accuracy"], "does not look at the test set"),
    "unknown metric": (["--objective", "speed"], "allowed: final_val_accuracy"),
    "unknown statistic": (["--objective", "median:final_val_accuracy"], "allowed: mean"),
    "objective option": (["--objective", "cvar:final_val_accuracy,fraction=2"], "less than or equal to 1"),
    "no threshold": (["--objective", "collapse_rate:final_val_accuracy"], "threshold"),
    "unknown constraint": (["--constraint", "flops<=1"], "'flops'"),
    "no constraint": (["--constraint", "trainable_params"], "NAME<=NUMBER"),
    "unknown sampler": (["--sampler", "cma"], "allowed: tpe"),
    "too many objectives": (
        ["--sampler", "nsga2", *(w for m in ("final_val_accuracy", "worst:final_val_accuracy", "trainable_params",
                                             "total_params") for w in ("--objective", m))],
        "takes at most 3 objectives",
    ),
    "racing": (["--racing", "halving:8,2"], "rising"),
    "stopping": (["--stopping", "asha"], "asha:GRACE,REDUCTION"),
    "confirm": (["--confirm", "5"], "KxN"),
    "trials": (["--trials", "0"], ">= 1"),
    "replicas": (["--replicas", "1"], "at least the first rung's 2"),
    "seeds": (["--seeds", "3"], "8 distinct seeds"),
    "no validation": (["--set", "data.val_fraction=0"], "data.val_fraction above 0"),
    "evaluate": (["--set", "evaluate=test"], "a search looks at held-out training examples"),
}  # fmt: skip


@pytest.mark.parametrize("words, hint", BAD.values(), ids=BAD.keys())
def test_bad_searches_are_one_line_and_exit_code_2(words: list[str], hint: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "nested_search", "--profile", "embedded", "--device", "cpu", "--dry-run", *words)
    lines = err.strip().splitlines()
    assert code == 2 and out == ""
    assert len(lines) == 1 and lines[0].startswith("error: ") and hint in lines[0]


def test_a_space_with_impossible_configurations_is_refused(capsys) -> None:
    words = ["--profile", "embedded", "--device", "cpu", "--dry-run", "--set", "freeze_lora_steps=int:0:400:10"]
    code, _, err = call(capsys, "hybrid_search", *words, "--set", "steps_per_epoch=12")
    assert code == 2 and "impossible configurations (freeze_lora_steps=" in err


def test_search_options_are_refused_where_nothing_is_searched(capsys) -> None:
    code, _, err = call(capsys, "nested_alpha", "--sampler", "tpe", "--dry-run")
    assert code == 2 and "--sampler: nested_alpha is no search" in err and "nested_search" in err


def test_dry_run_shows_the_space_and_what_is_tried_first(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["nested_search", "--profile", "embedded", "--device", "cpu", "--dry-run", "--set", "alpha=0.1",
             "--set", "lr_fast=log:1e-2:1e-1"]  # fmt: skip
    code, out, err = call(capsys, *words)
    assert code == 0 and "log:0.01:0.1" in out and "first suggestions" in out
    code, out, _ = call(capsys, *words, "--json")
    trials = json.loads(out)
    # alpha=0.5 has become alpha=0.1
    assert [trial["configuration"] for trial in trials] == ["alpha=0.1", "baseline"]
    assert all(trial["params"]["evaluate"] == "validation" and trial["trainable_params"] > 0 for trial in trials)
    assert all(trial["seeds"] == [0, 1] for trial in trials)


def test_what_a_narrower_space_leaves_out_is_said(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["nested_search", "--profile", "embedded", "--device", "cpu", "--dry-run", "--json"]
    code, out, err = call(capsys, *words, "--set", "lr_fast=log:1e-3:2e-2")
    assert code == 0 and [trial["configuration"] for trial in json.loads(out)] == ["baseline"]
    assert "'alpha=0.1' is outside the space" in err
