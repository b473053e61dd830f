"""What a step of the hybrid trainable does to its parameters, against plain torch and the notes' rules as written."""

import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from hybrids import CPU, config, on_steps
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from training import check_pack_and_cut, train_through, trained, values

from trainables.configs import HybridConfig
from trainables.errors import InputError
from trainables.methods.hybrid import HybridRun, train
from trainables.models.vision import load_backbone
from trainables.packs import parity
from trainables.packs.bank import Bank, Parameter
from trainables.packs.loss_scale import LossScale
from trainables.packs.parity import DynamicParity, layers, match_update
from trainables.packs.tuned import TunedReplicas
from trainables.packs.updates import Updates
from trainables.peft.lora_linear import lora_linear

run = partial(trained, train)


class PlainLora(nn.Module):
    def __init__(self, linear: nn.Linear, down: torch.Tensor, up: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.down, self.up = nn.Parameter(down.clone()), nn.Parameter(up.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.scale * (x @ self.down @ self.up)


def plain_hybrid(started: HybridRun) -> tuple[nn.Module, dict[str, list[nn.Parameter]]]:
    """timm's model with LoRA in the place of its linear layers, as it is in replica 0, and its parameters by group."""
    state, bank = started.pack.bank.state(0), started.pack.bank
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, **shape).eval().requires_grad_(False)
    model.load_state_dict(load_backbone(started.config.backbone).model.state_dict(), strict=False)
    model.head.weight.copy_(state["head.weight"].T)
    model.head.bias.copy_(state["head.bias"][0])
    groups: dict[str, list[nn.Parameter]] = {"head": [model.head.weight, model.head.bias], "norm": [], "lora": []}
    for path in started.pack.adapters:
        parent, _, name = path.rpartition(".")
        linear = model.get_submodule(path)
        factors = (state[f"{path}.lora.{part}"] for part in ("down", "up"))
        lora = PlainLora(linear, *factors, started.config.scale)  # type: ignore[arg-type]
        setattr(model.get_submodule(parent), name, lora)
        groups["lora"] += [lora.down, lora.up]
    for name, parameter in bank.parameters.items():
        if parameter.group == "norm":
            groups["norm"].append(model.get_parameter(name))
    return model, groups


def test_a_hybrid_equals_plain_torch(tiny_backbone: str) -> None:
    """Weight decay by group, the head's bias included, freezing in turn after a warm-up, and the cosine per epoch."""
    made = config(
        tiny_backbone, method="hybrid_parallel", epochs=3, lr=4e-3, lr_norm=3e-3, lr_lora=2e-3, weight_decay=0.3,
        weight_decay_norm=0.2, weight_decay_lora=0.1, freeze_lora_steps=2, alt_freeze_every=3,
        alt_freeze_order="norm-first", eta_min=1e-4, cosine_epochs=5,
    )  # fmt: skip
    started = HybridRun(made, (0,))
    model, groups = plain_hybrid(started)
    optimizer = torch.optim.AdamW([
        {"params": groups["head"], "lr": 4e-3, "weight_decay": 0.3},
        {"params": groups["norm"], "lr": 3e-3, "weight_decay": 0.2},
        {"params": groups["lora"], "lr": 2e-3, "weight_decay": 0.1},
    ])  # fmt: skip
    cosine = CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-4)
    step, moved = 0, set()
    for epoch in range(3):
        steps = started.training(epoch)
        for indices, boxes in started.batches(epoch):
            turn = step // 3 % 2 if step >= 2 else None
            frozen = {"lora": step < 2 or turn == 1, "norm": turn == 0}
            for group, parameters in groups.items():
                for parameter in parameters:
                    parameter.requires_grad_(not frozen.get(group, False))
            optimizer.zero_grad(set_to_none=True)
            images = started.train_input.augmented(indices[0], boxes[0])
            F.cross_entropy(model(images), started.train_labels[indices[0]]).backward()
            optimizer.step()
            next(steps)
            moved |= {group for group in groups if not frozen.get(group, False)}
            step += 1
        next(steps, None)
        cosine.step()
    assert step == 12 and moved == set(groups)
    ours = started.pack.bank.state(0)
    assert torch.allclose(ours["head.weight"].T, model.head.weight, atol=1e-5)
    assert torch.allclose(ours["head.bias"][0], model.head.bias, atol=1e-5)
    for path in started.pack.adapters:
        lora = model.get_submodule(path)
        assert torch.allclose(ours[f"{path}.lora.down"], lora.down, atol=1e-5)
        assert torch.allclose(ours[f"{path}.lora.up"], lora.up, atol=1e-5)
    assert torch.allclose(ours["blocks.1.norm2.bias"], model.get_parameter("blocks.1.norm2.bias"), atol=1e-5)


