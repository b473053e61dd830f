"""The hybrid trainable as its user relies on it: what it trains, how it is updated, and that its numbers can be had
again."""

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from hybrids import CPU, DATA, config, on_steps
from pydantic import ValidationError
from torchmetrics.functional.classification import multiclass_calibration_error
from training import check_pack_and_cut, numbers, train_through, trained, values

from trainables.configs import HybridConfig
from trainables.data.images import load_images
from trainables.errors import InputError
from trainables.methods.hybrid import HybridRun, check, count_parameters, train
from trainables.metrics import calibration
from trainables.metrics.accuracy import all_logits
from trainables.metrics.diagnostics import StepClock
from trainables.metrics.finals import EPOCHS
from trainables.models.vision import load_backbone
from trainables.packs.tuned import TunedReplicas
from trainables.peft.norms import NormAffine
from trainables.peft.placement import lora_blocks

METHODS: dict[str, dict] = {
    "head": {"method": "head"},
    "norm": {"method": "norm"},
    "lora": {"method": "lora", "freeze_lora_steps": 3},
    "parallel": {"method": "hybrid_parallel", "lr_parity": "update_norm"},
    "layerwise": {"method": "hybrid_layerwise", "freeze_lora_steps": 3},
    "full": {"method": "full", "data": DATA.model_copy(update={"val_fraction": 0.2})},
}


run = partial(trained, train)


@pytest.mark.parametrize(
    ("backbone", "classes", "settings", "expected"),
    [
        ("vit_small_patch16_224", 100, {"method": "norm"}, 57_700),
        ("vit_small_patch16_224", 100, {"method": "lora"}, 628_324),
        ("vit_small_patch16_224", 100, {"method": "hybrid_layerwise"}, 247_396),
        ("vit_small_patch16_224", 100, {"method": "hybrid_layerwise", "policy": "shallow_lora"}, 247_396),
        ("vit_small_patch16_224", 100, {"method": "hybrid_parallel"}, 628_324 + 57_700 - 38_500),
        ("vit_small_patch16_224", 100, {"method": "head"}, 38_500),
        ("vit_small_patch16_224", 100, {"method": "hybrid_layerwise", "policy": "even_lora"}, 342_628),
        ("vit_small_patch16_224", 100, {"method": "hybrid_layerwise", "policy": "odd_lora"}, 342_628),
        ("vit_small_patch16_224", 100, {"method": "lora", "attn_only": True}, 38_500 + 12 * 18_432),
        ("vit_small_patch16_224", 100, {"method": "hybrid_layerwise", "attn_only": True}, 38_500 + 4 * 18_432 + 12_288),
        ("vit_tiny_patch16_224", 10, {"method": "hybrid_parallel", "lr_lora": 0.0}, 11_530),
        ("vit_tiny_patch16_224", 10, {"method": "norm"}, 11_530),
        ("vit_tiny_patch16_224", 10, {"method": "lora"}, 296_842),
    ],
)
def test_counts_are_those_of_the_notes(backbone: str, classes: int, settings: dict, expected: int) -> None:
    assert count_parameters(HybridConfig(backbone=backbone, **settings), classes)[0] == expected


def test_total_counts_norms_and_a_full_backbone_once(tiny_backbone: str) -> None:
    own = sum(p.numel() for p in load_backbone(tiny_backbone).model.parameters()) + 16 * 10 + 10
    for method in ("head", "norm", "full"):
        trained, total = count_parameters(config(tiny_backbone, method=method), 10)
        assert total == own
    assert trained == own
    trained, total = count_parameters(config(tiny_backbone, method="lora"), 10)
    assert total == own + trained - 170


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("deep_lora", {8, 9, 10, 11}),
        ("shallow_lora", {0, 1, 2, 3}),
        ("even_lora", {0, 2, 4, 6, 8, 10}),
        ("odd_lora", {1, 3, 5, 7, 9, 11}),
    ],
)
def test_policies_split_the_blocks(policy: str, expected: set[int]) -> None:
    assert lora_blocks(policy, 12) == expected  # type: ignore[arg-type]
    made = HybridConfig(method="hybrid_layerwise", policy=policy)
    bank = TunedReplicas(load_backbone("glyph_vit"), made, 10, 1, CPU).bank
    blocks = {
        group: {int(name.split(".")[1]) for name, p in bank.parameters.items() if p.group == group}
        for group in ("lora", "norm")
    }
    assert blocks == {"lora": expected, "norm": set(range(12)) - expected}
    assert not any(name.startswith("norm.") for name in bank.parameters)


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS.keys())
def test_a_pack_and_a_cut_change_no_number(tiny_backbone: str, tmp_path: Path, settings: dict) -> None:
    check_pack_and_cut(train, config(tiny_backbone, epochs=3, **settings), tmp_path)


