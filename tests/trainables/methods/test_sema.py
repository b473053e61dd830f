"""SEMA as its user relies on it: independent of the pack, resumable in an expansion, honest about tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from semas import DATA, NESTED, PAPER, config, places, run, same, tensors
from training import numbers, values

from trainables.configs import DataConfig
from trainables.methods.sema import SemaRun, count_parameters
from trainables.packs.checkpoint import Checkpoints


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**PAPER, **NESTED, "class_order": "replica"},
        pytest.param(
            {"ffn_adapter_type": "convpass", "routing": "random", "adapt_start_layer": 1, "exp_threshold": 1.0},
            marks=pytest.mark.slow,
        ),
        pytest.param({"routing": "random_one", "rd_views": 0, "optimizer": "adamw"}, marks=pytest.mark.slow),
        pytest.param({"expansion": "off", **NESTED}, marks=pytest.mark.slow),
    ],
)
def test_numbers_do_not_depend_on_the_pack(tiny_backbone: str, tmp_path: Path, settings: dict) -> None:
    """Neither rows nor states, although every replica grows at places of its own."""
    made = config(tiny_backbone, **settings)
    packed = run(made, (0, 7, 3), tmp_path / "packed")
    if made.expansion == "on":
        assert len({tuple(places(rows)) for rows in packed.values()}) > 1
    for seed in (7, 3):
        folder = tmp_path / f"alone{seed}"
        assert numbers(run(made, (seed,), folder)[seed]) == numbers(packed[seed])
        assert same(tensors(folder, seed), tensors(tmp_path / "packed", seed))


@pytest.mark.parametrize(
    "settings",
    [PAPER | {"exp_threshold": 1.05, "routing": "random"}, pytest.param({}, marks=pytest.mark.slow)],
)
def test_unequal_tasks_do_not_mix_replicas(tiny_backbone: str, unequal: str, tmp_path: Path, settings: dict) -> None:
    made = config(
        tiny_backbone, dataset=unequal, init_cls=2, increment=2, batch_size=7, class_order="replica",
        data=DataConfig(val_fraction=0.34), **settings,
    )  # fmt: skip
    packed = run(made, (1, 2), tmp_path / "packed")
    assert places(packed[2]) and places(packed[1]) != places(packed[2])
    assert numbers(packed[2]) == numbers(run(made, (2,), tmp_path / "alone")[2])
    assert len(values(packed[2], "val", "accuracy")) == 4


@pytest.mark.parametrize(
    "settings",
    [
        PAPER | {"routing": "random"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"routing": "random"}, marks=pytest.mark.slow),
        pytest.param(PAPER | {"ffn_adapter_type": "convpass"}, marks=pytest.mark.slow),
    ],
)
def test_a_shared_forward_pass_equals_separate_ones_to_rounding(
    tiny_backbone: str, unequal: str, settings: dict
) -> None:
    """What a GPU does with a pack, on the CPU: replicas with tasks of unequal sizes that grow apart."""
    losses: list[list[list[float]]] = []
    for together in (1, 3):
        made = config(
            tiny_backbone, dataset=unequal, init_cls=2, increment=2, batch_size=7, class_order="replica",
            data=DataConfig(), **settings,
        )  # fmt: skip
        started = SemaRun(made, (0, 1, 2))
        started.pack.together = together
        for task in range(4):
            started.advance(task)
        assert len({tuple(places(rows)) for rows in started.rows.values()}) > 1 and bool(started.finite.all())
        losses.append([values(rows, "train", "loss") for rows in started.rows.values()])
    for alone, shared in zip(*losses, strict=True):
        assert alone == pytest.approx(shared, rel=1e-4)


def stopped(monkeypatch: pytest.MonkeyPatch, task: int, when: Callable[[SemaRun, int], bool]) -> None:
    """Training vanishes in ``task`` as soon as ``when`` says so of the run and the steps it has done in the task."""
    original = SemaRun.training

    def training(self: SemaRun, position: int) -> Iterator[None]:
        for number, _ in enumerate(original(self, position)):
            if position == task and when(self, number):
                raise KeyboardInterrupt
            yield

    monkeypatch.setattr(SemaRun, "training", training)


@pytest.mark.parametrize(
    ("settings", "events"),
    [
        ({"exp_threshold": 1.0}, 2),
        (PAPER | NESTED, 1),
        pytest.param({"exp_threshold": 1.0, "routing": "random"}, 1, marks=pytest.mark.slow),
    ],
)
def test_resume_in_the_middle_of_an_expansion(
    tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict, events: int
) -> None:
    """Killed in the second step of an adapter's training: of the task's first one, or of another after that."""
    made = config(tiny_backbone, **settings)
    whole = run(made, (0, 3), tmp_path / "whole")
    of_task = [[place for place, _ in places(rows)] for rows in whole.values()]
    task = next(task for task in (1, 2, 3) if max(own.count(task) for own in of_task) == 2)
    seen = [0]

    def when(at: SemaRun, number: int) -> bool:
        grown = [
            row for rows in at.rows.values() for row in rows if row["task"] == task and row["name"].endswith("/added")
        ]
        if len({(row["name"], row["step"]) for row in grown if row["step"] == events - 1}):
            seen[0] += 1
        return seen[0] == 2

    with monkeypatch.context() as patch:
        stopped(patch, task, when)
        with pytest.raises(KeyboardInterrupt):
            run(made, (0, 3), tmp_path / "cut")
    checkpoints = Checkpoints(tmp_path / "cut", {seed: f"r-s{seed}" for seed in (0, 3)})
    assert checkpoints.last_common((0, 3)) == task - 1
    resumed = run(made, (0, 3), tmp_path / "cut")
    for seed in (0, 3):
        assert numbers(resumed[seed]) == numbers(whole[seed])
        assert same(tensors(tmp_path / "cut", seed), tensors(tmp_path / "whole", seed))


def test_resume_after_a_report_that_failed(tiny_backbone: str, tmp_path: Path) -> None:
    made = config(tiny_backbone, routing="random")
    whole = run(made, (5,), tmp_path / "whole")[5]
    with pytest.raises(KeyboardInterrupt):
        run(made, (5,), tmp_path / "cut", stop_after=2)
    assert numbers(run(made, (5,), tmp_path / "cut")[5]) == numbers(whole)
    assert places(whole)


@pytest.mark.parametrize("routing", ["random", pytest.param("random_one", marks=pytest.mark.slow)])
def test_random_routing_is_the_seeds(tiny_backbone: str, tmp_path: Path, routing: str) -> None:
    """The same seed routes the same way, and not as the router would."""
    made = config(tiny_backbone, routing=routing)
    first, again = (run(made, (0,), tmp_path / str(turn))[0] for turn in range(2))
    assert numbers(first) == numbers(again)
    softmax = run(config(tiny_backbone), (0,), tmp_path / "softmax")[0]
    assert places(first)[0] == places(softmax)[0]  # nothing is routed before
    losses, others = values(first, "train", "loss"), values(softmax, "train", "loss")
    before = 6 * places(first)[0][0]  # steps of the tasks in which there was one adapter
    assert losses[:6] == others[:6] and losses[before:] != others[before:]


def test_no_test_image_has_a_part_in_training(tiny_backbone: str) -> None:
    """Other test pictures give the same training, expansions and adapters, and other test accuracies."""
    clean, poisoned = (SemaRun(config(tiny_backbone), (0,)) for _ in range(2))
    for task in range(4):
        clean.advance(task)  # first: it leaves the frozen features of the true pictures in the cache
    pixels = poisoned.tests.test.pictures.pixels
    pixels.copy_(torch.randint(0, 256, pixels.shape, generator=torch.Generator().manual_seed(0)))
    for task in range(4):
        poisoned.advance(task)
    phases = ("train", "expansion", "boundary")
    ours, theirs = ([row for row in numbers(own.rows[0]) if row[0] in phases] for own in (clean, poisoned))
    assert ours == theirs and places(clean.rows[0])
    assert same(clean.state(0), poisoned.state(0))
    routing = [[row["value"] for row in own.rows[0] if row["phase"] == "routing"] for own in (clean, poisoned)]
    assert routing[0] != routing[1]  # the poison was swallowed


def test_a_search_never_predicts_a_test_image_and_trains_the_same(
    tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.34})
    tested = run(config(tiny_backbone, data=data), (3,), tmp_path / "tested")[3]
    for name in ("FrozenBackbone", "Ablation"):
        monkeypatch.setattr(f"trainables.metrics.boundary.{name}", None)  # what would look at test images
    monkeypatch.setattr("trainables.methods.sema.log_routing", None)
    searched = run(config(tiny_backbone, data=data, evaluate="validation"), (3,), tmp_path / "searched")[3]
    assert {row["phase"] for row in searched} <= {"train", "expansion", "boundary", "val", "timing", "final"}
    for phase, name in (("val", "accuracy"), ("train", "loss")):
        assert values(searched, phase, name) == values(tested, phase, name)


def test_growth_is_counted(tiny_backbone: str, tmp_path: Path) -> None:
    made = config(tiny_backbone)
    rows = run(made, (0,), tmp_path)[0]
    grown = places(rows)
    adapter, router, descriptor = 2 * 16 * 4 + 4 + 16, 16 + 1, 2 * 16 * 4 + 4 + 16
    assert grown and values(rows, "boundary", "params_added")[1:] == [
        sum(place == task for place, _ in grown) * (adapter + router + descriptor) for task in (1, 2, 3)
    ]
    for block in ("block_0", "block_1"):
        counts = [1 + sum(place <= task and at == block for place, at in grown) for task in range(4)]
        assert values(rows, "boundary", f"adapters/{block}") == counts
    head = 16 * 12 + 12
    assert count_parameters(made, 12)[0] == head + 2 * (adapter + router + descriptor)
    assert [row["value"] for row in rows if row["phase"] == "final" and row["name"] == "adapters_grown"][-1] == len(
        grown
    )
    assert sum(values([row for row in rows if row["task"] == 3], "boundary", f"params/{kind}")[0]
               for kind in ("head", "adapter", "router")) == head + (2 + len(grown)) * (adapter + router)  # fmt: skip
