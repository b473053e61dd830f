"""What SEMA refuses, and what it bears: tasks without images, batches of one, losses that are all alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from semas import PAPER, config, places, run
from training import values

from trainables.errors import InputError
from trainables.methods.sema import SemaRun, count_parameters
from trainables.models.vision import Backbone, load_backbone
from trainables.packs.checkpoint import Row
from trainables.peft.descriptors import Descriptor


def finite(rows: list[Row]) -> bool:
    return all(np.isfinite(row["value"]) for row in rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exp_threshold": -0.1}, "exp_threshold"),
        ({"ffn_adapter_type": "prefix"}, "ffn_adapter_type"),
        ({"routing": "hash"}, "routing"),
        ({"buffer_size": 2}, "buffer_size"),
        ({"variant": "thesis"}, "variant"),
        ({"consolidation": True}, "consolidation"),
        ({"adapt_start_layer": 1, "adapt_end_layer": 0}, "adapt_end_layer"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config("glyph_vit", **settings)
    (error,) = caught.value.errors()
    assert message in (*error["loc"], error["msg"].split("=")[0].removeprefix("Value error, "))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adapt_end_layer": 2}, r"adapt_end_layer=2: .* has 2 blocks; allowed: 0\.\.1"),
        ({"adapt_start_layer": -3}, r"adapt_start_layer=-3: .* has 2 blocks"),
        ({"adapt_start_layer": 1, "adapt_end_layer": -2}, "adapt_end_layer=-2: lies before block 1"),
        ({"ffn_num": 17}, "17"),
    ],
)
def test_blocks_that_are_not_there_end_in_one_line(tiny_backbone: str, settings: dict, message: str) -> None:
    made = config(tiny_backbone, **settings)
    for refused in (lambda: SemaRun(made, (0,)), lambda: count_parameters(made, 12)):
        with pytest.raises(InputError, match=message) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_convpass_needs_a_grid_of_patches(tiny_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gridless(name: str, pretrained: bool = True) -> Backbone:
        backbone = load_backbone(name, pretrained)
        backbone.model.patch_embed.grid_size = None
        return backbone

    monkeypatch.setattr("trainables.methods.sema.load_backbone", gridless)
    with pytest.raises(InputError, match="convpass") as caught:
        count_parameters(config(tiny_backbone, ffn_adapter_type="convpass"), 12)
    assert "\n" not in str(caught.value)
    assert count_parameters(config(tiny_backbone), 12)[0] > 0


def test_any_other_loss_is_a_surprise_after_losses_that_were_all_alike(tiny_backbone: str) -> None:
    descriptor = Descriptor(config(tiny_backbone), 16, torch.Generator().manual_seed(0))
    pooled = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    alike = descriptor(pooled[:1]).detach()
    descriptor.record(alike.expand(2))
    assert descriptor.z_scores(pooled[1:]).tolist() == [0.0, 0.0]  # two losses are too few
    descriptor.record(alike.expand(2))
    z = descriptor.z_scores(pooled[[0, 0, 1]])
    assert not bool(z.isnan().any()) and z[:2].tolist() == [0.0, 0.0] and float(z[2]) > 1e30


def test_a_descriptor_remembers_the_last_losses_only(tiny_backbone: str) -> None:
    """The batch that fills the buffer loses what does not fit; one that is longer than the buffer leaves its end."""
    descriptor = Descriptor(config(tiny_backbone, buffer_size=5), 16, torch.Generator())
    for losses, kept in (
        ([1.0, 2.0, 3.0], [1, 2, 3]), ([4.0, 5.0, 6.0], [1, 2, 3, 4, 5]), ([7.0, 8.0], [3, 4, 5, 7, 8]),
        (list(range(10, 17)), [12, 13, 14, 15, 16]),
    ):  # fmt: skip
        descriptor.record(torch.tensor(losses))
        assert descriptor.losses.tolist() == kept
    assert descriptor.mean == 14.0 and descriptor.std == pytest.approx(2.5**0.5)


@pytest.mark.parametrize(("variant", "empty"), [("code", 0), ("code", 2), ("paper", 0), ("paper", 3)])
def test_a_task_without_training_images(tiny_backbone: str, variant: str, empty: int) -> None:
    """Nothing is learned in it, and the tasks around it are learned as ever; but where descriptors have seen nothing,
    nothing surprises them, and ``paper`` skips what does not."""
    made = config(tiny_backbone, **({"code": {}, "paper": PAPER}[variant] | {"exp_threshold": 0.1}))
    started = SemaRun(made, (0,))
    started.tasks.train[0][empty] = torch.empty(0, dtype=torch.long)
    states = []
    for task in range(4):
        started.advance(task)
        states.append({name: value for name, value in started.state(0).items() if not name.startswith("descriptor")})
    before = states[empty - 1] if empty else SemaRun(made, (0,)).state(0)
    assert all(torch.equal(states[empty][name], before[name]) for name in before if name in states[empty])
    assert not [row for row in started.rows[0] if row["task"] == empty and row["phase"] == "train"]
    learned = set() if (variant, empty) == ("paper", 0) else {0, 1, 2, 3} - {empty}
    assert {row["task"] for row in started.rows[0] if row["name"] == "loss"} == learned
    assert bool(started.finite.all()) and finite([row for row in started.rows[0] if row["phase"] != "reference"])
    assert len(values(started.rows[0], "eval", "accuracy")) == 4


@pytest.mark.parametrize("size", [1, 23])
def test_batches_of_one(tiny_backbone: str, tmp_path: Path, size: int) -> None:
    """All of them, or what is left of 24 images after 23."""
    made = config(
        tiny_backbone, epochs=1, rd_epoch=1, exp_threshold=1.0, batch_size=size, detect_batch_size=size, init_lr=0.005,
        rd_lr=0.005,
    )  # fmt: skip
    rows = run(made, (0,), tmp_path)[0]
    assert finite(rows) and places(rows)
    assert len(values([row for row in rows if row["task"] == 0], "train", "loss")) == -(-24 // size)
