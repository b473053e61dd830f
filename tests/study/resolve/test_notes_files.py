"""The JSON files of the notes: what runs is exactly what they say, what cannot run is refused in one line."""

import json
from pathlib import Path

import pytest

from study.cli import main
from study.ray_tune.resources import Machine
from study.resolve.config_file import read_config
from study.resolve.options import Options
from study.resolve.study import resolve
from trainables.errors import InputError
from trainables.registry import builtin

MACHINE = Machine(2, 0, "this machine")
ALPHA = {
    "prefix": "nested_lora_alpha0.1", "dataset": "cifar224", "memory_size": 0, "memory_per_class": 0,
    "fixed_memory": False, "shuffle": True, "init_cls": 10, "increment": 10, "model_name": "nested_lora",
    "backbone_type": "pretrained_vit_b16_224_nested_lora", "device": ["0"], "seed": [1993], "batch_size": 32,
    "epochs": 20, "weight_decay": 0.0005, "min_lr": 0, "init_lr": 0.01, "ffn_adapter_type": "nested_lora",
    "nested_lora_rank": 8, "nested_lora_lr_fast": 0.05, "nested_lora_lr_slow": 0.005,
    "nested_lora_update_interval_slow": 1, "nested_lora_use_consolidation": True,
    "nested_lora_consolidation_alpha": 0.1, "nested_lora_consolidation_interval": 1, "ffn_num": 16,
    "optimizer": "sgd", "adapt_start_layer": 0, "adapt_end_layer": 11,
}  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    content = {key: value for key, value in (ALPHA | changes).items() if value is not ...}
    path = folder / f"{content.get('prefix', 'file')}.json"
    path.write_text(json.dumps(content))
    return path


def resolved(path: Path, *more: str, profile: str = "paper"):
    options = Options("nested_alpha", profile=profile, config_files=[path], settings=list(more))
    return resolve(options, MACHINE, load_data=False)


def test_alpha_01_is_what_the_notes_ran(tmp_path: Path) -> None:
    study, notices = resolved(written(tmp_path))
    (trial,) = study.trials
    assert trial.configuration == "nested_lora_alpha0.1" and trial.seeds == (1993,) and trial.boundaries == 10
    expected = {
        "dataset": "cifar100", "backbone": "vit_base_patch16_224", "class_order": 1993, "loss_classes": "seen",
        "rank": 8, "epochs": 20, "batch_size": 32, "init_lr": 0.01, "lr_fast": 0.05, "lr_slow": 0.005,
        "weight_decay": 5e-4, "momentum": 0.9, "eta_min": 0.0, "optimizer": "sgd", "update_interval_slow": 1,
        "interval_mode": "zero_grad", "consolidation": True, "consolidation_alpha": 0.1, "consolidation_interval": 1,
        "consolidation_method": "sum", "consolidation_space": "parameters", "fast_reset": "zero",
        "placement": "parallel", "adapt_start_layer": 0, "adapt_end_layer": 11, "warmup_steps": 0,
    }  # fmt: skip
    assert {key: trial.params[key] for key in expected} == expected
    data = trial.params["data"]
    assert (data["transform"], data["crop_scale"], data["flip"], data["mean"]) == ("notes", [0.05, 1.0], True, None)
    bottleneck = 12 * (2 * 768 * 8 + 8 + 768)  # down, up and their biases in every block
    assert trial.trainable_params == 2 * bottleneck + 768 * 100 + 100
    (aside,) = [line for line in notices if "without a meaning" in line]
    assert "prefix" in aside and "memory_size" in aside and "ffn_num" in aside and "seed" not in aside


def test_the_paper_profile_is_the_same_experiment(tmp_path: Path) -> None:
    """``--config`` and the study's own alpha=0.1 differ in nothing but the label."""
    study, _ = resolved(written(tmp_path, adapt_end_layer=...))
    own, _ = resolve(Options("nested_alpha", profile="paper", seeds="1993,"), MACHINE, load_data=False)
    (trial,) = [trial for trial in own.trials if trial.configuration == "alpha=0.1"]
    assert trial.trial_id == study.trials[0].trial_id


