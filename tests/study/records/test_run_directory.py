"""Records outlive the checkpoints that they were made from."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from commands import call, metrics, trials
from trained import tiny_run, train_unfinished

from study.records.run_directory import RunDirectory


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> RunDirectory:
    return tiny_run(tmp_path_factory.mktemp("runs") / "finished", tiny_backbone)


@pytest.fixture
def copied(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunDirectory.open(tmp_path / "copied")


def tables(run: RunDirectory) -> list[bytes]:
    return [(run.path / name).read_bytes() for name in ("trials.parquet", "metrics.parquet")]


@pytest.mark.parametrize("deleted", ["all", "one", "empty folder left"])
def test_a_report_on_a_run_without_its_checkpoints_loses_no_row(finished, copied, deleted, capsys) -> None:
    first = finished.study.trials[0].replica_id(0)
    shutil.rmtree(copied.folder(first) if deleted == "one" else copied.path / "checkpoints")
    if deleted == "empty folder left":
        (copied.path / "checkpoints").mkdir()
    assert call(capsys, "report", copied.path)[0] == 0
    assert tables(copied) == tables(finished)


def test_what_was_deleted_is_trained_anew_by_a_resume(finished, copied) -> None:
    shutil.rmtree(copied.folder(finished.study.trials[0].replica_id(0)))
    assert len(copied.unfinished()) == 1
    train_unfinished(copied)
    assert not copied.unfinished()
    pd.testing.assert_frame_equal(trials(copied.path), trials(finished.path))
    pd.testing.assert_frame_equal(metrics(copied.path), metrics(finished.path))
