"""Small configurations of SEMA, and where their runs grew."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from training import trained

from trainables.configs import DataConfig, SemaConfig
from trainables.methods.sema import train
from trainables.packs.checkpoint import Checkpoints, Row

DATA = DataConfig(classes="0:12", train_per_class=8, test_per_class=4, flip=False, crop_scale=(0.5, 1.0))
NESTED = {"ffn_adapter_type": "nested_lora", "update_interval_slow": 2, "consolidation": True}
PAPER = {"variant": "paper", "epochs": 2, "ffn_num": 6, "exp_threshold": 1.5}


def config(backbone: str, **settings: object) -> SemaConfig:
    """Four tasks of three characters, 24 images each, in three steps an epoch; both blocks may grow."""
    defaults = {
        "init_cls": 3, "increment": 3, "epochs": 2, "rd_epoch": 3, "batch_size": 9, "detect_batch_size": 10,
        "eval_batch_size": 7, "adapt_start_layer": 0, "adapt_end_layer": 1, "ffn_num": 4, "rank": 4, "rd_dim": 4,
        "buffer_size": 20, "exp_threshold": 1.05, "init_lr": 0.05, "rd_lr": 0.05, "lr_fast": 0.05, "lr_slow": 0.02,
        "weight_decay": 0.01, "log_every": 1, "data": DATA,
    }  # fmt: skip
    return SemaConfig(backbone=backbone, **(defaults | settings))


run = partial(trained, train)


def tensors(folder: Path, seed: int, task: int = 3) -> dict[str, Tensor]:
    """State of a replica after a task."""
    return Checkpoints(folder, {seed: f"r-s{seed}"}).load(seed, task).tensors


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two states are bit-equal."""
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def places(rows: list[Row]) -> list[tuple[int, str]]:
    """Where a replica grew: task and block."""
    added = [row for row in rows if row["phase"] == "expansion" and row["name"].endswith("/added")]
    return [(row["task"], row["name"].split("/")[0]) for row in added]
