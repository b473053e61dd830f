"""Independent random streams derived from one replica seed.

Streams are counter based: a generator is a pure function of (seed, stream, position), for example
``generator(7, "order", task, epoch)``. Resuming at a position therefore needs no stored generator state, and a
replica draws the same numbers whichever replicas share its pack.
"""

from typing import Literal, get_args

import numpy as np
import torch

Stream = Literal["init", "order", "augmentation", "class_order", "split", "dropout", "data"]
STREAMS: tuple[Stream, ...] = get_args(Stream)


def generator(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """CPU generator of one stream at one position.

    Args:
        seed: replica seed, >= 0.
        stream: one of ``STREAMS``; streams of one seed are statistically independent.
        position: where in the run, such as task and epoch.

    Source: ``numpy.random.SeedSequence`` spawn keys.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *position))
    low, high = (int(word) for word in sequence.generate_state(2, np.uint32))
    return torch.Generator().manual_seed((high << 32 | low) & (2**63 - 1))


def permutation(n: int, seed: int, stream: Stream, *position: int) -> torch.Tensor:
    """Random permutation of range(n), int64 (n,)."""
    return torch.randperm(n, generator=generator(seed, stream, *position))
