"""Independent random streams derived from one replica seed.

Streams are counter based: a generator is a pure function of (seed, stream, position), for example
``generator(7, "order", task, epoch)``. Resuming at a position therefore needs no stored generator state, and a
replica draws the same numbers whichever replicas share its pack.
"""

from typing import Literal, get_args

import numpy as np
import torch

Stream = Literal["init", "order", "augmentation", "split", "dropout", "data", "routing"]
STREAMS: tuple[Stream, ...] = get_args(Stream)

_WORDS = 624
"""State of the Mersenne twister behind torch's CPU generator, in words of 32 bits."""
_HEADER = np.dtype([("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("words", "<u8", _WORDS)])
"""Beginning of what ``torch.Generator.get_state`` returns: each word lies in 64 bits."""


def generator(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """CPU generator of one stream at one position.

    Its whole state is drawn from the seed: ``manual_seed`` would keep 32 bits only, so that a few ten thousand streams
    would have two alike.

    Args:
        seed: replica seed, >= 0.
        stream: one of ``STREAMS``; streams of one seed are statistically independent.
        position: where in the run, such as task and epoch.

    Source: ``numpy.random.SeedSequence`` spawn keys; Matsumoto and Nishimura 1998 (Mersenne twister).
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *position))
    words = sequence.generate_state(_WORDS, np.uint32)
    made = torch.Generator()
    state = made.get_state()
    header = state.numpy()[: _HEADER.itemsize].view(_HEADER)
    header["seed"] = (int(words[0]) << 32 | int(words[1])) & (2**63 - 1)  # what a generator on a GPU is seeded with
    header["left"], header["seeded"], header["next"], header["words"] = 1, 1, 0, words
    made.set_state(state)
    return made
