"""Studies of nested LoRA in class-incremental learning."""

from typing import Any

from search_spaces.nested import NESTED
from study.catalog.registry import register
from study.reported import SEEDS_000, SEEDS_000_SOURCE
from study.spec import Objective, Profile, SearchSpec, Study

_GLYPHS: dict[str, Any] = {"flip": False, "crop_scale": (0.7, 1.0)}
_DEPARTURES = (
    "100 characters at 32 px on a small ViT, 25 training images a class; CIFAR-100 at 224 px on ViT-B/16, 500 a class",
    "epochs=5, not 20: with 250 images a task that is what minutes on a laptop bear",
    "data.flip=False, data.crop_scale=0.7 to 1, not 0.05 to 1: a mirrored character, or a corner of one, is another",
)


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
                settings={"epochs": 5},
                data=_GLYPHS | {"train_per_class": 25, "test_per_class": 20},
                gpus_per_trial=0.2,
                departures=_DEPARTURES,
            ),
            "paper": Profile(dataset="cifar100", backbone="vit_base_patch16_224", seeds=5),
        },
        report="continual",
        reported=SEEDS_000,
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224"},
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
                dataset="cifar100", backbone="vit_base_patch16_224", seeds=8,
                settings={"data.val_fraction": 0.1},
            ),
        },
        report="search",
        metrics="continual",
        reported=tuple(entry for entry in SEEDS_000 if entry.configuration in ("baseline", "alpha=0.1", "alpha=0.5")),
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224"},
    )
)  # fmt: skip
