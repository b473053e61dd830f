"""The nested trainable as its user relies on it: reproducible, independent of the pack, resumable, honest ablations."""

import gc
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from training import numbers, train_through, trained, values

from trainables.configs import DataConfig, NestedConfig
from trainables.methods.nested import NestedRun, count_parameters, train
from trainables.metrics.accuracy import predict
from trainables.packs.checkpoint import Checkpoints
from trainables.peft.lora import Contribution

DATA = DataConfig(classes="0:20", train_per_class=6, test_per_class=5, flip=False)


def config(backbone: str, **settings: object) -> NestedConfig:
    defaults = {"init_cls": 5, "increment": 5, "epochs": 2, "batch_size": 8, "rank": 4, "log_every": 3, "data": DATA}
    return NestedConfig(backbone=backbone, **(defaults | settings))


run = partial(trained, train)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"class_order": "replica", "update_interval_slow": 2},
        {"optimizer": "adamw", "warmup_steps": 3},
        {"loss_classes": "task", "update_interval_slow": 2, "interval_mode": "skip", "consolidation_interval": 2},
        {"consolidation_method": "sign_matched", "adapt_start_layer": 1},
        {"consolidation_method": "ema", "placement": "linear", "consolidation_space": "function"},
    ],
)
def test_numbers_do_not_depend_on_the_pack(tiny_backbone: str, tmp_path: Path, settings: dict) -> None:
    made = config(tiny_backbone, **settings)
    packed = run(made, (0, 7, 3), tmp_path / "packed")
    for seed in (0, 7, 3):
        assert numbers(run(made, (seed,), tmp_path / f"alone{seed}")[seed]) == numbers(packed[seed])


def test_unequal_tasks_do_not_mix_replicas(tiny_backbone: str, unequal: str, tmp_path: Path) -> None:
    """With classes of unequal sizes in an order of each replica's own, packs pad everywhere; no numbers notice."""
    made = config(
        tiny_backbone, dataset=unequal, init_cls=2, increment=2, batch_size=7, class_order="replica", log_every=1,
        data=DataConfig(val_fraction=0.34), eval_batch_size=8,
    )  # fmt: skip
    packed = run(made, (1, 2), tmp_path / "packed")
    assert numbers(packed[2]) == numbers(run(made, (2,), tmp_path / "alone")[2])
    assert len(values(packed[2], "train", "contribution_ratio")) > 4  # what once counted the padding
    assert len(values(packed[2], "val", "accuracy")) == 4


def test_padding_is_no_part_of_the_contributions(tiny_backbone: str, unequal: str) -> None:
    """A batch of 8 with 3 images and one of 3 have the same sizes of fast(x) and slow(x)."""
    started = NestedRun(config(tiny_backbone, dataset=unequal, init_cls=2, increment=2, data=DataConfig()), (0,))
    started.pack.bank.flat.copy_(torch.randn(started.pack.bank.flat.shape) * 0.1)
    found = []
    for size in (3, 8):
        contribution = Contribution(1, torch.device("cpu"))
        images = [torch.tensor([4, 7, 11])]
        predict(started.pack, started.train_input, images, started.pack.parts, 8, size, contribution)
        found.append(torch.stack([contribution.fast, contribution.slow, contribution.product]))
    assert torch.allclose(found[0], found[1], rtol=1e-5)


