"""The Parquet files of a run: what is written, what is refused, what comes back."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import make_run, replica_rows

from analysis.io.records import METRICS_SCHEMA, TRIALS_SCHEMA, RecordsError, read_run, write_metrics, write_trials

TRIAL = {"study": "s", "run_id": "r", "trial_id": "t0", "configuration": "baseline", "seed": 0, "status": "finished"}
METRIC = {"trial_id": "t0", "seed": 0, "phase": "eval", "task": 0, "name": "accuracy", "value": 0.5}


def metrics_of(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def test_a_run_comes_back_as_it_was_written(tmp_path):
    run = read_run(make_run(tmp_path / "run", {"baseline": [0.5, 0.6], "alpha=0.1": [0.4, 0.3]}, tasks=3))
    assert run.study["tasks"] == 3
    assert list(run.trials["replica_id"]) == ["t0-s0", "t0-s1", "t1-s0", "t1-s1"]
    assert list(run.trials["metric.final_accuracy"]) == pytest.approx([0.5, 0.6, 0.4, 0.3])
    assert list(run.trials["param.lr_slow"]) == [0.0, 0.0, 0.005, 0.005]
    loss = run.metrics[run.metrics["name"] == "loss"]
    assert list(loss["step"][:3]) == [0, 10, 20]
    assert run.metrics.loc[run.metrics["phase"] == "eval", "step"].isna().all()


def test_the_share_of_a_step_comes_back_under_its_name_from_older_files(tmp_path):
    run = make_run(tmp_path / "run", {"baseline": [0.5]}, tasks=2)
    older = {**TRIAL, "metric.step_time_s": 0.2}
    write_trials(run / "trials.parquet", [older])
    assert read_run(run).trials["metric.step_share_s"].tolist() == [0.2]
    assert "metric.step_time_s" not in read_run(run).trials
    write_trials(run / "trials.parquet", [{**older, "metric.step_share_s": 0.1}])
    assert read_run(run).trials["metric.step_time_s"].tolist() == [0.2]


def test_every_column_says_its_unit_and_meaning_in_the_file(tmp_path):
    run = make_run(tmp_path / "run", {"baseline": [0.5]}, tasks=2)
    for name, schema in (("metrics.parquet", METRICS_SCHEMA), ("trials.parquet", TRIALS_SCHEMA)):
        stored = pq.read_schema(run / name)
        assert stored.metadata == {b"schema_version": b"1"}
        assert set(schema.names) <= set(stored.names)
        assert all(field.metadata.keys() >= {b"unit", b"meaning"} for field in stored)


def test_the_same_rows_give_the_same_bytes_in_any_order(tmp_path):
    rows = [row for trial in ("b", "a") for seed in (1, 0) for row in replica_rows(trial, seed, 0.5, 3)]
    write_metrics(tmp_path / "first.parquet", rows, trial_order=["b", "a"])
    random.Random(0).shuffle(rows)
    write_metrics(tmp_path / "second.parquet", rows, trial_order=["b", "a"])
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()
    assert list(metrics_of(tmp_path / "first.parquet")["trial_id"].unique()) == ["b", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.parquet", "second.parquet"]


def test_rows_written_again_after_a_resume_count_once_and_the_last_wins(tmp_path):
    again = {**METRIC, "value": 0.7, "wall_s": 9.0}
    other = {**METRIC, "epoch": 0}
    write_metrics(tmp_path / "m.parquet", [METRIC, other, again])
    assert list(metrics_of(tmp_path / "m.parquet")["value"]) == [0.7, 0.5]

    write_trials(tmp_path / "t.parquet", [{**TRIAL, "status": "interrupted"}, TRIAL])
    assert list(metrics_of(tmp_path / "t.parquet")["status"]) == ["finished"]


def test_a_diverged_loss_stays_nan_and_is_not_missing(tmp_path):
    write_metrics(tmp_path / "m.parquet", [{**METRIC, "phase": "train", "name": "loss", "value": float("nan")}])
    value = pq.read_table(tmp_path / "m.parquet")["value"]
    assert value.null_count == 0 and np.isnan(value[0].as_py())


def test_parameters_take_their_type_from_the_values(tmp_path):
    rows = [
        {**TRIAL, "param.rank": 4, "param.lr": 1, "param.on": True, "param.blocks": [9, 11], "param.mix": 1},
        {**TRIAL, "seed": 1, "param.rank": np.int64(8), "param.lr": 0.5, "param.mix": "auto", "metric.ece": 0.1},
    ]
    write_trials(tmp_path / "t.parquet", rows)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "t.parquet")}
    assert {name: types[f"param.{name}"] for name in ("rank", "lr", "on", "blocks", "mix")} == {
        "rank": "int64", "lr": "double", "on": "bool", "blocks": "string", "mix": "string",
    }  # fmt: skip
    table = pq.read_table(tmp_path / "t.parquet").to_pydict()
    assert table["param.blocks"] == ["[9, 11]", None]
    assert table["param.mix"] == ["1", "auto"]
    assert table["metric.ece"] == [None, 0.1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**METRIC, "tsk": 1}, "unknown column 'tsk'"),
        ({**METRIC, "value": None}, "column 'value' is missing"),
        ({**METRIC, "task": "first"}, "does not fit"),
    ],
)
def test_bad_metric_rows_are_refused_and_the_old_file_stays(tmp_path, row, message):
    path = tmp_path / "m.parquet"
    write_metrics(path, [METRIC])
    before = path.read_bytes()
    with pytest.raises(RecordsError, match=message):
        write_metrics(path, [METRIC, row])
    assert path.read_bytes() == before


def test_an_unknown_status_is_refused(tmp_path):
    with pytest.raises(RecordsError, match="'done' is not one of finished, pruned"):
        write_trials(tmp_path / "t.parquet", [{**TRIAL, "status": "done"}])


def test_what_is_not_a_run_directory_is_said_in_one_line(tmp_path):
    for folder, message in ((tmp_path / "none", "no such run directory"), (tmp_path, "not a run directory")):
        with pytest.raises(RecordsError, match=message) as caught:
            read_run(folder)
        assert "\n" not in str(caught.value)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(RecordsError, match="trials.parquet and metrics.parquet missing"):
        read_run(tmp_path)


def test_damaged_files_are_said_in_one_line(tmp_path):
    run = make_run(tmp_path / "run", {"baseline": [0.5]}, tasks=2)
    (run / "metrics.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(RecordsError, match="metrics.parquet: not a readable Parquet file"):
        read_run(run)
    (run / "study.json").write_text("{")
    with pytest.raises(RecordsError, match="study.json: not valid JSON"):
        read_run(run)


@pytest.mark.parametrize(
    ("version", "age"), [("2", "newer than 1"), ("0", "older than 1"), (None, "no schema version")]
)
def test_another_schema_version_is_named(tmp_path, version, age):
    run = make_run(tmp_path / "run", {"baseline": [0.5]}, tasks=2)
    table = pq.read_table(run / "trials.parquet")
    table = table.replace_schema_metadata({"schema_version": version} if version else {})
    pq.write_table(table, run / "trials.parquet")
    with pytest.raises(RecordsError, match=f"trials.parquet: .*{age}"):
        read_run(run)


def test_a_newer_study_file_is_named(tmp_path):
    run = make_run(tmp_path / "run", {"baseline": [0.5]}, tasks=2, schema_version=3)
    assert json.loads((run / "study.json").read_text())["schema_version"] == 3
    with pytest.raises(RecordsError, match="study.json: schema version 3 is newer than 1"):
        read_run(run)
