"""Week 1 of the hybrid notes: LoRA, norm tuning and both on a few batches."""

from typing import Any

from study.catalog.hybrid import FLIPPED, HELD_OUT, HELD_OUT_EMBEDDED
from study.catalog.registry import register
from study.catalog.reported import SEEDS_003, SEEDS_003_SOURCE
from study.spec import Claim, Contrast, Objective, Profile, Study

# one rate and one weight decay for all that trains, as their configuration files have them: the hybrid's are LoRA's
_DECAYED = {"weight_decay": 0.05, "weight_decay_lora": 0.05, "weight_decay_norm": 0.05}
_WITH_LORA: dict[str, Any] = {"lr": 3e-4, "lr_norm": 3e-4, "lr_lora": 3e-4, "lora_dropout": 0.05} | _DECAYED
_METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora"} | _WITH_LORA,
    "norm": {"method": "norm", "lr": 1e-3, "lr_norm": 1e-3, "weight_decay": 0.0},
    "hybrid_parallel": {"method": "hybrid_parallel"} | _WITH_LORA,
    "hybrid_as_in_week1": {"method": "hybrid_parallel"} | _WITH_LORA | {"lr_lora": 0.0},
}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "1 x 50": {"epochs": 1, "steps_per_epoch": 50},
    "5 x 50": {"epochs": 5, "steps_per_epoch": 50},
    "full epoch": {"epochs": 1},
}
_RECIPE: dict[str, Any] = {
    "data.transform": "cifar_week3", "batch_size": 32, "eta_min": 0.0, "lora_init": "peft", "precision": "fp32",
}  # fmt: skip
_PAIRS = {
    "norm tuning at LoRA's rate and decay": ("hybrid_as_in_week1", "norm"),
    "training the hybrid's LoRA": ("hybrid_parallel", "hybrid_as_in_week1"),
    "norms beside LoRA": ("hybrid_parallel", "lora"),
    "LoRA beside norms, both at LoRA's rate": ("hybrid_parallel", "norm"),
}
_HYBRID = "hybrid_as_in_week1"
_ORDERS: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    ("1 x 50", ("norm", "lora", _HYBRID), "", "NormTune wins early, the hybrid collapsed"),
    ("5 x 50", ("lora", "norm", _HYBRID), "", "LoRA best, NormTune competitive, no gain of the hybrid"),
    ("5 x 50", ("lora", "norm"), "final_ece_batch", "LoRA is slightly better calibrated"),
    ("full epoch", ("lora", "norm"), "final_ece_batch", "LoRA is slightly better calibrated"),
)
"""Schedule, order of methods, metric and words of what week 1 claims."""

register(
    Study(
        name="hybrid_week1",
        question="Do LoRA and norm tuning add up on a few batches, and what did the hybrid of week 1 lack?",
        trainable="hybrid",
        configurations={
            f"{method}, {schedule}": fields | steps
            for schedule, steps in _SCHEDULES.items()
            for method, fields in _METHODS.items()
        },
        contrasts=tuple(
            Contrast(name=f"{name} ({schedule})", plus=(f"{plus}, {schedule}",), minus=(f"{minus}, {schedule}",),
                     group=name)
            for name, (plus, minus) in _PAIRS.items()
            for schedule in _SCHEDULES
        ),
        claims=tuple(
            Claim(order=tuple(f"{method}, {schedule}" for method in order), metric=metric,
                  source=f"notes seeds/003: {words}")
            for schedule, order, metric, words in _ORDERS
        ),
        objective=Objective(metric="final_top1"),
        profiles={
            "embedded": Profile(
                dataset="glyphs100",
                backbone="glyph_vit",
                seeds=3,
                settings=_RECIPE | {"eval_batch_size": 100},
                data={
                    "classes": "0::10", "mean": (0.5,) * 3, "std": (0.5,) * 3, "flip": False, "train_per_class": 400,
                    "test_per_class": 200,
                },
                gpus_per_trial=0.2,
                departures=(
                    "10 characters at 32 px on a small ViT, a full epoch is 113 batches; CIFAR-10 at 224 px on "
                    "vit_tiny, 1,563 batches",
                    "data.mean, data.std 0.5, those of the embedded ViT, not CIFAR-10's",
                    FLIPPED,
                    "the padding of 4 pixels is an eighth of these pictures, a 56th of the notes'",
                    HELD_OUT_EMBEDDED,
                ),
            ),
            "paper": Profile(
                dataset="cifar10",
                backbone="vit_tiny_patch16_224",
                seeds=3,
                settings=_RECIPE | {"temperature_fraction": 0.02},
                data={"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)},
                departures=(
                    HELD_OUT,
                    "rates, weight decay and batch size are those of the last configuration files in the notes' "
                    "repository; the notes do not give them",
                    "all 10,000 test images; after 50 batches the notes seem to have read 1,600 of them",
                ),
            ),
        },
        reported=SEEDS_003,
        reported_source=SEEDS_003_SOURCE,
        reported_setting={"dataset": "cifar10", "backbone": "vit_tiny_patch16_224"},
    )
)  # fmt: skip
