"""SEMA against the direct reference: losses, z-scores, expansions, mixtures and logits of a short run, step by step."""

from typing import Any

import pytest
import torch
from sema_reference import Reference
from semas import NESTED as SMALL_NESTED
from semas import PAPER, config
from torch import Tensor
from training import values

from trainables.configs import DataConfig, SemaConfig
from trainables.methods.sema import SemaRun
from trainables.metrics.accuracy import all_logits

Settings = dict[str, Any]
NESTED: Settings = SMALL_NESTED | {"consolidation_interval": 2, "consolidation_alpha": 0.5}
SLOW: Settings = {"init_lr": 0.002, "rd_lr": 0.002}
CASES: dict[str, Settings] = {
    "code": {},
    "code, nested_lora": NESTED,
    "code, lora": {"ffn_adapter_type": "lora"},
    "code, convpass": {"ffn_adapter_type": "convpass"},
    "paper": PAPER,
    "paper, nested_lora": PAPER | NESTED | {"interval_mode": "skip", "consolidation_method": "ema"},
    "paper, lora": PAPER | {"ffn_adapter_type": "lora"},
    "paper, convpass": PAPER | {"ffn_adapter_type": "convpass"},
}
ONE_KEY: dict[str, Settings] = {
    "norm2": {"adapter_input": "norm2", "exp_threshold": 1.1},
    "joint": {"rd_training": "joint"},
    "any sample": {"expansion_criterion": "any_sample", "exp_threshold": 1.9},
    "skip": {"without_expansion": "skip"},
    "sum": {"rd_loss": "sum"},
    "first router": {"first_router": "trained"},
    "leaky": {"rd_activation": "leaky_relu", "exp_threshold": 1.12},
    "average": {"routing": "average"},
    "top1": {"routing": "top1", "first_router": "trained"},
    "top1 at inference": {"routing": "top1_inference"},
    "seen": {"loss_classes": "seen"},
    "one block": {"adapt_start_layer": 1},
    "sign matched": NESTED | {"consolidation_method": "sign_matched", "consolidation_interval": 1},
    "new views": {"rd_views": 0},
    "one view": {"rd_views": 1, "eta_min": 0.001},
    "large buffer": {"buffer_size": 500},
    "a buffer that the last batch fills": {"buffer_size": 115},
    "batches of one": SLOW | {"batch_size": 1, "detect_batch_size": 1, "exp_threshold": 2.0},
    "one image left": SLOW | {"batch_size": 23, "detect_batch_size": 23, "exp_threshold": 0.95},
    "joint to the end": {"rd_training": "joint", "rd_epoch": 2},
}  # fmt: skip


def both(made: SemaConfig, seed: int = 0) -> tuple[SemaRun, Reference]:
    reference = Reference(made, seed)
    reference.run()
    run = SemaRun(made, (seed,))
    for task in range(run.boundaries):
        run.advance(task)
    return run, reference


def final_logits(run: SemaRun) -> Tensor:
    indices = [torch.cat(own) for own in run.tasks.test]
    return all_logits(run.pack, run.tests.test, indices, slice(None), run.config.eval_batch_size)[0]


def close(ours: object, theirs: object, tolerance: float = 1e-5) -> bool:
    """Whether both are as long and differ by ``tolerance`` of their size at most."""
    ours, theirs = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def check(run: SemaRun, reference: Reference) -> None:
    rows, trace, tasks = run.rows[reference.seed], reference.trace, range(reference.tasks.tasks)
    train = [row for row in rows if row["phase"] == "train"]
    assert [row["task"] for row in train if row["name"] == "loss"] == [task for task, _ in trace.losses]
    assert close(values(train, "train", "loss"), [loss for _, loss in trace.losses])
    check_descriptors(train, reference)
    check_expansions([row for row in rows if row["phase"] == "expansion"], reference)
    check_parameters(run.state(0), reference)
    assert close(final_logits(run), trace.logits)
    assert values(rows, "eval", "accuracy") == pytest.approx(trace.accuracy)
    for task in tasks:
        own = [row for row in rows if row["task"] == task]
        for (into, earlier, block), weights in trace.usage.items():
            found = [values(own, "routing", f"task_{earlier}/block_{block}/adapter_{s}") for s in range(len(weights))]
            assert into != task or close(found, [[float(weight)] for weight in weights])


def check_descriptors(train: list[dict], reference: Reference) -> None:
    """Mean over the images of every epoch of a descriptors' phase; a block has one such phase in a task."""
    steps: dict[tuple[int, int, int], list[Tensor]] = {}
    for task, epoch, block, losses in reference.trace.rd_losses:
        steps.setdefault((task, epoch, block), []).append(losses)
    means = {place: float(torch.cat(losses).mean()) for place, losses in steps.items()}
    found = {}
    for row in train:
        if row["name"].startswith("rd_loss/"):
            found[row["task"], row["epoch"], int(row["name"].removeprefix("rd_loss/block_"))] = row["value"]
    assert set(found) == set(means)
    assert close([found[place] for place in means], list(means.values()))


