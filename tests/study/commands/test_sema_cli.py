"""SEMA on the command line: its files with their parameter counts, and what is refused before anything starts."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import call
from PIL import Image

NOTES = {
    "dataset": "cifar224", "shuffle": True, "init_cls": 10, "increment": 10, "model_name": "sema",
    "backbone_type": "pretrained_vit_b16_224_adapter", "seed": [1993], "ffn_adapter_type": "adaptmlp", "ffn_num": 32,
    "func_epoch": 5, "rd_epoch": 20, "rd_dim": 128, "exp_threshold": 2, "adapt_start_layer": 9, "adapt_end_layer": 11,
}  # fmt: skip
EMBEDDED = ["--profile", "embedded", "--device", "cpu", "--dry-run"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(path: Path, **changes: object) -> str:
    path.write_text(json.dumps(NOTES | changes))
    return str(path)


def test_a_file_of_the_notes_counts_what_trains(capsys, tmp_path: Path) -> None:
    path = written(tmp_path / "baseline_sema_cifar.json")
    code, out, err = call(capsys, "sema_nested", "--profile", "paper", "--dry-run", "--json", "--config", path)
    assert code == 0, err
    (trial,) = json.loads(out)
    assert (trial["configuration"], trial["seeds"]) == ("baseline_sema_cifar", [1993])
    adapters = 12 * (2 * 768 * 32 + 32 + 768)
    routers, descriptors = 3 * (768 + 1), 3 * (2 * 768 * 128 + 128 + 768)
    assert trial["trainable_params"] == adapters + routers + descriptors + 768 * 100 + 100
    assert "without a meaning" not in err


BAD = {
    "exp_threshold=-0.1": "greater than or equal to 0",
    "ffn_adapter_type=prompt": "'adaptmlp', 'nested_lora', 'lora' or 'convpass'",
    "routing=hash": "'softmax', 'average', 'random', 'top1', 'random_one' or 'top1_inference'",
    "buffer_size=2": "greater than or equal to 3",
    "adapt_end_layer=12": "glyph_vit has 12 blocks; allowed: 0..11",
    "adapt_start_layer=-13": "glyph_vit has 12 blocks",
    "variant=thesis": "'code' or 'paper'",
    "consolidation=true": "needs ffn_adapter_type=nested_lora",
    "exp_treshold=2": "did you mean 'exp_threshold'",
}


@pytest.mark.parametrize("setting", BAD)
def test_a_wrong_value_is_one_line_that_says_what_is_allowed(setting: str, capsys) -> None:
    code, out, err = call(capsys, "sema_ablation", *EMBEDDED, "--trials", "1", "--set", setting)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("error: ") and BAD[setting] in err


def test_data_sets_that_come_as_folders(capsys, tmp_path: Path) -> None:
    path = written(tmp_path / "sema_vtab.json", dataset="vtab")
    code, out, err = call(capsys, "sema_nested", "--profile", "paper", "--dry-run", "--config", path)
    assert code == 2 and out == "" and err.count("\n") == 1 and "pass it with --dataset PATH" in err
    folder = tmp_path / "vtab"
    for split in ("train", "test"):
        for number in range(20):
            (folder / split / f"{number:02d}").mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(folder / split / f"{number:02d}" / "0.png")
    words = ["sema_nested", *EMBEDDED, "--config", path, "--dataset", folder]
    code, out, err = call(capsys, *words)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert f"vtab has 50 classes, {folder} has 20" in err
    code, out, err = call(capsys, *words, "--set", "data.classes=0:20")
    assert code == 0, err
