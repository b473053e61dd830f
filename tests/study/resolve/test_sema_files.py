"""The JSON files of SEMA, published and of the notes: key by key what they say, and what cannot run in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.catalog import STUDIES
from study.catalog.reported_sema import SEMA_FILES
from study.ray_tune.resources import Machine
from study.resolve.config_file import ConfigFile, read_config
from study.resolve.options import Options
from study.resolve.settings import Settings, settle
from study.resolve.study import _check_classes, _reported
from trainables.configs.names import validated
from trainables.data.images import load_images
from trainables.errors import InputError
from trainables.registry import builtin

MACHINE = Machine(2, 0, "this machine")
COMMON: dict[str, Any] = {
    "prefix": "reproduce", "dataset": "cifar224", "memory_size": 0, "memory_per_class": 0, "fixed_memory": False,
    "shuffle": True, "init_cls": 10, "increment": 10, "model_name": "sema",
    "backbone_type": "pretrained_vit_b16_224_adapter", "device": ["0"], "seed": [1993], "batch_size": 32,
    "weight_decay": 0.0005, "min_lr": 0, "ffn_adapter_type": "adaptmlp", "ffn_num": 16, "optimizer": "sgd",
    "vpt_type": "shallow", "prompt_token_num": 5, "func_epoch": 5, "rd_epoch": 20, "init_lr": 0.005, "rd_lr": 0.01,
    "rd_dim": 128, "buffer_size": 500, "detect_batch_size": 128, "exp_threshold": 2, "adapt_start_layer": 9,
    "adapt_end_layer": 11,
}  # fmt: skip
NESTED: dict[str, Any] = {
    "ffn_adapter_type": "nested_lora", "nested_lora_rank": 16, "nested_lora_lr_fast": 0.01,
    "nested_lora_lr_slow": 0.001, "nested_lora_update_interval_slow": 5, "nested_lora_use_consolidation": False,
    "nested_lora_consolidation_alpha": 0.1,
}  # fmt: skip


def _sized(dataset: str, classes: int) -> dict[str, Any]:
    return {"dataset": dataset, "init_cls": classes, "increment": classes, "func_epoch": 20}


def _alpha(alpha: float, interval: int, used: bool = True) -> dict[str, Any]:
    return NESTED | {
        "nested_lora_use_consolidation": used, "nested_lora_consolidation_alpha": alpha,
        "nested_lora_consolidation_interval": interval,
    }  # fmt: skip


FILES: dict[str, dict[str, Any]] = {
    "sema_cifar": {},
    "sema_inr_5task": _sized("imagenetr", 40),
    "sema_inr_10task": _sized("imagenetr", 20),
    "sema_inr_20task": _sized("imagenetr", 10),
    "sema_ina": _sized("imageneta", 20),
    "sema_vtab": _sized("vtab", 10) | {"shuffle": False},
    "baseline_sema_cifar": {"ffn_num": 32},
    "nested_lora_cifar": NESTED,
    "exp_alpha0": _alpha(0.0, 1, used=False),
    **{
        f"exp_alpha{alpha:g}_int{interval}": _alpha(alpha, interval)
        for alpha in (0.05, 0.1, 0.2)
        for interval in (1, 5)
    },
}


def written(folder: Path, name: str, **changes: object) -> Path:
    path = folder / f"{name}.json"
    content = COMMON | FILES.get(name, {}) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return path


def settled(path: Path, *more: str, study: str = "sema_nested", **options: object) -> Settings:
    given = {"profile": "paper"} | options
    return settle(Options(study, config_files=[path], settings=list(more), **given), MACHINE)  # type: ignore[arg-type]


def configured(settings: Settings) -> Any:
    (own,) = settings.asked.values()
    return validated(settings.spec.config, settings.base | own | settings.given)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    settings = settled(written(tmp_path, name))
    said = COMMON | FILES[name]
    config = configured(settings)
    assert list(settings.asked) == [name] and settings.seeds == (1993,)
    datasets = {"cifar224": "cifar100", "imagenetr": "imagenet-r", "imageneta": "imagenet-a", "vtab": "vtab"}
    assert (config.dataset, config.backbone) == (datasets[said["dataset"]], "vit_base_patch16_224")
    for key in ("init_cls", "increment", "batch_size", "weight_decay", "init_lr", "optimizer", "ffn_adapter_type",
                "ffn_num", "rd_epoch", "rd_lr", "rd_dim", "buffer_size", "detect_batch_size", "exp_threshold",
                "adapt_start_layer", "adapt_end_layer"):  # fmt: skip
        assert getattr(config, key) == said[key], key
    assert (config.epochs, config.eta_min) == (said["func_epoch"], 0)
    assert config.class_order == (1993 if said["shuffle"] else "labels")
    assert (config.variant, config.loss_classes, config.expansion, config.routing) == ("code", "task", "on", "softmax")
    if said["ffn_adapter_type"] == "nested_lora":
        assert (config.rank, config.lr_fast, config.lr_slow, config.update_interval_slow) == (16, 0.01, 0.001, 5)
        used = said["nested_lora_use_consolidation"]
        assert config.consolidation is used and config.consolidation_alpha == said["nested_lora_consolidation_alpha"]
        assert config.consolidation_interval == said.get("nested_lora_consolidation_interval", 1)
    else:
        assert not config.consolidation
    (aside,) = [line for line in settings.notices if "without a meaning" in line]
    unused = {"prefix", "device", "vpt_type", "prompt_token_num", "memory_size", "memory_per_class", "fixed_memory"}
    assert set(aside.split(": ")[1].split(", ")) == unused


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("baseline_sema_cifar", "adapter"), ("nested_lora_cifar", "nested"), ("exp_alpha0", "nested"),
        ("exp_alpha0.05_int1", "alpha=0.05, every task"), ("exp_alpha0.2_int5", "alpha=0.2, every 5 tasks"),
    ],
)  # fmt: skip
def test_the_paper_profile_is_what_the_notes_ran(tmp_path: Path, name: str, label: str) -> None:
    """The file and the study's own configuration differ in nothing that counts."""
    path = written(tmp_path, name, adapt_start_layer=-3, adapt_end_layer=-1)
    own = settle(Options("sema_nested", profile="paper"), MACHINE)
    here = validated(own.spec.config, own.base | own.asked[label])
    read = configured(settled(path)).model_dump()
    differ = {key for key, value in here.model_dump().items() if value != read[key]}
    without = {"consolidation_alpha"} if not here.consolidation else set()
    assert differ <= without and here.epochs == 5
    reported = {entry.configuration for entry in own.study.reported}
    assert label in reported and SEMA_FILES[name].metrics in [
        entry.metrics for entry in own.study.reported if entry.configuration == label
    ]


