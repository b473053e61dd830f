"""The hybrid studies are the notes' experiments: their values key by key, and what the command line says of them."""

import json
from pathlib import Path

import pytest
import torch
from commands import call
from training import numbers, train_through, trained

from study.catalog import STUDIES
from study.commands.show import show
from study.ray_tune.worker import _notice
from study.spec import Profile, Study
from trainables.configs import HybridConfig
from trainables.configs.names import aliases, nested
from trainables.methods.hybrid import HybridRun, train
from trainables.metrics.accuracy import all_logits

HYBRID = [study for study in STUDIES.values() if study.trainable.name == "hybrid"]


def configured(name: str, label: str, profile: str = "paper", **settings: object) -> HybridConfig:
    """A configuration as ``lora-study NAME --profile PROFILE`` runs it."""
    study, said = STUDIES[name], STUDIES[name].profiles[profile]
    data = {f"data.{key}": value for key, value in said.data.items()}
    own = study.configurations[label] | said.configurations.get(label, {})
    return HybridConfig.model_validate(nested(said.settings | data | own | settings))


def test_week_6_is_the_notes_recipe() -> None:
    common = {"lora_r": 8, "lora_alpha": 16, "lr": 1e-3, "lr_norm": 1e-3, "lr_lora": 5e-4, "weight_decay": 0.05,
              "weight_decay_lora": 0.0, "weight_decay_norm": 0.0, "epochs": 15, "batch_size": 128, "lr_parity": 0,
              "lora_init": "notes", "lora_dropout": 0.0, "precision": "fp16", "temperature_fraction": 0.02}  # fmt: skip
    cifar = {"data": {"transform": "cifar"}}
    week3 = {"data": {"transform": "cifar_week3", "mean": (0, 0, 0), "std": (1, 1, 1)}}
    expected = {
        "deep_lora": {"method": "hybrid_layerwise", "policy": "deep_lora", "freeze_lora_steps": 400, "eta_min": 1e-5},
        "lora": {"method": "lora", "freeze_lora_steps": 0, "eta_min": 0},
        "norm": {"method": "norm", "freeze_lora_steps": 400, "eta_min": 0},
        "hybrid_parallel": {"method": "hybrid_parallel", "freeze_lora_steps": 400, "eta_min": 1e-5},
    }
    for label, own in expected.items():
        images = week3 if label == "hybrid_parallel" else cifar
        assert configured("hybrid_week6", label) == HybridConfig.model_validate(common | own | images), label


def test_week_1_has_one_rate_and_one_decay_for_all_that_trains() -> None:
    for schedule, epochs, steps in (("1 x 50", 1, 50), ("5 x 50", 5, 50), ("full epoch", 1, None)):
        for method, rate, decay in (("lora", 3e-4, 0.05), ("hybrid_parallel", 3e-4, 0.05), ("norm", 1e-3, 0.0)):
            made = configured("hybrid_week1", f"{method}, {schedule}")
            assert (made.epochs, made.steps_per_epoch, made.batch_size, made.eta_min) == (epochs, steps, 32, 0.0)
            assert {
                made.lr,
                made.lr_norm if made.trains_norms else rate,
                made.lr_lora if made.trains_lora else rate,
            } == {rate}
            assert {made.weight_decay, made.weight_decay_norm if made.trains_norms else decay} == {decay}
            assert made.lora_init == "peft" and made.lora_dropout == (0.05 if made.trains_lora else 0.0)
    frozen = configured("hybrid_week1", "hybrid_as_in_week1, 1 x 50")
    assert frozen == configured("hybrid_week1", "hybrid_parallel, 1 x 50").model_copy(update={"lr_lora": 0.0})