def test_rows_are_the_vocabulary_of_the_report(tiny_backbone: str, tmp_path: Path) -> None:
    rows = run(config(tiny_backbone, method="hybrid_parallel"), (0,), tmp_path)[0]
    groups = ("head", "norm", "lora")
    expected = {("train", name) for name in ("loss", "weight_norm/lora", *(f"lr/{group}" for group in groups))}
    expected |= {("eval", name) for name in ("top1", "ece", "ece_batch", "nll")}
    expected |= {("diagnostics", f"{kind}/{g}") for g in groups for kind in ("grad_norm", "update_norm", "grad_cosine")}
    expected |= {("diagnostics", "interference"), ("calibration", "temperature")}
    expected |= {("reference", "chance"), ("reference", "majority")}
    expected |= {("calibration", f"{n}_{when}") for n in ("top1", "ece", "nll") for when in ("before", "after")}
    expected |= {("timing", f"{name}_s") for name in ("data", "train", "eval", "checkpoint", "step_time")}
    expected |= {("timing", name) for name in ("peak_memory_mib", "step_share_s", "pack")}
    expected |= {("final", name) for name in EPOCHS if "_val_" not in name}
    assert {(row["phase"], row["name"]) for row in rows} == expected
    assert all(row["task"] is None and row["epoch"] in (0, 1) for row in rows)
    assert len(values(rows, "eval", "top1")) == 2 and len(values(rows, "timing", "data_s")) == 1
    assert len(values(rows, "train", "loss")) == 2 * 4  # 50 images in batches of 16
    assert values(rows, "calibration", "top1_after") == values(rows, "calibration", "top1_before")
    assert len(values(rows, "diagnostics", "grad_cosine/head")) == 1  # the first epoch has none to compare with


def test_reference_lines_are_those_of_the_test_labels(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="head"), (0, 1))
    started.test_labels = torch.tensor([*range(10), *[3] * 30])  # classes of unequal sizes
    started.measure(0)
    assert not values(started.rows[0], "reference", "chance")  # there is another epoch
    started.measure(1)
    for rows in started.rows.values():
        assert values(rows, "reference", "chance") == [0.1] and values(rows, "reference", "majority") == [31 / 40]


def test_interference_is_measured_without_a_trace(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="hybrid_parallel", lr_lora=0.01), (0,))
    bank, columns = started.pack.bank, started.diagnostics.columns
    first = bank.flat.clone()
    train_through(started, 0)
    last = bank.flat.clone()
    started.measure(0)
    assert torch.equal(bank.flat, last)
    (measured,) = values(started.rows[0], "diagnostics", "interference")
    probe = started.train_input.batch(torch.linspace(0, 59, 64).long())
    outputs = []
    for group in (None, "lora", "norm"):
        bank.flat.copy_(first)
        if group:
            bank.flat[:, columns[group]] = last[:, columns[group]]
        with torch.no_grad():
            outputs.append(started.logits(probe).flatten())
    expected = F.cosine_similarity(outputs[1] - outputs[0], outputs[2] - outputs[0], dim=0)
    assert measured == pytest.approx(float(expected), abs=1e-4) and abs(measured) < 1


def test_gradient_and_update_norms_are_means_over_the_steps(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="norm"), (0,))
    bank, seen, mean_gradients = started.pack.bank, [], []
    previous = bank.flat.clone()

    def measure() -> None:
        own = started.diagnostics.columns["norm"]
        seen.append((bank.grad[0, own].clone(), float((bank.flat - previous)[0, own].norm())))
        previous.copy_(bank.flat)

    on_steps(started, measure)
    for epoch in range(2):
        seen.clear()
        train_through(started, epoch)
        started.measure(epoch)
        gradients, updates = zip(*seen, strict=True)
        mean_gradients.append(torch.stack(gradients).mean(0))
        mean = sum(float(gradient.norm()) for gradient in gradients) / len(seen)
        assert values(started.rows[0], "diagnostics", "grad_norm/norm")[-1] == pytest.approx(mean, rel=1e-4)
        expected = sum(updates) / len(seen)
        assert values(started.rows[0], "diagnostics", "update_norm/norm")[-1] == pytest.approx(expected, rel=1e-4)
    turned = float(F.cosine_similarity(*mean_gradients, dim=0))
    assert values(started.rows[0], "diagnostics", "grad_cosine/norm") == [pytest.approx(turned, abs=1e-4)]


