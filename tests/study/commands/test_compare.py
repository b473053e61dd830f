"""``lora-study compare`` on tiny studies that were really trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SMALL, call, run
from trained import tiny_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Path:
    """The same study twice, and with another learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_run(folder / "one", tiny_backbone)
    tiny_run(folder / "same", tiny_backbone)
    tiny_run(folder / "rate", tiny_backbone, "init_lr=0.03")
    return folder


def as_json(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    code, out, err = call(capsys, "compare", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_same_study_twice_is_identical(runs: Path, capsys) -> None:
    code, out, err = call(capsys, "compare", runs / "one", runs / "same")
    assert code == 0, err
    assert "All 2 configurations: identical." in out and "have the same recorded provenance" in out
    assert "moved the number" in " ".join(out.split()) and max(map(len, out.splitlines()[:-1])) <= 110
    study = json.loads((runs / "one" / "study.json").read_text())
    written = runs / "same" / "report" / f"compare_{study['run_id']}.md"
    assert str(written) in out and "### Verdict by configuration" in written.read_text()
    assert not (runs / "one" / "report").exists()


def test_another_learning_rate_under_the_same_label_is_not_the_same_configuration(runs: Path, tmp_path, capsys) -> None:
    found = as_json(capsys, runs / "one", runs / "rate", "--out", tmp_path / "found.md")
    for one in found["changes"]:
        assert one["verdict"] == "not the same configuration" and one["parameters"] == ["init_lr: 0.01 -> 0.03"]
    assert found["cause"]["named"] != "code change" and "init_lr: 0.01 -> 0.03" in (tmp_path / "found.md").read_text()


def test_the_first_row_that_differs_is_named(runs: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs / "same", tmp_path / "perturbed")
    path = tmp_path / "perturbed" / "metrics.parquet"
    table = pq.read_table(path)
    frame = table.to_pandas()
    trial = frame["trial_id"].iloc[0]
    at = (frame["trial_id"] == trial) & (frame["seed"] == 1) & (frame["name"] == "accuracy") & (frame["task"] == 1)
    assert at.sum() == 1
    place = table.schema.get_field_index("value")
    values = table["value"].to_numpy().copy()
    values[at.to_numpy()] = np.nextafter(values[at.to_numpy()], 2)
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(values)), path)
    changes = as_json(capsys, runs / "one", tmp_path / "perturbed")["changes"]
    verdicts = {one["verdict"]: one for one in changes}
    assert set(verdicts) == {"identical", "not told apart"}
    where = verdicts["not told apart"]["first_difference"]
    assert where["place"] == "task 2, seed 1: eval accuracy" and where["rows"] == 1
    assert where["second"] == np.nextafter(where["first"], 2)


def test_provenance_and_reruns(runs: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs / "same", tmp_path / "other")
    study = json.loads((tmp_path / "other" / "study.json").read_text())
    study["provenance"] |= {"git_commit": "1" * 40, "diff_hash": "2" * 64}
    study["provenance"]["versions"]["torch"] = "2.6.0"
    (tmp_path / "other" / "study.json").write_text(json.dumps(study))
    found = as_json(capsys, runs / "one", tmp_path / "other", "--rerun", runs / "same")
    assert [row[0] for row in found["provenance"]] == ["git_commit", "diff_hash", "versions.torch"]
    assert found["noise"] == {"std": 0.0, "freedom": 4, "source": "measured over 4 reruns"}
    code, out, _ = call(capsys, "compare", runs / "one", tmp_path / "other")
    assert code == 0 and "1" * 12 in out and "1" * 13 not in out and "2.6.0" in out


def test_bad_input_is_one_line_and_exit_code_2(runs: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs / "same", tmp_path / "newer")
    study = json.loads((tmp_path / "newer" / "study.json").read_text())
    (tmp_path / "newer" / "study.json").write_text(json.dumps(study | {"schema_version": 99}))
    shutil.copytree(runs / "same", tmp_path / "unlike")
    for name in ("trials", "metrics"):
        path = tmp_path / "unlike" / f"{name}.parquet"
        table = pq.read_table(path)
        for column in {"trial_id", "configuration"} & set(table.schema.names):
            place = table.schema.get_field_index(column)
            other = pa.array([f"x{value}" for value in table[column].to_pylist()])
            table = table.set_column(place, table.schema.field(place), other)
        pq.write_table(table, path)
    cases = {
        "not a run directory": (runs / "one", tmp_path),
        "no such run directory": (tmp_path / "nowhere", runs / "one"),
        "newer than": (runs / "one", tmp_path / "newer"),
        "no configuration in common": (runs / "one", tmp_path / "unlike"),
        "cannot be written": (runs / "one", runs / "same", "--out", tmp_path),
        "RUN_B": (runs / "one",),
    }
    for hint, words in cases.items():
        code, out, err = call(capsys, "compare", *words)
        lines = err.strip().splitlines()
        assert (code, out, len(lines)) == (2, "", 1) and lines[0].startswith("error: ") and hint in lines[0], (
            hint,
            err,
        )


@pytest.mark.slow
def test_the_same_command_twice(tmp_path: Path, tiny_backbone: str) -> None:
    for name in ("a", "b"):
        words = ("nested_alpha", "--backbone", tiny_backbone, *SMALL, "--seeds", "2", "--out", name, "--quiet")
        run(tmp_path, *words)
    out = run(tmp_path, "compare", "a", "b").stdout
    assert "All 3 configurations: identical." in out
    # What Ray trained is repeated without it, bit for bit.
    replica = sorted((tmp_path / "a" / "checkpoints").iterdir())[0].name
    assert "bit-equal" in run(tmp_path, "rerun", "a", "--replica", replica).stdout
