"""``export --parquet``: many runs as one data set that every reader opens."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import call
from synthetic import make_run, make_tuning_run

from analysis.io.records import METRICS_SCHEMA, read_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of one study and one of another, with other parameters and metrics."""
    made = [
        make_run(tmp_path / "a", {"x": [0.4, 0.5]}),
        make_run(tmp_path / "b", {"x": [0.4], "y": [0.3]}),
        make_tuning_run(tmp_path / "c", {"lora": [0.8], "norm": [0.7]}),
    ]
    for path, study, run_id in zip(made, ("first", "first", "second"), ("r-1", "r-2", "r-1"), strict=True):
        rename(path, study=study, run_id=run_id)
    return made


def rename(path: Path, **columns: object) -> None:
    """Give trials.parquet other constants."""
    table = pq.read_table(path / "trials.parquet")
    for name, value in columns.items():
        others = table.select([column for column in table.schema.names if column != name])
        table = others.append_column(name, [[value] * table.num_rows])
    pq.write_table(table, path / "trials.parquet")


def test_runs_with_other_columns_merge_and_pandas_sees_all(runs: list[Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "set"
    code, text, err = call(capsys, "export", *runs, "--parquet", "--out", out)
    assert code == 0, err
    assert "first r-1: 2 replicas" in text and str(out / "trials") in text
    frame = pd.read_parquet(out / "trials")
    assert len(frame) == 2 + 2 + 2
    assert frame.groupby(["study", "run_id"], observed=True).size().to_dict() == {
        ("first", "r-1"): 2, ("first", "r-2"): 2, ("second", "r-1"): 2,
    }  # fmt: skip
    tuning = frame[frame["study"] == "second"]
    assert set(tuning["param.method"]) == {"lora", "norm"} and tuning["param.lr_fast"].isna().all()
    assert frame.loc[frame["study"] == "first", "metric.final_top1"].isna().all()
    assert tuning["metric.final_top1"].tolist() == read_run(runs[2]).trials["metric.final_top1"].tolist()
    rows = pd.read_parquet(out / "metrics")
    assert len(rows) == sum(len(read_run(path).metrics) for path in runs)
    one = rows[(rows["study"] == "first") & (rows["run_id"] == "r-2")].reset_index(drop=True)
    source = pd.read_parquet(runs[1] / "metrics.parquet")
    pd.testing.assert_frame_equal(one[source.columns], source, check_dtype=False)
    file = pq.read_schema(out / "metrics" / "study=first" / "run_id=r-1" / "metrics.parquet")
    assert file.metadata[b"schema_version"] == b"1" and file.field("value").metadata == METRICS_SCHEMA.field(
        "value"
    ).metadata  # fmt: skip


def test_exporting_again_changes_nothing_and_a_longer_run_replaces_its_past(runs, tmp_path: Path, capsys) -> None:
    out = tmp_path / "set"
    for path in runs:
        assert call(capsys, "export", path, "--parquet", "--out", out)[0] == 0
    one_by_one = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    code, text, _ = call(capsys, "export", *runs, "--parquet", "--out", out)
    assert code == 0 and text.count("replaced") == 3
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == one_by_one
    longer = make_run(tmp_path / "longer", {"x": [0.4, 0.5, 0.6]})
    rename(longer, study="first", run_id="r-1")
    call(capsys, "export", longer, "--parquet", "--out", out)
    frame = pd.read_parquet(out / "trials")
    assert len(frame) == 3 + 2 + 2 and not frame.duplicated(["study", "run_id", "trial_id", "seed"]).any()


def test_a_parameter_with_several_types(runs, tmp_path: Path, capsys) -> None:
    for path, value in zip(runs, (3, 0.5, True), strict=True):
        rename(path, **{"param.depth": value})
    call(capsys, "export", *runs[:2], "--parquet", "--out", tmp_path / "numbers")
    assert set(pd.read_parquet(tmp_path / "numbers" / "trials")["param.depth"]) == {3.0, 0.5}
    call(capsys, "export", *runs, "--parquet", "--out", tmp_path / "mixed")
    assert set(pd.read_parquet(tmp_path / "mixed" / "trials")["param.depth"]) == {"3", "0.5", "true"}


def test_duckdb_and_polars_read_it_as_one_table(runs: list[Path], tmp_path: Path, capsys) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    call(capsys, "export", *runs, "--parquet", "--out", tmp_path / "set")
    expected = pd.read_parquet(tmp_path / "set" / "trials").groupby("study", observed=True)["seed"].size().to_dict()
    query = f"""select study, count(*), count("param.method") from read_parquet('{tmp_path}/set/trials/**/*.parquet',
        hive_partitioning = true) group by study order by study"""
    assert duckdb.sql(query).fetchall() == [("first", expected["first"], 0), ("second", 2, 2)]
    frame = polars.scan_parquet(tmp_path / "set" / "trials", hive_partitioning=True).collect()
    assert frame.height == sum(expected.values()) and frame["param.method"].drop_nulls().len() == 2
    joined = polars.scan_parquet(tmp_path / "set" / "metrics", hive_partitioning=True).join(
        frame.lazy(), on=["study", "run_id", "trial_id", "seed"]
    )
    assert joined.collect().height == sum(len(read_run(path).metrics) for path in runs)


def test_bad_exports_are_one_line_and_write_nothing(runs: list[Path], tmp_path: Path, capsys) -> None:
    full, twin = tmp_path / "full", make_run(tmp_path / "twin", {"x": [0.1]})
    full.mkdir()
    (full / "notes.txt").touch()
    rename(twin, study="first", run_id="r-1")
    newer = make_run(tmp_path / "newer", {"x": [0.1]}, schema_version=2)
    new = tmp_path / "new"
    cases = {
        "allowed: --parquet, --peft": (runs[0], "--out", new),
        "one format": (runs[0], "--parquet", "--peft", "--out", new),
        "with --peft only": (runs[0], "--parquet", "--all", "--out", new),
        "one is allowed": (*runs, "--peft", "--out", new),
        "no such run directory": (*runs, tmp_path / "nowhere", "--parquet", "--out", new),
        "is newer than": (runs[0], newer, "--parquet", "--out", new),
        "given twice": (*runs, twin, "--parquet", "--out", new),
        "notes.txt is no part of a data set": (runs[0], "--parquet", "--out", full),
    }
    for hint, words in cases.items():
        code, out, err = call(capsys, "export", *words)
        lines = err.strip().splitlines()
        assert (code, out, len(lines)) == (2, "", 1) and hint in lines[0], (hint, err)
    assert not new.exists() and [path.name for path in full.iterdir()] == ["notes.txt"]


def test_a_data_set_of_another_version_is_left_alone(runs: list[Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "set"
    call(capsys, "export", runs[0], "--parquet", "--out", out)
    path = out / "trials" / "study=first" / "run_id=r-1" / "trials.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({"schema_version": "0"}), path)
    code, _, err = call(capsys, "export", runs[1], "--parquet", "--out", out)
    assert code == 2 and "schema version 0" in err and len(list(out.rglob("*.parquet"))) == 2
    assert json.loads((runs[1] / "study.json").read_text())["schema_version"] == 1