def test_the_hybrid_of_week_1_is_norm_tuning(tiny_backbone: str, tmp_path: Path) -> None:
    """LoRA's B begins at zero, so that frozen adapters add nothing: what they cannot do is explain a collapse."""
    small = {"backbone": tiny_backbone, "dataset": "glyphs100", "data.train_per_class": 8, "data.test_per_class": 4}
    hybrid = configured("hybrid_week1", "hybrid_as_in_week1, 5 x 50", "embedded", **small, steps_per_epoch=2)
    norms = hybrid.model_copy(update={"method": "norm", "lora_dropout": 0.0})
    logits = []
    for made in (hybrid, norms):
        started = HybridRun(made, (0, 1))
        for epoch in range(made.epochs):
            train_through(started, epoch)
        every = [torch.arange(len(started.test_labels))] * 2
        logits.append(all_logits(started.pack, started.test_input, every, slice(None), 100))
    assert all(torch.equal(*pair) for pair in zip(*logits, strict=True))
    rows = [trained(train, made, (0,), tmp_path / made.method)[0] for made in (hybrid, norms)]
    tested = [[row for row in numbers(own) if row[0] in ("eval", "calibration")] for own in rows]
    assert tested[0] == tested[1] and len(tested[0]) == 5 * 4 + 7


def test_every_notes_profile_says_where_it_departs() -> None:
    for study in HYBRID:
        if study.search:
            continue
        for name, profile in study.profiles.items():
            assert profile.departures and all("\n" not in line for line in profile.departures), (study.name, name)
            assert any("temperature_fraction" in line for line in profile.departures)
        for label in study.configurations:
            embedded, paper = (configured(study.name, label, name) for name in ("embedded", "paper"))
            assert embedded.temperature_fraction == 0.1 and paper.temperature_fraction == 0.02
            assert embedded.precision == "fp32"
        assert study.objective.metric == "final_top1"
        assert {entry.configuration for entry in study.reported} <= set(study.configurations)


def test_every_contrast_of_the_cause_is_one_change() -> None:
    study = STUDIES["hybrid_cause"]
    configs = {label: configured("hybrid_cause", label).model_dump() for label in study.configurations}

    def changed(one: str, other: str) -> set[str]:
        return {key for key in configs[one] if configs[one][key] != configs[other][key]}

    assert len(set(map(repr, configs.values()))) == len(configs) == 14
    for contrast in study.contrasts:
        pairs = list(zip(contrast.plus, contrast.minus, strict=True))
        if contrast.group == "the notes' choice":
            ((plus, minus),) = pairs
            assert plus in ("deep_lora", "lora", "norm", "hybrid_parallel") and len(changed(plus, minus)) == 1
        elif contrast.group == "order":
            ((plus, minus),) = pairs
            assert {configs[plus]["method"], configs[minus]["method"]} <= {"hybrid_layerwise", "lora", "norm"}
        else:
            (deep, lora), (changed_lora, changed_deep) = pairs
            assert changed(deep, changed_deep) == changed(lora, changed_lora) and len(changed(deep, changed_deep)) == 1
    assert [contrast.group for contrast in study.contrasts].count("order") == 14
    assert len({contrast.name for contrast in study.contrasts}) == len(study.contrasts) == 10 + 14 + 3


def test_the_steps_of_freezing_are_scaled_to_the_shorter_run(capsys: pytest.CaptureFixture[str]) -> None:
    for profile, warm_up, turn in (("paper", 200, 50), ("embedded", 30, 8)):
        assert configured("hybrid_freeze", "warm-up", profile).freeze_lora_steps == warm_up
        for order in ("LoRA", "norms"):
            made = configured("hybrid_freeze", f"in turn, {order} frozen first", profile)
            assert (made.alt_freeze_every, made.freeze_lora_steps) == (turn, 0)
            assert made.alt_freeze_order == ("lora-first" if order == "LoRA" else "norm-first")
    show("hybrid_freeze")
    assert "warm-up: freeze_lora_steps=30" in capsys.readouterr().out
    code, out, err = call(capsys, "hybrid_freeze", "--profile", "embedded", "--device", "cpu", "--dry-run", "--json")
    assert code == 0, err
    assert {entry["params"]["alt_freeze_every"] for entry in json.loads(out)} == {0, 8}
    with pytest.raises(ValueError, match="profiles name no configuration: nothing"):
        wrong = Profile(dataset="x", backbone="y", seeds=1, configurations={"nothing": {}})
        Study.model_validate(dict(STUDIES["hybrid_freeze"]) | {"profiles": {"p": wrong}})


