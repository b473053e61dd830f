"""Checkpoints on disk: what is kept, and what a resume finds."""

from pathlib import Path

import pytest
import torch

from trainables.packs.checkpoint import Checkpoints, checkpoint_files


@pytest.mark.parametrize(("boundary", "kept"), [("task", [0, 1, 2, 3]), ("epoch", [2, 3])])
def test_every_task_is_kept_but_of_epochs_the_last_two(tmp_path: Path, boundary, kept: list[int]) -> None:
    checkpoints = Checkpoints(tmp_path, {7: "r-s7"}, boundary)
    for position in range(4):
        checkpoints.save(7, position, {"weight": torch.full((2,), float(position))}, [{"value": position}])
    names = [path.name for path in checkpoint_files(tmp_path / "r-s7")]
    assert names == [f"{boundary}_{position:02d}.json" for position in kept]
    assert len(list((tmp_path / "r-s7").iterdir())) == 2 * len(kept)
    last = checkpoints.load(7, 3)
    assert torch.equal(last.tensors["weight"], torch.full((2,), 3.0)) and last.rows == [{"value": 3}]


def test_a_pack_that_was_killed_while_it_saved_resumes_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {0: "r-s0", 1: "r-s1"}, "epoch")
    for position in range(3):
        checkpoints.save(0, position, {"weight": torch.zeros(1)}, [])
    for position in range(2):
        checkpoints.save(1, position, {"weight": torch.zeros(1)}, [])
    assert checkpoints.last_common((0, 1)) == 1
