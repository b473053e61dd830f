"""Training in the tests' own process: rows by seed, and rows without what a clock changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainables.configs import TrainableConfig
from trainables.metrics.finals import COSTS, FINAL
from trainables.packs.checkpoint import Checkpoints, Row
from trainables.packs.run import PackRun


def trained(
    train: Callable[..., None], made: TrainableConfig, seeds: tuple[int, ...], folder: Path,
    stop_after: int | None = None,
) -> dict[int, list[Row]]:  # fmt: skip
    """All rows by seed; ``stop_after`` reports the driver vanishes."""
    rows: dict[int, list[Row]] = {seed: [] for seed in seeds}
    reports = 0

    def report(new: dict[int, list[Row]]) -> None:
        nonlocal reports
        reports += 1
        if stop_after is not None and reports > stop_after:
            raise KeyboardInterrupt
        for seed, more in new.items():
            rows[seed] += more

    train(made, seeds, report, Checkpoints(folder, {seed: f"r-s{seed}" for seed in seeds}, made.boundary))
    return rows


def numbers(rows: list[Row]) -> list[tuple]:
    """Rows without what differs from run to run: clock, timings and what they cost in the end."""
    kept = [row for row in rows if row["phase"] != "timing" and not (row["phase"] == FINAL and row["name"] in COSTS)]
    return [tuple(value for key, value in row.items() if key != "wall_s") for row in kept]


def values(rows: list[Row], phase: str, name: str) -> list[float]:
    return [row["value"] for row in rows if row["phase"] == phase and row["name"] == name]


def check_pack_and_cut(train: Callable[..., None], made: TrainableConfig, folder: Path) -> None:
    """Three epochs of a seed give the same numbers, and the same state, in a pack, alone, and after a cut."""
    packed = trained(train, made, (0, 7, 3), folder / "packed")
    alone = trained(train, made, (7,), folder / "alone")
    assert numbers(alone[7]) == numbers(packed[7])
    assert numbers(packed[0]) != numbers(packed[3])
    with pytest.raises(KeyboardInterrupt):
        trained(train, made, (7,), folder / "cut", stop_after=1)  # the state of two epochs is there, the third is not
    assert Checkpoints(folder / "cut", {7: "r-s7"}, "epoch").last_common((7,)) == 1
    assert numbers(trained(train, made, (7,), folder / "cut")[7]) == numbers(alone[7])
    last = [Checkpoints(folder / which, {7: "r-s7"}, "epoch").load(7, 2).tensors for which in ("alone", "cut")]
    assert {"optimizer.first", "optimizer.second", "optimizer.steps"} <= set(last[0])
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


def train_through(run: PackRun, position: int) -> None:
    """Train through one task or epoch, without what follows."""
    for _ in run.training(position):
        pass