def test_numbers_reported_for_a_file_stand_beside_it(tmp_path: Path) -> None:
    assert set(SEMA_FILES) == set(FILES)
    shown = _reported(settled(written(tmp_path, "sema_inr_10task")))
    (entry,) = shown["reported"]
    assert entry.configuration == "sema_inr_10task" and "paper" in shown["reported_source"]
    assert entry.metrics == {"average_incremental_accuracy": 0.8356, "final_accuracy": 0.78}
    assert _reported(settled(written(tmp_path, "mine")))["reported"] == STUDIES["sema_nested"].reported
    assert _reported(settle(Options("nested_alpha"), MACHINE))["reported"] == STUDIES["nested_alpha"].reported


def test_in_the_embedded_profile_data_of_the_file_are_set_aside_aloud(tmp_path: Path) -> None:
    settings = settled(written(tmp_path, "sema_vtab"), profile="embedded")
    config = configured(settings)
    assert config.dataset == "glyphs100" and (config.rd_dim, config.batch_size) == (128, 32)
    assert any("dataset vtab of the configuration file is set aside" in line for line in settings.notices)
    _check_classes(settings, [config], 100)


def test_the_key_that_the_code_reads_wins() -> None:
    def epochs(trainable: str) -> ConfigFile:
        path = written(Path(pytest.importorskip("tempfile").mkdtemp()), "both", epochs=7, model_name=...,
                       ffn_adapter_type="nested_lora", memory_size=...)  # fmt: skip
        return read_config(path, builtin()[trainable])

    assert epochs("sema").settings["epochs"] == 5 and "epochs" in epochs("sema").unused
    assert epochs("nested").settings["epochs"] == 7 and "func_epoch" in epochs("nested").unused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "nested_lora"}, "this study trains 'sema', not 'nested'; allowed for: nested_alpha, nested_"),
        ({"model_name": "simplecil"}, "model_name=simplecil: no such method here; allowed: nested_lora, sema"),
        ({"memory_size": 2000}, "memory_size=2000: rehearsal and several fast adapters do not exist here"),
        ({"use_topk_routing": True, "top_k_adapters": 2}, "'use_topk_routing': unknown key of trainable 'sema'"),
        ({"exp_treshold": 2}, "did you mean 'exp_threshold'?"),
        ({"ffn_adapter_type": "prompt"}, "ffn_adapter_type='prompt': Input should be 'adaptmlp', 'nested_lora'"),
        ({"exp_threshold": -1}, "exp_threshold=-1: Input should be greater than or equal to 0"),
        ({"buffer_size": 2}, "buffer_size=2: Input should be greater than or equal to 3"),
        ({"adapt_end_layer": 8}, "adapt_end_layer=8: adapt_start_layer=9 or more is allowed"),
        ({"nested_lora_use_consolidation": True}, "consolidation=true needs ffn_adapter_type=nested_lora"),
    ],
)
def test_what_cannot_run_is_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError) as refused:
        configured(settled(written(tmp_path, "sema_cifar", **changes)))
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_sema_file_is_refused_by_the_studies_of_nested(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        settled(written(tmp_path, "exp_alpha0.1_int1"), study="nested_alpha")
    said = str(refused.value)
    assert "model_name=sema: this study trains 'nested', not 'sema'; allowed for: sema_nested, " in said
    assert "\n" not in said


def image_folder(path: Path, classes: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (classes, 8, 8, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for number in range(classes):
            of_class = path / split / f"class_{number:02d}"
            of_class.mkdir(parents=True)
            Image.fromarray(pixels[number]).save(of_class / "0.png")
    return path


def test_an_image_folder_must_have_the_classes_that_the_file_says(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "vtab", 12)
    path = written(tmp_path, "sema_vtab")
    for profile in ("paper", "embedded"):
        settings = settled(path, dataset=str(folder), profile=profile)
        config = configured(settings)
        assert load_images(settings.dataset, config.data, 32).classes == 12
        with pytest.raises(InputError) as refused:
            _check_classes(settings, [config], 12)
        said = str(refused.value)
        assert said.startswith(f"--config sema_vtab.json: vtab has 50 classes, {folder} has 12; ") and "\n" not in said
        _check_classes(settings, [config], 50)
    chosen = settled(path, "data.classes=0:10", dataset=str(folder))
    _check_classes(chosen, [configured(chosen)], 10)
    own = written(tmp_path, "own", dataset="my_photographs")
    _check_classes(settled(own, dataset=str(folder)), [config], 12)


@pytest.mark.parametrize(("name", "classes"), [("sema_ina", 200), ("sema_vtab", 50)])
def test_without_a_folder_a_line_says_that_one_is_needed(tmp_path: Path, name: str, classes: int) -> None:
    config = configured(settled(written(tmp_path, name)))
    with pytest.raises(InputError) as refused:
        load_images(config.dataset, config.data, 224)
    said = str(refused.value)
    assert "pass it with --dataset PATH" in said and f"{classes} classes" in said and "\n" not in said