def test_the_notes_command_line_maps_onto_keys(capsys: pytest.CaptureFixture[str]) -> None:
    show("hybrid_week6")
    shown = capsys.readouterr().out
    known = aliases(HybridConfig)
    for option, here in STUDIES["hybrid_week6"].notes_command.items():
        assert option in shown and here in shown
        if option.startswith("--") and here.startswith("--set "):
            (key, value), flag = here.removeprefix("--set ").split(" (")[0].split("="), option.removeprefix("--")
            assert flag in (f"{key} {value}", key) and key in known
    options = {option.split()[0] for option in STUDIES["hybrid_week6"].notes_command}
    assert {"--lr_parity", "--attn_only", "--alt_freeze_every", "--alt_freeze_order", "--freeze_norm_steps",
            "--lora_dropout"} <= options  # fmt: skip
    layerwise = STUDIES["hybrid_week6"].configurations["deep_lora"]
    assert HybridConfig(**layerwise, freeze_lora_steps=400) == HybridConfig(
        method="hybrid_layerwise", policy="deep_lora", lora_r=8, lora_alpha=16, lr=1e-3, lr_norm=1e-3, lr_lora=5e-4,
        weight_decay=0.05, freeze_lora_steps=400, freeze_norm_steps=0, alt_freeze_every=0, lora_dropout=0.0,
        alt_freeze_order="lora-first", lr_parity=0, epochs=15, batch_size=128, eta_min=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "expected"), [(0, "off"), (1, "dynamic"), (False, "off"), (True, "dynamic"), ("dynamic", "dynamic")]
)
def test_parity_is_also_the_notes_switch(asked: object, expected: str) -> None:
    assert HybridConfig(lr_parity=asked).lr_parity == expected


BAD = {
    "lora_init=xavier": "'notes' or 'peft'",
    "lora_dropout=1": "less than 1",
    "lr_parity=2": "'off', 'dynamic' or 'update_norm'",
    "weight_decay_lora=-0.1": "greater than or equal to 0",
    "weight_decay_norm=2": "less than or equal to 1",
    "freeze_norm_steps=-1": "greater than or equal to 0",
    "freeze_norm_steps=456": "the run has 456 steps; allowed: 0..455",
    "alt_freeze_every=456": "LoRA would stay frozen in all of the run's 456 steps; allowed: 0..415",
    "alt_freeze_every=often": "valid integer",
    "alt_freeze_order=both": "'lora-first' or 'norm-first'",
    "attn_only=maybe": "valid boolean",
    "precision=fp8": "'fp32', 'bf16' or 'fp16'",
    "data.transform=cifar_week4": "'cifar_week3'",
    "policy=deepest": "'even_lora'",
}


@pytest.mark.parametrize("setting", BAD, ids=BAD)
def test_a_wrong_value_is_one_line_that_says_what_is_allowed(setting: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["hybrid_week6", "--trials", "1", "--profile", "embedded", "--device", "cpu", "--set", setting]
    code, out, err = call(capsys, *words)
    lines = err.strip().splitlines()
    assert code == 2 and out == "" and len(lines) == 1
    assert lines[0].startswith("error: ") and BAD[setting] in lines[0]


def test_fp16_on_a_cpu_says_what_it_is() -> None:
    assert _notice("cpu", "fp16") == "precision=fp16: on a CPU the run is in fp32, as the notes' code did there"
    assert _notice("cpu", "fp32") == ""
