"""The command line: what it prints, and how it refuses bad input before anything starts."""

import json
from pathlib import Path

import pytest
from commands import call

from trainables.configs import NestedConfig
from trainables.configs.names import aliases

NOTES = {
    "prefix": "nested", "dataset": "cifar224", "model_name": "nested_lora",
    "backbone_type": "pretrained_vit_b16_224_in21k_adapter",
    "ffn_adapter_type": "nested_lora", "nested_lora_rank": 8, "nested_lora_lr_fast": 0.05, "nested_lora_lr_slow": 0.005,
    "nested_lora_update_interval_slow": 2, "nested_lora_use_consolidation": True,
    "nested_lora_consolidation_alpha": 0.1,
    "ffn_num": 16, "exp_threshold": 1, "init_cls": 10, "increment": 10, "func_epoch": 5, "batch_size": 32,
    "init_lr": 0.005, "weight_decay": 0.0005, "min_lr": 0, "optimizer": "sgd", "seed": [1993],
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(*address: object, **options: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("trainables.models.hub.socket.create_connection", refused)
    for offline in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(offline, False)  # the clients' switches, restored afterwards
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def dry(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    code, out, err = call(capsys, "nested_alpha", "--dry-run", "--json", *words)
    assert code == 0, err
    return json.loads(out)


def write_config(path: Path, **fields: object) -> str:
    path.write_text(json.dumps(fields))
    return str(path)


BAD = {
    "unknown study": (["nested_alhpa"], "did you mean 'nested_alpha'"),
    "unknown key": (["nested_alpha", "--set", "consolidation_alhpa=0.1"], "did you mean 'consolidation_alpha'"),
    "unknown data key": (["nested_alpha", "--set", "data.clases=1::2"], "did you mean 'data.classes'"),
    "no value": (["nested_alpha", "--set", "epochs"], "KEY=VALUE"),
    "key twice": (["nested_alpha", "--set", "alpha=0.1", "--set", "consolidation_alpha=0.2"], "given twice"),
    "unknown profile": (["nested_alpha", "--profile", "papre"], "allowed: auto, embedded, paper"),
    "unknown data set": (["nested_alpha", "--dataset", "cifar1000"], "cifar100"),
    "data set not there": (["nested_alpha", "--dataset", "./nowhere"], "neither a folder nor a known name"),
    "hub unreachable": (["nested_alpha", "--dataset", "cifar100"], "--dataset PATH, or use --profile embedded"),
    "paper offline": (["nested_alpha", "--profile", "paper"], "hub cannot be reached"),
    "unknown backbone": (["nested_alpha", "--backbone", "vit_huge_glyph"], "unknown"),
    "not a plain vit": (["nested_alpha", "--backbone", "resnet18", "--dry-run"], "not a plain ViT"),
    "backbone file missing": (["nested_alpha", "--backbone", "w.safetensors"], "no such file"),
    "not divisible": (["nested_alpha", "--set", "increment=7"], "cannot be divided"),
    "not a slice": (["nested_alpha", "--set", "data.classes=odd"], "a Python slice"),
    "empty slice": (["nested_alpha", "--set", "data.classes=5:5"], "selects none"),
    "alpha": (["nested_alpha", "--set", "alpha=1.5"], "less than or equal to 1"),
    "negative alpha": (["nested_alpha", "--set", "alpha=-0.1"], "greater than or equal to 0"),
    "alpha not a number": (["nested_alpha", "--set", "alpha=high"], "valid number"),
    "infinite rate": (["nested_alpha", "--set", "lr_fast=Infinity"], "finite"),
    "rank 0": (["nested_alpha", "--set", "rank=0"], "greater than or equal to 1"),
    "rank above width": (["nested_alpha", "--set", "rank=65"], "allowed: 1..64"),
    "interval": (["nested_alpha", "--set", "update_interval_slow=0"], "greater than or equal to 1"),
    "space": (["nested_alpha", "--set", "consolidation_space=function"], "needs placement=linear"),
    "seeds 0": (["nested_alpha", "--seeds", "0"], "allowed"),
    "seeds repeated": (["nested_alpha", "--seeds", "1,1"], "distinct"),
    "seeds negative": (["nested_alpha", "--seeds", "-1,2"], "allowed"),
    "seeds text": (["nested_alpha", "--seeds", "many"], "allowed"),
    "trials": (["nested_alpha", "--trials", "9"], "allowed: 1..5"),
    "gpu": (["nested_alpha", "--device", "gpu"], "has no GPU"),
    "gpu share": (["nested_alpha", "--gpus-per-trial", "0.5"], "has no GPU"),
    "device": (["nested_alpha", "--device", "tpu"], "auto"),
    "pack": (["nested_alpha", "--pack", "0"], "allowed: auto or a number"),
    "concurrent": (["nested_alpha", "--max-concurrent", "0"], "1 or more"),
    "address": (["nested_alpha", "--address", "127.0.0.1:1"], "allowed: local, auto, HOST:PORT"),
    "address text": (["nested_alpha", "--address", "somewhere"], "allowed: local, auto, HOST:PORT"),
    "budget": (["nested_alpha", "--budget", "0"], "> 0"),
    "mlflow": (["nested_alpha", "--mlflow", "ftp://nowhere"], "ftp"),
    "option": (["nested_alpha", "--colour"], "--colour"),
    "config missing": (["nested_alpha", "--config", "no.json"], "cannot be read"),
    "resume nothing": (["resume", "nowhere"], "not a run directory"),
    "status nothing": (["status", "nowhere"], "not a run directory"),
    "report nothing": (["report", "nowhere"], "not a run directory"),
}


@pytest.mark.parametrize("words, hint", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], hint: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    code, out, err = call(capsys, *words)
    assert code == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and hint in lines[0]
    assert not Path("runs").exists()


def test_a_config_of_the_notes_loads_and_names_what_it_ignores(capsys, tmp_path: Path) -> None:
    path = write_config(tmp_path / "nested_lora_cifar.json", **NOTES)
    code, out, err = call(capsys, "nested_alpha", "--dry-run", "--json", "--config", path)
    assert code == 0
    (trial,) = json.loads(out)
    assert trial["configuration"] == "nested_lora_cifar"
    assert trial["seeds"] == [1993]
    expected = {"rank": 8, "update_interval_slow": 2, "consolidation_alpha": 0.1, "epochs": 5, "lr_fast": 0.05}
    assert {key: trial["params"][key] for key in expected} == expected
    assert "exp_threshold" in err and "ffn_num" in err  # set aside aloud: nested_lora_rank wins
    assert "cifar100 of the configuration file is set aside" in err


def test_ffn_num_is_the_rank_where_no_other_is_named(capsys, tmp_path: Path) -> None:
    (trial,) = dry(capsys, "--config", write_config(tmp_path / "a.json", ffn_num=4))
    assert trial["params"]["rank"] == 4


def test_an_unknown_config_key_suggests_the_nearest(capsys, tmp_path: Path) -> None:
    path = write_config(tmp_path / "a.json", nested_lora_rnak=4)
    code, _, err = call(capsys, "nested_alpha", "--config", path)
    assert code == 2 and "did you mean 'nested_lora_rank'" in err


def test_dry_run_lists_parameters_counts_and_resources(capsys) -> None:
    trials = dry(capsys, "--seeds", "3,8")
    assert [trial["configuration"] for trial in trials] == ["baseline", "alpha=0", "alpha=0.1", "alpha=0.5", "alpha=1"]
    adapter = 12 * (2 * 64 * 8 + 8 + 64)
    assert trials[0]["trainable_params"] == adapter + 64 * 100 + 100
    assert trials[1]["trainable_params"] == 2 * adapter + 64 * 100 + 100
    assert all(trial["seeds"] == [3, 8] for trial in trials)
    assert trials[0]["resources"]["device"] in ("cpu", "gpu")


def test_paper_dry_run_needs_no_network(capsys) -> None:
    trials = dry(capsys, "--profile", "paper")
    vit_b = 85_798_656  # ViT-B/16 without a head
    assert trials[0]["total_params"] == vit_b + trials[0]["trainable_params"]
    assert trials[0]["params"]["dataset"] == "cifar100"


def test_set_overrides_every_configuration_and_merges_equal_ones(capsys) -> None:
    trials = dry(capsys, "--set", "nested_lora_consolidation_alpha=0.3", "--set", "epochs=2")
    assert [trial["configuration"] for trial in trials] == ["baseline", "alpha=0 with consolidation_alpha=0.3"]
    assert all(trial["params"]["epochs"] == 2 for trial in trials)


def test_trial_ids_are_the_same_wherever_the_data_lie(capsys, tmp_path: Path, tiny_backbone: str) -> None:
    copy = tmp_path / "elsewhere" / Path(tiny_backbone).name
    copy.parent.mkdir()
    copy.write_bytes(Path(tiny_backbone).read_bytes())
    one, two = (dry(capsys, "--backbone", path, "--set", "rank=4") for path in (tiny_backbone, str(copy)))
    assert [trial["trial_id"] for trial in one] == [trial["trial_id"] for trial in two]


def test_list_and_show_say_what_can_be_set(capsys) -> None:
    assert "nested_alpha" in call(capsys, "list")[1]
    shown = call(capsys, "show", "nested_alpha")[1]
    assert all(f"  {name} = " in shown for name in set(aliases(NestedConfig).values()) - {"dataset", "backbone"})
    assert "nested_lora_consolidation_alpha" in shown


def test_every_study_of_the_catalogue_keeps_the_contract() -> None:
    from study.catalog import STUDIES

    for study in STUDIES.values():
        assert study.question.endswith("?") and set(study.profiles) == {"embedded", "paper"}
        known = set(aliases(study.trainable.config))
        for fields in study.configurations.values():
            assert set(fields) <= known
        assert {entry.configuration for entry in study.reported} <= set(study.configurations)
