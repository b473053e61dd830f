"""What other parts need to know of a method: one ``TrainableSpec`` each. Nothing else lists methods or metrics."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from trainables.configs import HybridConfig, NestedConfig, RankConfig, SemaConfig, TheoryConfig
from trainables.configs.base import TrainableConfig
from trainables.errors import InputError, first_line
from trainables.metrics.finals import CONTINUAL, EPOCHS, RANK, SEMA, THEORY, Metric

if TYPE_CHECKING:  # torch
    from trainables.data.materials import Materials
    from trainables.packs.checkpoint import Checkpoints
    from trainables.packs.run import Report

__all__ = ["PARAMETERS", "Metric", "TrainableSpec", "builtin", "named"]


class Method(Protocol):
    """Functions of a method; a module with these names is one. With ``start(config, seeds) -> PackRun``, the replicas
    before their first step, replicas of it can be trained together and ``--pack auto`` measures a few steps."""

    def train(self, config: Any, seeds: Sequence[int], report: "Report", checkpoints: "Checkpoints") -> None:
        """Train K replicas of one configuration, from their last common checkpoint if there is one.

        Plain torch, no globals. ``report`` takes the new rows of every replica, seed -> rows, at every boundary; the
        final metrics are rows of phase ``final``. A replica's numbers do not depend on its neighbours.
        """

    def materials(self, configs: Sequence[Any], load: bool) -> "Materials":
        """Find data and weights before anything runs.

        Raises:
            InputError: what is missing or does not fit.
        """

    def count_parameters(self, config: Any, classes: int) -> tuple[int, int]:
        """(trainable, total) parameters of one replica, without loading weights."""


@dataclass(frozen=True)
class TrainableSpec:
    """A method.

    Attributes:
        name: by which studies name it.
        config: its configuration class.
        method: the functions, or the name of the module that has them: it is imported when they are needed, so that
            the command line need not wait for torch.
        metrics: final metrics by name; one that ends in ``/*`` stands for all that begin so.
        report: kind of closing report of its studies.
    """

    name: str
    config: type[TrainableConfig]
    method: Method | str
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    report: str = "plain"

    @property
    def packable(self) -> bool:
        """Whether replicas of it can be trained together."""
        return isinstance(self.method, str) or hasattr(self.method, "start")

    def load(self) -> Method:
        """The functions of the method."""
        return importlib.import_module(self.method) if isinstance(self.method, str) else self.method  # type: ignore[return-value]

    def metric(self, name: str) -> Metric | None:
        """What is known of a metric, of those that every trial has included; None: nothing."""
        known = {**PARAMETERS, **self.metrics}
        pattern = f"{name.partition('/')[0]}/*"
        return known.get(name) or known.get(pattern)

    def metrics_as_data(self) -> dict[str, dict[str, Any]]:
        """``metrics`` as study.json has them."""
        return {name: asdict(metric) for name, metric in {**self.metrics, **PARAMETERS}.items()}


PARAMETERS: dict[str, Metric] = {
    "trainable_params": Metric("minimize", "parameters", low=0, label="trainable parameters", held_out=True, front=2),
    "total_params": Metric("minimize", "parameters", low=0, label="parameters", held_out=True),
}
"""Metrics that a trial has before it is trained."""

_BUILTIN: tuple[TrainableSpec, ...] = (
    TrainableSpec("nested", NestedConfig, "trainables.methods.nested", CONTINUAL, "continual"),
    TrainableSpec("sema", SemaConfig, "trainables.methods.sema", SEMA, "sema"),
    TrainableSpec("hybrid", HybridConfig, "trainables.methods.hybrid", EPOCHS, "tuning"),
    TrainableSpec("theory", TheoryConfig, "trainables.methods.theory", THEORY, "theory"),
    TrainableSpec("rank", RankConfig, "trainables.methods.rank", RANK, "rank"),
)


def builtin() -> dict[str, TrainableSpec]:
    """The methods that come with the project, by name."""
    return {spec.name: spec for spec in _BUILTIN}


def named(name: str) -> TrainableSpec:
    """A method by name: one of the project's, or of the entry points ``lora_study.trainables``.

    Raises:
        InputError: there is none; the entry point does not load, or gives something else.
    """
    if name in builtin():
        return builtin()[name]
    entries = {entry.name: entry for entry in entry_points(group="lora_study.trainables")}
    if name not in entries:
        raise InputError(f"trainable {name!r}: unknown; allowed: {', '.join([*builtin(), *entries])}")
    try:
        spec = entries[name].load()
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"entry point {name} = {entries[name].value}: it does not load ({reason})") from error
    if not isinstance(spec, TrainableSpec):
        raise InputError(f"entry point {name} = {entries[name].value}: a TrainableSpec is expected, not {spec!r:.60}")
    return spec
