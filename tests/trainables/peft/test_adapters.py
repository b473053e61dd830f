"""Adapters and optimizers of a pack against references: PEFT, torch.optim, closed forms."""

import copy

import pytest
import timm
import torch
from peft import LoraConfig, get_peft_model
from timm.layers import RmsNorm, SwiGLU
from timm.models.vision_transformer import VisionTransformer
from transformers import get_linear_schedule_with_warmup

from trainables.configs import HybridConfig, NestedConfig
from trainables.configs.images import EVERY_LINEAR_LAYER
from trainables.errors import InputError
from trainables.models.vision import load_backbone
from trainables.packs.optim import BankOptimizer, learning_rates, linear_rates
from trainables.packs.replicas import Pack, head_parameters
from trainables.peft.consolidation import add_functions, consolidate
from trainables.peft.lora import Adapter, Bank, Parameter, find_sites, insert
from trainables.peft.placement import choose

CPU = torch.device("cpu")


def filled_pack(backbone: str, replicas: int = 2, **settings: object) -> Pack:
    """A pack whose every parameter is random, so that nothing is zero by construction."""
    pack = Pack(load_backbone(backbone), NestedConfig(rank=4, **settings), ("fast", "slow"), 10, replicas, CPU)
    pack.bank.flat.copy_(torch.randn(pack.bank.flat.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return pack


@pytest.mark.parametrize("layers", [r"blocks\.\d+\.attn\.qkv", r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))"])
def test_linear_placement_equals_peft_outputs_and_gradients(layers: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0, depth=3).eval()
    reference = get_peft_model(copy.deepcopy(model), LoraConfig(r=8, lora_alpha=16, target_modules=layers)).eval()
    model.requires_grad_(False)
    sites = find_sites(model, "linear", layers)
    parameters = {}
    for path, (d_in, d_out) in sites.items():
        parameters |= Adapter.shapes(path, "fast", d_in, d_out, 8, bias=False)
    bank = Bank(parameters, 1, CPU)
    adapters = {path: Adapter(bank, path, ("fast",), False, scale=16 / 8) for path in sites}
    insert(model, adapters)
    for path in sites:
        layer = reference.base_model.model.get_submodule(path)
        for ours, theirs in (("down", layer.lora_A), ("up", layer.lora_B)):
            value = torch.randn(theirs["default"].weight.shape) * 0.05
            theirs["default"].weight.data.copy_(value)
            bank.value(f"{path}.fast.{ours}").copy_(value.T.unsqueeze(0))
    images = torch.randn(4, 3, 32, 32)
    ours, theirs = model(images), reference(images)
    assert torch.allclose(ours, theirs, atol=1e-5)
    direction = torch.randn_like(ours)  # a square would be constant after the final LayerNorm
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    for path in sites:
        layer = reference.base_model.model.get_submodule(path)
        gradient = bank.views[f"{path}.fast.up"].grad[0]
        expected = layer.lora_B["default"].weight.grad.T
        assert torch.allclose(gradient, expected, atol=1e-5 * float(expected.abs().max().clamp(min=1)))


def test_parallel_placement_is_the_formula_of_the_notes(tiny_backbone: str) -> None:
    pack = filled_pack(tiny_backbone, replicas=1)
    wrapped = pack.backbone.model.blocks[0]
    x = torch.randn(2, 5, 16)
    block, view = wrapped.block, pack.bank.views
    x1 = x + block.attn(block.norm1(x))
    adapters = 0.0
    for part in ("slow", "fast"):
        down, up = view[f"blocks.0.{part}.down"][0], view[f"blocks.0.{part}.up"][0]
        hidden = torch.relu(x1 @ down + view[f"blocks.0.{part}.down_bias"][0])
        adapters = adapters + hidden @ up + view[f"blocks.0.{part}.up_bias"][0]
    assert torch.allclose(wrapped(x), x1 + block.mlp(block.norm2(x1)) + adapters, atol=1e-5)


def test_a_fresh_adapter_changes_nothing(tiny_backbone: str) -> None:
    images = torch.randn(3, 3, 16, 16)
    plain = load_backbone(tiny_backbone).model(images)
    pack = Pack(load_backbone(tiny_backbone), NestedConfig(rank=4), ("fast", "slow"), 10, 1, CPU)
    pack.bank.reset(0, torch.Generator().manual_seed(0))
    assert torch.equal(pack.features(images)[0], plain)
    assert pack.silent("fast") and pack.silent("slow")


@pytest.mark.parametrize("placement", ["parallel", "linear"])
def test_outputs_and_gradients_do_not_depend_on_the_pack(tiny_backbone: str, placement: str) -> None:
    images = torch.randn(3, 8, 3, 16, 16)
    pack = filled_pack(tiny_backbone, 3, placement=placement)
    for rows in pack.passes():
        pack.features(images[rows].flatten(0, 1)).square().sum().backward()
    for k in range(3):
        alone = Pack(
            load_backbone(tiny_backbone), NestedConfig(rank=4, placement=placement), ("fast", "slow"), 10, 1, CPU
        )
        alone.bank.flat.copy_(pack.bank.flat[k : k + 1])
        alone.features(images[k]).square().sum().backward()
        assert torch.equal(alone.bank.grad[0], pack.bank.grad[k])


def test_ablated_parts_add_up_to_the_combined_adapter(tiny_backbone: str) -> None:
    adapter = next(iter(filled_pack(tiny_backbone).adapters.values()))
    x = torch.randn(4, 5, 16)
    outputs = {}
    for parts in (("fast",), ("slow",), ("fast", "slow")):
        adapter.active = parts
        outputs[parts] = adapter(x)
    assert torch.allclose(outputs[("fast",)] + outputs[("slow",)], outputs[("fast", "slow")], atol=1e-5)


def consolidated(pack: Pack, **settings: object) -> tuple[bool, list[int]]:
    return consolidate(pack, NestedConfig(rank=4, **settings), 0, (0, 1), (0, 1))


@pytest.mark.parametrize("method", ["sum", "task_arithmetic", "sign_matched", "pam", "ema"])
def test_consolidation_in_parameter_space(tiny_backbone: str, method: str) -> None:
    pack = filled_pack(tiny_backbone)
    slow, fast = (pack.bank.value(f"blocks.1.{part}.down").clone() for part in ("slow", "fast"))
    assert consolidated(pack, consolidation_alpha=0.5, consolidation_method=method) == (True, [])
    expected = {
        "sum": slow + 0.5 * fast, "sign_matched": torch.where(slow.sign() == fast.sign(), slow + 0.5 * fast, slow),
        "ema": 0.5 * slow + 0.5 * fast,
    }  # fmt: skip
    expected |= {"task_arithmetic": expected["sum"], "pam": expected["sign_matched"]}
    assert torch.allclose(pack.bank.value("blocks.1.slow.down"), expected[method], atol=1e-7)
    assert pack.silent("fast") and not pack.bank.value("blocks.1.fast.down").any()


def test_consolidation_resets_fast_to_its_kind_of_start(tiny_backbone: str) -> None:
    pack = filled_pack(tiny_backbone)
    consolidated(pack, consolidation_alpha=0.0, fast_reset="reinit")
    down = pack.bank.value("blocks.0.fast.down")
    assert pack.silent("fast")
    assert 0 < float(down.abs().max()) <= 1 / 16**0.5
    assert not torch.equal(down[0], down[1])


def test_alpha_zero_leaves_slow_bit_equal(tiny_backbone: str) -> None:
    for space, placement in (("parameters", "parallel"), ("function", "linear")):
        pack = filled_pack(tiny_backbone, placement=placement)
        settings = {"placement": placement, "consolidation_space": space, "consolidation_alpha": 0.0}
        assert consolidated(pack, **settings) == (False, [])


def test_function_space_is_the_best_rank_r_sum() -> None:
    torch.manual_seed(1)
    slow, fast = (torch.randn(12, 4), torch.randn(4, 9)), (torch.randn(12, 4), torch.randn(4, 9))
    down, up = add_functions(*slow, fast[0], 0.5 * fast[1])
    target = slow[0] @ slow[1] + 0.5 * (fast[0] @ fast[1])
    residual = (target - down @ up).square().sum()
    assert torch.allclose(residual, torch.linalg.svdvals(target)[4:].square().sum(), rtol=1e-4)


@pytest.mark.parametrize(("method", "kept"), [("sum", 1.0), ("ema", 0.75)])
def test_consolidation_in_function_space(tiny_backbone: str, method: str, kept: float) -> None:
    pack = filled_pack(tiny_backbone, placement="linear")
    path = next(iter(pack.adapters))

    def product(part: str) -> torch.Tensor:
        return pack.bank.value(f"{path}.{part}.down") @ pack.bank.value(f"{path}.{part}.up")

    target = kept * product("slow") + 0.25 * product("fast")
    settings = {"placement": "linear", "consolidation_space": "function", "consolidation_method": method}
    consolidated(pack, consolidation_alpha=0.25, **settings)
    residual = (target - product("slow")).square().sum((1, 2))
    assert torch.allclose(residual, torch.linalg.svdvals(target)[:, 4:].square().sum(1), rtol=1e-3)


def test_a_replica_that_is_not_finite_loses_itself_alone(tiny_backbone: str) -> None:
    """Its singular value decomposition does not exist; that ended the whole pack once."""
    settings = {"placement": "linear", "consolidation_space": "function"}
    alone, pack = filled_pack(tiny_backbone, placement="linear"), filled_pack(tiny_backbone, placement="linear")
    pack.bank.value(f"{next(iter(pack.adapters))}.fast.down")[0, 0, 0] = float("nan")
    assert consolidated(pack, **settings) == (True, [0])
    consolidated(alone, **settings)
    assert torch.equal(alone.bank.flat[1], pack.bank.flat[1])


def test_the_head_is_kaiming_uniform_with_a_of_sqrt_5() -> None:
    reference = torch.empty(100, 768)
    torch.nn.init.kaiming_uniform_(reference, a=5**0.5)
    bound = head_parameters(768, 100)["head.weight"].init_bound
    assert bound == pytest.approx(1 / 768**0.5) and float(reference.abs().max()) == pytest.approx(bound, rel=1e-3)


def test_adapters_sit_in_the_blocks_that_are_asked_for(tiny_backbone: str) -> None:
    pack = Pack(load_backbone(tiny_backbone), NestedConfig(rank=4, adapt_start_layer=1), ("fast",), 10, 1, CPU)
    assert list(pack.adapters) == ["blocks.1"]
    with pytest.raises(InputError, match=r"adapt_end_layer=11: .* has 2 blocks; allowed: 0\.\.1"):
        Pack(load_backbone(tiny_backbone), NestedConfig(rank=4, adapt_end_layer=11), ("fast",), 10, 1, CPU)


def test_every_linear_layer_means_every_one() -> None:
    """A SwiGLU block has other names in its MLP: the default regex covers it in part."""
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    model = VisionTransformer(**shape, mlp_layer=SwiGLU)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"blocks\.0\.mlp\.fc1_g, blocks\.0\.mlp\.fc1_x; allowed: a regex"):
        find_sites(model, "linear", EVERY_LINEAR_LAYER)
    assert len(find_sites(model, "linear", r"blocks\.\d+\.attn\.qkv")) == 2
    assert find_sites(model, "parallel", "") == {"blocks.0": (16, 16), "blocks.1": (16, 16)}


def test_norm_tuning_refuses_norms_that_it_cannot_train() -> None:
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    model = VisionTransformer(**shape, norm_layer=RmsNorm)  # type: ignore[arg-type]
    for method in ("norm", "hybrid_parallel"):
        with pytest.raises(InputError, match=rf"method={method}: .* RmsNorm \(blocks\.0\.norm1, .* and 2 more\)"):
            choose(model, HybridConfig(method=method))
    assert choose(model, HybridConfig(method="lora")).norms == ()


def small_bank(replicas: int = 2) -> Bank:
    bank = Bank({"a": Parameter((3, 5), "fast"), "b": Parameter((7,), "slow")}, replicas, CPU)
    bank.flat.copy_(torch.randn(bank.flat.shape, generator=torch.Generator().manual_seed(0)))
    return bank


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_optimizer_equals_torch_per_replica_and_group(kind: str) -> None:
    bank = small_bank()
    ours = BankOptimizer(bank, kind, [0.05, 0.0])
    rates = torch.tensor([[0.1, 0.02], [0.03, 0.2]])
    leaves = {(k, n): bank.value(n)[k].clone().requires_grad_() for k in range(2) for n in ("a", "b")}
    theirs = {}
    for (k, n), leaf in leaves.items():
        group = "ab".index(n)
        options = {"lr": float(rates[k, group]), "weight_decay": [0.05, 0.0][group]}
        theirs[k, n] = (
            torch.optim.SGD([leaf], momentum=0.9, **options) if kind == "sgd" else torch.optim.AdamW([leaf], **options)
        )
    draw = torch.Generator().manual_seed(1)
    for step in range(6):
        bank.grad.copy_(torch.randn(bank.grad.shape, generator=draw))
        skip_slow = step % 2 == 1
        ours.step(rates, torch.tensor([[True, not skip_slow]] * 2))
        for (k, n), leaf in leaves.items():
            leaf.grad = None if n == "b" and skip_slow else bank.views[n].grad[k].clone()
            theirs[k, n].step()
    for (k, n), leaf in leaves.items():
        assert torch.allclose(bank.value(n)[k], leaf, atol=1e-6)


def test_masked_groups_are_bit_equal_whatever_their_gradient() -> None:
    bank = small_bank()
    before = bank.flat.clone()
    optimizer = BankOptimizer(bank, "sgd", [0.1, 0.1])
    bank.grad[0] = float("nan")
    bank.grad[1] = 1.0
    optimizer.step(torch.ones(2, 2), torch.tensor([[False, False], [True, True]]))
    assert torch.equal(bank.flat[0], before[0])
    assert bank.flat[1].isfinite().all() and not torch.equal(bank.flat[1], before[1])


def test_learning_rate_schedule_equals_torch_and_keeps_its_floor() -> None:
    leaf = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=1e-3)
    base = torch.tensor([[0.1, 0.0]])
    for epoch in range(8):
        rates = learning_rates(base, epoch, 8, torch.tensor([99]), eta_min=1e-3)
        assert float(rates[0, 0]) == pytest.approx(schedule.get_last_lr()[0], rel=1e-5)
        assert float(rates[0, 1]) == 0.0  # frozen stays frozen
        optimizer.step()
        schedule.step()
    warm = [float(learning_rates(base, 0, 8, torch.tensor([step]), warmup_steps=4)[0, 0]) for step in range(6)]
    assert warm == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1])


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (20, 1), (20, 6)])
def test_the_linear_schedule_is_that_of_transformers(steps: int, warmup: int) -> None:
    leaf = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], lr=0.1)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps):
        ours = linear_rates(torch.tensor([[0.1]]), torch.tensor([step]), steps, warmup)
        assert float(ours) == pytest.approx(schedule.get_last_lr()[0], abs=1e-7)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rank": 17}, r"allowed: 1\.\.16"), ({"placement": "linear", "layers": "nothing"}, "matches no linear layer"),
     ({"placement": "linear", "layers": "("}, "not a regular expression")],
)  # fmt: skip
def test_impossible_adapters_are_refused(tiny_backbone: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pack(load_backbone(tiny_backbone), NestedConfig(**settings), ("fast",), 10, 1, CPU)
