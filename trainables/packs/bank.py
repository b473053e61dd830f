"""The parameters of K replicas in one flat tensor.

A bank is one fp32 tensor ``(K, P)``: row k holds every trainable parameter of replica k, and named views ``(K, ...)``
of it enter the forward pass. One tensor means one optimizer update for the whole pack, and K = 1 runs the same code.
"""

import math
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

ALIGNMENT = 16
"""Floats: every parameter starts on a 64-byte boundary, so that GEMM results do not depend on a replica's row."""


# The gradient of a view is a view of the same layout on purpose: that is what fills ``Bank.grad`` without a copy.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")


@dataclass(frozen=True)
class Parameter:
    """Shape of one replica's parameter, its optimizer group, and the bound of its uniform initialisation (0: zeros)."""

    shape: tuple[int, ...]
    group: str
    init_bound: float = 0.0


class Bank:
    """Named parameters of K replicas in one tensor.

    The named views are autograd leaves that share storage with ``flat``, their gradients with ``grad``: a backward
    pass fills ``grad`` and an optimizer updates ``flat`` without a copy per parameter.

    Args:
        parameters: name -> Parameter, in the order in which initial values are drawn.
        replicas: K >= 1.

    Attributes:
        flat, grad: fp32 (K, P), P includes alignment padding.
        groups: optimizer groups in order of first appearance.
        group_of: int64 (P,), index into ``groups`` of every column; padding belongs to the group before it.
        views: name -> leaf (K, *shape).
        rows: replicas of the forward pass at hand; adapters and heads read only these, with ``current``.
    """

    def __init__(self, parameters: Mapping[str, Parameter], replicas: int, device: torch.device) -> None:
        self.parameters = dict(parameters)
        self.replicas = replicas
        self.groups = tuple(dict.fromkeys(parameter.group for parameter in parameters.values()))
        slots, group_of, end = {}, [], 0
        for name, parameter in parameters.items():
            used = math.prod(parameter.shape)
            slots[name] = slice(end, end + used)
            padded = -(-used // ALIGNMENT) * ALIGNMENT
            group_of.append(torch.full((padded,), self.groups.index(parameter.group)))
            end += padded
        self.group_of = torch.cat(group_of).to(device)
        self.flat = torch.zeros(replicas, end, device=device)
        self.grad = torch.zeros_like(self.flat)
        self._slots = slots
        self._leaves: dict[tuple[int, int], dict[str, Tensor]] = {}
        self._learning = set(self.parameters)
        self.rows = slice(0, replicas)
        self.views = self._leaves_of(self.rows)

    def _leaves_of(self, rows: slice) -> dict[str, Tensor]:
        """Leaves (rows, *shape); made once per slice, because slicing within the graph costs a copy per parameter."""
        key = (rows.start, rows.stop)
        if key not in self._leaves:
            self._leaves[key] = {}
            for name, parameter in self.parameters.items():
                shape = (rows.stop - rows.start, *parameter.shape)
                leaf = self.flat[rows, self._slots[name]].view(shape).detach().requires_grad_(name in self._learning)
                leaf.grad = self.grad[rows, self._slots[name]].view(shape)
                self._leaves[key][name] = leaf
        return self._leaves[key]

    def current(self, name: str) -> Tensor:
        """Leaf (rows, *shape) of a parameter for the forward pass at hand."""
        return self._leaves_of(self.rows)[name]

    def columns(self, name: str) -> slice:
        """The columns of a parameter, without its padding."""
        return self._slots[name]

    def learn(self, groups: Container[str]) -> None:
        """From the next forward pass on only the parameters of ``groups`` get gradients, and what leads to no others is
        not computed."""
        wanted = {name for name, parameter in self.parameters.items() if parameter.group in groups}
        if wanted == self._learning:
            return
        self._learning = wanted
        for leaves in self._leaves.values():
            for name, leaf in leaves.items():
                leaf.requires_grad_(name in wanted)

    def value(self, name: str) -> Tensor:
        """Writable view (K, *shape) of a parameter, outside of autograd."""
        return self.views[name].detach()

    def reset(self, replica: int, generator: torch.Generator, names: Iterable[str] | None = None) -> None:
        """Draw initial values of one replica's parameters (all, or ``names``)."""
        for name in self.parameters if names is None else names:
            parameter = self.parameters[name]
            value = torch.zeros(parameter.shape)
            if parameter.init_bound:
                value.uniform_(-parameter.init_bound, parameter.init_bound, generator=generator)
            self.value(name)[replica] = value.to(self.flat.device)

    def state(self, replica: int, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """One replica's parameters (all, or ``names``) on the CPU, name -> (*shape)."""
        return {name: self.value(name)[replica].cpu().clone() for name in (self.parameters if names is None else names)}

    def load(self, replica: int, state: Mapping[str, Tensor], names: Iterable[str] | None = None) -> None:
        """Undo ``state``."""
        for name in self.parameters if names is None else names:
            self.value(name)[replica] = state[name].to(self.flat.device)

    def finite_gradients(self) -> Tensor:
        """Which replicas have no NaN and no infinity in their gradient, bool (K,)."""
        fine = self.grad.sum(1).isfinite()  # a sum is far quicker than a look at each, and hides neither
        return fine if bool(fine.all()) else self.grad.isfinite().all(1)

    def count(self, groups: Iterable[str] | None = None) -> int:
        """Trainable scalars of one replica, in all groups or in ``groups``."""
        wanted = self.groups if groups is None else tuple(groups)
        return sum(math.prod(p.shape) for p in self.parameters.values() if p.group in wanted)


def per_replica(reduce: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """``reduce`` of every values[k], (K,). One by one, because the order of additions in a batched reduction depends
    on K, and with it the last bit."""
    return torch.stack([reduce(row) for row in values])
