"""``lora-study rerun``: a replica trained again has the same bits, and what was doctored is named."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands import call
from safetensors.torch import load_file, save_file
from trained import tiny_run

from analysis.io.records import read_run
from study.commands.rerun import differences
from study.records.run_directory import Outcome, RunDirectory, write_outcome


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> RunDirectory:
    return tiny_run(tmp_path_factory.mktemp("runs") / "original", tiny_backbone)


@pytest.fixture(scope="module")
def again(original: RunDirectory) -> RunDirectory:
    """The replica of ``chosen``, trained again by the command."""
    path = original.path.with_name("again")
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files(original)}
    with pytest.raises(SystemExit) as stopped:
        from study.cli import main

        main(["rerun", str(original.path), "--replica", chosen(original)[0], "--out", str(path)])
    assert stopped.value.code == 0
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files(original)} == before
    return RunDirectory.open(path)


def files(run: RunDirectory) -> list[Path]:
    return sorted(path for path in run.path.rglob("*") if path.is_file())


def chosen(run: RunDirectory):
    trial = run.study.trials[1]
    return trial.replica_id(1), trial, 1


def found(run: RunDirectory, again: RunDirectory) -> list[str]:
    return differences(read_run(run.path), run, again, *chosen(run)[1:])


@pytest.fixture
def doctored(original: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(original.path, tmp_path / "doctored")
    return RunDirectory.open(tmp_path / "doctored")


def test_a_finished_replica_is_bit_equal_and_left_a_run_to_compare(original, again, capsys) -> None:
    assert found(original, again) == []
    assert [seed for _, seed in again.replicas] == [1] and again.study.run_id != original.study.run_id
    code, out, err = call(capsys, "compare", original.path, again.path)
    assert code == 0 and out.splitlines()[1].startswith("- Bit-equal: "), out + err


def test_a_doctored_row_is_named_with_its_gap(doctored, again) -> None:
    path = doctored.path / "metrics.parquet"
    table = pq.read_table(path)
    frame = table.to_pandas()
    trial, seed = chosen(doctored)[1:]
    at = (frame["trial_id"] == trial.trial_id) & (frame["seed"] == seed)
    at &= (frame["name"] == "accuracy") & (frame["phase"] == "eval") & (frame["task"] == 0)
    values = frame["value"].to_numpy().copy()
    values[at.to_numpy()] += 0.25
    place = table.schema.get_field_index("value")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(values)), path)
    (line,) = found(doctored, again)
    assert line.startswith("first row of metrics.parquet that differs: task 1, seed 1: eval accuracy")
    assert "(by -0.25)" in line and "1 of " in line


def test_a_doctored_checkpoint_is_named(doctored, again) -> None:
    weights = doctored.checkpoints(chosen(doctored)[0])[-1]
    tensors = load_file(weights)
    tensors["head.bias"].view(-1)[0] += 0.5
    save_file(tensors, weights)
    rows_file = weights.with_suffix(".json")
    content = json.loads(rows_file.read_text())
    row = next(row for row in content["rows"] if row["phase"] == "train" and row["name"] == "loss")
    row["value"] *= 2
    rows_file.write_text(json.dumps(content))
    rows, tensor = found(doctored, again)
    assert rows.startswith("first row of the last checkpoint that differs: task 1") and "train loss" in rows
    assert "head.bias, by at most 0.5 in 1 of" in tensor and "1 of" in tensor


def test_signs_of_zero_and_nan_count_as_bits(doctored, original) -> None:
    weights = doctored.checkpoints(chosen(doctored)[0])[-1]
    tensors = load_file(weights) | {"odd": torch.tensor([0.0, float("nan")])}
    save_file(tensors, weights)
    shutil.copytree(doctored.path, doctored.path.with_name("twin"))
    twin = RunDirectory.open(doctored.path.with_name("twin"))
    assert found(doctored, twin) == []
    save_file(tensors | {"odd": torch.tensor([-0.0, float("nan")])}, weights)
    assert "first tensor" in found(doctored, twin)[0]
    assert "in one checkpoint alone: odd" in found(original, twin)[0]


@pytest.mark.slow
def test_a_doctored_final_metric_and_other_versions(doctored, capsys) -> None:
    path = doctored.path / "trials.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("metric.final_accuracy")
    raised = pa.array([value + 0.1 for value in table["metric.final_accuracy"].to_pylist()])
    pq.write_table(table.set_column(place, table.schema.field(place), raised), path)
    study = json.loads((doctored.path / "study.json").read_text())
    study["provenance"]["versions"]["torch"] = "2.6.0"
    (doctored.path / "study.json").write_text(json.dumps(study))
    code, out, err = call(capsys, "rerun", doctored.path, "--replica", chosen(doctored)[0], "--json")
    assert code == 1, err
    content = json.loads(out)
    (line,) = content["differences"]
    assert line.startswith("final final_accuracy: ") and content["bit_equal"] is False
    assert any(note.startswith("versions.torch: 2.6.0 originally") for note in content["changed_since"])


def test_bad_input_is_one_line_and_exit_code_2(doctored, tmp_path: Path, capsys) -> None:
    name = chosen(doctored)[0]
    failed, waiting = (doctored.study.trials[0].replica_id(seed) for seed in (0, 1))
    write_outcome(doctored.folder(failed), Outcome(status="failed", error="x"))
    (doctored.folder(waiting) / "outcome.json").unlink()
    cases = {
        f"allowed: {doctored.study.trials[1].replica_id(0)}, {name}": (doctored.path, "--replica", "nobody"),
        "has status failed": (doctored.path, "--replica", failed),
        "has status interrupted": (doctored.path, "--replica", waiting),
        "not a run directory": (tmp_path, "--replica", name),
        "lies in the run": (doctored.path, "--replica", name, "--out", doctored.path / "new"),
        "not an empty folder": (doctored.path, "--replica", name, "--out", tmp_path),
        "--replica": (doctored.path,),
    }
    before = files(doctored)
    for hint, words in cases.items():
        code, out, err = call(capsys, "rerun", *words)
        lines = err.strip().splitlines()
        assert (code, out, len(lines)) == (2, "", 1) and lines[0].startswith("error: ") and hint in lines[0], (
            hint,
            err,
        )
    assert files(doctored) == before
