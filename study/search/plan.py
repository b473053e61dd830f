"""A resolved study's search, and its configurations as trials."""

from collections.abc import Callable, Mapping
from pathlib import Path

from study.resolved import ResolvedSearch, ResolvedStudy, TrialSpec, trial_id
from study.search.candidates import Job
from study.search.journal import JOURNAL_FILE, read_journal
from study.search.racing import SeedSchedule, StepSchedule
from study.search.seed_search import Known, SeedSearch
from study.spec import SearchSpec
from trainables.configs.base import TrainableConfig
from trainables.configs.names import validated
from trainables.registry import PARAMETERS, TrainableSpec

Count = Callable[[TrainableConfig], tuple[int, int]]
"""(trainable, total) parameters of a configuration."""
Bounds = Mapping[str, tuple[float | None, float | None]]
"""Metric -> its lowest and highest possible value."""


def build_search(
    spec: SearchSpec, enqueue: Mapping[str, Mapping], seeds: tuple[int, ...], bounds: Bounds, known: Known | None = None
) -> SeedSearch:  # fmt: skip
    """Raises InputError for settings that do not fit each other."""
    return SeedSearch(
        spec.dimensions, spec.objectives, spec.constraints, sampler=spec.sampler,
        schedule=SeedSchedule.parse(spec.schedule), trials=spec.trials, replicas=spec.replicas, seed=spec.seed,
        enqueue=list(enqueue.values()), seeds=seeds, bounds=bounds, known=known,
        stopping=StepSchedule.parse(spec.stopping) if spec.stopping else None,
    )  # fmt: skip


def new_search(study: ResolvedStudy, known: Known | None = None) -> SeedSearch:
    """The search of a study before its first job. ``known``: see ``SeedSearch``; a search that goes on needs it."""
    assert study.search is not None
    return build_search(study.search, study.search.enqueue, study.seeds, _bounds(study), known)


def known_before(study: ResolvedStudy, spec: TrainableSpec) -> Known:
    """What a configuration has without being trained: its parameters, by name."""
    search = study.search
    assert search is not None
    count = spec.load().count_parameters

    def counted(fields: Mapping) -> dict[str, float]:
        return dict(
            zip(PARAMETERS, map(float, count(searched_config(spec, search, fields), search.classes)), strict=True)
        )

    return counted


def restored(study: ResolvedStudy, run_dir: Path, known: Known | None = None) -> SeedSearch:
    """The search of a run as its journal leaves it. ``known``: as for ``new_search``.

    Raises:
        InputError: the journal is damaged or of another search.
    """
    search = new_search(study, known)
    events, _ = read_journal(run_dir / JOURNAL_FILE)
    if events:
        search.replay(events)
    return search


def make_trial(
    spec: TrainableSpec, label: str, config: TrainableConfig, seeds: tuple[int, ...], classes: int, count: Count
) -> TrialSpec:
    """A validated configuration with its identity and sizes."""
    params, counts = config.model_dump(mode="json"), count(config)
    return TrialSpec(
        trial_id=trial_id(spec.name, params), configuration=label, params=params, seeds=seeds,
        trainable_params=counts[0], total_params=counts[1], boundaries=config.boundaries(classes),
    )  # fmt: skip


def trial_of(
    study: ResolvedStudy, spec: TrainableSpec, job: Job, seeds: tuple[int, ...], count: Count, test: bool = False
) -> TrialSpec:
    """A configuration of the search as a trial.

    Args:
        seeds: all that it has been given.
        test: for the confirmation: the test set is evaluated too.
    """
    search = study.search
    assert search is not None
    label = label_of(search, job.trial_number)
    label = f"{label}, fresh seeds" if test else label
    return make_trial(spec, label, searched_config(spec, search, job.params, test), seeds, search.classes, count)


def searched_config(
    spec: TrainableSpec, search: ResolvedSearch, fields: Mapping, test: bool = False
) -> TrainableConfig:  # fmt: skip
    """Configuration of a point's fields."""
    return validated(spec.config, search.base | dict(fields) | ({"evaluate": "test"} if test else {}))


def label_of(search: ResolvedSearch, number: int) -> str:
    """Name of a configuration: as in the catalogue where it was tried first, else its number."""
    labels = list(search.enqueue)
    return labels[number] if number < len(labels) else f"trial {number}"


def metric_bounds(spec: TrainableSpec) -> Bounds:
    """Of the metrics that a trainable declares."""
    return {name: (metric.low, metric.high) for name, metric in {**PARAMETERS, **spec.metrics}.items()}


def _bounds(study: ResolvedStudy) -> Bounds:
    return {name: (metric["low"], metric["high"]) for name, metric in study.metrics.items()}