@pytest.mark.parametrize("parity", ["off", "update_norm"])
def test_no_learning_rate_goes_under_its_floor(tiny_backbone: str, tmp_path: Path, parity: str) -> None:
    floor = 4e-4
    made = config(tiny_backbone, method="hybrid_parallel", epochs=4, eta_min=floor, lr_parity=parity)
    rows = run(made, (0,), tmp_path)[0]
    for group in ("head", "norm", "lora"):
        rates = values(rows, "train", f"lr/{group}")
        assert len(rates) == 16 and min(rates) >= floor * (1 - 1e-6)
    assert values(rows, "train", "lr/head")[-1] < values(rows, "train", "lr/head")[0] / 2
    longer = run(made.model_copy(update={"cosine_epochs": 40}), (0,), tmp_path / "longer")[0]
    assert min(values(longer, "train", "lr/head")) > 9e-4


def test_full_equals_torch_adamw_on_timm(tiny_backbone: str) -> None:
    made = config(tiny_backbone, method="full", lr=1e-3, lr_full=1e-3)
    started = HybridRun(made, (0,))
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, **shape).eval()
    model.load_state_dict(copy.deepcopy(started.pack.backbone.model.state_dict()), strict=False)
    model.head.weight.data.copy_(started.pack.bank.value("head.weight")[0].T)
    model.head.bias.data.copy_(started.pack.bank.value("head.bias")[0, 0])
    skipped = model.no_weight_decay()
    decayed = [p for n, p in model.named_parameters() if p.ndim > 1 and n not in skipped]
    spared = [p for n, p in model.named_parameters() if p.ndim <= 1 or n in skipped]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": spared, "weight_decay": 0.0}],
                                  lr=1e-3)  # fmt: skip
    for indices, boxes in started.batches(0):
        loss = started.backward(indices, boxes)
        started.optimizer.take(started.steps, *(torch.ones(shape, dtype=torch.bool) for shape in ((1, 2), (1,))))
        optimizer.zero_grad()
        images = started.train_input.augmented(indices[0], boxes[0])
        reference = F.cross_entropy(model(images), started.train_labels[indices[0]])
        reference.backward()
        optimizer.step()
        assert float(loss[0]) == pytest.approx(reference.item(), abs=1e-5)
    ours = started.pack.bank.state(0)
    for name, value in model.named_parameters():
        if not name.startswith("head."):
            assert torch.allclose(ours[f"backbone.{name}"], value, atol=1e-5), name


def test_norms_begin_pretrained_and_a_shared_pass_equals_separate_ones(tiny_backbone: str) -> None:
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = load_backbone(tiny_backbone).model(images)
    pack = TunedReplicas(load_backbone(tiny_backbone), config(tiny_backbone, method="hybrid_parallel"), 10, 2, CPU)
    for k in range(2):
        pack.initialise(k, torch.Generator().manual_seed(k))
    assert sum(isinstance(module, NormAffine) for module in pack.backbone.model.modules()) == 5
    pack.bank.rows = slice(0, 1)
    assert torch.allclose(pack.features(images)[0], plain, atol=1e-6)
    pack.bank.flat.add_(0.1 * torch.randn(pack.bank.flat.shape, generator=torch.Generator().manual_seed(2)))
    separate = torch.cat([pack.features(images[rows.start * 3 : rows.stop * 3]) for rows in pack.passes()])
    separate.square().sum().backward()
    gradient = pack.bank.grad.clone()
    pack.bank.grad.zero_()
    pack.together = 2
    (rows,) = pack.passes()
    pack.bank.rows = rows
    together = pack.features(images)
    together.square().sum().backward()
    assert torch.allclose(together, separate, atol=1e-5)
    assert torch.allclose(pack.bank.grad, gradient, atol=1e-4)


