"""Training in the tests' own process: rows by seed, and rows without what a clock changes."""

from collections.abc import Callable
from pathlib import Path

from trainables.checkpoint import Checkpoints, Row
from trainables.configs import TrainableConfig


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
    """Rows without what differs from run to run: clock and timings."""
    return [tuple(v for k, v in row.items() if k != "wall_s") for row in rows if row["phase"] != "timing"]


def values(rows: list[Row], phase: str, name: str) -> list[float]:
    return [row["value"] for row in rows if row["phase"] == phase and row["name"] == name]
