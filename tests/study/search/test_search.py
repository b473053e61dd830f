"""The search over seeds: racing, failures, duplicates, constraints, several objectives, resume."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from search_spaces.dimensions import Choice, Float, Int
from search_spaces.space import Space
from study.catalog import STUDIES
from study.search.racing import DEFAULT_RACE, SeedSchedule, StepSchedule
from study.search.seed_search import SeedSearch
from study.search.simulation import simulate
from study.search.statistics import SeedResult
from study.spec import Objective
from trainables.errors import InputError

HEIGHT = Space({"x": Float(0.0, 1.0), "y": Float(1e-4, 1.0, log=True)})
ACCURACY = Objective(metric="accuracy")
SPREAD = Objective(metric="accuracy", over_seeds="spread")
FOUR = [Objective(metric=metric) for metric in "abcd"]

GP = pytest.param("gp", marks=pytest.mark.slow)


def true_height(params: Mapping[str, Any]) -> float:
    """Expected accuracy: best 0.8 at x = 0.3, y = 1e-2."""
    return 0.8 - 0.6 * (params["x"] - 0.3) ** 2 - 0.05 * (math.log10(params["y"]) + 2) ** 2


def height(params: Mapping[str, Any], seed: int, noise: float = 0.1) -> dict[str, float]:
    """Noisy accuracy: a difference between seeds that all configurations share, and one of their own."""
    shared = np.random.default_rng(seed).normal()
    own = np.random.default_rng([seed, int(params["x"] * 1e9), int(params["y"] * 1e9)]).normal()
    return {"accuracy": true_height(params) + 0.05 * shared + noise * own}


def search(**changed: Any) -> SeedSearch:
    arguments: dict[str, Any] = {"space": HEIGHT, "objectives": [ACCURACY], "trials": 20, "sampler": "random"}
    return SeedSearch(**(arguments | changed))


def results(job_seeds: tuple[int, ...], *accuracies: float) -> dict[int, SeedResult]:
    return {s: SeedResult(metrics={"accuracy": a}) for s, a in zip(job_seeds, accuracies, strict=True)}


def test_racing_picks_better_configurations_than_single_seeds_at_the_same_budget() -> None:
    """What a lucky seed does: the winner of 64 single runs is worse in truth than that of 64 raced replicas."""
    regret: dict[str, list[float]] = {"fixed:1": [], "halving:1,2,4,8": []}
    for repetition in range(8):
        for schedule, found in regret.items():
            raced = search(trials=None, replicas=64, sampler="tpe", seed=repetition,
                           schedule=SeedSchedule.parse(schedule))  # fmt: skip
            assert simulate(raced, lambda p, s: height(p, s, noise=0.2), workers=2).replicas <= 64
            found.append(0.8 - true_height(raced.best(1)[0].params))
    assert np.median(regret["halving:1,2,4,8"]) < 0.8 * np.median(regret["fixed:1"])


def test_halving_gives_seeds_to_the_better_half_and_all_see_the_same_seeds() -> None:
    raced = search(schedule=SeedSchedule(rungs=(2, 4, 8), keep=0.5))
    simulate(raced, height, workers=3)
    counts = [len(c.results) for c in raced.configurations.values()]
    assert set(counts) == {2, 4, 8} and counts.count(2) >= 5 and counts.count(8) >= 5
    assert all(sorted(c.results) == list(range(len(c.results))) for c in raced.configurations.values())
    assert {c.state for c in raced.configurations.values()} == {"completed", "eliminated"}
    assert len(raced.best(20)) == 20
    assert raced.finished and raced.ask() is None and raced.in_flight == ()


def test_a_few_lucky_seeds_do_not_win() -> None:
    """0.74 from two seeds is less than 0.72 from eight where single seeds differ by 0.1."""
    raced = search(schedule=SeedSchedule(rungs=(2, 8)), trials=6)
    means = (0.5, 0.72, 0.45, 0.4, 0.35, 0.74)
    while (job := raced.ask()) is not None:
        noise = np.random.default_rng(job.trial_number).normal(size=8)[list(job.seeds)]
        noise -= noise.mean()
        raced.tell(job, results(job.seeds, *(means[job.trial_number] + 0.1 * noise)))
        if len(raced.configurations) == 6:
            break
    first, second = raced.best(2)
    assert (first.trial_number, len(first.seeds)) == (1, 8) and (second.trial_number, len(second.seeds)) == (5, 2)


def test_of_the_worst_seed_more_seeds_decide() -> None:
    worst = Objective(metric="accuracy", over_seeds="worst")
    raced = search(objectives=[worst], schedule=SeedSchedule(rungs=(2, 8)))
    simulate(raced, height)
    counts = [len(ranked.seeds) for ranked in raced.best(20)]
    assert counts == sorted(counts, reverse=True) and set(counts) == {2, 8}


def test_halving_promotes_by_rank_and_promotes_later_what_the_quota_first_left_out() -> None:
    raced = search(schedule=SeedSchedule(rungs=(2, 4), keep=0.5), trials=4)
    jobs = [raced.ask() for _ in range(4)]
    for job, value in zip(jobs, (0.5, 0.9, 0.7, 0.1), strict=True):
        assert job is not None
        raced.tell(job, results(job.seeds, value, value))
    promoted = [raced.ask(), raced.ask()]
    assert [job.trial_number for job in promoted if job] == [1, 2] and promoted[0].seeds == (2, 3)  # type: ignore[union-attr]
    assert raced.ask() is None and not raced.finished


def test_replicas_that_the_race_leaves_go_to_the_best_that_wait() -> None:
    options = {"trials": 6, "schedule": SeedSchedule.parse("halving:1,2,4"), "sampler": "random"}
    plain, spare = search(**options), search(**options, replicas=20)
    assert simulate(plain, height).replicas < 16
    assert simulate(spare, height, workers=2).replicas in (19, 20)
    seeds = {number: len(configuration.results) for number, configuration in spare.configurations.items()}
    assert seeds[spare.best(1)[0].trial_number] == 4 and sorted(seeds.values()) == [2, 2, 4, 4, 4, 4]
    restored = search(**options, replicas=20)
    restored.replay(spare.journal())
    assert restored.journal() == spare.journal() and restored.finished


def test_engine_and_studies_race_alike() -> None:
    totals = tuple(map(len, search().contest.estimates.rung_seeds))
    studies = {study.search.schedule for study in STUDIES.values() if study.search}
    assert totals == SeedSchedule.parse("halving").totals == (2, 4, 8) and studies == {DEFAULT_RACE}


def test_fixed_gives_all_seeds_at_once() -> None:
    raced = search(schedule=SeedSchedule.parse("fixed:5"), trials=3)
    job = raced.ask()
    assert job is not None and job.seeds == (0, 1, 2, 3, 4)
    assert simulate(raced, height).replicas == 15


def test_failed_seeds_count_against_their_configuration() -> None:
    raced = search(schedule=SeedSchedule.parse("fixed:4"), trials=2, bounds={"accuracy": (0.0, 1.0)})
    for accuracies in ((0.9, 0.9, 0.9), (0.7, 0.7, 0.7)):
        job = raced.ask()
        assert job is not None
        told = results(job.seeds[:3], *accuracies)
        status = "failed" if accuracies[0] == 0.9 else "finished"
        raced.tell(job, told | {3: SeedResult(status=status, metrics={"accuracy": 0.7})})  # type: ignore[arg-type]
    first, second = raced.best(2)
    assert first.trial_number == 1 and second.values == {"mean of accuracy": pytest.approx(0.675)}


def test_a_configuration_that_never_runs_through_gets_no_more_seeds() -> None:
    raced = search(trials=1)
    job = raced.ask()
    assert job is not None
    raced.tell(job, {seed: SeedResult(status="failed") for seed in job.seeds})
    assert raced.finished and raced.configurations[0].state == "eliminated"


@pytest.mark.parametrize("sampler", ["tpe", GP, "nsga2"])
def test_non_finite_metrics_never_reach_a_sampler(sampler: str) -> None:
    loss = Objective(metric="loss", direction="minimize")
    raced = search(objectives=[loss], sampler=sampler, startup=4, population=4, trials=12,
                   schedule=SeedSchedule.parse("fixed:2"))  # fmt: skip

    def broken(params: Mapping[str, Any], seed: int) -> SeedResult:
        if params["x"] > 0.5:
            return SeedResult(status="diverged" if seed else "finished", metrics={"loss": math.nan})
        return SeedResult(metrics={"loss": 1 - true_height(params)})

    simulate(raced, broken, workers=2)
    shown = raced.history.trials()
    assert raced.finished and shown and all(math.isfinite(v) for trial in shown for v in trial.values)
    assert {trial.state.name for trial in shown} == {"COMPLETE"}
    assert raced.best(1)[0].params["x"] <= 0.5


def test_duplicates_are_reused_and_start_no_job() -> None:
    space = Space({"rank": Int(1, 3), "unused": Choice((True, False))})
    raced = search(space=space, trials=10, schedule=SeedSchedule.parse("fixed:2"), sampler="tpe", startup=2,
                   enqueue=[{"rank": 1, "unused": True}] * 2)  # fmt: skip
    simulation = simulate(raced, lambda p, seed: {"accuracy": p["rank"] / 3})
    assert len(raced.configurations) == 6 and simulation.replicas == 12
    assert raced.duplicates[1] == 0 and len(raced.duplicates) == 4 and raced.finished
    restored = search(space=space, trials=10, schedule=SeedSchedule.parse("fixed:2"), sampler="tpe", startup=2,
                      enqueue=[{"rank": 1, "unused": True}] * 2)  # fmt: skip
    restored.replay(raced.journal())
    assert restored.duplicates == raced.duplicates and restored.finished


def test_enqueued_configurations_come_first() -> None:
    raced = search(enqueue=[{"x": 0.1, "y": 0.1}, {"x": 0.2, "y": 0.2}])
    jobs = [raced.ask() for _ in range(3)]
    assert [job.params["x"] for job in jobs[:2] if job] == [0.1, 0.2]
    assert jobs[2] is not None and jobs[2].params["x"] not in (0.1, 0.2)


def test_a_special_value_is_run_but_not_modelled() -> None:
    space = Space({"lr": Float(1e-4, 1.0, log=True, also=(0.0,))})
    raced = search(space=space, sampler="tpe", trials=15, enqueue=[{"lr": 0.0}], schedule=SeedSchedule.parse("fixed:1"))
    simulate(raced, lambda p, seed: {"accuracy": 1.0 - p["lr"]})
    assert raced.best(1)[0].params == {"lr": 0.0}
    assert len(raced.history.trials()) == 14


def test_constraints_decide_before_objectives() -> None:
    objective = Objective(metric="accuracy", threshold=0.2)
    raced = search(objectives=[objective], constraints=["collapse_rate<=0.2", "trainable_params<=500"], sampler="tpe",
                   startup=5)  # fmt: skip

    def risky(params: Mapping[str, Any], seed: int) -> dict[str, float]:
        collapsed = params["x"] > 0.5 and seed % 2
        return {"accuracy": 0.1 if collapsed else params["x"] + 1, "trainable_params": 1000 * params["x"]}

    simulate(raced, risky)
    best = raced.best(20)
    assert best[0].feasible and best[0].params["x"] <= 0.5
    assert [ranked.feasible for ranked in best] == sorted((ranked.feasible for ranked in best), reverse=True)
    assert set(best[0].constraints) == {"collapse_rate<=0.2", "trainable_params<=500"}
    assert any(trial.constraints for trial in raced.history.trials())


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "random"])
def test_several_objectives(sampler: str) -> None:
    params = Objective(metric="trainable_params", direction="minimize")
    raced = search(objectives=[ACCURACY, params], sampler=sampler, trials=40, startup=5, population=8)
    simulate(raced, lambda p, seed: height(p, seed) | {"trainable_params": 1000 * p["x"]}, workers=2)
    best = raced.best(40)
    front = [ranked for ranked in best if ranked.front]
    assert front == best[: len(front)]
    for ranked in best[len(front) :]:
        assert any(
            other.predicted["mean of accuracy"] >= ranked.predicted["mean of accuracy"]
            and other.predicted["mean of trainable_params"] <= ranked.predicted["mean of trainable_params"]
            for other in front
        )


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", GP])
@pytest.mark.parametrize("schedule", ["halving:2,4,8", "fixed:4"])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(sampler: str, schedule: str) -> None:
    def new(**more: Any) -> SeedSearch:
        rule = SeedSchedule.parse(schedule)
        return search(sampler=sampler, trials=16, startup=4, population=4, schedule=rule, seed=3, **more)

    whole = new()
    simulate(whole, height)
    killed = new()
    simulate(killed, height, until_s=21.0)
    assert killed.in_flight and not killed.finished
    resumed = new()
    resumed.replay(json.loads(json.dumps(killed.journal())))
    assert resumed.in_flight == killed.in_flight and resumed.journal() == killed.journal()
    simulate(resumed, height)
    assert resumed.journal() == whole.journal() and resumed.best(16) == whole.best(16)
    longer = new(replicas=10_000)
    longer.replay(whole.journal())
    assert [one.trial_number for one in longer.best(16)] == [one.trial_number for one in whole.best(16)]


def test_a_finished_search_can_be_extended() -> None:
    short, long = search(trials=8), search(trials=12)
    simulate(short, height)
    long.replay(short.journal())
    assert not long.finished
    simulate(long, height)
    assert len(long.configurations) == 12


@pytest.mark.parametrize("changed", [{"seed": 1}, {"objectives": [Objective(metric="other")]}, {"sampler": "tpe"}])
def test_a_journal_of_another_search_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="of another search"):
        search(**changed).replay(search().journal())


def test_a_damaged_journal_is_refused() -> None:
    raced = search()
    simulate(raced, height)
    events = raced.journal()
    with pytest.raises(InputError, match="event 5 does not follow"):
        search().replay(events[:5] + events[6:])


def test_parallel_jobs_are_distinct_and_checked() -> None:
    raced = search(sampler="tpe", startup=2, schedule=SeedSchedule.parse("fixed:2"))
    jobs = [raced.ask() for _ in range(6)]
    assert len({job.trial_number for job in jobs if job}) == 6 == len(raced.in_flight)
    assert jobs[0] is not None
    with pytest.raises(ValueError, match="the job has"):
        raced.tell(jobs[0], results((0,), 0.5))
    raced.tell(jobs[0], results(jobs[0].seeds, 0.5, 0.5))
    with pytest.raises(ValueError, match="not in flight"):
        raced.tell(jobs[0], results(jobs[0].seeds, 0.5, 0.5))


def test_more_workers_shorten_the_virtual_clock() -> None:
    alone, four = search(), search()
    one, many = simulate(alone, height), simulate(four, height, workers=4)
    assert one.clock_s == one.busy_s == one.replicas
    assert many.clock_s < 0.4 * many.busy_s


def test_packs_that_fall_behind_within_a_run_stop() -> None:
    raced = search(schedule=SeedSchedule.parse("fixed:2"), stopping=StepSchedule(reduction=2), sampler="tpe", startup=2)
    stopped = {}
    for value in (0.5, 0.9, 0.4, 0.95):
        job = raced.ask()
        assert job is not None
        stopped[value] = raced.report_intermediate(job, 1, results(job.seeds, value, value))
        assert not raced.report_intermediate(job, 3, results(job.seeds, 0.0, 0.0))  # no milestone
        told = results(job.seeds, value, value)
        if stopped[value]:
            told = {seed: SeedResult(status="pruned", metrics=result.metrics) for seed, result in told.items()}
        raced.tell(job, told)
    assert stopped == {0.5: False, 0.9: False, 0.4: True, 0.95: False}
    assert raced.configurations[2].state == "pruned" and raced.best(4)[-1].trial_number == 2
    assert [trial.state.name for trial in raced.history.trials()] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    restored = search(schedule=SeedSchedule.parse("fixed:2"), stopping=StepSchedule(reduction=2), sampler="tpe",
                      startup=2)  # fmt: skip
    restored.replay(raced.journal())
    assert restored.ask() == raced.ask()


def test_the_window_keeps_the_best_and_the_latest() -> None:
    raced = search(sampler="tpe", trials=700, schedule=SeedSchedule.parse("fixed:1"), startup=10_000)
    raced.history.window = 50
    simulate(raced, height)
    shown = {trial.number for trial in raced.history.trials()}
    best = {ranked.trial_number for ranked in raced.best(20)}
    assert len(shown) <= 60 and best <= shown and set(range(680, 700)) <= shown


def test_fresh_seeds_were_never_seen() -> None:
    assert search().fresh_seeds(3) == (8, 9, 10)
    assert search(seeds=(0, 2, 9, 4, 5, 6, 7, 8)).fresh_seeds(3) == (1, 3, 10)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"objectives": []}, "none given"),
        ({"objectives": [ACCURACY, ACCURACY]}, "given twice"),
        ({"sampler": "anneal"}, "sampler 'anneal': unknown; allowed: tpe"),
        ({"objectives": FOUR, "sampler": "nsga2"}, "at most 3 objectives, 4 are given"),
        ({"objectives": FOUR, "sampler": "gp"}, "at most 3 objectives"),
        ({"objectives": FOUR, "stopping": StepSchedule()}, "early stopping"),
        ({"objectives": [SPREAD], "schedule": SeedSchedule.parse("fixed:1")}, "2 seeds"),
        ({"objectives": [Objective(metric="a", over_seeds="collapse_rate")]}, "threshold"),
        ({"constraints": ["params"]}, "NAME<=NUMBER"),
        ({"trials": None}, "trials or replicas"),
        ({"trials": 0}, "number >= 1"),
        ({"replicas": 1, "schedule": SeedSchedule.parse("fixed:2")}, "first rung"),
        ({"seeds": (0, 1, 2)}, "8 distinct seeds"),
        ({"seeds": (0,) * 8}, "8 distinct seeds"),
        ({"enqueue": [{"x": 0.1, "y": 0.1}, {"x": 7.0, "y": 0.1}]}, "enqueued configuration 1: x=7"),
        ({"enqueue": [{"x": 0.1}]}, "enqueued configuration 0: y: missing"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_in_one_line(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        search(**changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["best:2", "halving:", "halving:4,2", "fixed:0", "halving:a"])
def test_unreadable_schedules_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is expected") as caught:
        SeedSchedule.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changed", [{"objectives": [Objective(metric="top5")]}, {"constraints": ["params<=5"]}])
def test_a_metric_that_is_not_reported_is_refused(changed: dict[str, Any]) -> None:
    raced = search(**changed)
    with pytest.raises(InputError, match="does not report it; reported: accuracy"):
        simulate(raced, height)