def test_weight_decay_of_everything_spares_norms_biases_and_positions(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="full", weight_decay=0.5, lr=0.1, lr_full=0.1), (0,))
    bank = started.pack.bank
    bank.flat.normal_(generator=torch.Generator().manual_seed(0))
    before = bank.flat.clone()  # with a gradient of zero only decay moves anything
    started.optimizer.take(started.steps, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, dtype=torch.bool))
    ratio = bank.flat / before
    for name in bank.parameters:
        spared = any(word in name for word in ("norm", "bias", "pos_embed", "cls_token"))
        own = ratio[0, bank.columns(name)]
        assert torch.allclose(own, torch.full_like(own, 1.0 if spared else 0.95)), name


@pytest.mark.parametrize("group", ["lora", "norm"])
def test_a_frozen_group_is_bit_equal_and_costs_no_gradient(tiny_backbone: str, group: str) -> None:
    made = config(tiny_backbone, method="hybrid_parallel", **{f"freeze_{group}_steps": 5, f"weight_decay_{group}": 0.5})
    started = HybridRun(made, (0,))
    bank, columns = started.pack.bank, started.diagnostics.columns[group]
    first, history = bank.flat.clone(), []
    on_steps(started, lambda: history.append((bank.flat.clone(), bank.grad[:, columns].any())))
    for epoch in range(2):
        train_through(started, epoch)
    for step, (now, gradient) in enumerate(history):
        assert torch.equal(now[:, columns], first[:, columns]) == (step < 5) != bool(gradient)
    assert not torch.equal(history[0][0], first)


def turns(made: HybridConfig, step: int) -> dict[str, bool]:
    """Who trains, in the words of the rule."""
    start, every = max(made.freeze_lora_steps, made.freeze_norm_steps), made.alt_freeze_every
    resting = {"lora": step < made.freeze_lora_steps, "norm": step < made.freeze_norm_steps}
    if every and step >= start:
        phase = (step // every) % 2
        lora_rests = phase == 0 if made.alt_freeze_order == "lora-first" else phase == 1
        resting["lora" if lora_rests else "norm"] = True
    return {group: not rests for group, rests in resting.items()}


def test_freezing_follows_the_rule_and_a_group_that_never_trains_is_refused() -> None:
    outcomes = set()
    for lora, norm, every, order in itertools.product((0, 3, 7), (0, 2), (0, 1, 4, 9), ("lora-first", "norm-first")):
        made = HybridConfig(
            method="hybrid_parallel", freeze_lora_steps=lora, freeze_norm_steps=norm, alt_freeze_every=every,
            alt_freeze_order=order,
        )  # fmt: skip
        for step in range(30):
            assert turns(made, step) == {group: not made.frozen(group, step) for group in ("lora", "norm")}
        for steps in (4, 8, 12):
            trains = all(any(turns(made, step)[group] for step in range(steps)) for group in ("lora", "norm"))
            outcomes.add(trains)
            if trains:
                made.check_freeze(steps)
            else:
                with pytest.raises(InputError, match=r"allowed: 0\.\.\d+$"):
                    made.check_freeze(steps)
    assert outcomes == {True, False}


ALL_KEYS = {
    "lora_init": "notes", "lora_dropout": 0.3, "weight_decay": 0.3, "weight_decay_lora": 0.2, "weight_decay_norm": 0.1,
    "freeze_lora_steps": 2, "freeze_norm_steps": 1, "attn_only": True, "precision": "fp16",
}  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{"lr_parity": "dynamic"}, {"alt_freeze_every": 2, "lr_parity": "update_norm"}], ids=["parity", "turns"]
)
def test_a_pack_and_a_cut_change_no_number_with_every_key(
    tiny_backbone: str, tmp_path: Path, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "PERIOD", 1)
    made = config(tiny_backbone, method="hybrid_parallel", epochs=3, cosine_epochs=4, **ALL_KEYS, **settings)
    check_pack_and_cut(train, made, tmp_path)
    if settings["lr_parity"] == "dynamic":
        rows = run(made, (7,), tmp_path / "again")[7]
        second = {group: set(values(rows, "train", f"lr/{group}")[4:8]) for group in ("lora", "norm")}
        assert len(second["lora"]) + len(second["norm"]) > 2  # the cosine alone keeps them through an epoch


