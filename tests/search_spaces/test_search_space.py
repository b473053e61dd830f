"""Search spaces: points, conditions, ratios, command-line form, identity."""

import json

import optuna
import pytest

from search_spaces.dimensions import Choice, Fixed, Float, Int, SpaceError, parse
from search_spaces.hybrid import HYBRID
from search_spaces.nested import NESTED
from search_spaces.rank import RANK
from search_spaces.sema import SEMA
from search_spaces.space import Space
from study.search.samplers import Sampler
from trainables.configs import HybridConfig, NestedConfig, RankConfig, SemaConfig
from trainables.configs.names import aliases

SPACES = {
    "nested": (NESTED, NestedConfig),
    "hybrid": (HYBRID, HybridConfig),
    "rank": (RANK, RankConfig),
    "sema": (SEMA, SemaConfig),
}


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("log:1e-4:1e-1", Float(1e-4, 1e-1, log=True)),
        ("uniform:0:1", Float(0.0, 1.0)),
        ("int:1:32", Int(1, 32)),
        ("int:0:20:5", Int(0, 20, step=5)),
        ("logint:1:32", Int(1, 32, log=True)),
        ("choice:zero,reinit", Choice(("zero", "reinit"))),
        ("choice:true,4,0.5,none", Choice((True, 4, 0.5, None))),
        ("ratio:lr_fast:1e-3:1", Float(1e-3, 1.0, log=True, ratio_to="lr_fast")),
        ("0.1", Fixed(0.1)),
        ("false", Fixed(False)),
    ],
)
def test_dimensions_are_read_from_the_command_line(text: str, dimension: object) -> None:
    assert parse(text) == dimension


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("log:0:1", "bounds > 0"),
        ("log:-1:1", "bounds > 0"),
        ("uniform:2:1", "lower bound is above"),
        ("uniform:0:inf", "finite"),
        ("int:1:2.5", "int:LOW:HIGH"),
        ("int:0:10:3", "step 3"),
        ("log:1e-4", "log:LOW:HIGH is expected"),
        ("logint:1:32:2", "logint:LOW:HIGH is expected"),
        ("choice:", "at least one option"),
        ("choice:a,a", "given twice"),
    ],
)
def test_impossible_dimensions_are_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(SpaceError, match=reason) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dimensions", "reason"),
    [
        ({"lr": Fixed(0.1)}, "empty"),
        ({}, "empty"),
        ({"a": Float(0, 1, when={"b": True})}, "unknown dimension 'b'"),
        ({"a": Float(0, 1, when={"b": True}), "b": Choice((True, False))}, "must stand before"),
        ({"b": Choice(("x", "y")), "a": Float(0, 1, when={"b": "z"})}, "never met"),
        ({"b": Choice((1, 2)), "a": Float(0, 1, when={"b": True})}, "never met"),
        ({"a": Float(1e-3, 1, log=True, ratio_to="lr"), "b": Float(0, 1)}, "ratio on unknown"),
        ({"m": Choice(("x", "y")), "a": Float(0.1, 1, ratio_to="m")}, "not a number"),
        ({"b": Fixed(False), "a": Float(0, 1, when={"b": True})}, "empty"),
    ],
)
def test_contradictory_spaces_are_refused(dimensions: dict[str, object], reason: str) -> None:
    with pytest.raises(SpaceError, match=reason):
        Space(dimensions)  # type: ignore[arg-type]


def test_conditions_decide_what_a_point_has() -> None:
    fields = {
        "lr_fast": 0.05,
        "lr_slow": 0.005,
        "consolidation": True,
        "consolidation_alpha": 0.1,
        "fast_reset": "zero",
    }
    fields |= {"update_interval_slow": 1, "warmup_steps": 0, "eta_min": 0.0, "rank": 16}
    point = NESTED.point(fields)
    assert point["lr_slow"] == pytest.approx(0.1)  # the ratio
    assert NESTED.fields(point) == fields | {"placement": "parallel"}
    without = NESTED.point(fields | {"consolidation": False})
    assert "consolidation_alpha" not in without and "fast_reset" not in without
    assert NESTED.key(without) == NESTED.key(
        NESTED.point(fields | {"consolidation": False, "consolidation_alpha": 0.9})
    )
    assert NESTED.key(without) != NESTED.key(point)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lr_fast": 5.0}, r"lr_fast=5: log:0.001:0.2 is allowed"),
        ({"lr_slow": 0.9}, "lr_slow=0.9: log ratio to lr_fast"),
        ({"rank": 2.5}, "rank=2.5"),
        ({"rank": True}, "rank=true"),
        ({"placement": "linear"}, "placement=linear: parallel is allowed"),
        ({"alpha": 0.1}, "alpha: no dimension"),
        ({"consolidation": 1}, "consolidation=1"),
        ({"lr_fast": float("nan")}, "lr_fast=nan"),
    ],
)
def test_points_outside_the_space_are_refused(change: dict[str, object], reason: str) -> None:
    fields = {"lr_fast": 0.05, "lr_slow": 0.005, "consolidation": False, "update_interval_slow": 1, "warmup_steps": 0}
    with pytest.raises(SpaceError, match=reason):
        NESTED.point(fields | {"eta_min": 0.0, "rank": 16} | change)


