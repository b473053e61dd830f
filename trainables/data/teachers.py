"""Teachers of the linear theory: target updates of a known spectrum, their inputs, and what any rank can reach.

Source: METHODS.md "LoRA rank"; notes seeds/004, part I; Eckart and Young 1936, "The approximation of one matrix by
another of lower rank".
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.configs import Teacher, TheoryConfig

CHUNK = 8192
"""Inputs drawn at once: their Gram matrix is all that stays of them."""


def draw_update(config: TheoryConfig, teacher: Teacher, generator: torch.Generator) -> Tensor:
    """Target update W* - W0 of a teacher.

    The frozen W0 cancels in every loss and error of the linear model, so it is not drawn.

    - ``gaussian``: independent entries, full rank.
    - ``power_law``: singular value i = 1, 2, ... proportional to i^-exponent, random singular vectors.
    - ``exact_rank``: product of Gaussian factors with ``teacher_rank`` columns.

    Returns:
        fp64 (d_out, d_in), scaled to ||W* - W0||_F^2 = d_out: on white inputs the mean output variance is 1.
    """
    shape = config.d_out, config.d_in
    if teacher == "gaussian":
        update = _normal(*shape, generator=generator)
    elif teacher == "exact_rank":
        update = _normal(shape[0], config.teacher_rank, generator=generator)
        update = update @ _normal(config.teacher_rank, shape[1], generator=generator)
    else:
        width = min(shape)
        left, right = (torch.linalg.qr(_normal(size, width, generator=generator))[0] for size in shape)
        update = left * torch.arange(1, width + 1, dtype=torch.float64) ** -config.exponent @ right.mT
    return update * (config.d_out**0.5 / torch.linalg.matrix_norm(update))


def draw_gram(config: TheoryConfig, generator: torch.Generator) -> Tensor:
    """Gram matrix X^T X / n of n = ``samples`` standard normal inputs, fp64 (d_in, d_in)."""
    gram = torch.zeros(config.d_in, config.d_in, dtype=torch.float64)
    for start in range(0, config.samples, CHUNK):
        inputs = torch.randn(min(CHUNK, config.samples - start), config.d_in, generator=generator)
        gram += inputs.mT @ inputs
    return gram / config.samples


def update_rank(config: TheoryConfig, teacher: Teacher) -> int:
    """Rank of a teacher's update."""
    return config.teacher_rank if teacher == "exact_rank" else min(config.d_in, config.d_out)


def rank_r_residual(delta: Tensor, rank: int) -> Tensor:
    """Smallest squared Frobenius error any rank-``rank`` update can reach (Eckart-Young).

    Args:
        delta: target update W* - W0, shape (..., d_out, d_in).
        rank: LoRA rank, 0 <= rank <= min(d_out, d_in).

    Returns:
        sum of the squared singular values beyond ``rank``, shape (...).

    Raises:
        ValueError: rank out of range; the message names the bound.

    Source: seeds/004, "Key Observations" 1.
    """
    width = min(delta.shape[-2:])
    if not 0 <= rank <= width:
        raise ValueError(f"rank {rank}: allowed: 0..{width}")
    return torch.linalg.svdvals(delta)[..., rank:].square().sum(-1)


def loss_optima(delta: Tensor, gram: Tensor, ranks: Sequence[int]) -> dict[int, Tensor]:
    """Per rank the update D of smallest training loss tr((delta - D) gram (delta - D)^T), rank -> (..., d_out, d_in).

    The best approximation in the norm of the inputs, ``truncate(delta gram^1/2) gram^-1/2``. Only for a Gram matrix
    that is the identity is it the Eckart-Young optimum; for n inputs its squared Frobenius error is larger by a
    fraction of order d_in / n.

    Args:
        delta: (..., d_out, d_in).
        gram: symmetric, positive definite, (..., d_in, d_in).
    """
    values, vectors = torch.linalg.eigh(gram)
    root, inverse = ((vectors * values.unsqueeze(-2) ** power) @ vectors.mT for power in (0.5, -0.5))
    left, singular, right = torch.linalg.svd(delta @ root, full_matrices=False)
    return {r: (left[..., :r] * singular[..., None, :r]) @ right[..., :r, :] @ inverse for r in ranks}


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
