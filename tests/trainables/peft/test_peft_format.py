"""PEFT loads what is exported and gives the same logits."""

import re
from pathlib import Path

import pytest
import timm
import torch
from peft import PeftModel
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from study.cli import main
from study.ray_tune.resources import Machine
from study.records.run_directory import Outcome, RunDirectory, write_outcome
from study.resolve.options import Options
from study.resolve.study import resolve
from trainables.configs import HybridConfig, NestedConfig
from trainables.methods.nested import NestedRun, train
from trainables.models.vision import load_backbone
from trainables.packs.checkpoint import Checkpoints
from trainables.packs.replicas import Pack, Replicas
from trainables.packs.tuned import TunedReplicas
from trainables.peft.export import WEIGHTS_FILE, LoraReplica, path_regex, write_folder

CLASSES = 7
SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
LAYERS = NestedConfig.model_fields["layers"].default


def pack_of(backbone: str, parts: tuple[str, ...] = ("lora",), **settings: object) -> Pack:
    config = NestedConfig(placement="linear", rank=4, lora_alpha=12.0, **settings)
    return Pack(load_backbone(backbone), config, parts, CLASSES, 1, torch.device("cpu"))


def filled(pack: Pack) -> Pack:
    pack.bank.flat.copy_(torch.randn(pack.bank.flat.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return pack


def timm_model(backbone: str) -> VisionTransformer:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, **SHAPE).eval()
    model.load_state_dict(load_file(backbone), strict=False)
    return model


def logits(pack: Replicas, images: Tensor) -> Tensor:
    with torch.no_grad():
        return pack.logits(pack.features(images), slice(0, CLASSES))[0]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("parts", [("lora",), ("fast", "slow")])
def test_peft_loads_the_folder_and_gives_the_same_logits(
    tiny_backbone: str, tmp_path: Path, images: Tensor, parts: tuple[str, ...], recwarn: pytest.WarningsRecorder
) -> None:
    pack = filled(pack_of(tiny_backbone, parts))
    write_folder(tmp_path / "out", LoraReplica(pack.bank.state(0), 12.0), "vit_tiny_patch16_224")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    model = PeftModel.from_pretrained(timm_model(tiny_backbone), tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.allclose(model(images), logits(pack, images), atol=1e-5)
    adapted = {name for name, _ in model.named_modules() if name.endswith(".lora_A")}
    assert len(adapted) == 2 * 4  # no patch embedding
    assert not [warning for warning in recwarn if "missing" in str(warning.message).lower()]


@pytest.mark.parametrize("method", ["lora", "hybrid_layerwise", "hybrid_parallel"])
def test_hybrids_travel_with_their_norms(tiny_backbone: str, tmp_path: Path, images: Tensor, method: str) -> None:
    config = HybridConfig(method=method, rank=4)
    pack = TunedReplicas(load_backbone(tiny_backbone), config, CLASSES, 1, torch.device("cpu"))
    pack.initialise(0, torch.Generator().manual_seed(0))
    pack.bank.flat.add_(torch.randn(pack.bank.flat.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    write_folder(tmp_path, LoraReplica(pack.bank.state(0), config.lora_alpha), "tiny")
    model = PeftModel.from_pretrained(timm_model(tiny_backbone), tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(model(images), logits(pack, images), atol=1e-5)


def test_the_regex_names_whole_paths() -> None:
    pattern = path_regex(["blocks.1.attn.proj", "blocks.11.attn.proj"])
    assert re.fullmatch(pattern, "blocks.11.attn.proj")
    assert not [path for path in ("patch_embed.proj", "attn.proj", "blocksx1xattn.proj") if re.fullmatch(pattern, path)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> dict[str, RunDirectory]:
    """Two finished replicas of a study with plain LoRA and of one with bottleneck adapters."""
    machine, made = Machine(1, 0, "this machine"), {}
    small = ["data.classes=0:4", "data.train_per_class=4", "data.test_per_class=3", "init_cls=2", "increment=2",
             "epochs=1", "rank=4", "batch_size=8"]  # fmt: skip
    for placement in ("linear", "parallel"):
        settings = [*small, f"placement={placement}"]
        options = Options("nested_alpha", "embedded", backbone=tiny_backbone, settings=settings, seeds="2", trials=2)
        study, _ = resolve(options, machine)
        made[placement] = directory = RunDirectory.create(tmp_path_factory.mktemp("runs") / placement, study)
        trial = study.trials[1]
        ids = {seed: trial.replica_id(seed) for seed in trial.seeds}
        config = NestedConfig.model_validate(trial.params)
        train(config, trial.seeds, lambda rows: None, Checkpoints(directory.path / "checkpoints", ids))
        for replica_id in ids.values():
            write_outcome(directory.folder(replica_id), Outcome(status="finished"))
    return made


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_export_takes_the_best_finished_replica(runs, tiny_backbone: str, tmp_path: Path, capsys) -> None:
    directory = runs["linear"]
    code, out, err = call(capsys, "export", directory.path, "--peft", "--out", tmp_path / "best")
    assert code == 0, err
    trial = directory.study.trials[1]
    scores = {seed: directory.final_metrics(trial.replica_id(seed))["final_accuracy"] for seed in trial.seeds}
    best = max(scores, key=lambda seed: scores[seed])
    assert f"seed {best}" in out and str(tmp_path / "best") in out

    config = NestedConfig.model_validate(trial.params)
    trained = NestedRun(config, (best,))
    trained.restore(Checkpoints(directory.path / "checkpoints", {best: trial.replica_id(best)}), 1)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=4, **SHAPE).eval()
    model.load_state_dict(load_file(tiny_backbone), strict=False)
    images = torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        ours = trained.pack.logits(trained.pack.features(images), slice(0, 4))[0]
        theirs = PeftModel.from_pretrained(model, tmp_path / "best").eval()(images)
    assert torch.allclose(theirs, ours[:, trained.tasks.position[0]], atol=1e-5)  # columns in the order of the labels


def test_export_all_and_by_name(runs, tmp_path: Path, capsys) -> None:
    directory = runs["linear"]
    names = [directory.study.trials[1].replica_id(seed) for seed in (0, 1)]
    assert call(capsys, "export", directory.path, "--peft", "--all", "--out", tmp_path / "all")[0] == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(names)
    assert call(capsys, "export", directory.path, "--peft", "--replica", names[1], "--out", tmp_path / "one")[0] == 0
    one, other = (load_file(p / WEIGHTS_FILE) for p in (tmp_path / "one", tmp_path / "all" / names[1]))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_bad_exports_are_one_line_and_exit_code_2(runs, tmp_path: Path, capsys) -> None:
    linear, parallel = runs["linear"], runs["parallel"]
    waiting, trained = (trial.replica_id(0) for trial in linear.study.trials)
    empty, full = tmp_path / "new", tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    norms = linear.study.trials[0].replica_id(1)
    Checkpoints(linear.path / "checkpoints", {1: norms}).save(1, 0, {"head.weight": torch.zeros(16, 4)}, [])
    cases = {
        "one format is needed": ("export", linear.path, "--out", empty),
        "--out": ("export", linear.path, "--peft"),
        "not a run directory": ("export", tmp_path, "--peft", "--out", empty),
        f"allowed: {waiting}": ("export", linear.path, "--peft", "--replica", "nobody", "--out", empty),
        "no checkpoint yet": ("export", linear.path, "--peft", "--replica", waiting, "--out", empty),
        "without LoRA": ("export", linear.path, "--peft", "--replica", norms, "--out", empty),
        "not an empty folder": ("export", linear.path, "--peft", "--out", full),
        "one of the two": ("export", linear.path, "--peft", "--all", "--replica", trained, "--out", empty),
        "bottleneck adapter with ReLU": ("export", parallel.path, "--peft", "--out", empty),
    }
    for hint, words in cases.items():
        code, out, err = call(capsys, *words)
        lines = err.strip().splitlines()
        assert code == 2 and out == "" and len(lines) == 1, (hint, code, out, err)
        assert lines[0].startswith("error: ") and hint in lines[0]
        assert not empty.exists()
