"""A frozen linear layer with low-rank factors of K replicas: y = x W^T + b + scale (x down) up, forward and backward.

Both ways compute the same function and never form the gradient of W, which needs none. In fp32 one replica merges its
factors into W first, so that a forward and a backward pass take one full product each. In lower precision merging
would round the factors away against W, and K replicas have no common W, so there they stay a branch that is added
within the product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """x W^T + b + scale (x down[k]) up[k] for the rows of every replica k.

    Args:
        x: (K * B, ..., d_in), the rows of replica 0 first.
        weight, bias: frozen, (d_out, d_in) and (d_out,); they get no gradient.
        down, up: (K, d_in, r) and (K, r, d_out).
        scale: lora_alpha / r.

    Returns:
        (K * B, ..., d_out), in autocast's type where autocast is on.

    Source: Hu et al. 2021, "LoRA", section 4.1.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # once each: autograd keeps what the products read, not a cast of it per use
        dtype = torch.get_autocast_dtype(kind)
        x, weight, down, up = (tensor.to(dtype) for tensor in (x, weight, down, up))
        bias = None if bias is None else bias.to(dtype)
    replicas, d_in, _ = down.shape
    if replicas == 1 and x.dtype == torch.float32:
        out = Merged.apply(x.reshape(-1, d_in), weight, bias, down[0], up[0], scale)
    else:
        out = Branch.apply(x.reshape(replicas, -1, d_in), weight, bias, down, up, scale)
    return out.view(*x.shape[:-1], -1)


class Merged(torch.autograd.Function):
    """One replica: x (W + scale (down up)^T)^T + b, with x (M, d_in), down (d_in, r) and up (r, d_out).

    The thin products keep M along the rows, as in up grad^T (r, M): on a CPU their transposes take up to five times
    as long (2,080 rows, 768 columns, rank 8).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        merged = torch.addmm(weight, up.t(), down.t(), alpha=scale)  # (d_out, d_in)
        ctx.save_for_backward(x, merged, down, up)
        ctx.scale = scale
        return F.linear(x, merged, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, merged, down, up = ctx.saved_tensors
        grad_x = grad_down = grad_up = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ merged
        if ctx.needs_input_grad[3]:
            grad_down = ((up @ grad.t()).mul_(ctx.scale) @ x).t()
        if ctx.needs_input_grad[4]:
            grad_up = (down.t() @ x.t()).mul_(ctx.scale) @ grad
        return grad_x, None, None, grad_down, grad_up, None


class Branch(torch.autograd.Function):
    """K replicas: x W^T + b + scale (x down) up, with x (K, M, d_in), down (K, d_in, r) and up (K, r, d_out)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        hidden = torch.bmm(x, down).mul_(scale)  # (K, M, r)
        ctx.save_for_backward(x, weight, down, up, hidden)
        ctx.scale = scale
        return F.linear(x, weight, bias).baddbmm_(hidden, up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, down, up, hidden = ctx.saved_tensors
        grad_x = grad_down = grad_up = None
        grad_hidden = torch.bmm(grad, up.transpose(1, 2)).mul_(ctx.scale)
        if ctx.needs_input_grad[0]:
            grad_x = torch.matmul(grad, weight).baddbmm_(grad_hidden, down.transpose(1, 2))
        if ctx.needs_input_grad[3]:
            grad_down = torch.bmm(x.transpose(1, 2), grad_hidden)
        if ctx.needs_input_grad[4]:
            grad_up = torch.bmm(hidden.transpose(1, 2), grad)
        return grad_x, None, None, grad_down, grad_up, None
