"""What a search owes its users: replicas used, complete rungs kept, infeasible configurations not trained."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from search_spaces.dimensions import Float, Int
from search_spaces.space import Space
from study.search.racing import SeedSchedule, StepSchedule
from study.search.seed_search import SeedSearch
from study.search.simulation import simulate
from study.search.statistics import SeedResult
from study.spec import Objective

SPACE = Space({"x": Float(0.0, 1.0), "rank": Int(1, 64)})
STEPS = 4


def accuracy(params: Mapping[str, Any], seed: int, step: int = STEPS) -> dict[str, float]:
    """Rises with the steps; a lucky start says little about the end."""
    rng = np.random.default_rng([seed, int(params["x"] * 1e9)])
    early, noise = rng.normal(0, 0.1, STEPS)[step - 1] * (STEPS - step), rng.normal(0, 0.05)
    return {"accuracy": 0.5 - (params["x"] - 0.3) ** 2 + 0.1 * step + early + noise}


def parameters(params: Mapping[str, Any]) -> dict[str, float]:
    return {"trainable_params": 100.0 * params["rank"], "total_params": 1e6}


def search(**changed: Any) -> SeedSearch:
    arguments: dict[str, Any] = {"trials": 20, "sampler": "random", "objectives": [Objective(metric="accuracy")]}
    return SeedSearch(SPACE, **(arguments | changed))


def stopping(found: SeedSearch) -> list[tuple[int, int]]:
    """Run a search whose packs may be stopped; (trial, rung) of those that were."""
    stopped = []
    while (job := found.ask()) is not None:
        for step in range(1, STEPS):
            results = {seed: SeedResult(metrics=accuracy(job.params, seed, step)) for seed in job.seeds}
            if found.report_intermediate(job, step, results):
                stopped.append((job.trial_number, job.rung))
                break
        else:
            results = {seed: SeedResult(metrics=accuracy(job.params, seed)) for seed in job.seeds}
        status = "pruned" if (job.trial_number, job.rung) in stopped else "finished"
        found.tell(job, {seed: SeedResult(status=status, metrics=one.metrics) for seed, one in results.items()})
    return stopped


def test_who_is_stopped_in_a_later_rung_keeps_its_complete_ones() -> None:
    later, confirmed = 0, 3
    for seed in range(20):
        found = search(stopping=StepSchedule(reduction=2), seed=seed, trials=24)
        stopped = {trial: rung for trial, rung in stopping(found) if rung}
        later += len(stopped)
        for trial, rung in stopped.items():
            configuration = found.configurations[trial]
            assert configuration.state == "eliminated" and configuration.rung == rung - 1
        (name,) = found.best(1)[0].values
        through = [one for one in found.best(24) if one.state != "pruned"]
        chosen, discarded = through[:confirmed], through[confirmed:]
        complete = {number for number, one in found.configurations.items() if one.state != "pruned"}
        assert {one.trial_number for one in through} == complete
        worst = min(one.predicted[name] for one in chosen)
        assert all(one.predicted[name] <= worst for one in discarded)
        for one in through:
            seeds = found.contest.estimates.rung_seeds[found.configurations[one.trial_number].rung]
            mean = np.mean([accuracy(one.params, seed)["accuracy"] for seed in seeds])
            assert one.seeds == seeds and one.values[name] == pytest.approx(mean)
        restored = search(stopping=StepSchedule(reduction=2), seed=seed, trials=24)
        restored.replay(json.loads(json.dumps(found.journal())))
        assert restored.best(24) == found.best(24) and restored.finished
    assert later > 20


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("race", ["halving:1,2,4,8", "halving:2,4,8", "halving:3,5,8", "fixed:8"])
def test_replicas_are_used_but_for_what_no_step_takes(race: str, workers: int) -> None:
    schedule = SeedSchedule.parse(race)
    for replicas in (61, 62, 63, 64):
        found = search(trials=None, replicas=replicas, schedule=schedule)
        assert simulate(found, accuracy, workers).replicas == found.replicas_started
        assert 0 <= replicas - found.replicas_started < schedule.totals[0]


def test_with_trials_used_up_replicas_go_on_to_those_that_wait() -> None:
    found = search(trials=6, replicas=29, schedule=SeedSchedule.parse("halving:2,4,8"))
    assert simulate(found, accuracy).replicas == 28
    everything = search(trials=3, replicas=100)
    assert simulate(everything, accuracy).replicas == 3 * 8  # nothing is left to give


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_what_is_infeasible_before_training_is_not_trained(sampler: str) -> None:
    def new(**more: Any) -> SeedSearch:
        constraints = ["trainable_params<=1600"]
        return search(sampler=sampler, constraints=constraints, startup=4, population=4, known=parameters, **more)

    found = new()
    trained: list[int] = []

    def train(params: Mapping[str, Any], seed: int) -> dict[str, float]:
        trained.append(params["rank"])
        return accuracy(params, seed) | parameters(params)

    simulate(found, train)
    refused = [one for one in found.configurations.values() if one.state == "infeasible"]
    assert max(trained) <= 16 and refused and all(one.params["rank"] > 16 and not one.results for one in refused)
    assert len(found.configurations) - len(refused) + len(found.duplicates) == 20
    assert {one.trial_number for one in found.best(99)}.isdisjoint(one.number for one in refused)
    shown = {trial.number: trial for trial in found.history.trials()}
    if sampler != "random":
        assert all(max(shown[one.number].constraints.values()) > 0 for one in refused if one.number in shown)
        assert any(one.number in shown and shown[one.number].values for one in refused)
    restored = new()
    restored.replay(json.loads(json.dumps(found.journal())))
    assert restored.journal() == found.journal() and restored.finished
    assert [one.state for one in restored.configurations.values()] == [
        one.state for one in found.configurations.values()
    ]


def test_tpe_learns_what_is_infeasible() -> None:
    def refused(sampler: str) -> int:
        found = search(sampler=sampler, constraints=["trainable_params<=1600"], known=parameters, trials=30)
        simulate(found, lambda params, seed: accuracy(params, seed) | parameters(params))
        return found.contest.refused

    assert refused("tpe") < 0.7 * refused("random")


def test_a_constraint_that_nothing_meets_ends_the_search() -> None:
    found = search(constraints=["trainable_params<=50"], known=parameters, trials=2)
    assert found.ask() is None and found.finished and found.contest.refused == 20 and found.best(5) == []


def test_a_journal_of_decisions_that_would_be_others_today_still_opens() -> None:
    """Whoever waits may have been promoted by another rule: what was done counts."""
    found = search(trials=4, schedule=SeedSchedule.parse("halving:2,4"))
    jobs = [found.ask() for _ in range(4)]
    for job, value in zip(jobs, (0.5, 0.9, 0.7, 0.1), strict=True):
        assert job is not None
        found.tell(job, {seed: SeedResult(metrics={"accuracy": value}) for seed in job.seeds})
    events = [*found.journal(), {"event": "ask", "trial": 3, "rung": 1, "seeds": [2, 3]}]
    restored = search(trials=4, schedule=SeedSchedule.parse("halving:2,4"))
    restored.replay(events)
    assert [job.trial_number for job in restored.in_flight] == [3]
    assert math.isclose(restored.best(1)[0].values["mean of accuracy"], 0.9)