def test_a_search_never_predicts_a_test_image_and_trains_the_same(
    tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.34})
    tested = run(config(tiny_backbone, data=data), (3,), tmp_path / "tested")[3]
    for name in ("FrozenBackbone", "Ablation"):
        monkeypatch.setattr(f"trainables.metrics.boundary.{name}", None)  # what would look at test images
    searched = run(config(tiny_backbone, data=data, evaluate="validation"), (3,), tmp_path / "searched")[3]
    assert {row["phase"] for row in searched} == {"train", "val", "timing", "final"}
    assert len(values(searched, "val", "accuracy")) == 4
    for phase, name in (("val", "accuracy"), ("train", "loss")):
        assert values(searched, phase, name) == values(tested, phase, name)
    with pytest.raises(ValueError, match="val_fraction above 0"):
        config(tiny_backbone, evaluate="validation")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"placement": "linear", "consolidation_space": "function", "fast_reset": "reinit"},
        {"loss_classes": "task", "update_interval_slow": 2, "consolidation_interval": 3, "class_order": "replica"},
    ],
)
def test_resume_equals_uninterrupted(tiny_backbone: str, tmp_path: Path, settings: dict) -> None:
    made = config(tiny_backbone, **settings)
    whole = run(made, (5,), tmp_path / "whole")[5]
    with pytest.raises(KeyboardInterrupt):
        run(made, (5,), tmp_path / "cut", stop_after=1)
    resumed = run(made, (5,), tmp_path / "cut")[5]
    assert numbers(resumed) == numbers(whole)


def test_a_diverged_replica_leaves_the_others_bit_equal(tiny_backbone: str, tmp_path: Path, monkeypatch) -> None:
    made = config(tiny_backbone)
    healthy = run(made, (4,), tmp_path / "healthy")[4]
    poison(monkeypatch, replicas=[0])
    rows = run(made, (9, 4), tmp_path / "poisoned")
    assert numbers(rows[4]) == numbers(healthy)
    assert values(rows[9], "boundary", "diverged") == [1.0]
    assert len(values(rows[9], "eval", "accuracy")) == 1  # nothing after the task in which it diverged


def poison(monkeypatch: pytest.MonkeyPatch, replicas: list[int]) -> None:
    """From the second task on these replicas have no finite loss."""
    original = NestedRun._backward

    def poisoned(self, task, *batch):
        loss = original(self, task, *batch)
        if task == 1:
            loss[replicas] = float("nan")
        return loss

    monkeypatch.setattr(NestedRun, "_backward", poisoned)


def test_training_ends_when_no_replica_is_left(tiny_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, replicas=[0, 1])
    started = NestedRun(config(tiny_backbone), (0, 1))
    steps = sum(1 for _ in started.training(1))
    assert steps == 1 and not bool(started.finite.any()) and started.steps.tolist() == [0, 0]