def test_a_diverged_replica_leaves_the_others_bit_equal(tiny_backbone: str, tmp_path: Path, monkeypatch) -> None:
    made = config(tiny_backbone, method="hybrid_parallel", lr_parity="dynamic")
    healthy = run(made, (4,), tmp_path / "healthy")[4]
    original = HybridRun.backward

    def poisoned(self, indices, crops):
        loss = original(self, indices, crops)
        if len(self.seeds) == 2 and self.steps[0] == 5:
            self.pack.bank.grad[0] = float("nan")
        return loss

    monkeypatch.setattr(HybridRun, "backward", poisoned)
    rows = run(made, (9, 4), tmp_path / "poisoned")
    assert numbers(rows[4]) == numbers(healthy)
    assert values(rows[9], "boundary", "diverged") == [1.0]
    assert len(values(rows[9], "eval", "top1")) == 1  # nothing after the epoch in which it diverged


def test_training_learns(tmp_path: Path) -> None:
    made = HybridConfig(
        method="hybrid_layerwise", data=DATA, epochs=5, batch_size=8, lr=5e-3, lr_norm=5e-3, lr_lora=3e-3,
        freeze_lora_steps=4,
    )  # fmt: skip
    rows = run(made, (0,), tmp_path)[0]
    assert values(rows, "eval", "top1")[-1] > 0.4
    assert values(rows, "eval", "nll")[-1] < values(rows, "eval", "nll")[0]


def test_expected_calibration_error_of_a_case_done_by_hand() -> None:
    probability = torch.tensor([0.9, 0.9, 0.9, 0.6, 0.6])  # bins 13 and 9 of 15
    logits = torch.stack([probability, 1 - probability], 1).log()
    target = torch.tensor([0, 0, 1, 1, 1])
    measured = calibration.scores(logits, target)
    assert measured["ece"] == pytest.approx(3 / 5 * abs(2 / 3 - 0.9) + 2 / 5 * 0.6, abs=1e-6)
    assert measured["top1"] == pytest.approx(2 / 5)
    assert measured["nll"] == pytest.approx(-(2 * math.log(0.9) + math.log(0.1) + 2 * math.log(0.4)) / 5)


def test_calibration_errors_are_torchmetrics_and_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, target = 3 * torch.randn(70, 10, generator=draw), torch.randint(0, 10, (70,), generator=draw)

    def theirs(rows: slice) -> float:
        probability = logits[rows].double().softmax(-1)
        return float(multiclass_calibration_error(probability, target[rows], num_classes=10, n_bins=15, norm="l1"))

    assert calibration.scores(logits, target)["ece"] == pytest.approx(theirs(slice(None)), abs=1e-6)
    batches = [slice(0, 32), slice(32, 64), slice(64, 70)]
    expected = sum(theirs(rows) * (rows.stop - rows.start) for rows in batches) / 70
    assert calibration.calibration_error(logits, target, 32) == pytest.approx(expected, abs=1e-6)
    assert expected > theirs(slice(None))
    sure = torch.tensor([[100.0, 0.0], [2.7, 0.0]])  # confidences 1 and 0.937: both in the last bin, (14/15, 1]
    gap = (1.0 + 1 / (1 + math.exp(-2.7)) - 1.0) / 2
    assert calibration.calibration_error(sure, torch.tensor([1, 0])) == pytest.approx(gap, abs=1e-6)


def test_rows_hold_the_error_of_batches_in_the_order_of_the_data(tiny_backbone: str, tmp_path: Path) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.34})
    started = HybridRun(config(tiny_backbone, method="norm", batch_size=16, data=data), (0, 1))
    train_through(started, 0)
    started.measure(0)
    for phase, source, labels, parts in (
        ("eval", started.test_input, started.test_labels, [torch.arange(40)] * 2),
        ("val", started.train_input, started.train_labels, [split.validation for split in started.splits]),
    ):
        logits = all_logits(started.pack, source, parts, slice(None), 64)
        for k, own in enumerate(parts):
            batches = [
                calibration.scores(part, labels[rows])["ece"] * len(rows)
                for part, rows in zip(logits[k].split(16), own.split(16), strict=True)
            ]
            assert values(started.rows[k], phase, "ece_batch") == [pytest.approx(sum(batches) / len(own), abs=1e-9)]


