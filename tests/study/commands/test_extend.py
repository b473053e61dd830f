"""``lora-study extend``: what it adds, that the numbers are those of a run with all seeds, and what it refuses.

Training happens in this process here; ``tests/study/ray_tune/test_extended_runs.py`` extends runs as a user does.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from commands import call, metrics, trials
from trained import tiny_run, train_unfinished

from search_spaces.seeds import MAX_SEED
from study.records.lock import locked
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolve import extension
from study.resolve.extension import changes, further_seeds


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "original", tiny_backbone).path


@pytest.fixture
def run_dir(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray, trackers and a report."""

    def train(directory: RunDirectory, *options: object, retry: bool) -> int:
        train_unfinished(directory, retry)
        return 0

    monkeypatch.setattr("study.commands.extend.train_and_report", train)


def changed(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    collect = extension.collect
    monkeypatch.setattr(extension, "collect", lambda *given: collect(*given) | fields)


def labels(path: Path) -> list[str]:
    return [trial.configuration for trial in RunDirectory.open(path).trials]


def files(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.usefixtures("trained_here")
def test_the_extended_run_is_the_run_that_had_all_seeds_from_the_start(
    run_dir: Path, tmp_path: Path, tiny_backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: content for file, content in files(run_dir / "checkpoints").items()}
    code, _, err = call(capsys, "extend", run_dir, "--seeds", 2)
    assert code == 0 and "further seeds of baseline, alpha=0: 2 each, 4 replicas, about" in err, err
    whole = tiny_run(tmp_path / "whole", tiny_backbone, seeds="4").path
    pd.testing.assert_frame_equal(trials(run_dir), trials(whole))
    pd.testing.assert_frame_equal(metrics(run_dir), metrics(whole))
    assert before.items() <= files(run_dir / "checkpoints").items()
    study, other = (json.loads((path / "study.json").read_text()) for path in (run_dir, whole))
    assert study["seeds"] == other["seeds"] and study["trials"] == other["trials"]
    assert study["looks"] == [dict.fromkeys(labels(run_dir), 2), dict.fromkeys(labels(run_dir), 4)]
    assert other["looks"] == study["looks"][1:]


@pytest.mark.usefixtures("trained_here")
def test_one_configuration_and_then_all(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = labels(run_dir)
    assert call(capsys, "extend", run_dir, "--seeds", 1, "--only", second)[0] == 0
    assert call(capsys, "extend", run_dir, "--seeds", 2, "--quiet")[::2] == (0, "")
    study = RunDirectory.open(run_dir).study
    assert {trial.configuration: trial.seeds for trial in study.trials} == {
        first: (0, 1, 2, 3),
        second: (0, 1, 2, 3, 4),
    }
    assert study.looks == ({first: 2, second: 2}, {first: 2, second: 3}, {first: 4, second: 5})
    assert study.seeds == (0, 1, 2, 3, 4) and [len(one.seeds) for one in study.extensions] == [1, 2]
    frame = pd.read_parquet(run_dir / "trials.parquet")
    assert len(frame) == 9 and set(frame["status"]) == {"finished"}


@pytest.mark.usefixtures("trained_here")
def test_a_failed_replica_stays_as_it_is(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = RunDirectory.open(run_dir).trials[0]
    failed = Outcome(status="failed", error="out of memory")
    write_outcome(run_dir / "checkpoints" / trial.replica_id(1), failed)
    code, _, err = call(capsys, "extend", run_dir, "--seeds", 1)
    assert code == 0 and "failed before: 1 of 4 replicas" in err
    run = RunDirectory.open(run_dir)
    assert run.outcome(trial.replica_id(1)) == failed
    assert [seed for one, seed in run.unfinished()] == [1] and run.unfinished(failed=False) == []


def test_a_dry_run_says_what_and_how_long_and_changes_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run_dir)
    code, out, err = call(capsys, "extend", run_dir, "--seeds", 3, "--dry-run")
    assert code == 0 and "2, 3, 4" in out and "look 2" in out and "about" in out, out + err
    second = RunDirectory.open(run_dir).trials[1]
    code, out, _ = call(
        capsys, "extend", run_dir, "--seeds", 3, "--only", second.trial_id, "--only", second.configuration,
        "--dry-run", "--json",
    )  # fmt: skip
    (entry,) = json.loads(out)
    assert entry["seeds"] == [2, 3, 4] and entry["seeds_before"] == 2 and entry["seconds"] > 0
    assert entry["configuration"] == second.configuration and entry["resources"]["device"] == "cpu"
    assert files(run_dir) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "1..9998 is allowed"),
        (["--seeds", "-1"], "1..9998 is allowed"),
        (["--seeds", "9999"], "1..9998 is allowed"),
        (["--seeds", "1,2"], "valid integer"),
        ([], "--seeds"),
        (["--seeds", "1", "--only", "alhpa=0"], "did you mean 'alpha=0'?; allowed: baseline, alpha=0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    run_dir: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run_dir / "checkpoints"), (run_dir / "study.json").read_bytes()
    code, out, err = call(capsys, "extend", run_dir, *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1 and not out, err
    assert (files(run_dir / "checkpoints"), (run_dir / "study.json").read_bytes()) == before


def test_what_is_no_finished_run_is_refused(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    code, _, err = call(capsys, "extend", tmp_path / "folder", "--seeds", 1)
    assert code == 2 and "not a run directory" in err and not list((tmp_path / "folder").iterdir())
    with locked(run_dir):
        for words in (["extend", run_dir, "--seeds", 1], ["resume", run_dir]):
            code, _, err = call(capsys, *words)
            assert code == 2 and "works on this run" in err and "process" in err
    (run_dir / "checkpoints" / RunDirectory.open(run_dir).trials[0].replica_id(0) / "outcome.json").unlink()
    code, _, err = call(capsys, "extend", run_dir, "--seeds", 1)
    assert code == 2 and "1 of 4 replicas are not finished" in err and f"lora-study resume {run_dir}" in err


def test_a_search_is_refused(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = RunDirectory.open(run_dir)
    opened.study = opened.study.model_copy(update={"search": "a search"})
    monkeypatch.setattr(RunDirectory, "open", lambda path: opened)
    code, _, err = call(capsys, "extend", run_dir, "--seeds", 1)
    assert code == 2 and "--confirm KxN" in err and len(err.strip().splitlines()) == 1


CHANGES = [
    ({"source_hash": "f" * 64, "git_commit": "0123456789ab"}, "code (commit "),
    ({"source_hash": "f" * 64}, "code (both at commit "),
    ({"data_hash": "f" * 64}, "data;"),
    ({"weights_hash": "f" * 64}, "weights;"),
    ({"versions": {"torch": "1.0"}}, "now 1.0"),
]


@pytest.mark.parametrize(("fields", "said"), CHANGES)
def test_other_code_data_or_versions_are_not_mixed_in_silently(
    run_dir: Path, fields: dict, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(monkeypatch, **fields)
    before = (run_dir / "study.json").read_bytes()
    for words in ([], ["--dry-run"]):
        code, _, err = call(capsys, "extend", run_dir, "--seeds", 1, *words)
        assert code == 2 and said in err and "--allow-changes" in err and len(err.strip().splitlines()) == 1, err
    assert (run_dir / "study.json").read_bytes() == before


@pytest.mark.usefixtures("trained_here")
def test_what_is_mixed_knowingly_is_on_record(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(monkeypatch, source_hash="f" * 64, git_commit="0" * 40)
    code, _, err = call(capsys, "extend", run_dir, "--seeds", 1, "--allow-changes")
    assert code == 0 and "mixed with it: code (commit " in err
    frame = pd.read_parquet(run_dir / "trials.parquet").set_index("seed")
    assert set(frame.loc[2, "git_commit"]) == {"0" * 40} and not set(frame.loc[[0, 1], "git_commit"]) & {"0" * 40}
    (one,) = RunDirectory.open(run_dir).study.extensions
    assert one.changed[0].startswith("code") and one.provenance["source_hash"] == "f" * 64


@pytest.mark.usefixtures("trained_here")
def test_a_single_seed_on_another_machine(
    tmp_path: Path, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny_run(tmp_path / "one", tiny_backbone, seeds="7,", trials=1)
    changed(monkeypatch, hardware={"cpu": "another", "gpus": []})
    code, _, err = call(capsys, "extend", run.path, "--seeds", 2)
    assert code == 0 and "cpu: another, originally" in err and "the last digits may differ" in err
    study = RunDirectory.open(run.path).study
    assert run.study.resources.pack == 1 and study.resources.pack == "auto" and study.seeds == (7, 8, 9)


def test_versions_that_change_no_number_are_no_change() -> None:
    before = {"source_hash": "a", "git_commit": "b", "versions": {"mlflow": "3.1", "torch": "2.6"}}
    now = {"source_hash": "a", "git_commit": "c", "diff_hash": "d", "versions": {"mlflow": "3.2", "torch": "2.6"}}
    assert changes(before, now) == []
    assert changes(before | {"source_hash": None}, now) == ["code (commit b, now c*)"]


def test_the_next_seeds_are_those_that_never_ran() -> None:
    assert further_seeds((0, 1, 2), 2) == (3, 4)
    assert further_seeds((7, 1993), 2) == (1994, 1995)
    assert further_seeds((MAX_SEED - 1, 0), 3) == (MAX_SEED, 1, 2)
