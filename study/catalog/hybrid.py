"""Studies of LoRA and norm tuning on all classes at once."""

from search_spaces.hybrid import HYBRID
from study.catalog.registry import register
from study.reported import (
    SEEDS_002,
    SEEDS_002_BY_FLOOR,
    SEEDS_002_SOURCE,
    SEEDS_003,
    SEEDS_003_SOURCE,
    WEEK6_COMMAND,
)
from study.spec import Objective, Profile, SearchSpec, Study

# 18 images a class to learn from, not CIFAR's 500: small batches and quicker rates give the short run its steps, and
# the warm-up keeps its share of it, about the first of its epochs
_HYBRID_EMBEDDED = Profile(
    dataset="glyphs100",
    backbone="glyph_vit",
    seeds=3,
    settings={
        "batch_size": 32, "epochs": 8, "lr": 3e-3, "lr_norm": 3e-3, "lr_lora": 1.5e-3, "freeze_lora_steps": 40,
        "eval_batch_size": 100,
    },
    data={"flip": False, "crop_scale": (0.7, 1.0), "train_per_class": 20, "test_per_class": 20},
    gpus_per_trial=0.2,
)  # fmt: skip
_WEEK6_PAPER = Profile(
    dataset="cifar100", backbone="vit_small_patch16_224", seeds=3, settings={"freeze_lora_steps": 400}
)
_DEEP_LORA: dict[str, str | float] = {"method": "hybrid_layerwise", "policy": "deep_lora"}
_LORA: dict[str, str | float] = {"method": "lora", "freeze_lora_steps": 0}  # the warm-up is part of the hybrids
_NORM: dict[str, str | float] = {"method": "norm"}

register(
    Study(
        name="hybrid_week1",
        question="Do LoRA and norm tuning add up when both have only a few batches?",
        trainable="hybrid",
        configurations={"lora": {"method": "lora"}, "norm": _NORM, "hybrid_parallel": {"method": "hybrid_parallel"}},
        objective=Objective(metric="best_top1"),
        profiles={
            "embedded": _HYBRID_EMBEDDED.model_copy(
                # short like the notes' runs, and like them with a cosine to zero and no warm-up
                update={"settings": _HYBRID_EMBEDDED.settings
                        | {"epochs": 5, "steps_per_epoch": 50, "freeze_lora_steps": 0, "eta_min": 0.0}}
            ),
            "paper": Profile(
                dataset="cifar10", backbone="vit_tiny_patch16_224", seeds=3,
                settings={"epochs": 5, "steps_per_epoch": 50, "eta_min": 0.0},
            ),
        },
        report="tuning",
        reported=SEEDS_003,
        reported_source=SEEDS_003_SOURCE,
        reported_setting={"dataset": "cifar10", "backbone": "vit_tiny_patch16_224"},
    )
)  # fmt: skip

register(
    Study(
        name="hybrid_week6",
        question="Does LoRA in the deep blocks with norm tuning in the others beat LoRA alone and norms alone?",
        trainable="hybrid",
        configurations={
            "deep_lora": _DEEP_LORA | {"eta_min": 1e-5},
            "lora": _LORA | {"eta_min": 0.0},
            "norm": _NORM | {"eta_min": 0.0},
            "hybrid_parallel": {"method": "hybrid_parallel", "eta_min": 1e-5},
            "head": {"method": "head", "eta_min": 0.0},
        },
        objective=Objective(metric="best_top1"),
        profiles={"embedded": _HYBRID_EMBEDDED, "paper": _WEEK6_PAPER},
        report="tuning",
        reported=SEEDS_002,
        reported_source=SEEDS_002_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_small_patch16_224"},
        notes_command=WEEK6_COMMAND,
    )
)

register(
    Study(
        name="hybrid_eta_min",
        question="Does the ranking of week 6 hold when every method has the same floor under its learning rate?",
        trainable="hybrid",
        configurations={
            f"{label}, eta_min={floor}": fields | {"eta_min": float(floor)}
            for floor in ("1e-5", "0")
            for label, fields in {"deep_lora": _DEEP_LORA, "lora": _LORA, "norm": _NORM}.items()
        },
        objective=Objective(metric="best_top1"),
        profiles={"embedded": _HYBRID_EMBEDDED, "paper": _WEEK6_PAPER},
        report="tuning",
        reported=SEEDS_002_BY_FLOOR,
        reported_source=SEEDS_002_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_small_patch16_224"},
    )
)

register(
    Study(
        name="hybrid_search",
        question="Which mixture of LoRA and norm tuning is good on seeds that its search has never seen?",
        trainable="hybrid",
        configurations={"deep_lora": _DEEP_LORA | {"eta_min": 1e-5}, "lora": _LORA | {"eta_min": 0.0},
                        "norm": _NORM | {"eta_min": 0.0}},
        objective=Objective(metric="final_top1"),
        search=SearchSpec(space=HYBRID, objectives=(Objective(metric="final_val_top1"),)),
        profiles={
            "embedded": _HYBRID_EMBEDDED.model_copy(
                update={"seeds": 8, "settings": _HYBRID_EMBEDDED.settings | {"data.val_fraction": 0.2, "epochs": 4},
                        "data": _HYBRID_EMBEDDED.data | {"classes": "0::2"}}
            ),
            "paper": _WEEK6_PAPER.model_copy(
                update={"seeds": 8, "settings": {"freeze_lora_steps": 40, "data.val_fraction": 0.1}}
            ),
        },
        report="search",
        metrics="tuning",
    )
)  # fmt: skip
