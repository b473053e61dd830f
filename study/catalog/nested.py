"""Studies of nested LoRA in class-incremental learning."""

from search_spaces.nested import NESTED
from study.catalog.registry import register
from study.reported import SEEDS_000, SEEDS_000_SOURCE
from study.spec import Objective, Profile, SearchSpec, Study


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