def test_siblings_of_the_file(tmp_path: Path) -> None:
    fair = {"prefix": "nested_lora_baseline_fair", "nested_lora_rank": 16, "nested_lora_lr_fast": 0.01,
            "nested_lora_lr_slow": 0.0, "nested_lora_use_consolidation": False, "adapt_start_layer": 9}  # fmt: skip
    study, _ = resolved(written(tmp_path, **fair))
    bottleneck = 3 * (2 * 768 * 16 + 16 + 768)  # three blocks, one part
    assert study.trials[0].trainable_params == bottleneck + 768 * 100 + 100
    chain = {"prefix": "chain", "nested_lora_consolidation_method": "pam", "func_epoch": 7, "epochs": 5,
             "rd_epoch": 20, "vpt_type": "shallow", "num_workers": 0, "nested_lora_eval_ablation": "fast_only",
             "moe_mode": False, "nb_tasks": 1, "optimizer": "adam"}  # fmt: skip
    study, notices = resolved(written(tmp_path, **chain))
    params = study.trials[0].params
    assert (params["consolidation_method"], params["epochs"], params["optimizer"]) == ("sign_matched", 5, "adamw")
    (aside,) = [line for line in notices if "without a meaning" in line]
    assert {"func_epoch", "rd_epoch", "vpt_type", "num_workers", "nested_lora_eval_ablation"} <= set(
        aside.split(": ")[1].split(", ")
    )


@pytest.mark.parametrize(
    ("seeds", "shuffle", "order"), [([1993], True, 1993), ([1, 2], True, "replica"), ([1993], False, "labels")]
)
def test_class_order_follows_the_seed_of_the_file(tmp_path: Path, seeds: list, shuffle: bool, order: object) -> None:
    read = read_config(written(tmp_path, seed=seeds, shuffle=shuffle), builtin()["nested"])
    assert read.settings["class_order"] == order and read.seeds == tuple(seeds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "sema"}, "model_name=sema: this study trains 'nested', not 'sema'; allowed for: sema_nested, "),
        ({"model_name": "l2p"}, "model_name=l2p: no such method here; allowed: nested_lora, sema"),
        ({"ffn_adapter_type": "adaptmlp"}, "ffn_adapter_type=adaptmlp: no such adapter here; allowed: nested_lora"),
        ({"memory_size": 2000}, "memory_size=2000: rehearsal and several fast adapters do not exist here"),
        ({"moe_mode": True, "nb_tasks": 10}, "moe_mode=True: rehearsal and several fast adapters do not exist here"),
        ({"nested_lora_consolidation_interval": 11}, "consolidation_interval=11: the run has 10 tasks; allowed: 1..10"),
        ({"nested_lora_consolidation_method": "ties"}, "consolidation_method"),
        ({"nested_lora_alpa": 0.1}, "did you mean"),
    ],
)
def test_what_cannot_run_is_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError) as refused:
        resolved(written(tmp_path, **changes))
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_another_method_is_refused() -> None:
    with pytest.raises(InputError, match="model_name=nested_lora: this study trains 'hybrid', not 'nested'"):
        path = written(Path(pytest.importorskip("tempfile").mkdtemp()))
        resolve(Options("hybrid_week6", profile="paper", config_files=[path]), MACHINE, load_data=False)


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("loss_classes=old", "seen"), ("class_order=1.5", "class_order"), ("interval_mode=drop", "zero_grad"),
        ("consolidation_interval=11", "1..10"), ("consolidation_interval=0", "1"),
        ("consolidation_method=ties", "sign_matched"), ("data.transform=imagenet", "cifar_week3"),
        ("data.max_shorter_side=20", "36 or more"), ("data.crop_scale=[0.5,0.1]", "crop_scale"),
        ("adapt_end_layer=12", "0..11"), ("class_order=[0,1,2]", "100 classes"),
    ],
)  # fmt: skip
def test_wrong_values_exit_2_before_anything_starts(setting: str, allowed: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main(["nested_alpha", "--profile", "embedded", "--dry-run", "--set", setting])
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and allowed in said
