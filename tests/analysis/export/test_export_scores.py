"""Scores for rliable and marl-eval, and the one table of estimates."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import make_run

from analysis.export.results import ESTIMATES, write_results
from analysis.export.scores import marl_eval_data, rliable_scores, write_marl_eval, write_rliable
from analysis.io.records import RecordsError, read_run, write_metrics

FINALS = {"a": [0.5, 0.6, 0.7], "b/🚀": [0.4, 0.3, 0.2]}


def run(path, finals=FINALS, boundaries=False, **study):
    """With ``boundaries``, also rows of the objective at 2 boundaries."""
    made = read_run(make_run(path, finals, 2, **study))
    if boundaries:
        rows = made.metrics[(made.metrics["phase"] == "eval") & (made.metrics["name"] == "accuracy")]
        rows = rows.assign(phase="final", name="final_accuracy", epoch=None, step=None)
        write_metrics(path / "metrics.parquet", rows.astype(object).where(rows.notna(), None).to_dict("records"))
    return read_run(path)


def test_rliable_takes_seeds_by_runs(tmp_path):
    first = run(tmp_path / "first", unfinished={("a", 1): ("diverged", 1)})
    second = run(tmp_path / "second", {"a": [0.1, 0.2], "b/🚀": [0.3, 0.4], "c": [0.5]})
    scores = rliable_scores([first, second])
    # The lost seed has the worst value of its run; the third seed did not run twice, c not at all in the first.
    assert list(scores) == ["a", "b/🚀"]
    np.testing.assert_allclose(scores["a"], [[0.5, 0.1], [0.2, 0.2]])
    np.testing.assert_allclose(scores["b/🚀"], [[0.4, 0.3], [0.3, 0.4]])
    write_rliable(tmp_path / "s.npz", scores | {"file": np.zeros((1, 1))})
    with np.load(tmp_path / "s.npz") as read:
        assert set(read) == {"a", "b/🚀", "file"} and read["a"].tolist() == scores["a"].tolist()


def test_marl_eval_has_its_structure(tmp_path):
    lost = {("a", 2): ("failed", 1)}
    first = run(tmp_path / "one", boundaries=True, unfinished=lost)
    data = marl_eval_data([first, run(tmp_path / "two", boundaries=True, dataset="Other")])
    assert list(data) == ["synthetic"] and list(data["synthetic"]) == ["glyphs100", "other"]
    algorithms = data["synthetic"]["glyphs100"]
    assert {label: list(found) for label, found in algorithms.items()} == dict.fromkeys(
        FINALS, ["run_1", "run_2", "run_3"]
    )
    assert algorithms["a"]["run_1"] == {
        "step_1": {"step_count": 1, "final_accuracy": [0.95]},
        "step_2": {"step_count": 2, "final_accuracy": [0.5]},
        "absolute_metrics": {"final_accuracy": [0.5]},
    }
    # It failed in the second task: the worst value, at that step and at the end.
    found = [step["final_accuracy"][0] for step in algorithms["a"]["run_3"].values()]
    assert found == pytest.approx([0.95, 0.2, 0.2])


def test_marl_eval_of_a_run_without_boundaries_has_one_step(tmp_path):
    data = marl_eval_data([run(tmp_path / "one"), run(tmp_path / "two", run_id="r2")])
    tasks = data["synthetic"]
    # The same data set twice: the run tells the tasks apart.
    assert list(tasks) == ["glyphs100 r1", "glyphs100 r2"]
    assert list(tasks["glyphs100 r1"]["a"]["run_2"]) == ["step_1", "absolute_metrics"]


def test_what_has_nothing_in_common_is_refused(tmp_path):
    first, other = run(tmp_path / "first"), run(tmp_path / "other", {"z": [0.5]})
    with pytest.raises(RecordsError, match="no configuration has a seed"):
        rliable_scores([first, other])
    with pytest.raises(RecordsError, match="no seed ended"):
        marl_eval_data([first, other])
    with pytest.raises(RecordsError, match="boundaries"):
        marl_eval_data([first, run(tmp_path / "third", boundaries=True)])


def test_files_are_not_overwritten(tmp_path):
    for name, write in (("s.npz", write_rliable), ("s.json", write_marl_eval)):
        (tmp_path / name).write_text("mine")
        with pytest.raises(RecordsError, match="there already; a new file is allowed"):
            write(tmp_path / name, {})
        assert (tmp_path / name).read_text() == "mine"
        with pytest.raises(RecordsError, match="cannot be written"):
            write(tmp_path / "nowhere" / name, {})
    write_marl_eval(tmp_path / "new.json", {"🚀": 1})
    assert json.loads((tmp_path / "new.json").read_text(encoding="utf-8")) == {"🚀": 1}


ESTIMATE = {"configuration": "a", "metric": "nll", "estimate": "mean", "value": 0.5, "low": np.nan, "high": np.nan,
            "n": 1, "baseline": None}  # fmt: skip


def test_results_are_written_with_units_and_replaced(tmp_path):
    path = tmp_path / "report" / "results.parquet"
    rows = [ESTIMATE | {"estimate": name, "baseline": "b" if name == "difference" else None} for name in ESTIMATES]
    write_results(path, pd.DataFrame(rows[:1]))
    write_results(path, pd.DataFrame(rows)[["value", *[key for key in ESTIMATE if key != "value"]]])
    read = pq.read_table(path)
    assert read.column_names == list(ESTIMATE) and read["estimate"].to_pylist() == list(ESTIMATES)
    assert read["low"].null_count == 5 and read["baseline"].to_pylist()[-1] == "b"
    assert read.schema.field("n").metadata[b"unit"] == b"seeds"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([{key: value for key, value in ESTIMATE.items() if key != "n"}], "column 'n' is missing"),
        ([ESTIMATE | {"p": 0.1}], "unknown column 'p'"),
        ([ESTIMATE | {"estimate": "median"}], "estimate 'median'; allowed: mean"),
        ([ESTIMATE | {"value": "high"}], "does not fit"),
        ([ESTIMATE | {"configuration": None}], "does not fit"),
    ],
)
def test_other_results_are_refused(tmp_path, frame, message):
    with pytest.raises(RecordsError, match=message):
        write_results(tmp_path / "results.parquet", pd.DataFrame(frame))
    assert not (tmp_path / "results.parquet").exists()
