"""The benchmarks of the search, a few replicas of each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.replay import METRIC, Table, engine, highest_posterior_mean, synthetic
from benchmarks.search_regret import METHODS, as_text, describe, replayed
from benchmarks.tune_overhead import as_text as overhead_text
from benchmarks.tune_overhead import on_virtual_clock
from study.search.racing import SeedSchedule


def parquet(path: Path, values: np.ndarray) -> Path:
    """A table of two parameters (2 x 3 levels), rows in no order."""
    grid = [(a, b, seed) for a in (0.1, 0.5) for b in (1.0, 2.0, 4.0) for seed in range(values.shape[1])]
    frame = pd.DataFrame(grid, columns=["param.a", "param.b", "seed"])
    frame[f"metric.{METRIC}"], frame["duration_s"] = values.ravel(), 3.0
    frame.sample(frac=1.0, random_state=0).to_parquet(path)
    return path


def test_a_table_is_read_in_the_order_of_its_levels(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(6, 2)
    table = Table.read(parquet(tmp_path / "grid.parquet", values))
    assert table.levels == {"a": (0.1, 0.5), "b": (1.0, 2.0, 4.0)}
    assert (table.values == values).all() and table.truth.argmax() == 5
    assert table.result({"b": 2, "a": 0}, 1) == {METRIC: values[2, 1]}
    values[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 replicas of the grid have no metric"):
        Table.read(parquet(tmp_path / "grid.parquet", values))


def test_without_noise_a_search_of_the_whole_grid_has_no_regret() -> None:
    table = synthetic(0, spread=0.0)
    (outcome,) = engine(table, range(12), 0, [600], sampler="random")
    assert outcome.row == table.truth.argmax() and outcome.replicas <= 600
    assert outcome.replicas <= outcome.clock_s <= outcome.replicas + 16  # 2 s per replica, 2 workers


def test_the_posterior_mean_sees_through_one_lucky_value() -> None:
    points = [{"x": x} for x in range(9) for _ in range(6)]
    values = np.array([-((point["x"] - 6) ** 2) / 10 for point in points]) + np.random.default_rng(0).normal(0, 0.2, 54)
    values[3] += 5.0
    assert points[int(values.argmax())] == {"x": 0}
    assert abs(highest_posterior_mean(points, values)["x"] - 6) <= 1


def test_regret_is_tabulated_against_the_default() -> None:
    rows = []
    for method in ("default", "single", "random"):
        for repetition in range(3):
            rows += replayed((0.04, method, repetition, (8, 16)))
    found = pd.DataFrame(rows)
    assert (found["regret"] >= 0).all() and (found["replicas"] <= found["budget"]).all() and len(found) == 18
    text = as_text(found, (8, 16))
    assert "**16 replicas**" in text and METHODS["single"][0] in text and "The default loses to" in text
    assert "72 configurations x 12 seeds" in describe(synthetic(0))


def test_overhead_on_a_virtual_clock_is_measured_in_windows() -> None:
    found = on_virtual_clock(1000, "random", 1, SeedSchedule.parse("fixed:1"))
    assert list(found["windows"]) == [1000] and found["memory_mib"] > 50
    assert "up to trial" in overhead_text(found)
