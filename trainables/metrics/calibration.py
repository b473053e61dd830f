"""How well predicted probabilities can be believed, and temperature scaling."""

import math

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from trainables.metrics.accuracy import accuracy

BINS = 15
TEMPERATURES = (0.01, 100.0)
"""Range that is searched; where every held-out image is predicted right, the best temperature would be 0."""


def calibration_error(logits: Tensor, target: Tensor, batch_size: int | None = None) -> float:
    """Expected calibration error: sum over equal bins of the confidence of |accuracy - confidence|, by their share.

    Args:
        logits: (n, C).
        target: int64 (n,).
        batch_size: mean over successive batches of so many images instead, weighted by their size, as the notes had it.
            It is larger, because deviations of opposite sign in different batches do not cancel.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3, with ``BINS`` bins (low, high].
    """
    confidence, predicted = logits.double().softmax(-1).max(-1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    bins = torch.bucketize(confidence, edges).clamp(1, BINS) - 1
    batch = torch.arange(len(target)) // (batch_size or len(target))
    gaps = torch.bincount(batch * BINS + bins, (predicted == target).double() - confidence)
    return float(gaps.abs().sum()) / len(target)


def scores(logits: Tensor, target: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """Top-1 accuracy, expected calibration error and negative log-likelihood (nats per image).

    Args:
        logits: (n, C), divided by ``temperature``.
        target: int64 (n,).
    """
    scaled = logits.double() / temperature  # in double precision a division makes no two logits equal
    return {
        "top1": accuracy(scaled.argmax(-1), target),
        "ece": calibration_error(scaled, target),
        "nll": float(F.cross_entropy(scaled, target)),
    }


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature within ``TEMPERATURES`` that minimises the negative log-likelihood; never worse than 1.

    Args:
        logits: (n, C) of images that were neither trained on nor are to be reported on.
        target: int64 (n,).

    Source: Guo et al. 2017, section 4.2. The likelihood is convex in 1 / T, so it has one minimum in log T.
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), target))

    bounds = tuple(math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun <= loss(0.0) else 1.0


def calibrate(held_out: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Temperature fitted on held-out logits and targets, and the scores of the test ones before and after it."""
    temperature = fit_temperature(*held_out)
    values = {"temperature": temperature}
    for when, divisor in (("before", 1.0), ("after", temperature)):
        values |= {f"{name}_{when}": value for name, value in scores(*test, temperature=divisor).items()}
    return values