def test_overrides_replace_fix_and_add_dimensions() -> None:
    fields = set(NestedConfig.model_fields)
    space = NESTED.override(
        {"lr_slow": "log:1e-5:1e-2", "consolidation_alpha": "0.1", "placement": "linear", "init_lr": "log:1e-3:1e-1"},
        fields,
    )
    assert space.dimensions["lr_slow"] == Float(1e-5, 1e-2, log=True)
    assert space.dimensions["consolidation_alpha"] == Fixed(0.1, when={"consolidation": True})
    assert space.reachable("consolidation_space") and not NESTED.reachable("consolidation_space")
    assert "init_lr" in space.dimensions and space.sha256 != NESTED.sha256
    assert "consolidation_space" in space.describe() and "(never)" not in space.describe()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lr_fats": "log:1e-4:1"}, "did you mean 'lr_fast'"),
        ({"lr_fast": "log:0:1"}, "lr_fast=log:0:1: log range 0:1"),
        ({"consolidation": "false", "consolidation_alpha": "uniform:0:1"}, "contradicts the space"),
        ({"lr_slow": "ratio:nothing:0.1:1"}, "unknown dimension 'nothing'"),
        ({"lr_fast": "0"}, "not a number other than 0"),
    ],
)
def test_impossible_overrides_are_refused(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(SpaceError, match=reason):
        NESTED.override(settings, set(NestedConfig.model_fields))


@pytest.mark.parametrize("name", SPACES)
def test_every_drawn_point_is_a_valid_configuration(name: str) -> None:
    space, config = SPACES[name]
    assert set(space.dimensions) <= set(aliases(config).values())
    sampler = Sampler("random", space, ["maximize"], seed=0, population=20, startup=10)
    keys = set()
    for number in range(60):
        point, _ = sampler.suggest(number, 0, [])
        fields = space.fields(point)
        config.model_validate(fields)
        keys.add(space.key(point))
        assert space.key(space.point(fields)) == space.key(point)
    assert len(keys) == 60


def test_sema_has_only_the_dimensions_of_what_grows_and_of_its_adapter() -> None:
    flat = SemaConfig.model_validate({}).model_dump()
    fields = {name: flat[name] for name in SEMA.dimensions}
    nested = {"lr_fast", "lr_slow", "update_interval_slow", "consolidation"}
    one_part, of_rank = ({"ffn_num"}, {"rank"})
    for kind, there in (("adaptmlp", one_part), ("convpass", one_part), ("lora", of_rank),
                        ("nested_lora", of_rank | nested)):  # fmt: skip
        point = SEMA.point(fields | {"ffn_adapter_type": kind})
        assert set(point) & (one_part | of_rank | nested) == there, kind
    consolidated = SEMA.point(fields | {"ffn_adapter_type": "nested_lora", "consolidation": True})
    assert "consolidation_alpha" in consolidated and consolidated["lr_slow"] == pytest.approx(0.1)  # the ratio
    alone = SEMA.point(fields | {"expansion": "off"})
    assert set(alone) == {"expansion", "adapter_input", "ffn_adapter_type", "ffn_num", "init_lr"}


@pytest.mark.parametrize("name", SPACES)
def test_json_is_canonical(name: str) -> None:
    space, _ = SPACES[name]
    again = Space.from_json(json.dumps(json.loads(space.to_json())))
    assert again == space and again.sha256 == space.sha256
    assert len({space.sha256 for space, _ in SPACES.values()}) == len(SPACES)


def test_optuna_is_told_the_same_ranges() -> None:
    sampler = Sampler("random", NESTED, ["maximize"], seed=0, population=20, startup=10)
    assert sampler.distributions["rank"] == optuna.distributions.IntDistribution(2, 32, log=True)
    assert "placement" not in sampler.distributions