def gradients(bank: Bank, draw: torch.Generator, spread: dict[str, float]) -> None:
    """Random gradients whose size by group wanders."""
    for group in ("lora", "norm"):
        spread[group] = min(max(spread[group] + 0.4 * float(torch.randn((), generator=draw)), -3.0), 2.0)
    for name, parameter in bank.parameters.items():
        view = bank.grad[0, bank.columns(name)]
        view.normal_(generator=draw).mul_(math.exp(spread.get(parameter.group, 0.0)) / view.numel() ** 0.5)


def test_the_notes_parity_and_its_cosine_are_torchs_and_the_rule_written_down_again(
    tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "PERIOD", 4)
    made = config(tiny_backbone, method="hybrid_parallel")
    bank = TunedReplicas(load_backbone(tiny_backbone), made, 10, 1, CPU).bank
    ours = DynamicParity(bank, torch.tensor([[1e-3, 2e-3, 5e-4]], dtype=torch.float64), eta_min=1e-5, epochs=12)
    weights = {group: nn.Parameter(torch.zeros(1)) for group in ("head", "norm", "lora")}
    rates = {"head": 1e-3, "norm": 2e-3, "lora": 5e-4}
    optimizer = torch.optim.SGD([{"params": [weights[g]], "lr": rates[g], "name": g} for g in weights])
    cosine = CosineAnnealingLR(optimizer, T_max=12, eta_min=1e-5)
    by_group = {group["name"]: group for group in optimizer.param_groups}
    draw, spread = torch.Generator().manual_seed(3), {"lora": 0.0, "norm": 0.0}
    averages, before, waits, changes, held_back = None, False, 0, [], 0
    step = 0
    for epoch in range(11):
        ours.begin_epoch(epoch)
        for _ in range(50):
            gradients(bank, draw, spread)
            together = not 170 <= step < 190
            sums = {}
            for group in ("lora", "norm"):
                blocks: dict[str, list[torch.Tensor]] = {}
                for name, parameter in bank.parameters.items():
                    if parameter.group == group:
                        layer = name.split(".")[1] if name.startswith("blocks") else name
                        blocks.setdefault(layer, []).append(bank.grad[0, bank.columns(name)].double())
                sums[group] = sum(float(torch.cat(parts).norm()) for parts in blocks.values())
                assert len(blocks) == (2 if group == "lora" else 4)
            if averages is None:
                averages = sums
            else:
                averages = {group: 0.9 * averages[group] + 0.1 * sums[group] for group in sums}
            if (step + 1) % 4 == 0:
                if not together:
                    before = False
                elif not before:
                    averages, before, waits = None, True, 2
                elif waits:
                    waits -= 1
                elif min(averages.values()) >= 1e-3:
                    ratio = averages["lora"] / averages["norm"]
                    if not 2 / 3 <= ratio <= 3 / 2:
                        group = "lora" if ratio > 1 else "norm"
                        if changes[-3:] == [group] * 3:
                            held_back += 1
                        else:
                            changes.append(group)
                            factor = 1 / ratio if group == "lora" else ratio
                            by_group[group]["lr"] *= min(max(factor, 0.5), 2.0)
                            for one in optimizer.param_groups:
                                one["lr"] = min(max(one["lr"], 1e-6), 1e-2)
                if not together:
                    changes = []
            ours.step(0, step, together)
            assert ours.rates[0].tolist() == pytest.approx([by_group[g]["lr"] for g in bank.groups], rel=1e-5)
            step += 1
        optimizer.step()
        cosine.step()
    assert {"lora", "norm"} == set(changes) and held_back and len(changes) > 10


def test_the_layers_of_parity_are_the_blocks(tiny_backbone: str) -> None:
    bank = TunedReplicas(load_backbone(tiny_backbone), config(tiny_backbone, method="hybrid_parallel"), 10, 2, CPU).bank
    for group, number in (("lora", 2), ("norm", 4)):
        found = layers(bank, group)
        own = bank.group_of == bank.groups.index(group)
        assert len(found) == number and all(bool(own[columns].all()) for columns in found)
        assert sum(columns.stop - columns.start for columns in found) >= bank.count([group])