def test_temperature_scaling_keeps_top1_and_never_raises_the_held_out_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    for scale in (0.05, 1.0, 40.0):
        target = torch.randint(0, 10, (400,), generator=draw)
        logits = scale * (torch.randn(400, 10, generator=draw) + 2 * F.one_hot(target, 10))
        held_out, test = (logits[:200], target[:200]), (logits[200:], target[200:])
        found = calibration.calibrate(held_out, test)
        assert found["top1_after"] == found["top1_before"]
        before, after = (calibration.scores(*held_out, temperature=t)["nll"] for t in (1.0, found["temperature"]))
        assert after <= before
        for other in (0.9, 1.1):
            assert after <= calibration.scores(*held_out, temperature=other * found["temperature"])["nll"]
        assert found["ece_after"] < 0.15
    right = 5.0 * F.one_hot(torch.arange(10), 10)
    assert calibration.fit_temperature(right, torch.arange(10)) >= calibration.TEMPERATURES[0]


def test_held_out_images_are_never_trained_on(tiny_backbone: str) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.2})
    started = HybridRun(config(tiny_backbone, method="head", data=data), (0, 1))
    for k, split in enumerate(started.splits):
        parts = [set(part.tolist()) for part in (split.train, split.validation, split.temperature)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 60 and all(parts)
        seen = {index for indices, _ in started.batches(0) for index in indices[k].tolist()}
        assert seen == parts[0]


def test_a_search_never_scores_a_test_image_and_trains_the_same(tiny_backbone: str, tmp_path: Path) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.2})
    tested = run(config(tiny_backbone, data=data), (3,), tmp_path / "tested")[3]
    searched = run(config(tiny_backbone, data=data, evaluate="validation"), (3,), tmp_path / "searched")[3]
    assert not {"eval", "calibration", "reference"} & {row["phase"] for row in searched}
    assert values(searched, "val", "top1") == values(tested, "val", "top1") and len(values(tested, "eval", "top1")) == 2


def test_a_short_epoch_has_its_number_of_steps(tiny_backbone: str, tmp_path: Path) -> None:
    rows = run(config(tiny_backbone, method="norm", steps_per_epoch=2), (0,), tmp_path)[0]
    assert len(values(rows, "train", "loss")) == 4


def test_the_first_steps_do_not_count_in_the_step_time() -> None:
    clock = StepClock(CPU)
    for _ in range(3):
        clock.add(clock.now() - 1000.0)
    assert clock.median() is None
    clock.add(clock.now() - 1.0)
    assert clock.median() == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "lora", "policy": "deep_lora"}, "policy=deep_lora needs method=hybrid_layerwise"),
        ({"epochs": 5, "cosine_epochs": 4}, "at least epochs=5 is allowed"),
        ({"method": "lora", "steps_per_epoch": 3, "epochs": 2, "freeze_lora_steps": 6}, r"allowed: 0\.\.5"),
        ({"policy": "deepest"}, "deep_lora"),
        ({"method": "norm", "steps_per_epoch": 3, "epochs": 2, "freeze_norm_steps": 6}, r"allowed: 0\.\.5"),
        (
            {
                "method": "norm",
                "steps_per_epoch": 3,
                "epochs": 2,
                "alt_freeze_every": 6,
                "alt_freeze_order": "norm-first",
            },
            r"alt_freeze_every=6: the norms would stay frozen in all of the run's 6 steps; allowed: 0\.\.5",
        ),
        ({"attn_only": True, "layers": "blocks.0.attn.qkv"}, "with attn_only=true: one of the two is allowed"),
        ({"temperature_fraction": 1.0}, "less than 1"),
    ],
)
def test_impossible_configurations_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HybridConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "lora", "layers": "nothing"}, "matches no linear layer"),
        ({"method": "lora", "layers": "("}, "not a regular expression"),
        ({"method": "hybrid_layerwise", "layers": r"blocks\.0\..*"}, "matches no linear layer in its blocks 1"),
        ({"method": "lora", "rank": 17}, r"allowed: 1\.\.16"),
    ],
)
def test_what_matches_nothing_is_refused_without_weights(tiny_backbone: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        count_parameters(config(tiny_backbone, **settings), 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "lora", "freeze_lora_steps": 8}, r"the run has 8 steps; allowed: 0\.\.7"),
        ({"temperature_fraction": 0.95}, r"temperature_fraction=0.95: leaves no training image of a class that has 6"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(tiny_backbone: str, settings: dict, message: str) -> None:
    made = config(tiny_backbone, **settings)
    with pytest.raises(InputError, match=message):
        check(made, load_images(made.dataset, made.data, 16))
