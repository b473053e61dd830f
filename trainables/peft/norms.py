"""LayerNorms whose scale and shift every replica trains for itself."""

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.packs.bank import Bank, Parameter


class NormAffine(nn.Module):
    """A LayerNorm with the affine parameters of K replicas from a bank: y = x_hat * weight[k] + bias[k].

    Args:
        path: prefix of the parameter names, ``<path>.weight`` and ``<path>.bias``.
        layer: the LayerNorm that this one takes the place of.
    """

    def __init__(self, bank: Bank, path: str, layer: nn.LayerNorm) -> None:
        super().__init__()
        self.bank, self.path = bank, path
        self.shape, self.eps = list(layer.normalized_shape), layer.eps
        self.has_bias = layer.bias is not None

    def forward(self, x: Tensor) -> Tensor:
        """(rows * B, ..., D), the rows of replica 0 first, to the same shape."""
        rows = self.bank.rows.stop - self.bank.rows.start
        weight = self.bank.current(f"{self.path}.weight")  # (rows, D)
        bias = self.bank.current(f"{self.path}.bias") if self.has_bias else None
        if rows == 1:
            return F.layer_norm(x, self.shape, weight[0], None if bias is None else bias[0], self.eps)
        normed = F.layer_norm(x, self.shape, eps=self.eps).view(rows, -1, x.shape[-1])
        shift = 0.0 if bias is None else bias.unsqueeze(1)
        return (normed * weight.unsqueeze(1) + shift).view(x.shape)


def pretrained(path: str, layer: nn.LayerNorm) -> dict[str, Tensor]:
    """Scale and shift of a layer by their names in a bank, (D,) each; a layer without a shift has one only."""
    return {f"{path}.{name}": value.detach() for name, value in layer.named_parameters(recurse=False)}


def shapes(path: str, layer: nn.LayerNorm) -> dict[str, Parameter]:
    """Parameters of a layer, group ``norm``; their initial values are ``pretrained``."""
    return {name: Parameter(tuple(value.shape), "norm") for name, value in pretrained(path, layer).items()}


def insert_norms(model: nn.Module, bank: Bank, paths: tuple[str, ...]) -> None:
    """Put a ``NormAffine`` in the place of the LayerNorms at ``paths``."""
    for path in paths:
        parent_path, _, name = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        setattr(parent, name, NormAffine(bank, path, parent.get_submodule(name)))  # type: ignore[arg-type]
