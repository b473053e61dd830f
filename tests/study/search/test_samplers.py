"""Samplers: those with a state of their own, and those of installed packages."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.dimensions import Float
from search_spaces.space import Space
from study.search.racing import SeedSchedule
from study.search.samplers import KINDS, sampler_factory
from study.search.seed_search import SeedSearch
from study.search.simulation import simulate
from study.spec import Objective
from trainables.errors import InputError

SPACE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
MODULE = '''
"""Climbs: a step from its last good point; the point, the step and how often it was asked are its state."""
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState


class Climber(BaseSampler):
    def __init__(self, seed, directions):
        self.random = RandomSampler(seed=seed)
        self.sign = 1.0 if directions[0] == "maximize" else -1.0

    def infer_relative_search_space(self, study, trial):
        return {"x": FloatDistribution(0.0, 1.0)}

    def sample_relative(self, study, trial, search_space):
        storage = study._storage
        asked = storage.get_study_system_attrs(study._study_id).get("climber:asked", 0)
        storage.set_study_system_attr(study._study_id, "climber:asked", asked + 1)
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        at = max(done, key=lambda one: self.sign * one.value).params["x"] if done else 0.9
        step = done[-1].system_attrs["climber:step"] * 0.9 if done else 0.1
        storage.set_trial_system_attr(trial._trial_id, "climber:step", step)
        return {"x": at - step if asked % 2 else min(at + step / 3, 1.0)}

    def sample_independent(self, study, trial, name, distribution):
        return self.random.sample_independent(study, trial, name, distribution)


def refuses(seed, directions):
    raise RuntimeError("no licence\\nfound")


def breaks(seed, directions):
    class Broken(Climber):
        def sample_relative(self, study, trial, search_space):
            raise KeyError("x")
    return Broken(seed, directions)
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with samplers, as pip leaves it."""
    (tmp_path / "climbing.py").write_text(MODULE)
    info = tmp_path / "climbing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: climbing\nVersion: 1.0\n")
    names = {"climber": "Climber", "refuses": "refuses", "breaks": "breaks", "nothing": "missing"}
    lines = [f"{name} = climbing:{target}" for name, target in names.items()]
    (info / "entry_points.txt").write_text("[lora_study.samplers]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("climbing", None)


def search(sampler: str, **more: Any) -> SeedSearch:
    schedule = SeedSchedule.parse("halving:2,4")
    return SeedSearch(SPACE, [Objective(metric="a")], sampler=sampler, trials=14, schedule=schedule, seed=3, **more)


def height(params: Any, seed: int) -> dict[str, float]:
    return {"a": 1 - (params["x"] - 0.2) ** 2 - 0.01 * (params["y"] - 0.5) ** 2 + 0.001 * seed}


def ends_the_same_after_a_kill(sampler: str) -> SeedSearch:
    whole, killed, resumed = (search(sampler, enqueue=[{"x": 0.9, "y": 0.5}]) for _ in range(3))
    simulate(whole, height)
    simulate(killed, height, until_s=17.0)
    assert killed.in_flight
    resumed.replay(json.loads(json.dumps(killed.journal())))
    simulate(resumed, height)
    assert decisions(resumed) == decisions(whole) and whole.finished
    return whole


def decisions(found: SeedSearch) -> list[dict[str, Any]]:
    """Events without the sampler's memory: of CMA-ES it holds memory that nothing was written to."""
    return [{key: value for key, value in event.items() if key != "memory"} for event in found.journal()]


def test_a_sampler_of_an_installed_package_keeps_its_state(installed: None) -> None:
    whole = ends_the_same_after_a_kill("climber")
    points = [one.params["x"] for one in whole.configurations.values()]
    steps = [one.memory["trial"]["climber:step"] for one in whole.configurations.values()]
    assert min(points) < 0.7 and steps == pytest.approx([0.1 * 0.9**n for n in range(14)])
    assert whole.sampler.attributes == {"climber:asked": 14}


@pytest.mark.skipif("cmaes" not in KINDS, reason="the package cmaes is not installed")
def test_cma_es_goes_on_where_it_was() -> None:
    whole = ends_the_same_after_a_kill("cmaes")
    assert any(key.startswith("cma:") for one in whole.configurations.values() for key in one.memory["trial"])
    assert whole.best(1)[0].params["x"] == pytest.approx(0.2, abs=0.2)


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_nothing_is_remembered_by_ids_of_a_study_that_is_gone(sampler: str) -> None:
    found = search(sampler, population=4)
    simulate(found, height)
    assert found.sampler.attributes == {}
    generations = {value for one in found.configurations.values() for value in one.memory["trial"].values()}
    assert generations >= {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("refuses", "sampler refuses: RuntimeError: no licence"),
        ("breaks", "sampler breaks: KeyError: 'x'"),
        ("nothing", r"sampler nothing \(entry point climbing:missing\): AttributeError"),
        ("climbre", "sampler 'climbre': unknown; allowed: tpe, .*climber"),
    ],
)
def test_a_sampler_that_fails_is_one_line(installed: None, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        search(name)
    assert "\n" not in str(caught.value)


def test_without_such_a_package_there_is_no_factory() -> None:
    assert sampler_factory("climber") is None
