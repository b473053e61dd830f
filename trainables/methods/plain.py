"""Any ``train(config, seed)``, in whatever framework, as a method: seeded, recorded, and told what it does wrong."""

import inspect
import random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from trainables.configs.base import TrainableConfig
from trainables.errors import ContractError
from trainables.metrics.finals import FINAL, Metric
from trainables.registry import TrainableSpec

if TYPE_CHECKING:  # torch
    from trainables.data.materials import Materials
    from trainables.packs.checkpoint import Checkpoints, Row
    from trainables.packs.run import Report

Metrics = Mapping[str, Any]
Train = Callable[[dict[str, Any], int], Metrics | Iterator[Metrics]]
"""A replica: returns a dictionary of metrics, or yields one per step."""


class PlainConfig(TrainableConfig):
    """Whatever keys a study gives its configurations.

    Attributes:
        evaluate: ``validation`` while a search compares configurations: test data are not for looking at then.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    boundary: ClassVar[Literal["task", "epoch"]] = "epoch"

    dataset: str = ""
    backbone: str = ""
    evaluate: Literal["test", "validation"] = "test"

    def boundaries(self, classes: int) -> int:
        """Not known before the end."""
        return 0


def plain(train: Train, name: str = "", metrics: Mapping[str, Metric] | None = None) -> TrainableSpec:
    """A method around a function.

    Args:
        train: takes the configuration as a dictionary and the seed. Python's, NumPy's and torch's generators have been
            seeded with it. Returns a dictionary of numbers, or yields one per step; the last value of every metric,
            and what a generator returns, are the replica's final metrics.
        name: of the method; default: the function's.
        metrics: what is known of its metrics: direction, unit, bounds.

    Raises:
        ValueError: the function does not take two arguments.
    """
    _check_arguments(train)
    return TrainableSpec(name or train.__name__, PlainConfig, PlainMethod(train), dict(metrics or {}), "plain")


def with_keys(spec: TrainableSpec, keys: Collection[str]) -> TrainableSpec:
    """A plain method whose configurations may have these keys and no others."""
    shortcuts = {key: key for key in keys}
    return replace(spec, config=type("PlainConfig", (PlainConfig,), {"shortcuts": shortcuts, "__module__": __name__}))


class PlainMethod:
    """The functions of a method around ``train(config, seed)``. It has no ``start``: a replica trains alone."""

    def __init__(self, function: Train) -> None:
        self.function = function

    def train(self, config: PlainConfig, seeds: Sequence[int], report: "Report", checkpoints: "Checkpoints") -> None:
        """Train each seed from its beginning: what an interrupted one did is done again.

        Raises:
            ContractError: the function gives something else than numbers by name.
        """
        for seed in seeds:
            checkpoints.clear(seed)
            replica = _Replica(seed, report, checkpoints)
            seed_everything(seed)
            given = {name: value for name, value in config.model_dump(mode="json").items() if value != ""}
            result = self.function(given, seed)
            if not isinstance(result, Iterator):
                replica.step(_numbers(result, "returned"))
                continue
            while True:
                try:
                    values = next(result)
                except StopIteration as end:
                    replica.end(end.value)
                    break
                if not replica.step(_numbers(values, "yielded")):
                    if isinstance(result, Generator):
                        result.close()
                    break

    def materials(self, configs: Sequence[PlainConfig], load: bool) -> "Materials":
        """The function finds its own."""
        from trainables.data.materials import Materials

        return Materials(classes=0)

    def count_parameters(self, config: PlainConfig, classes: int) -> tuple[int, int]:
        """Not known."""
        return 0, 0


class _Replica:
    """Rows of one replica, reported and kept after every step."""

    def __init__(self, seed: int, report: "Report", checkpoints: "Checkpoints") -> None:
        self.seed, self.report, self.checkpoints = seed, report, checkpoints
        self.rows: list[Row] = []
        self.final: dict[str, float] = {}
        self.began = self.before = time.monotonic()
        self.steps = 0

    def step(self, values: dict[str, float]) -> bool:
        """Record a step; False: a value is not finite, and the replica has diverged."""
        new = [self._row("eval", name, value) for name, value in values.items()]
        self.final |= values
        new += [self._row(FINAL, name, value) for name, value in self.final.items()]
        fine = all(np.isfinite(list(values.values())))
        if not fine:
            new.append(self._row("boundary", "diverged", 1.0))
        now = time.monotonic()
        new.append(self._row("timing", "train_s", now - self.before))
        self.before = now
        self.rows += new
        self.checkpoints.save(self.seed, self.steps, {}, self.rows)
        self.report({self.seed: new})
        self.steps += 1
        return fine

    def end(self, returned: Any) -> None:
        """Take down what a generator returned."""
        if returned is not None:
            self.step(_numbers(returned, "returned"))
        elif not self.steps:
            raise ContractError("train(config, seed) yielded nothing; a dictionary of numbers per step is expected")

    def _row(self, phase: str, name: str, value: float) -> "Row":
        return {"phase": phase, "task": None, "epoch": self.steps, "step": None, "name": name, "value": value,
                "wall_s": round(time.monotonic() - self.began, 3)}  # fmt: skip


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy (the global one) and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _numbers(values: Any, verb: str) -> dict[str, float]:
    expected = 'a dictionary of numbers is expected, e.g. {"accuracy": 0.9}'
    if values is None:
        raise ContractError(f"train(config, seed) {verb} nothing; {expected}")
    if not isinstance(values, Mapping):
        raise ContractError(f"train(config, seed) {verb} {type(values).__name__} {values!r:.60}; {expected}")
    if not values:
        raise ContractError(f"train(config, seed) {verb} an empty dictionary; {expected}")
    numbers = {}
    for name, value in values.items():
        try:
            if isinstance(value, str) or not isinstance(name, str):
                raise TypeError
            numbers[name] = float(value)
        except (TypeError, ValueError):
            raise ContractError(f"train(config, seed) {verb} {value!r:.60} for {name!r}; {expected}") from None
    return numbers


def _check_arguments(train: Train) -> None:
    try:
        inspect.signature(train).bind({}, 0)
    except TypeError as error:
        raise ValueError(f"trainable {train.__name__}: train(config, seed) is expected, {error}") from None
