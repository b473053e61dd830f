"""What was measured, as frames: lost seeds counted, references at the end, curves from 1."""

import numpy as np
import pytest
from synthetic import make_run

from analysis.io.metrics import metric_info
from analysis.io.records import read_run
from analysis.io.values import configurations, counts, curve, objective, outcomes, references

FINALS = {"baseline": [0.44, 0.46, 0.45], "a": [0.40, 0.41, 0.42]}
LOST = {("a", 0): ("diverged", 2), ("a", 1): ("failed", 0), ("baseline", 2): ("interrupted", 3)}


@pytest.fixture
def run(tmp_path):
    return read_run(make_run(tmp_path, FINALS, unfinished=LOST))


def test_lost_seeds_count_with_the_worst_value_and_unfinished_ones_not_at_all(run):
    frame = outcomes(run).set_index(["configuration", "seed"])
    assert len(frame) == 5 and ("baseline", 2) not in frame.index
    assert frame["lost"].to_dict() == {key: key in LOST for key in frame.index}
    assert frame.loc[("a", 0), "value"] == frame.loc[("a", 1), "value"] == pytest.approx(0.42)
    assert frame.loc[("baseline", 0), "value"] == pytest.approx(0.44)


def test_of_a_minimised_metric_the_worst_is_the_largest(tmp_path):
    study = {"objective": {"metric": "final_accuracy", "direction": "minimize", "over_seeds": "mean"}}
    run = read_run(make_run(tmp_path, FINALS, unfinished=LOST, **study))
    frame = outcomes(run).set_index(["configuration", "seed"])
    assert frame.loc[("a", 0), "value"] == pytest.approx(0.46) and not objective(run).maximise


def test_a_seed_that_was_run_twice_counts_once(run):
    twice = run.trials[(run.trials["configuration"] == "baseline") & (run.trials["seed"] == 0)]
    more = twice.assign(**{"trial_id": "again", "metric.final_accuracy": 0.48})
    run.trials.loc[len(run.trials)] = more.iloc[0]
    frame = outcomes(run)
    own = frame[(frame["configuration"] == "baseline") & (frame["seed"] == 0)]
    assert own["value"].tolist() == pytest.approx([0.46])


def test_a_part_of_a_metric_has_a_name_of_its_own():
    known = {"gap/*": {"direction": "minimize", "unit": "fraction", "label": "gap"}}
    about = metric_info(known, "gap/low_rank/r4")
    assert about.text == "gap, low rank, r4" and about.axis == "gap, low rank, r4 (%)" and not about.maximise


def test_nothing_finished_is_an_empty_frame(tmp_path):
    gone = {(label, seed): ("diverged", 1) for label in FINALS for seed in range(3)}
    assert outcomes(read_run(make_run(tmp_path, FINALS, unfinished=gone))).empty


def test_not_finite_is_lost(run):
    run.trials.loc[run.trials["configuration"] == "baseline", "metric.final_accuracy"] = np.inf
    frame = outcomes(run)
    assert frame.loc[frame["configuration"] == "baseline", "lost"].all() and np.isfinite(frame["value"]).all()


def test_counts_by_how_replicas_ended(run):
    table = counts(run)
    assert table.loc["a"].to_dict() == {"finished": 1, "diverged": 1, "failed": 1, "other": 0, "planned": 3}
    assert table.loc["baseline", "other"] == 1 and list(table.index) == configurations(run)


def test_curves_and_references(run):
    accuracy = curve(run, "eval", "accuracy")
    own = accuracy[(accuracy["configuration"] == "baseline") & (accuracy["seed"] == 0)]
    assert own["at"].tolist() == list(range(1, 11)) and own["value"].iloc[-1] == pytest.approx(0.44)
    last = references(run).set_index(["configuration", "seed", "name"])["value"]
    assert last["baseline", 0, "frozen"] == pytest.approx(0.4)
    assert last["baseline", 0, "ncm"] == pytest.approx(0.45)
    assert last["baseline", 0, "chance"] == pytest.approx(0.01)
