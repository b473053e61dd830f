"""The nested trainable as its user relies on it: reproducible, independent of the pack, resumable, honest ablations."""

from functools import partial
from pathlib import Path

import pytest
import torch
from training import numbers, trained, values

from trainables.checkpoint import Checkpoints
from trainables.configs import DataConfig, NestedConfig
from trainables.nested import NestedRun, count_parameters, train

DATA = DataConfig(classes="0:20", train_per_class=6, test_per_class=5, flip=False)


def config(backbone: str, **settings: object) -> NestedConfig:
    defaults = {"init_cls": 5, "increment": 5, "epochs": 2, "batch_size": 8, "rank": 4, "log_every": 3, "data": DATA}
    return NestedConfig(backbone=backbone, **(defaults | settings))


run = partial(trained, train)


@pytest.mark.parametrize(
    "settings",
    [{}, {"class_order_seed": "replica", "update_interval_slow": 2}, {"optimizer": "adamw", "warmup_steps": 3}],
)
def test_numbers_do_not_depend_on_the_pack(tiny_backbone: str, tmp_path: Path, settings: dict) -> None:
    made = config(tiny_backbone, **settings)
    packed = run(made, (0, 7, 3), tmp_path / "packed")
    for seed in (0, 7, 3):
        assert numbers(run(made, (seed,), tmp_path / f"alone{seed}")[seed]) == numbers(packed[seed])


def test_unequal_tasks_do_not_mix_replicas(tiny_backbone: str, tmp_path: Path) -> None:
    """With a class order per replica and a validation split, packs pad; nobody's numbers may notice."""
    data = DATA.model_copy(update={"val_fraction": 0.34})
    made = config(tiny_backbone, init_cls=10, increment=10, batch_size=7, class_order_seed="replica", data=data)
    packed = run(made, (1, 2), tmp_path / "packed")
    assert numbers(packed[2]) == numbers(run(made, (2,), tmp_path / "alone")[2])
    assert len(values(packed[2], "val", "accuracy")) == 2


def test_a_search_never_predicts_a_test_image_and_trains_the_same(
    tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.34})
    tested = run(config(tiny_backbone, data=data), (3,), tmp_path / "tested")[3]
    for name in ("frozen_features", "Ablation"):
        monkeypatch.setattr(f"trainables.nested.{name}", None)  # what would look at test images
    searched = run(config(tiny_backbone, data=data, evaluate="validation"), (3,), tmp_path / "searched")[3]
    assert {row["phase"] for row in searched} == {"train", "val", "timing"}
    assert len(values(searched, "val", "accuracy")) == 4
    for phase, name in (("val", "accuracy"), ("train", "loss")):
        assert values(searched, phase, name) == values(tested, phase, name)
    with pytest.raises(ValueError, match="val_fraction above 0"):
        config(tiny_backbone, evaluate="validation")


@pytest.mark.parametrize(
    "settings", [{}, {"placement": "linear", "consolidation_space": "function", "fast_reset": "reinit"}]
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
    original = NestedRun._loss

    def poisoned(self, task, indices, valid, draws):
        loss = original(self, task, indices, valid, draws)
        factor = torch.ones(len(self.seeds))
        factor[0] = float("nan") if task == 1 else 1.0
        return loss * factor

    monkeypatch.setattr(NestedRun, "_loss", poisoned)
    rows = run(made, (9, 4), tmp_path / "poisoned")
    assert numbers(rows[4]) == numbers(healthy)
    assert values(rows[9], "boundary", "diverged") == [1.0]
    assert len(values(rows[9], "eval", "accuracy")) == 1  # nothing after the task in which it diverged


def test_shared_ablation_passes_give_what_separate_passes_give(tiny_backbone: str, tmp_path: Path, monkeypatch) -> None:
    made = config(tiny_backbone, consolidation_alpha=0.5, fast_reset="reinit")
    shared = run(made, (0,), tmp_path / "shared")[0]
    monkeypatch.setattr("trainables.replicas.Pack.silent", lambda self, part: part not in self.parts)
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
    before_consolidation.train(1)
    state = before_consolidation.pack.bank.state(0)
    assert not any(state[name].any() for name in state if ".fast.down" in name or name.endswith(".fast.up"))
    assert any(state[name].any() for name in state if name.endswith(".fast.up_bias"))


def test_slow_moves_only_on_its_interval(tiny_backbone: str) -> None:
    made = config(tiny_backbone, update_interval_slow=4, epochs=1)  # 30 images in batches of 8: 4 steps
    started = NestedRun(made, (0,))
    history = []
    original = started._update_mask
    started._update_mask = lambda *a: history.append(original(*a)) or history[-1]  # type: ignore[method-assign]
    started.train(0)
    slow = started.pack.bank.groups.index("slow")
    assert [bool(mask[0, slow]) for mask in history] == [False, False, False, True]


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


def test_replicas_may_have_rates_intervals_and_alphas_of_their_own(tiny_backbone: str) -> None:
    made = config(tiny_backbone, epochs=1)
    mixed = NestedRun(made, (0, 0))
    slow = mixed.pack.bank.groups.index("slow")
    mixed.base_rates = mixed.base_rates.clone()
    mixed.base_rates[1, slow] = 0.05
    mixed.intervals[1] = 2
    mixed.alphas[1] = 0.5
    other = NestedRun(
        made.model_copy(update={"lr_slow": 0.05, "update_interval_slow": 2, "consolidation_alpha": 0.5}), (0,)
    )
    for started in (mixed, other):
        started.train(0)
        started.close(0)
    assert torch.equal(mixed.pack.bank.flat[1], other.pack.bank.flat[0])
    assert not torch.equal(mixed.pack.bank.flat[0], mixed.pack.bank.flat[1])


def test_a_shared_forward_pass_equals_separate_ones_to_rounding(tiny_backbone: str) -> None:
    """What a GPU does with a pack, on the CPU."""
    losses = {}
    for together in (1, 3):
        started = NestedRun(config(tiny_backbone, class_order_seed="replica", epochs=1), (0, 1, 2))
        started.pack.together = together
        started.train(0)
        started.close(0)
        losses[together] = torch.tensor([values(started.rows[seed], "train", "loss")[-1] for seed in (0, 1, 2)])
    assert torch.allclose(losses[1], losses[3], rtol=1e-4)
