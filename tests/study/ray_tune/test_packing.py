"""``--pack auto``: the pack size follows from measured steps."""

import json
import math
from pathlib import Path

import pytest

from study.ray_tune.packs import choose, measure, measurements, sizes
from study.ray_tune.resources import Machine
from study.records.run_directory import RunDirectory
from study.resolve.options import Options
from study.resolve.study import resolve

FOUR_OF_EIGHT = {8: 4}
"""Four configurations on eight seeds."""


def test_sizes_double_up_to_all_seeds() -> None:
    assert sizes(1) == [1]
    assert sizes(5) == [1, 2, 4, 5]
    assert sizes(8) == [1, 2, 4, 8]


def test_a_pack_that_shares_its_steps_is_taken() -> None:
    shared = {1: 1.0, 2: 1.1, 4: 1.3, 8: 1.7}  # 4 configurations x 8 seeds on 2 workers: spans 16, 8.8, 5.2, 3.4
    found = choose(FOUR_OF_EIGHT, 2, shared.__getitem__)
    assert found.pack == 8
    assert "8 replicas together" in found.reason and "1 replica takes 1e+03 ms" in found.reason


def test_a_pack_that_takes_its_replicas_one_by_one_is_not() -> None:
    tried = []

    def step_s(size: int) -> float:
        tried.append(size)
        return 0.98 * size  # two per cent are not worth later results

    found = choose(FOUR_OF_EIGHT, 2, step_s)
    assert found.pack == 1 and "every replica by itself" in found.reason
    assert tried == [1, 2]  # larger packs are not even measured


def test_packing_must_not_leave_workers_without_work() -> None:
    # 4 configurations x 2 seeds on 8 workers: all at once one by one, though a pack of two is quicker per replica
    assert choose({2: 4}, 8, {1: 1.0, 2: 1.5}.__getitem__).pack == 1


def test_a_pack_that_does_not_fit_into_memory_is_not_taken() -> None:
    found = choose(FOUR_OF_EIGHT, 2, {1: 1.0, 2: 1.2, 4: math.inf}.__getitem__)
    assert found.pack == 2 and "4 together do not fit into memory" in found.reason


def test_the_jobs_of_a_search_are_packed_for_what_they_are() -> None:
    """Sixty jobs of two seeds and six of eight: what eight together gain does not matter much, that two do does."""
    jobs = {2: 60, 8: 6}
    assert choose(jobs, 1, {1: 1.0, 2: 1.1, 4: 1.9, 8: 3.6}.__getitem__).pack == 2
    assert choose(jobs, 1, {1: 1.0, 2: 1.1, 4: 1.1, 8: 1.1}.__getitem__).pack == 8


@pytest.mark.parametrize("name", ["hybrid_week1", "nested_alpha"])
def test_steps_are_measured_on_the_largest_configuration(tiny_backbone: str, name: str, tmp_path: Path) -> None:
    options = Options(
        name=name, profile="embedded", seeds="3", backbone=tiny_backbone,
        settings=["data.classes=0:20", "data.train_per_class=4", "data.test_per_class=2", "rank=4"],
    )  # fmt: skip
    resolved, _ = resolve(options, Machine(2, 0, "a machine"))
    task = measurements(RunDirectory.create(tmp_path / "run", resolved), resolved.trials)(2)
    counts = {json.dumps(trial.params): trial.trainable_params for trial in resolved.trials}
    assert counts[json.dumps(task["params"])] == max(counts.values())
    assert task["seeds"] == [0, 1]
    assert 0.0 < measure(task) < 60.0