def test_update_norm_makes_loras_update_as_large_as_the_norms(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="hybrid_parallel", lr_parity="update_norm", eta_min=0.0), (0, 1))
    bank, sizes = started.pack.bank, []
    previous = bank.flat.clone()

    def measure() -> None:
        update = bank.flat - previous
        sizes.append(
            [update[:, started.diagnostics.columns[g]].norm(dim=1) / bank.count([g]) ** 0.5 for g in ("lora", "norm")]
        )
        previous.copy_(bank.flat)

    on_steps(started, measure)
    train_through(started, 0)
    for lora, norm in sizes:
        assert torch.allclose(lora, norm, rtol=1e-3)


def test_matching_an_update_equals_another_rate(tiny_backbone: str) -> None:
    """Rescaling an update is the same as having taken the rate that is then logged."""
    pack = TunedReplicas(load_backbone(tiny_backbone), config(tiny_backbone, method="hybrid_parallel"), 10, 1, CPU)
    bank = pack.bank
    bank.flat.copy_(torch.randn(bank.flat.shape, generator=torch.Generator().manual_seed(0)))
    before, direction = bank.flat.clone(), torch.randn(bank.flat.shape, generator=torch.Generator().manual_seed(1))
    rates = torch.tensor([[0.1, 0.02, 0.005]])
    bank.flat.sub_(rates[:, bank.group_of] * direction)
    taken = match_update(bank, before, rates, "lora", "norm", eta_min=0.0)
    assert torch.allclose(bank.flat, before - taken[:, bank.group_of] * direction, atol=1e-6)
    assert float(taken[0, 2]) == pytest.approx(0.02, rel=0.2) and torch.equal(taken[:, :2], rates[:, :2])


def test_the_loss_scale_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.packs.loss_scale.GROWTH_INTERVAL", 5)
    bank = Bank({"w": Parameter((3,), "head")}, 2, CPU)
    ours = LossScale(bank)
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", growth_interval=5)
    broken = {3, 4, 11, 17, 18}
    for step in range(40):
        gradient = torch.tensor([1e-3, -2.0, math.inf if step in broken else 3.0])
        weight.grad = gradient * float(scaler.scale(torch.ones(())))
        bank.grad[0, :3], bank.grad[1, :3] = gradient * ours.factors[0], 1.0
        assert ours.scaled(torch.ones(2)).tolist() == ours.factors.tolist()
        weight.data.zero_()
        scaler.step(optimizer)
        scaler.update()
        fine = ours.unscale()
        assert fine.tolist() == [step not in broken, True]
        if step not in broken:
            assert torch.equal(-weight.detach(), bank.grad[0, :3])
        assert float(ours.factors[0]) == scaler.get_scale()
    assert ours.usable.tolist() == [True, True] and float(ours.factors[1]) == 65536.0 * 2**8


def in_fp16(made: HybridConfig, seeds: tuple[int, ...]) -> HybridRun:
    """A run whose losses are scaled as on a GPU, while its forward pass stays in fp32."""
    started = HybridRun(made, seeds)
    started.pack.precision = "fp16"
    started.optimizer = Updates(made, started.pack)
    started.pack.precision = "fp32"
    assert started.optimizer.scale is not None
    return started


