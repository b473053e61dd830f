"""Searches replayed on a table of real results: every configuration of a grid on every seed, on a virtual clock."""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.samplers import BaseSampler
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from search_spaces.dimensions import Int
from search_spaces.space import Space
from study.search.candidates import Job
from study.search.seed_search import SeedSearch
from study.search.simulation import simulate
from study.search.statistics import SeedResult
from study.spec import Objective

METRIC = "final_accuracy"
WORKERS = 2


@dataclass(frozen=True)
class Table:
    """Results of a full grid.

    Attributes:
        levels: parameter -> its values, rising. A search sees the positions 0, 1, ... as an ``Int`` dimension, so
            every sampler knows the order and neighbours are equally far apart (rates of a grid rise by a factor).
        values: metric in [0, 1] per configuration and seed, (C, N); configurations in the grid's order.
        seconds: duration of each replica, s, (C, N).
    """

    levels: Mapping[str, tuple[float, ...]]
    values: np.ndarray
    seconds: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Of ``search_grid.py --table``; configurations in the order of ``levels``.

        Raises:
            ValueError: a configuration or seed of the grid is missing.
        """
        frame = pd.read_parquet(path)
        names = [column for column in frame if column.startswith("param.")]
        levels = {name.removeprefix("param."): tuple(sorted(frame[name].unique())) for name in names}
        grid = pd.MultiIndex.from_product(levels.values(), names=names)
        columns = {}
        for what in (f"metric.{METRIC}", "duration_s"):
            columns[what] = frame.pivot(index=names, columns="seed", values=what).reindex(grid).to_numpy()
            if np.isnan(columns[what]).any():
                raise ValueError(f"{path}: {int(np.isnan(columns[what]).sum())} replicas of the grid have no {what}")
        return cls(levels, *columns.values())

    @property
    def truth(self) -> np.ndarray:
        """Mean over all seeds of the table, (C,)."""
        return self.values.mean(axis=1)

    @property
    def space(self) -> Space:
        return Space({name: Int(0, len(values) - 1) for name, values in self.levels.items()})

    def row(self, params: Mapping[str, Any]) -> int:
        """Configuration of the positions in a search's parameters."""
        shape = [len(values) for values in self.levels.values()]
        return int(np.ravel_multi_index([params[name] for name in self.levels], shape))

    def result(self, params: Mapping[str, Any], seed: int) -> dict[str, float]:
        return {METRIC: float(self.values[self.row(params), seed])}

    def duration_s(self, job: Job) -> float:
        """Seeds of a job run one after the other."""
        return float(sum(self.seconds[self.row(job.params), seed] for seed in job.seeds))


def synthetic(seed: int, spread: float = 0.02, shared: float = 0.5) -> Table:
    """A made-up table of the shape of the real one, to develop on: a smooth function and a part of no order.

    Args:
        spread: standard deviation over seeds of one configuration.
        shared: share of that variance that a seed gives to all configurations alike.
    """
    rng = np.random.default_rng(seed)
    levels = {"a": (0.0, 1.0, 2.0, 3.0), "b": (0.0, 1.0), "c": (0.0, 1.0, 2.0), "d": (0.0, 1.0, 2.0)}
    grid = np.array(list(itertools.product(*levels.values())))  # (72, 4)
    scaled = grid / grid.max(axis=0)
    height = -((scaled - rng.uniform(size=4)) ** 2) @ rng.uniform(0.2, 1.0, size=4)
    height += 0.1 * np.ptp(height) * rng.normal(size=len(grid))
    height = 0.23 + 0.24 * (height - height.min()) / np.ptp(height)
    noise = np.sqrt(shared) * rng.normal(size=12) + np.sqrt(1 - shared) * rng.normal(size=(len(grid), 12))
    return Table(levels, height[:, None] + spread * noise, np.full((len(grid), 12), 2.0))


@dataclass(frozen=True)
class Outcome:
    """What a search of one budget came to.

    Attributes:
        row: the configuration it would pick.
        replicas: of the budget, how many it used.
        clock_s: virtual seconds.
    """

    row: int
    replicas: int
    clock_s: float


def engine(table: Table, seeds: Sequence[int], seed: int, budgets: Sequence[int], **options: Any) -> list[Outcome]:
    """``SeedSearch`` with ``options``, one search per budget; picks ``best(1)``."""
    outcomes = []
    for budget in budgets:
        search = SeedSearch(
            table.space, [Objective(metric=METRIC)], replicas=budget, seed=seed, seeds=seeds,
            trials=2 * len(table.values), **options,
        )  # fmt: skip
        run = simulate(search, table.result, WORKERS, table.duration_s)
        outcomes.append(Outcome(table.row(search.best(1)[0].params), run.replicas, run.clock_s))
    return outcomes


@dataclass
class Plain:
    """Optuna by itself: one seed per trial, points may repeat; the n-th trial of a point gets the n-th seed.

    Asked and told by ``simulate`` as a ``SeedSearch`` is.
    """

    space: Space
    sampler: BaseSampler
    seeds: Sequence[int]
    budget: int = 0
    points: list[dict[str, int]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    in_flight: tuple[Job, ...] = ()

    def __post_init__(self) -> None:
        self.study = optuna.create_study(direction="maximize", sampler=self.sampler)
        self.trials: list[optuna.Trial] = []

    def ask(self) -> Job | None:
        if len(self.points) == self.budget:
            return None
        trial = self.study.ask()
        point = {n: trial.suggest_int(n, d.low, d.high) for n, d in self.space.dimensions.items()}  # type: ignore[union-attr]
        times = self.points.count(point)
        self.trials.append(trial)
        self.points.append(point)
        return Job(len(self.points) - 1, point, (self.seeds[times % len(self.seeds)],), 0)

    def tell(self, job: Job, results: Mapping[int, SeedResult]) -> None:
        (result,) = results.values()
        self.values[job.trial_number] = result.metrics[METRIC]
        self.study.tell(self.trials[job.trial_number], result.metrics[METRIC])


Pick = Callable[[list[dict[str, int]], np.ndarray], dict[str, int]]


def highest_value(points: list[dict[str, int]], values: np.ndarray) -> dict[str, int]:
    """The point of the best single value, which is what Optuna calls the best trial."""
    return points[int(values.argmax())]


def highest_posterior_mean(points: list[dict[str, int]], values: np.ndarray) -> dict[str, int]:
    """The evaluated point where a Gaussian process (Matern 5/2, a length per dimension, fitted noise) is highest."""
    grid = np.array([list(point.values()) for point in points], dtype=float)
    grid /= np.maximum(grid.max(axis=0), 1.0)
    kernel = ConstantKernel(1.0) * Matern(np.full(grid.shape[1], 0.5), (0.05, 20.0), nu=2.5) + WhiteKernel(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, normalize_y=True).fit(grid, values)
    return points[int(model.predict(grid).argmax())]


def plain(
    table: Table, seeds: Sequence[int], budgets: Sequence[int], sampler: BaseSampler, pick: Pick
) -> list[Outcome]:
    """Optuna alone with one seed per trial; a larger budget goes on from the smaller one."""
    search, outcomes, clock_s = Plain(table.space, sampler, seeds), [], 0.0
    for budget in budgets:
        search.budget = budget
        clock_s += simulate(search, table.result, WORKERS, table.duration_s).clock_s  # type: ignore[arg-type]
        values = np.array([search.values[number] for number in range(budget)])
        outcomes.append(Outcome(table.row(pick(search.points, values)), budget, clock_s))
    return outcomes
