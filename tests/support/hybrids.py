"""Small configurations of the hybrid trainable, and a look at its steps."""

from collections.abc import Callable

import torch

from trainables.configs import HybridConfig
from trainables.configs.hybrid import HybridData
from trainables.methods.hybrid import HybridRun

DATA = HybridData(classes="0:10", train_per_class=6, test_per_class=4, flip=False)
CPU = torch.device("cpu")


def config(backbone: str, **settings: object) -> HybridConfig:
    """Two epochs of four steps over ten characters."""
    defaults = {"epochs": 2, "batch_size": 16, "rank": 4, "log_every": 1, "data": DATA}
    return HybridConfig(backbone=backbone, **(defaults | settings))


def on_steps(started: HybridRun, after: Callable[[], None]) -> None:
    """Call ``after`` behind every update."""
    original = started.optimizer.take

    def take(*given: torch.Tensor) -> torch.Tensor:
        taken = original(*given)
        after()
        return taken

    started.optimizer.take = take  # type: ignore[method-assign]