def test_one_graph_at_a_time_is_alive(tiny_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU replicas run one after the other, and so must their backward passes: memory does not grow with K."""
    alive, most = weakref.WeakSet(), 0
    features = type(NestedRun(config(tiny_backbone), (0,)).pack).features

    def counted(self, images):
        nonlocal most
        made = features(self, images)
        alive.add(made)
        gc.collect()
        most = max(most, sum(one.grad_fn is not None for one in alive))
        return made

    monkeypatch.setattr("trainables.packs.replicas.Replicas.features", counted)
    started = NestedRun(config(tiny_backbone, epochs=1), (0, 1, 2, 3))
    next(started.training(0))
    assert most == 1


def test_shared_ablation_passes_give_what_separate_passes_give(tiny_backbone: str, tmp_path: Path, monkeypatch) -> None:
    made = config(tiny_backbone, consolidation_alpha=0.5, fast_reset="reinit")
    shared = run(made, (0,), tmp_path / "shared")[0]
    monkeypatch.setattr("trainables.packs.replicas.Pack.silent", lambda self, part: part not in self.parts)
    separate = run(made, (0,), tmp_path / "separate")[0]
    names = {(row["task"], row["name"]): row["value"] for row in separate if row["phase"] == "ablation"}
    assert {(r["task"], r["name"]): r["value"] for r in shared if r["phase"] == "ablation"} == names
    assert len(names) == 4 * 8


def test_alpha_zero_keeps_slow_and_makes_combined_equal_slow(tiny_backbone: str, tmp_path: Path) -> None:
    rows = run(config(tiny_backbone, consolidation_alpha=0.0), (0,), tmp_path)[0]
    for name in ("norm/slow/before", "norm/slow/after"):
        assert values(rows, "boundary", name) == values(rows, "boundary", "norm/slow/before")
    assert values(rows, "ablation", "after/combined") == values(rows, "ablation", "after/slow")
    assert values(rows, "eval", "accuracy") == values(rows, "ablation", "after/combined")
    assert set(values(rows, "boundary", "norm/fast/after")) == {0.0}


def test_fast_is_dead_but_for_one_bias_after_a_zero_reset(tiny_backbone: str, tmp_path: Path) -> None:
    """Candidate cause (ii) of the collapse in seeds/000 must be visible, not repaired in silence."""
    train(config(tiny_backbone), (0,), lambda rows: None, checkpoints := Checkpoints(tmp_path, {0: "r"}))
    before_consolidation = NestedRun(config(tiny_backbone), (0,))
    before_consolidation.restore(checkpoints, 0)
    train_through(before_consolidation, 1)
    state = before_consolidation.pack.bank.state(0)
    assert not any(state[name].any() for name in state if ".fast.down" in name or name.endswith(".fast.up"))
    assert any(state[name].any() for name in state if name.endswith(".fast.up_bias"))


@pytest.mark.parametrize("mode", ["skip", "zero_grad"])
def test_slow_between_its_updates(tiny_backbone: str, mode: str) -> None:
    """30 images in batches of 8 are 4 steps, slow's gradient counts at the last: torch.optim.SGD says what moves."""
    made = config(tiny_backbone, update_interval_slow=4, epochs=1, interval_mode=mode, weight_decay=0.1)
    started = NestedRun(made, (0,))
    name = "blocks.0.slow.down"
    leaf = started.pack.bank.value(name)[0].clone().requires_grad_()
    reference = torch.optim.SGD([leaf], lr=made.lr_slow, momentum=0.9, weight_decay=0.1)
    for step, _ in enumerate(started.training(0)):
        due = step == 3
        own = started.pack.bank.views[name].grad[0].clone()
        leaf.grad = own if due else torch.zeros_like(leaf) if mode == "zero_grad" else None
        reference.step()
        assert torch.allclose(started.pack.bank.value(name)[0], leaf, atol=1e-7), step
    moved = not torch.equal(leaf, NestedRun(made, (0,)).pack.bank.value(name)[0])
    assert step == 3 and moved


def test_baseline_is_one_adapter(tiny_backbone: str, tmp_path: Path) -> None:
    baseline = config(tiny_backbone, lr_slow=0.0, consolidation=False)
    rows = run(baseline, (0,), tmp_path)[0]
    assert not [row for row in rows if row["name"] == "norm/slow/before"]
    adapters = 2 * (2 * 16 * 4 + 4 + 16)
    assert count_parameters(baseline, 20)[0] == adapters + 16 * 20 + 20
    assert count_parameters(config(tiny_backbone), 20)[0] == 2 * adapters + 16 * 20 + 20


def test_accuracy_matrix_and_seen_accuracy_agree(tiny_backbone: str, tmp_path: Path) -> None:
    rows = run(config(tiny_backbone), (0,), tmp_path)[0]
    for task in range(4):
        parts = [r["value"] for r in rows if r["task"] == task and r["name"].startswith("accuracy/task_")]
        assert len(parts) == task + 1
        assert values([r for r in rows if r["task"] == task], "eval", "accuracy") == pytest.approx(
            [sum(parts) / len(parts)]
        )


def test_a_shared_forward_pass_equals_separate_ones_to_rounding(tiny_backbone: str) -> None:
    """What a GPU does with a pack, on the CPU."""
    losses = {}
    for together in (1, 3):
        started = NestedRun(config(tiny_backbone, class_order="replica", epochs=1), (0, 1, 2))
        started.pack.together = together
        train_through(started, 0)
        started.measure(0)
        losses[together] = torch.tensor([values(started.rows[seed], "train", "loss")[-1] for seed in (0, 1, 2)])
    assert torch.allclose(losses[1], losses[3], rtol=1e-4)
