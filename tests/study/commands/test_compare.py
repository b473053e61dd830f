"""``lora-study compare`` on tiny studies that were really trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import call
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


def copied(source: Path, target: Path, **study: object) -> Path:
    shutil.copytree(source, target)
    content = json.loads((target / "study.json").read_text())
    (target / "study.json").write_text(json.dumps(content | study))
    return target


def test_the_same_study_twice_is_bit_equal_and_the_runs_are_only_read(runs: Path, tmp_path: Path, capsys) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))
    code, out, err = call(capsys, "compare", runs / "one", runs / "same", "--out", tmp_path / "new" / "found.md")
    assert code == 0, err
    assert "All 2 configurations: bit-equal." in out and "Nothing moved the number." in out
    assert max(map(len, out.splitlines())) <= 120
    written = (tmp_path / "new" / "found.md").read_text()
    assert "- Nothing moved the number." in written and "| configuration | verdict |" in written
    assert before == sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))


def test_another_learning_rate_under_the_same_label_is_a_hyperparameter(runs: Path, capsys) -> None:
    (pair,) = as_json(capsys, runs / "one", runs / "rate")["pairs"]
    for one in pair["verdicts"]:
        assert one["parameters"] == ["init_lr: 0.01 -> 0.03"] and "code" not in one["cause"]


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
    (pair,) = as_json(capsys, runs / "one", tmp_path / "perturbed")["pairs"]
    verdicts = {one["verdict"]: one for one in pair["verdicts"]}
    assert set(verdicts) == {"bit-equal", "undecided"} and verdicts["undecided"]["cause"] == "rerun"
    where = verdicts["undecided"]["first_difference"]
    assert where["place"] == "task 2, seed 1: eval accuracy" and where["rows"] == 1
    assert where["second"] == np.nextafter(where["first"], 2)


def test_three_runs_another_baseline_and_all_pairs(runs: Path, tmp_path: Path, capsys) -> None:
    study = json.loads((runs / "same" / "study.json").read_text())
    changed = study["provenance"] | {"git_commit": "1" * 40, "diff_hash": "2" * 64}
    changed["versions"] = changed["versions"] | {"torch": "2.6.0"}
    other = copied(runs / "same", tmp_path / "other", provenance=changed, run_id="other")
    three = (runs / "one", runs / "same", other)
    found = as_json(capsys, *three)
    one, same = found["runs"][:2]
    assert [(pair["baseline"], pair["run"]) for pair in found["pairs"]] == [(one, same), (one, "other")]
    assert [row[0] for row in found["pairs"][1]["provenance"]] == ["git_commit", "diff_hash", "versions.torch"]
    found = as_json(capsys, *three, "--baseline", other)
    assert [(pair["baseline"], pair["run"]) for pair in found["pairs"]] == [("other", one), ("other", same)]
    assert len(as_json(capsys, *three, "--all-pairs")["pairs"]) == 3
    # The baseline need not be among them.
    assert as_json(capsys, runs / "one", "--baseline", other)["runs"] == ["other", one]
    code, out, _ = call(capsys, "compare", *three)
    assert code == 0 and "1" * 12 in out and "1" * 13 not in out and "2.6.0" in out and "against" in out


def test_bad_input_is_one_line_and_exit_code_2(runs: Path, tmp_path: Path, capsys) -> None:
    newer = copied(runs / "same", tmp_path / "newer", schema_version=99)
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
        "newer than": (runs / "one", newer),
        "no configuration in common": (runs / "one", runs / "same", tmp_path / "unlike"),
        "cannot be written": (runs / "one", runs / "same", "--out", tmp_path),
        "two or more": (runs / "one",),
        "given twice": (runs / "one", runs / ".." / runs.name / "one"),
        "RUN": (),
    }
    for hint, words in cases.items():
        code, out, err = call(capsys, "compare", *words)
        lines = err.strip().splitlines()
        assert (code, out, len(lines)) == (2, "", 1) and lines[0].startswith("error: ") and hint in lines[0], (
            hint,
            err,
        )
