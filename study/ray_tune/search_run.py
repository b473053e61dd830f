"""A search in a run directory: its journal, its jobs as packs, the confirmation of the best on fresh seeds."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from study.plugins import trainable_of
from study.ray_tune.packs import cut, pack_task, packs
from study.ray_tune.worker import STOP_FILE
from study.records.run_directory import RunDirectory
from study.resolved import ResolvedStudy, TrialSpec
from study.search.candidates import Job
from study.search.journal import JOURNAL_FILE, JournalWriter, read_journal
from study.search.plan import known_before, restored, trial_of
from study.search.samplers import random_fields
from study.search.seed_search import SeedSearch
from study.search.statistics import SeedResult
from study.terminal.progress import Progress
from study.tracking.tracker import Tracker
from trainables.configs import TrainableConfig

SAMPLES = 32
"""Random configurations of a space that are looked at for their size."""


def confirmed(study: ResolvedStudy, search: SeedSearch) -> list[int]:
    """Trials that are run again on fresh seeds: the best that ran through, and the first enqueued configuration."""
    assert study.search is not None
    through = [ranked for ranked in search.best(len(search.configurations)) if ranked.state != "pruned"]
    numbers = [ranked.trial_number for ranked in through[: study.search.confirm.configurations]]
    if study.search.enqueue and 0 in search.configurations and 0 not in numbers:
        numbers.append(0)
    return numbers


def expected_jobs(study: ResolvedStudy, search: SeedSearch) -> Counter[int]:
    """Seeds of a job -> how many such jobs the study takes if no configuration is stopped, pruned or drawn twice."""
    assert study.search is not None
    confirm = study.search.confirm
    jobs, number, below = Counter({confirm.seeds: confirm.configurations + 1}), study.search.trials, 0
    for seeds in search.contest.estimates.rung_seeds:
        jobs[len(seeds) - below] += number
        number, below = int(number * search.contest.race.keep), len(seeds)
    return jobs


def expected_replicas(study: ResolvedStudy, search: SeedSearch) -> int:
    """Replicas of these jobs, of those of the search as many as are allowed."""
    assert study.search is not None
    confirm, most = study.search.confirm, study.search.replicas
    fresh = (confirm.configurations + 1) * confirm.seeds
    replicas = sum(seeds * number for seeds, number in expected_jobs(study, search).items())
    return replicas if most is None else most + fresh


class SearchRun:
    """The driver's side of a search: ``study.ray_tune.searcher.Work`` on a run directory.

    Every event is in the journal before what follows from it starts.
    """

    def __init__(self, run: RunDirectory, tracker: Tracker, progress: Progress) -> None:
        self.run, self.tracker, self.progress = run, tracker, progress
        self.spec = trainable_of(run.study, run.path)
        self.search = restored(run.study, run.path, known_before(run.study, self.spec))
        self.journal = JournalWriter(run.path / JOURNAL_FILE)
        self.written = len(read_journal(run.path / JOURNAL_FILE)[0])
        self._specs: dict[int, TrialSpec] = {}

    def samples(self) -> list[TrialSpec]:
        """Configurations of about the sizes that the search will train, to measure how many fit together."""
        fields = [*self.run.study.search.enqueue.values(), *random_fields(self.search.sampler.space, SAMPLES)]  # type: ignore[union-attr]
        jobs = [Job(number, dict(own), self.run.study.seeds, 0) for number, own in enumerate(fields)]
        return [trial_of(self.run.study, self.spec, job, job.seeds, self._count) for job in jobs]

    def complete(self) -> bool:
        """Whether the search is over and everything that it started has ended."""
        if not self.search.finished:
            return False
        self._confirm()
        return not self.run.unfinished()

    def begin(self, job: Job) -> list[dict[str, Any]]:
        seeds = self.search.contest.estimates.rung_seeds[job.rung]
        trial = self._trial(job).model_copy(update={"seeds": seeds})
        self._start([trial])
        left = [seed for seed in job.seeds if self.run.outcome(trial.replica_id(seed)) is None]
        return [{"pack": pack_task(self.run, trial, seeds)} for seeds in cut(self.run, left)]

    def results(self, job: Job, error: bool) -> dict[int, SeedResult] | None:
        trial = self._trial(job)
        found: dict[int, SeedResult] = {}
        for seed in job.seeds:
            outcome = self.run.outcome(trial.replica_id(seed))
            if outcome is None and not error:
                return None
            status = outcome.status if outcome else "failed"
            reached = self.run.boundaries_done(trial.replica_id(seed))
            done = trial.boundaries if trial.boundaries and status != "pruned" else reached
            found[seed] = self._result(trial, seed, status, done)
        return found

    def intermediate(self, job: Job) -> None:
        if self.search.milestones is None:
            return
        trial = self._trial(job)
        ids = [trial.replica_id(seed) for seed in job.seeds]
        known = self.search.configurations[job.trial_number].intermediate
        reached = min(map(self.run.boundaries_done, ids))
        for step in range(1, min(reached, trial.boundaries - 1 if trial.boundaries else reached) + 1):
            schedule = self.search.milestones.schedule
            if not schedule.is_milestone(step) or step in known:
                continue
            results = {seed: self._result(trial, seed, self._running(trial, seed), step) for seed in job.seeds}
            if self.search.report_intermediate(job, step, results):
                for replica_id in ids:  # before the journal: a resume finds the decision or makes it again
                    (self.run.folder(replica_id) / STOP_FILE).touch()
        self._save([])

    def told(self) -> None:
        self._save([])

    def afterwards(self) -> Iterator[dict[str, Any]]:
        self._save([])
        self._confirm()
        for task in packs(self.run, self.run.unfinished()):
            yield {"pack": task}

    def _confirm(self) -> None:
        """Add the trials that are run again on fresh seeds, where they are not there yet."""
        study = self.run.study
        assert study.search is not None
        seeds = self.search.fresh_seeds(study.search.confirm.seeds)
        new = []
        for number in confirmed(study, self.search):
            configuration = self.search.configurations[number]
            job = Job(number, configuration.params, seeds, configuration.rung)
            trial = trial_of(study, self.spec, job, seeds, self._count, test=True)
            if self.run.trial(trial.trial_id) is None:
                new.append(trial)
        self._start(new)

    def _start(self, trials: Sequence[TrialSpec]) -> None:
        self._save([trial for trial in trials if self.run.trial(trial.trial_id) != trial])
        for trial in trials:
            self.run.add(trial)
            self.progress.add(trial)
        if trials:
            self.tracker.prepare(trials)

    def _save(self, trials: Sequence[TrialSpec]) -> None:
        events = self.search.journal(self.written)
        self.journal.append(trials, events)
        self.written += len(events)

    def _trial(self, job: Job) -> TrialSpec:
        if job.trial_number not in self._specs:
            self._specs[job.trial_number] = trial_of(self.run.study, self.spec, job, job.seeds, self._count)
        return self._specs[job.trial_number]

    def _running(self, trial: TrialSpec, seed: int) -> Any:
        rows = self.run.rows(trial.replica_id(seed))
        return "diverged" if any(row["name"] == "diverged" for row in rows) else "finished"

    def _result(self, trial: TrialSpec, seed: int, status: Any, boundaries: int) -> SeedResult:
        """Metrics as if the replica had ended after so many boundaries; what was not finite is NaN, not absent."""
        wanted = [*self.search.objectives, *(constraint.objective for constraint in self.search.constraints)]
        metrics = {objective.metric: math.nan for objective in wanted}
        metrics |= self.run.final_metrics(trial.replica_id(seed), boundaries)
        metrics |= {"trainable_params": float(trial.trainable_params), "total_params": float(trial.total_params)}
        return SeedResult(status=status, metrics=metrics)

    def _count(self, config: TrainableConfig) -> tuple[int, int]:
        assert self.run.study.search is not None
        return self.spec.load().count_parameters(config, self.run.study.search.classes)