def check_expansions(rows: list[dict], reference: Reference) -> None:
    """Where and in which order blocks grew, what made them grow, and how near to it the others came."""
    trace = reference.trace
    added = [(row["task"], row["step"], row["name"], row["value"]) for row in rows if row["name"].endswith("/added")]
    numbers = [
        [event.task for event in trace.events[:place]].count(event.task) for place, event in enumerate(trace.events)
    ]
    expected = [(event.task, number, f"block_{event.block}/added", event.slot)
                for number, event in zip(numbers, trace.events, strict=True)]  # fmt: skip
    assert sorted(added) == sorted(expected)
    found = {(row["task"], row["step"], row["name"]): row["value"] for row in rows}
    for number, event in zip(numbers, trace.events, strict=True):
        where = f"block_{event.block}/z"
        assert close(found[event.task, number, where], event.value, 1e-4)
        ours = [found[event.task, number, f"{where}/adapter_{slot}"] for slot in range(event.slot)]
        assert close(ours, event.z, 1e-4)
    largest: dict[tuple[int, str], float] = {}
    for task, _, block, z in trace.scanned:
        key = (task, f"block_{block}/largest_z")
        largest[key] = max(largest.get(key, 0.0), reference.criterion(z)[0])
    logged = {(row["task"], row["name"]): row["value"] for row in rows if row["name"].endswith("/largest_z")}
    assert set(logged) == {(task, f"block_{block}/largest_z") for task in range(1, 4) for block in reference.growing}
    assert close([logged[key] for key in largest], list(largest.values()), 1e-4)


def check_parameters(ours: dict[str, Tensor], reference: Reference) -> None:
    """Every parameter within 1e-4 of its own norm, because adapters begin at zero and stay small in few steps."""
    theirs: dict[str, Tensor] = {"head.weight": reference.head[0], "head.bias": reference.head[1]}
    for number, block in enumerate(reference.blocks):
        for s, slot in enumerate(block.slots):
            where = f"{number}.{s}"
            for part, module in slot.parts.items():
                names = {"conv.weight": "conv", "conv.bias": "conv_bias"}
                theirs |= {f"blocks.{where}.{part}.{names.get(name, name)}": p for name, p in module.named_parameters()}
            if slot.grows:
                theirs |= {f"blocks.{where}.router": slot.row.weight, f"blocks.{where}.router_bias": slot.row.bias}
                for layer, linear in (("encoder", slot.descriptor.enc), ("decoder", slot.descriptor.dec)):
                    theirs |= {f"descriptor.{where}.{layer}.{name}": p for name, p in linear.named_parameters()}
    assert {name for name in ours if name != "adapters" and not name.endswith(".statistics")} == set(theirs)
    for name, expected in theirs.items():
        error = (ours[name].flatten() - expected.detach().flatten()).norm()
        assert error <= 1e-4 * expected.norm(), name


QUICK = ("code", "code, convpass", "paper, nested_lora", "paper, lora")


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_a_run_is_that_of_the_reference(tiny_backbone: str, case: str) -> None:
    run, reference = both(config(tiny_backbone, **CASES[case]))
    grew = len(reference.trace.events)
    assert 0 < grew < 3 * len(reference.growing)  # of three tasks that can: not everywhere, and not nowhere
    check(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize("case", ONE_KEY)
def test_every_key_by_itself_is_that_of_the_reference(tiny_backbone: str, case: str) -> None:
    run, reference = both(config(tiny_backbone, **ONE_KEY[case]))
    assert reference.trace.events
    check(run, reference)


@pytest.mark.parametrize("kind", ["adaptmlp", "nested_lora"])
def test_without_expansion_one_adapter_learns_all_tasks(tiny_backbone: str, kind: str) -> None:
    run, reference = both(config(tiny_backbone, expansion="off", ffn_adapter_type=kind))
    train = [row for row in run.rows[0] if row["phase"] == "train"]
    assert close(values(train, "train", "loss"), [loss for _, loss in reference.trace.losses])
    assert close(final_logits(run), reference.trace.logits)
    assert not [row for row in run.rows[0] if row["phase"] in ("expansion", "routing") or "rd_loss" in row["name"]]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["code", "paper"])
def test_a_run_on_glyphs_is_that_of_the_reference(variant: str) -> None:
    """Twelve trained blocks, of which the last three may grow."""
    data = DataConfig(classes="0:20", train_per_class=8, test_per_class=4, flip=False, crop_scale=(0.7, 1.0))
    made = config(
        "glyph_vit", variant=variant, init_cls=5, increment=5, adapt_start_layer=-3, adapt_end_layer=-1, ffn_num=8,
        rd_dim=16, init_lr=0.01, rd_lr=0.01, buffer_size=100, data=data,
        exp_threshold=1.6 if variant == "code" else 2.5,
    )  # fmt: skip
    run, reference = both(made)
    assert 0 < len(reference.trace.events) < 9
    check(run, reference)
