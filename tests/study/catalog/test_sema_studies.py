"""The studies of SEMA: what each configuration changes, and what is reported for it."""

from typing import Any

import pytest

from study.catalog import STUDIES
from study.catalog.reported_sema import SEMA_FILES
from study.catalog.sema_variant import _WORDS
from trainables.configs import SemaConfig
from trainables.configs.names import nested
from trainables.configs.sema import VARIANTS
from trainables.data.decoding import parse_classes

SEMA = {name: study for name, study in STUDIES.items() if study.trainable.name == "sema"}
PROFILES = ("embedded", "paper")


def configured(name: str, label: str, profile: str = "paper") -> SemaConfig:
    """A configuration as ``lora-study NAME --profile PROFILE`` runs it."""
    study, said = STUDIES[name], STUDIES[name].profiles[profile]
    data = {f"data.{key}": value for key, value in said.data.items()}
    place = {"dataset": said.dataset, "backbone": said.backbone}
    own = study.configurations[label] | said.configurations.get(label, {})
    return SemaConfig.model_validate(nested(said.settings | data | place | own))


def changed(name: str, one: str, other: str, profile: str = "paper") -> dict[str, Any]:
    """Fields in which two configurations of a study differ, with the values of the first."""
    here, there = (configured(name, label, profile).model_dump() for label in (one, other))
    return {key: value for key, value in here.items() if value != there[key]}


def test_there_are_six() -> None:
    assert set(SEMA) == {"sema_nested", "sema_ablation", "sema_variant", "sema_threshold", "sema_debug", "sema_search"}


@pytest.mark.parametrize("name", SEMA)
def test_every_profile_is_possible_and_says_where_it_departs(name: str) -> None:
    study = SEMA[name]
    embedded = study.profiles["embedded"]
    assert embedded.departures and all("\n" not in line for line in embedded.departures)
    assert any("class_order=labels" in line for line in embedded.departures)
    for label in study.configurations:
        small, published = (configured(name, label, profile) for profile in PROFILES)
        assert (small.dataset, small.backbone, small.class_order) == ("glyphs100", "glyph_vit", "labels")
        assert (published.dataset, published.backbone) == ("cifar100", "vit_base_patch16_224")
        assert published.class_order == 1993
        assert small.boundaries(len(parse_classes(small.data.classes, 100))) >= 2 and published.boundaries(100) >= 2
        assert small.growing_blocks(12) == published.growing_blocks(12)


def test_adapter_and_nested_have_the_same_size() -> None:
    one, two = (configured("sema_nested", label) for label in ("adapter", "nested"))
    assert one.width == two.width * len(two.parts) == 32
    assert (one.epochs, one.init_lr, one.exp_threshold) == (two.epochs, two.init_lr, two.exp_threshold) == (5, 0.005, 2)
    assert (two.lr_fast, two.lr_slow, two.update_interval_slow, two.consolidation) == (0.01, 0.001, 5, False)


def test_the_grid_of_consolidation_is_the_reported_one() -> None:
    study = SEMA["sema_nested"]
    for when, interval in (("every task", 1), ("every 5 tasks", 5)):
        for alpha in (0.0, 0.05, 0.1, 0.2):
            made = configured("sema_nested", f"alpha={alpha:g}, {when}")
            assert (made.consolidation, made.consolidation_alpha, made.consolidation_interval) == (
                True, alpha, interval,
            )  # fmt: skip
            fields = {"consolidation", "consolidation_alpha", "consolidation_interval"}
            assert set(changed("sema_nested", f"alpha={alpha:g}, {when}", "nested")) <= fields
    assert len(study.configurations) == 10 and len(study.contrasts) == 9
    unreported = set(study.configurations) - {entry.configuration for entry in study.reported}
    assert unreported == {"alpha=0, every task", "alpha=0, every 5 tasks"}


