"""The fused LoRA layer against the formula, differentiated by autograd, for one replica and for a pack."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.peft.lora_linear import lora_linear

SCALE = 1.7


def drawn(replicas: int, bias: bool = True) -> dict[str, Tensor | None]:
    torch.manual_seed(replicas)
    shapes = {"x": (replicas * 3, 5, 24), "weight": (40, 24), "down": (replicas, 24, 4), "up": (replicas, 4, 40)}
    tensors: dict[str, Tensor | None] = {name: torch.randn(shape) / 5 for name, shape in shapes.items()}
    return tensors | {"bias": torch.randn(40) if bias else None}


def formula(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
    rows = x.unflatten(0, (len(down), -1))
    low_rank = torch.stack([row @ down[k] @ up[k] for k, row in enumerate(rows)])
    return F.linear(x, weight, bias) + SCALE * low_rank.flatten(0, 1)


def outputs_and_gradients(function, tensors: dict[str, Tensor | None]) -> list[Tensor]:
    leaves = {k: tensors[k].clone().requires_grad_() for k in ("x", "down", "up")}
    out = function(leaves["x"], tensors["weight"], tensors["bias"], leaves["down"], leaves["up"])
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out.float() * direction).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves.values())]


def fused(*tensors: Tensor) -> Tensor:
    return lora_linear(*tensors, SCALE)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_equal_the_formula(replicas: int, bias: bool) -> None:
    tensors = drawn(replicas, bias)
    for ours, expected in zip(*(outputs_and_gradients(f, tensors) for f in (fused, formula)), strict=True):
        assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("replicas", [1, 3])
def test_autocast_computes_in_bf16_and_gives_fp32_gradients(replicas: int) -> None:
    tensors = drawn(replicas)
    with torch.autocast("cpu", torch.bfloat16):
        ours = outputs_and_gradients(fused, tensors)
    assert ours[0].dtype == torch.bfloat16 and all(gradient.dtype == torch.float32 for gradient in ours[1:])
    for found, expected in zip(ours, outputs_and_gradients(formula, tensors), strict=True):
        assert float((found - expected).norm() / expected.norm()) < 0.01


def test_a_small_delta_survives_bf16() -> None:
    """Merged into a bf16 weight it would vanish; beside it, it reaches the output where the frozen part is zero."""
    weight, up = torch.eye(16), torch.full((1, 2, 16), 1e-4)
    x = torch.eye(16)
    with torch.autocast("cpu", torch.bfloat16):
        out = lora_linear(x, weight, None, torch.ones(1, 16, 2), up, 1.0)
    merged = (weight.bfloat16() + torch.tensor(2e-4).bfloat16()).diagonal()
    assert torch.equal(merged, weight.diagonal().bfloat16())
    assert torch.allclose(out.float()[~weight.bool()], torch.tensor(2e-4), rtol=0.01)


def test_no_graph_where_nothing_learns_and_no_input_gradient_where_none_is_asked() -> None:
    tensors = drawn(1)
    assert not fused(*(tensors[k] for k in ("x", "weight", "bias", "down", "up"))).requires_grad
    up = tensors["up"].clone().requires_grad_()
    fused(tensors["x"], tensors["weight"], tensors["bias"], tensors["down"], up).sum().backward()
    assert up.grad is not None and tensors["x"].grad is None