def test_scaled_losses_change_no_bit_and_an_infinite_gradient_costs_a_step(tiny_backbone: str) -> None:
    made = config(tiny_backbone, method="hybrid_parallel", lr_parity="dynamic", epochs=4)
    plain, scaled = HybridRun(made, (0, 1)), in_fp16(made, (0, 1))
    train_through(plain, 0)
    train_through(scaled, 0)
    assert torch.equal(plain.pack.bank.flat, scaled.pack.bank.flat)  # a power of two loses nothing
    before = scaled.pack.bank.flat.clone()
    original = scaled.backward

    def broken(indices: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        loss = original(indices, boxes)
        scaled.pack.bank.grad[0] = math.inf
        return loss

    scaled.backward = broken  # type: ignore[method-assign]
    for epoch in range(1, 4):
        train_through(scaled, epoch)
    assert scaled.finite.tolist() == [True, True]  # 4 steps, and then the scale begins anew
    assert torch.equal(scaled.pack.bank.flat[0], before[0]) and not torch.equal(scaled.pack.bank.flat[1], before[1])


@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_in_fp16_only_a_loss_or_a_lost_scale_is_divergence(tiny_backbone: str, cause: str) -> None:
    started = in_fp16(config(tiny_backbone, method="norm", batch_size=2), (0, 1))
    original = started.backward

    def broken(indices: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        loss = original(indices, boxes)
        if cause == "loss":
            loss[0] = math.nan
        else:
            started.pack.bank.grad[0] = math.inf
        return loss

    started.backward = broken  # type: ignore[method-assign]
    train_through(started, 0)
    assert started.finite.tolist() == [False, True]
    assert int(started.steps[0]) == (0 if cause == "loss" else 16)  # 65,536 can be halved 16 times before it is below 1


def test_dropout_is_on_what_lora_reads_and_in_training_alone(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="lora", lora_dropout=0.4), (0, 1))
    pack, path = started.pack, "blocks.0.mlp.fc1"
    layer = pack.backbone.model.get_submodule(path)
    pack.bank.value(f"{path}.lora.up").normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 5, 16, generator=torch.Generator().manual_seed(1))
    down, up = (pack.bank.value(f"{path}.lora.{part}") for part in ("down", "up"))
    pack.bank.rows = slice(1, 2)
    with torch.no_grad():
        expected = lora_linear(x, layer.linear.weight, layer.linear.bias, down[1:], up[1:], pack.adapters[path].scale)
        assert torch.equal(layer(x), expected)
        started.masks.begin_epoch(3)
        with started.masks.drawn():
            dropped = layer(x)
        started.masks.begin_epoch(3)
        with started.masks.drawn():
            factors = started.masks.of(x, 0.4)
        assert torch.allclose(dropped, layer.linear(x) + 4.0 * ((x * factors) @ down[1] @ up[1]), atol=1e-5)
    assert factors.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float((factors == 0).float().mean()) == pytest.approx(0.4, abs=0.08)
    assert HybridRun(config(tiny_backbone, method="lora"), (0,)).pack.backbone.model.get_submodule(path).dropout is None


def test_masks_of_a_shared_pass_are_those_of_each_replica(tiny_backbone: str) -> None:
    started = HybridRun(config(tiny_backbone, method="lora", lora_dropout=0.4), (4, 9))
    alone = []
    for k in range(2):
        started.masks.begin_epoch(0)
        started.pack.bank.rows = slice(k, k + 1)
        with started.masks.drawn():
            alone.append([started.masks.of(torch.ones(3, 5, 7), 0.4) for _ in range(2)])
    started.masks.begin_epoch(0)
    started.pack.bank.rows = slice(0, 2)
    with started.masks.drawn():
        shared = [started.masks.of(torch.ones(6, 5, 7), 0.4) for _ in range(2)]
    for draw in range(2):
        assert torch.equal(shared[draw], torch.cat([alone[0][draw], alone[1][draw]]))


@pytest.mark.parametrize("init", ["notes", "peft"])
def test_loras_first_factor_is_drawn_as_torch_draws_it(tiny_backbone: str, init: str) -> None:
    started = HybridRun(config(tiny_backbone, method="lora", lora_init=init, rank=4), tuple(range(40)))
    for path, d_in in (("blocks.0.attn.qkv", 16), ("blocks.1.mlp.fc2", 64)):
        drawn = started.pack.bank.value(f"{path}.lora.down")  # (K, d_in, r)
        shape = (d_in, 4) if init == "notes" else (4, d_in)  # the notes' A lies the other way round
        theirs = torch.stack([nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5)) for _ in range(40)])
        bound = 1 / math.sqrt(4 if init == "notes" else d_in)
        assert drawn.abs().max() <= bound and theirs.abs().max() <= bound
        assert float(drawn.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert float(theirs.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not started.pack.bank.value(f"{path}.lora.up").any()


def test_one_graph_at_a_time_is_alive(tiny_backbone: str) -> None:
    import weakref

    started = HybridRun(config(tiny_backbone, method="hybrid_parallel", lora_dropout=0.1), (0, 1, 2))
    original, graphs, alive = started.logits, [], []

    def watched(images: torch.Tensor) -> torch.Tensor:
        alive.append(sum(graph() is not None for graph in graphs))
        found = original(images)
        graphs.append(weakref.ref(found))
        return found

    started.logits = watched  # type: ignore[method-assign]
    train_through(started, 0)
    assert len(alive) == 3 * 4 and max(alive) <= 1  # the last logits' name is still bound when the next are made