def test_reported_numbers_are_those_of_the_sources() -> None:
    def numbers(entries: Any) -> list[tuple[float, float]]:
        return [
            (round(100 * one.metrics["average_incremental_accuracy"], 2), round(100 * one.metrics["final_accuracy"], 2))
            for one in entries
        ]

    assert numbers(SEMA["sema_nested"].reported) == [
        (91.42, 86.49), (91.39, 85.98), (86.19, 80.70), (85.50, 80.01), (86.19, 80.70), (87.61, 81.91),
        (86.17, 76.95), (86.76, 78.06), (87.81, 80.06),
    ]  # fmt: skip
    published = [name for name in SEMA_FILES if name.startswith("sema_")]
    assert numbers(SEMA_FILES[name] for name in published) == [
        (91.37, 86.98), (84.75, 79.78), (83.56, 78.00), (81.75, 74.53), (64.53, 53.32), (91.26, 89.64),
    ]  # fmt: skip
    for name in ("sema_ablation", "sema_variant", "sema_threshold"):
        assert numbers(SEMA[name].reported) == [(91.37, 86.98)]
        assert "SEMA's paper" in SEMA[name].reported_source
    (entry,) = SEMA["sema_threshold"].reported
    assert configured("sema_threshold", entry.configuration) == SemaConfig(
        dataset="cifar100", backbone="vit_base_patch16_224"
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_disagreement_is_one_key(profile: str) -> None:
    study = SEMA["sema_variant"]
    assert set(_WORDS) == {*VARIANTS["code"], "epochs"} and len(study.contrasts) == 9 + 1
    given = {}
    for contrast in study.contrasts:
        ((plus,), (minus,)) = contrast.plus, contrast.minus
        assert minus == "code"
        if contrast.group == "one key":
            given |= changed("sema_variant", plus, "code", profile)
    if profile == "embedded":  # a sum over 64 features learns 64 times as fast as their mean
        assert given.pop("rd_lr") * 64 == configured("sema_variant", "code", profile).rd_lr
    assert given == {key: value for key, value in changed("sema_variant", "paper", "code", profile).items()
                     if key != "variant"}  # fmt: skip
    epochs = [configured("sema_variant", label, profile).epochs for label in ("code", "paper", "fewer epochs")]
    assert epochs == ([5, 5, 5] if profile == "paper" else [8, 2, 2])
    assert set(given) == set(_WORDS) - ({"epochs"} if profile == "paper" else set())


def test_every_ablation_is_one_key() -> None:
    study = SEMA["sema_ablation"]
    values = [changed("sema_ablation", label, "SEMA") for label in study.configurations if label != "SEMA"]
    assert all(len(one) == 1 for one in values)
    assert [one["routing"] for one in values if "routing" in one] == [
        "average", "random", "top1", "random_one", "top1_inference",
    ]  # fmt: skip
    assert {"expansion": "off"} in values
    assert {contrast.group for contrast in study.contrasts} == {"expansion", "routing", "adapter"}


def test_thresholds_and_blocks_are_crossed() -> None:
    made = [configured("sema_threshold", label) for label in SEMA["sema_threshold"].configurations]
    assert {(one.exp_threshold, len(one.growing_blocks(12))) for one in made} == {
        (threshold, last) for threshold in (1.0, 1.5, 2.0, 3.0) for last in (2, 3, 4)
    }
    assert (made[0].exp_threshold, made[0].growing_blocks(12)) == (2.0, range(9, 12))
    contrasts = SEMA["sema_threshold"].contrasts
    assert len({one.name for one in contrasts}) == len(contrasts) == 9 + 8


def test_what_the_search_tries_first_lies_in_its_space() -> None:
    study = SEMA["sema_search"]
    assert study.search is not None
    space = study.search.dimensions
    for profile in PROFILES:
        for label in study.configurations:
            flat = configured("sema_search", label, profile).model_dump()
            space.point({name: flat[name] for name in space.dimensions})
