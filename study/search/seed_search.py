"""Search over configurations that are each measured over several seeds; ask and tell, without Ray.

All decisions follow from the constructor's arguments and the order of tells, so the journal of a search restores it
exactly. Optuna only suggests points (``samplers``); how many seeds a configuration gets is decided in ``contest``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search_spaces.space import Space
from study.search.candidates import Configuration, Estimates, Job, Ranked
from study.search.contest import Contest
from study.search.history import History
from study.search.options import check_search, enqueued_points, search_seeds
from study.search.racing import DEFAULT_RACE, Milestones, SeedSchedule, StepSchedule
from study.search.samplers import Sampler
from study.search.statistics import SeedResult, check_reported, early, imputed, parse_constraint, sense, summarise
from study.spec import Objective
from trainables.errors import InputError

Known = Callable[[Mapping[str, Any]], Mapping[str, float]]
JOURNAL_VERSION = 1
ATTEMPTS = 8
"""Suggestions that a sampler may make for one trial before points are drawn at random, as often again."""


class SeedSearch:
    """Finds configurations that are good over seeds.

    Args:
        objectives: what configurations are compared by; several: Pareto order.
        constraints: such as ``collapse_rate<=0.1`` or ``trainable_params<=100000``.
        sampler: see ``samplers.kind_of``.
        schedule: default: ``DEFAULT_RACE``.
        trials: configurations at most, duplicates included, infeasible ones aside; default: as many as ``replicas``
            allows.
        replicas: seeds of configurations at most. What the race leaves of them goes to new configurations and to the
            best that it held back, so that fewer are left than the cheapest step takes that is still there: the first
            rung's seeds while there are ``trials``, else the next rung of a configuration that waits.
        seed: of the suggestions.
        enqueue: configuration fields that are tried first.
        seeds: the seeds in the order in which every configuration gets them; default: 0, 1, 2, ...
        stopping: stop packs within a run; one objective only.
        shrunk: show the sampler what the mixed model predicts (``history``).
        startup: configurations with results before the sampler models anything.
        population: of the genetic samplers.
        bounds: metric -> its lowest and highest possible value, where known: the worse one is what a failed seed
            counts as.
        known: fields of a configuration -> its ``PARAMETERS``; with it one that violates a constraint on them is not
            trained.

    Raises:
        InputError: arguments that do not fit each other; one line.
    """

    def __init__(
        self, space: Space, objectives: Sequence[Objective], constraints: Sequence[str] = (), *, sampler: str = "tpe",
        schedule: SeedSchedule | None = None, trials: int | None = None, replicas: int | None = None, seed: int = 0,
        enqueue: Sequence[Mapping[str, Any]] = (), seeds: Sequence[int] | None = None,
        stopping: StepSchedule | None = None, shrunk: bool = True, startup: int = 10, population: int = 20,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None, known: Known | None = None,
    ) -> None:  # fmt: skip
        schedule = schedule or SeedSchedule.parse(DEFAULT_RACE)
        self.objectives, self.seeds = tuple(objectives), search_seeds(seeds, schedule)
        check_search(self.objectives, schedule, trials, replicas, stopping)
        self.constraints = tuple(parse_constraint(text, self.objectives) for text in constraints)
        self.known, self.early = known, [constraint for constraint in self.constraints if early(constraint)]
        self.sampler = Sampler(sampler, space, [sense(o) for o in self.objectives], seed, population, startup)
        self.queue = enqueued_points(space, enqueue)
        estimates = Estimates(self.objectives, self.constraints, self.seeds, schedule.totals, bounds or {})
        self.history = History(self.sampler, estimates, shrunk)
        self.contest = Contest(
            space, estimates, schedule, (replicas or 0) // schedule.totals[0] if trials is None else trials, replicas
        )
        self.milestones = Milestones(stopping) if stopping else None
        self._events: list[dict[str, Any]] = [
            {
                "event": "search", "version": JOURNAL_VERSION, "space": space.sha256,
                "objectives": [objective.model_dump(mode="json") for objective in objectives],
                "constraints": list(constraints), "sampler": sampler, "schedule": schedule.model_dump(mode="json"),
                "seed": seed, "seeds": list(self.seeds), "enqueue": self.queue,
                "stopping": stopping.model_dump(mode="json") if stopping else None,
                "shrunk": shrunk, "startup": startup, "population": population,
            }
        ]  # fmt: skip

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing can start."""
        return self.contest.finished

    @property
    def in_flight(self) -> tuple[Job, ...]:
        """Jobs without a tell; after ``replay`` these are the ones to run again."""
        return tuple(self.contest.jobs.values())

    @property
    def configurations(self) -> Mapping[int, Configuration]:
        """All trials but duplicates, by number."""
        return self.contest.configurations

    @property
    def duplicates(self) -> Mapping[int, int]:
        """Trial -> the earlier trial that has its configuration and results."""
        return self.contest.duplicates

    @property
    def replicas_started(self) -> int:
        return self.contest.started

    def ask(self) -> Job | None:
        """The next job; None when nothing can start now (wait for a ``tell``) or the search has finished."""
        while not self.finished:
            if (found := self.contest.promotion()) is not None:
                return self._log_job(self.contest.promote(*found))
            if not self.contest.open:
                break
            point, memory, enqueued = self._propose()
            if (of := self.contest.known(point)) is not None:
                self._duplicate(of, memory)
            elif known := self._infeasible(point):
                self._refuse(point, memory, enqueued, known)
            else:
                return self._start(point, memory, enqueued)
        self.contest.settle()
        return None

    def tell(self, job: Job, results: Mapping[int, SeedResult]) -> None:
        """What every seed of a job gave. One seed with status ``pruned`` ends its configuration.

        Raises:
            InputError: a finished seed lacks the metric of an objective or constraint.
            ValueError: the job is not in flight, or other seeds than the job's.
        """
        self._tell(job, results)
        self.contest.settle()

    def _tell(self, job: Job, results: Mapping[int, SeedResult]) -> None:
        self._check(job, results)
        check_reported(results, self.objectives, "objective")
        check_reported(results, [constraint.objective for constraint in self.constraints], "constraint")
        pruned = any(result.status == "pruned" for result in results.values())
        self.contest.absorb(job, {seed: results[seed] for seed in job.seeds}, pruned)
        self.history.changed(self.configurations[job.trial_number])
        self._log("tell", job.trial_number, rung=job.rung, results=_dumped(job, results))

    def report_intermediate(self, job: Job, step: int, results: Mapping[int, SeedResult]) -> bool:
        """What every seed of a running job has after a task or epoch (counted from 1).

        Returns:
            True: the job should stop; tell its seeds as ``pruned`` with their latest metrics.

        Raises:
            InputError, ValueError: as ``tell``.
        """
        self._check(job, results)
        if self.milestones is None or not self.milestones.schedule.is_milestone(step):
            return False
        metric = self.milestones.schedule.metric or self.objectives[0].metric
        objective = self.objectives[0].model_copy(update={"metric": metric})
        check_reported(results, [objective], "early stopping by")
        worst = self.contest.estimates.worst_possible(objective)
        values = imputed([results[seed] for seed in job.seeds], objective, worst)
        if values is None:
            return False  # a seed failed and there is no value to count it as: left to ``tell``
        aggregate = summarise(values, objective)
        self.configurations[job.trial_number].intermediate[step] = aggregate
        self._log("step", job.trial_number, step=step, results=_dumped(job, results))
        good = -aggregate if sense(objective) == "minimize" else aggregate
        return self.milestones.stops(job.rung, step, good)

    def best(self, k: int) -> list[Ranked]:
        """The best configurations: feasible ones first, then by objectives; those stopped within a run come last.

        Means and IQMs are compared as the mixed model predicts them for all seeds (``mixed_model``), so a few lucky
        seeds do not win; by other statistics the configurations with the most seeds come first.
        """
        return self.contest.best(k)

    def fresh_seeds(self, n: int) -> tuple[int, ...]:
        """The n smallest seeds that no configuration of the search has seen, for the honest final comparison."""
        taken = set(self.seeds)
        return tuple([seed for seed in range(n + len(taken)) if seed not in taken][:n])

    def journal(self, start: int = 0) -> list[dict[str, Any]]:
        """JSON-able events from number ``start`` on; all of them restore the search."""
        return self._events[start:]

    def replay(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Restore a search from its journal, into a new ``SeedSearch`` with the same arguments (``trials`` and
        ``replicas`` may have grown). No sampler is called.

        Raises:
            InputError: the journal is of another search, or does not follow from its beginning.
        """
        if len(self._events) > 1:
            raise ValueError("replay into a search that has begun")
        header = dict(events[0]) if events else {}
        header.get("schedule", {}).pop("p_threshold", None)  # of a rule that earlier versions had
        for key, value in self._events[0].items():
            if header.get(key) != value:
                raise InputError(f"journal: of another search ({key} is {header.get(key)!r}, here {value!r})")
        for index, event in enumerate(events[1:], start=1):
            try:
                self._apply(event)
            except (KeyError, ValueError, TypeError) as error:
                raise InputError(f"journal: event {index} does not follow from those before it ({error})") from error
        self.contest.settle()

    def _apply(self, event: Mapping[str, Any]) -> None:
        """Do again what was done; whether it would be done so today is not asked."""
        kind, trial = event["event"], event["trial"]
        if kind in ("tell", "step"):
            results = {int(seed): SeedResult.model_validate(result) for seed, result in event["results"].items()}
            if kind == "tell":
                self._tell(self.contest.jobs[trial], results)
            else:
                self.report_intermediate(self.contest.jobs[trial], event["step"], results)
        elif kind == "duplicate":
            self._duplicate(event["of"], event["memory"])
        elif kind == "infeasible":
            self._refuse(dict(event["point"]), event["memory"], event["enqueued"], event["known"])
        elif event["rung"]:
            self._log_job(self.contest.promote(trial, event["rung"]))
        else:
            self._start(dict(event["point"]), event["memory"], event["enqueued"])
        if {key: self._events[-1][key] for key in event} != dict(event):
            raise ValueError(f"trial {trial}, trial {self._events[-1]['trial']} is next")

    def _propose(self) -> tuple[dict[str, Any], dict[str, Any], bool]:
        number = self.contest.number
        history = self.history.trials()
        if number < len(self.queue):
            # what keeps its state counts an enqueued trial, as in Optuna
            memory = self.sampler.suggest(number, 0, history)[1] if self.sampler.kind.keeps else {}
            return self.queue[number], memory, True
        point: dict[str, Any] = {}
        memory = {}
        for attempt in range(2 * ATTEMPTS):
            point, memory = self.sampler.suggest(number, attempt, history, anyhow=attempt >= ATTEMPTS)
            if self.contest.known(point) is None:
                break
        return point, memory, False

    def _start(self, point: dict[str, Any], memory: dict[str, Any], enqueued: bool) -> Job:
        job = self.contest.start(point, memory, enqueued)
        self.sampler.remember(memory)
        self.history.changed(self.configurations[job.trial_number])
        return self._log_job(job, point=point, memory=memory, enqueued=enqueued)

    def _infeasible(self, point: Mapping[str, Any]) -> Mapping[str, float]:
        """What is known of a point before training, if that violates a constraint."""
        if self.known is None or not self.early:
            return {}
        known = self.known(self.sampler.space.fields(point))
        return known if any(c.violation(known[c.objective.metric]) > 0 for c in self.early) else {}

    def _refuse(
        self, point: dict[str, Any], memory: dict[str, Any], enqueued: bool, known: Mapping[str, float]
    ) -> None:  # fmt: skip
        configuration = self.contest.refuse(point, memory, enqueued, known)
        self.sampler.remember(memory)
        self.history.changed(configuration)
        content = {"known": dict(known), "point": point, "memory": memory, "enqueued": enqueued}
        self._log("infeasible", configuration.number, **content)

    def _duplicate(self, of: int, memory: dict[str, Any]) -> None:
        self.sampler.remember(memory)
        self._log("duplicate", self.contest.number, of=of, memory=memory)
        self.contest.duplicate(of)

    def _log_job(self, job: Job, **content: Any) -> Job:
        self._log("ask", job.trial_number, rung=job.rung, seeds=list(job.seeds), **content)
        return job

    def _log(self, event: str, trial: int, **content: Any) -> None:
        self._events.append({"event": event, "trial": trial, **content})

    def _check(self, job: Job, results: Mapping[int, SeedResult]) -> None:
        if self.contest.jobs.get(job.trial_number) != job:
            raise ValueError(f"trial {job.trial_number}: this job is not in flight")
        if set(results) != set(job.seeds):
            raise ValueError(f"trial {job.trial_number}: seeds {sorted(results)} told, the job has {list(job.seeds)}")


def _dumped(job: Job, results: Mapping[int, SeedResult]) -> dict[str, Any]:
    return {str(seed): results[seed].model_dump(mode="json") for seed in job.seeds}
