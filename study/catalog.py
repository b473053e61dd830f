"""Every named study, as data. Adding a study is one ``register`` call here (CONTRIBUTING.md)."""

from search_spaces.hybrid import HYBRID
from search_spaces.nested import NESTED
from search_spaces.rank import RANK
from study.reported import (
    SEEDS_000,
    SEEDS_000_SOURCE,
    SEEDS_002,
    SEEDS_002_BY_FLOOR,
    SEEDS_002_SOURCE,
    SEEDS_003,
    SEEDS_003_SOURCE,
    WEEK6_COMMAND,
)
from study.spec import Objective, Profile, SearchSpec, Study

STUDIES: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Add a study to the catalogue.

    Raises:
        ValueError: the name is taken.
    """
    if study.name in STUDIES:
        raise ValueError(f"study {study.name!r} is registered twice")
    STUDIES[study.name] = study
    return study


def _nested(alpha: float) -> dict[str, float | bool]:
    return {"lr_fast": 0.05, "lr_slow": 0.005, "consolidation": True, "consolidation_alpha": alpha}


register(
    Study(
        name="nested_alpha",
        question="Does consolidating fast into slow weights help, and can the result be trusted?",
        trainable="nested",
        configurations={
            "baseline": {"lr_fast": 0.01, "lr_slow": 0.0, "consolidation": False},
            "alpha=0": _nested(0.0),
            "alpha=0.1": _nested(0.1),
            "alpha=0.5": _nested(0.5),
            "alpha=1": _nested(1.0),
        },
        objective=Objective(metric="final_accuracy"),
        profiles={
            "embedded": Profile(
                dataset="glyphs100",
                backbone="glyph_vit",
                seeds=5,
                # 250 images a task, not CIFAR's 5,000: small batches and a quicker head give each task its steps
                settings={"batch_size": 16, "init_lr": 0.02},
                data={"flip": False, "crop_scale": (0.7, 1.0), "train_per_class": 25, "test_per_class": 12},
                gpus_per_trial=0.2,
            ),
            "paper": Profile(dataset="cifar100", backbone="vit_base_patch16_224.augreg_in21k", seeds=5),
        },
        report="continual",
        reported=SEEDS_000,
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224.augreg_in21k"},
    )
)


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
        name="nested_search",
        question="Which nested LoRA is good on seeds that its search has never seen?",
        trainable="nested",
        configurations={
            "alpha=0.1": _nested(0.1),
            "alpha=0.5": _nested(0.5),
            "baseline": {"lr_fast": 0.01, "lr_slow": 0.0, "consolidation": False},
        },
        objective=Objective(metric="final_accuracy"),
        search=SearchSpec(space=NESTED, objectives=(Objective(metric="final_val_accuracy"),)),
        profiles={
            "embedded": Profile(
                dataset="glyphs100",
                backbone="glyph_vit",
                seeds=8,
                # every second class in 5 tasks: a run is short, and there are many
                settings={"batch_size": 16, "init_lr": 0.02, "epochs": 3, "data.val_fraction": 0.25},
                data={
                    "classes": "0::2", "flip": False, "crop_scale": (0.7, 1.0), "train_per_class": 24,
                    "test_per_class": 12,
                },
                gpus_per_trial=0.2,
            ),
            "paper": Profile(
                dataset="cifar100", backbone="vit_base_patch16_224.augreg_in21k", seeds=8,
                settings={"data.val_fraction": 0.1},
            ),
        },
        report="search",
        metrics="continual",
        reported=tuple(entry for entry in SEEDS_000 if entry.configuration in ("baseline", "alpha=0.1", "alpha=0.5")),
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224.augreg_in21k"},
    )
)  # fmt: skip

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


register(
    Study(
        name="lora_theory",
        question="Does gradient training of LoRA reach the best error that its rank allows, whatever the scaling?",
        trainable="theory",
        configurations={  # the same at rank 1; from there on fixed alpha makes the update smaller and smaller
            "alpha = r": {"scaling": "proportional", "c": 1.0},
            "alpha = 1": {"scaling": "fixed", "lora_alpha": 1.0},
        },
        objective=Objective(metric="worst_gap", direction="minimize"),
        profiles={
            "embedded": Profile(dataset="gaussian", backbone="linear", seeds=16, gpus_per_trial=0.25),
            "paper": Profile(
                dataset="gaussian", backbone="linear", seeds=32, gpus_per_trial=0.25,
                settings={"d_in": 128, "d_out": 128, "samples": 262_144, "ranks": [1, 2, 4, 8, 16, 32, 64],
                          "steps_per_epoch": 200},
            ),
        },
        report="theory",
    )
)  # fmt: skip


_RANKS = (1, 2, 4, 8, 16, 32)
# 752 steps, not SST-2's 10,500: quicker rates
_RANK_EMBEDDED = Profile(
    dataset="reviews",
    backbone="review_bert",
    seeds=3,
    settings={"epochs": 4, "lr": 5e-3, "lr_lora": 3e-3, "lr_full": 5e-4},
    gpus_per_trial=0.1,
)
_RANK_PAPER = Profile(dataset="sst2", backbone="prajjwal1/bert-tiny", seeds=5, gpus_per_trial=0.1)

register(
    Study(
        name="lora_rank",
        question="How much rank does LoRA need, and what do the head alone and full fine-tuning reach?",
        trainable="rank",
        configurations={
            "head": {"method": "head"},
            **{f"r={rank}": {"method": "lora", "rank": rank, "scaling": "proportional"} for rank in _RANKS},
            "full": {"method": "full"},
        },
        objective=Objective(metric="final_top1"),
        profiles={"embedded": _RANK_EMBEDDED, "paper": _RANK_PAPER},
        report="rank",
    )
)

register(
    Study(
        name="lora_scaling",
        question="Does a fixed alpha harm high ranks, where alpha = c r does not?",
        trainable="rank",
        configurations={
            f"r={rank}, {rule}": {"method": "lora", "rank": rank, "scaling": scaling}
            for scaling, rule in {"proportional": "alpha=c r", "fixed": "alpha fixed"}.items()
            for rank in _RANKS
        },
        objective=Objective(metric="final_top1"),
        profiles={"embedded": _RANK_EMBEDDED, "paper": _RANK_PAPER},
        report="rank",
    )
)

register(
    Study(
        name="rank_search",
        question="Which rank, scale and rates of LoRA are good on seeds that their search has never seen?",
        trainable="rank",
        configurations={
            "r=8": {"rank": 8, "scaling": "proportional"},
            "r=1": {"rank": 1, "scaling": "proportional"},
            "r=32, alpha fixed": {"rank": 32, "scaling": "fixed"},
        },
        objective=Objective(metric="final_top1"),
        search=SearchSpec(space=RANK, objectives=(Objective(metric="final_val_top1"),)),
        profiles={
            "embedded": _RANK_EMBEDDED.model_copy(
                update={"seeds": 8, "data": {"train_examples": 3000}, "settings": _RANK_EMBEDDED.settings
                        | {"epochs": 3, "data.val_fraction": 0.2}}
            ),
            "paper": _RANK_PAPER.model_copy(update={"seeds": 8, "settings": {"data.val_fraction": 0.05}}),
        },
        report="search",
        metrics="rank",
    )
)  # fmt: skip
