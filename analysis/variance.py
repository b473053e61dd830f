"""How much of the spread comes from the hyperparameters, from the seed and from running again.

Random-effects model: y = mean + one normal effect per level of every factor + a residual, all independent. Factors may
be crossed (configurations share seeds) or nested (reruns within configuration and seed). The components are MINQUE(0)
estimates: quadratic forms set equal to their expectations, in closed form, with sums over groups only. For balanced
data they are the ANOVA estimates, which REML gives too when they are positive; for unbalanced data they are unbiased
but less precise than REML. A component that comes out negative is set to 0 and the others are estimated again.

Intervals invert a simulated test: those values of a component under which an estimate as low, or as high, as the one
found has a probability above 2.5 %, the other components as estimated. For a single component that is the chi-square
interval; it stays proper when an estimate is 0.

Sources: MINQUE, Rao 1971; components of variance, Searle, Casella and McCulloch 1992; test inversion, Carpenter 1999.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from analysis.differences import CONFIDENCE

SIMULATIONS = 1_000
_MOST_SIMULATED = 4_000_000  # simulated values held at once
RESIDUAL = "residual"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """One source of variance. ``variance``: in the square of the values' unit, >= 0. ``share``: of the sum over all
    components, None where all are 0. ``low``, ``high``: interval of the variance at level ``CONFIDENCE``. ``levels``:
    how many different ones were seen; with fewer than about five, little is known."""

    name: str
    variance: float
    share: float | None
    low: float
    high: float
    levels: int

    @property
    def std(self) -> float:
        return float(np.sqrt(self.variance))


@dataclass(frozen=True)
class Split:
    """Components in the given order, the residual last. ``unidentified``: name -> why the data cannot tell it apart."""

    n: int
    components: tuple[Component, ...]
    unidentified: dict[str, str]

    def __getitem__(self, name: str) -> Component:
        return next(one for one in self.components if one.name == name)


class Model:
    """The design of a random-effects model: which observation has which level of which factor.

    Args:
        factors: name -> one integer code per observation, shape (N,). Factors that are constant, that tell every
            observation apart, or that are a combination of others must be left out (``identifiable``).
    """

    def __init__(self, factors: Mapping[str, NDArray[np.intp]]):
        n = len(next(iter(factors.values())))
        self.names = [*factors, RESIDUAL]
        codes = [*factors.values(), np.arange(n)]
        self.levels = [int(own.max()) + 1 for own in codes]
        self.expected = _expected(codes)
        rows = np.arange(n)
        shapes = [(n, levels) for levels in self.levels]
        ones = [(np.ones(n), (rows, own)) for own in codes]
        self.design = [sparse.csr_array(one, shape=shape) for one, shape in zip(ones, shapes, strict=True)]
        self.transposed = [sparse.csr_array(z.T) for z in self.design]

    def forms(self, values: Values, other: Values | None = None) -> Values:
        """Quadratic (or, with ``other``, bilinear) forms y' M Z Z' M x of every component.

        Args:
            values: shape (N, S).
            other: shape (N, S).

        Returns:
            shape (components, S).
        """
        first = values - values.mean(axis=0)
        second = first if other is None else other - other.mean(axis=0)
        return np.stack([np.einsum("ls,ls->s", z @ first, z @ second) for z in self.transposed])

    def estimate(self, values: Values) -> Values:
        """Components of variance, >= 0, shape (components,), of values of shape (N,)."""
        forms = self.forms(values[:, None])[:, 0]
        active = list(range(len(self.names)))
        found = np.zeros(len(self.names))
        while active:
            solved = np.linalg.solve(self.expected[np.ix_(active, active)], forms[active])
            if solved.min() >= 0:
                found[active] = solved
                break
            active.pop(int(np.argmin(solved)))
        return found

    def simulate(self, variances: Values, count: int, rng: np.random.Generator) -> Values:
        """Values of the model, shape (N, count)."""
        parts = (
            np.sqrt(variance) * (z @ rng.normal(size=(z.shape[1], count)))
            for z, variance in zip(self.design, variances, strict=True)
            if variance > 0
        )
        return sum(parts, np.zeros((self.design[0].shape[0], count)))


def identifiable(factors: Mapping[str, ArrayLike]) -> tuple[dict[str, NDArray[np.intp]], dict[str, str]]:
    """Factors whose variance the data can tell apart, and why not for the others.

    Args:
        factors: name -> one level per observation, shape (N,); of factors that cannot be told apart the first is kept.

    Returns:
        integer codes of those that are kept, and name -> reason.
    """
    kept: dict[str, NDArray[np.intp]] = {}
    reasons: dict[str, str] = {}
    for name, levels in factors.items():
        codes = np.asarray(pd.factorize(np.asarray(levels))[0], dtype=np.intp)
        distinct = int(codes.max()) + 1 if codes.size else 0
        if distinct < 2:
            reasons[name] = "only one was run"
            continue
        twin = next((other for other, own in kept.items() if _same(own, codes)), None)
        if twin:
            reasons[name] = f"it changes only together with {twin}"
        elif distinct == codes.size:
            reasons[name] = "nothing was run again at the same level, so it is part of the residual"
        elif _singular({**kept, name: codes}):
            reasons[name] = f"it cannot be told apart from {', '.join(kept)}"
        else:
            kept[name] = codes
    return kept, reasons


def split(values: ArrayLike, factors: Mapping[str, ArrayLike], rng: np.random.Generator) -> Split | None:
    """Components of variance of one number per observation.

    Args:
        values: shape (N,), finite.
        factors: name -> one level per observation, shape (N,), coarsest first; see ``identifiable``.
        rng: simulates the intervals.

    Returns:
        None below 3 observations.
    """
    y = np.asarray(values, dtype=np.float64)
    if y.size < 3:
        return None
    kept, reasons = identifiable(factors)
    model = Model(kept) if kept else _residual_only(y.size)
    found = model.estimate(y) if np.ptp(y) else np.zeros(len(model.names))
    bounds = _intervals(model, y, found, rng)
    total = float(found.sum())
    components = tuple(
        Component(name, float(variance), float(variance / total) if total > 0 else None, *limits, levels)
        for name, variance, limits, levels in zip(model.names, found, bounds, model.levels, strict=True)
    )
    return Split(y.size, components, reasons)


def _intervals(model: Model, y: Values, found: Values, rng: np.random.Generator) -> Sequence[tuple[float, float]]:
    if not np.ptp(y):
        return [(0.0, 0.0)] * len(found)
    inverse = np.linalg.inv(model.expected)
    unconstrained = inverse @ model.forms(y[:, None])[:, 0]
    count = int(np.clip(_MOST_SIMULATED // y.size, 200, SIMULATIONS))
    bounds = []
    for place, z in enumerate(model.design):
        others = found.copy()
        others[place] = 0
        # Values under any variance v of this component are others + sqrt(v) * own, so its estimate is a quadratic.
        rest = model.simulate(others, count, rng)
        own = z @ rng.normal(size=(z.shape[1], count))
        constant, mixed, square = (
            inverse[place] @ forms for forms in (model.forms(rest), model.forms(rest, own), model.forms(own))
        )
        bounds.append(_inverted(float(unconstrained[place]), constant, mixed, square, float(y.var())))
    return bounds


def _inverted(found: float, constant: Values, mixed: Values, square: Values, scale: float) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2

    def below(variance: float) -> float:
        return float((constant + 2 * np.sqrt(variance) * mixed + variance * square < found).mean())

    def crossing(probability: float) -> float:
        """The variance at which that many simulated estimates are below the one found; 0 where fewer are even there."""
        if below(0.0) <= probability:
            return 0.0
        low, high = 0.0, scale
        while below(high) > probability and high < 1e9 * scale:
            low, high = high, 4 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) > probability else (low, middle)
        return high

    return crossing(1 - tail), crossing(tail)


def _same(first: NDArray[np.intp], second: NDArray[np.intp]) -> bool:
    pairs = len(np.unique(np.stack([first, second]), axis=1).T)
    return pairs == first.max() + 1 == second.max() + 1


def _singular(factors: Mapping[str, NDArray[np.intp]]) -> bool:
    n = len(next(iter(factors.values())))
    expected = _expected([*factors.values(), np.arange(n)])
    scale = np.sqrt(np.diag(expected))
    return bool((scale <= 0).any() or np.linalg.cond(expected / np.outer(scale, scale)) > 1e8)


def _expected(codes: Sequence[NDArray[np.intp]]) -> Values:
    """Traces of M V_k M V_l with V = Z Z' and M the centring matrix, shape (components, components).

    Args:
        codes: level of every observation, shape (N,), for each component.
    """
    n = len(codes[0])
    row_sums = [np.bincount(own)[own].astype(np.float64) for own in codes]  # V 1
    expected = np.empty((len(codes), len(codes)))
    for k, own in enumerate(codes):
        for other in range(k, len(codes)):
            together = np.unique(own * (int(codes[other].max()) + 1) + codes[other], return_counts=True)[1]
            shared = float((together.astype(np.float64) ** 2).sum())
            cross = 2 / n * row_sums[k] @ row_sums[other]
            both = row_sums[k].sum() * row_sums[other].sum() / n**2
            expected[k, other] = expected[other, k] = shared - cross + both
    return expected


def _residual_only(n: int) -> Model:
    model = Model({"constant": np.zeros(n, dtype=np.intp)})
    model.names, model.levels, model.expected = [RESIDUAL], [n], model.expected[-1:, -1:]
    model.design, model.transposed = model.design[-1:], model.transposed[-1:]
    return model
