"""Studies of nested LoRA in class-incremental learning."""

from typing import Any

from search_spaces.nested import NESTED
from study.catalog.registry import register
from study.catalog.reported import NOTES_LATER, NOTES_LATER_SOURCE, SEEDS_000, SEEDS_000_SOURCE
from study.spec import Contrast, Objective, Profile, SearchSpec, Study

_CHARACTERS: dict[str, Any] = {"flip": False, "crop_scale": (0.7, 1.0)}
_DEPARTURES = (
    "100 characters at 32 px on a small ViT, 25 training images a class; CIFAR-100 at 224 px on ViT-B/16, 500 a class",
    "epochs=5, not 20: with 250 images a task that is what minutes on a laptop bear",
    "data.flip=False, data.crop_scale=0.7 to 1, not 0.05 to 1: a mirrored character is another, its corner none",
)


_ALPHA_EMBEDDED = Profile(
    dataset="glyphs100",
    backbone="glyph_vit",
    seeds=5,
    settings={"epochs": 5},
    data=_CHARACTERS | {"train_per_class": 25, "test_per_class": 20},
    gpus_per_trial=0.2,
    departures=_DEPARTURES,
)


def _worth(name: str, changed: str, without: str, group: str) -> Contrast:
    return Contrast(name=name, plus=(changed,), minus=(without,), group=group)


def _nested(alpha: float) -> dict[str, Any]:
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
        contrasts=(
            Contrast(name="a second adapter (alpha = 0)", plus=("alpha=0",), minus=("baseline",)),
            *(
                Contrast(name=f"consolidation (alpha = {alpha})", plus=(f"alpha={alpha}",), minus=("alpha=0",))
                for alpha in ("0.1", "0.5", "1")
            ),
        ),
        objective=Objective(metric="final_accuracy"),
        profiles={
            "embedded": _ALPHA_EMBEDDED,
            "paper": Profile(dataset="cifar100", backbone="vit_base_patch16_224", seeds=5),
        },
        reported=SEEDS_000,
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224"},
    )
)

_NOTES = _nested(0.1)
_BASELINE: dict[str, Any] = {"lr_fast": 0.01, "lr_slow": 0.0, "consolidation": False}
_TASK: dict[str, Any] = {"loss_classes": "task"}
_DRAWN: dict[str, Any] = {"class_order": "replica"}

register(
    Study(
        name="nested_cause",
        question="What makes runs end below their frozen backbone, and how many points is each cause worth?",
        trainable="nested",
        configurations={
            "notes": _NOTES,
            "baseline": _BASELINE,
            "alpha=0": _nested(0.0),
            "alpha=0.5": _nested(0.5),
            "loss=task": _NOTES | _TASK,
            "reinit": _NOTES | {"fast_reset": "reinit"},
            "lr_slow=0": _NOTES | {"lr_slow": 0.0},
            "interval=5": _NOTES | {"update_interval_slow": 5},
            "interval=5, skip": _NOTES | {"update_interval_slow": 5, "interval_mode": "skip"},
            "linear": _NOTES | {"placement": "linear"},
            "linear, function": _NOTES | {"placement": "linear", "consolidation_space": "function"},
            "order drawn": _NOTES | _DRAWN,
            "baseline, loss=task": _BASELINE | _TASK,
            "alpha=0.5, loss=task": _nested(0.5) | _TASK,
            "reinit, loss=task": _NOTES | {"fast_reset": "reinit"} | _TASK,
            "reinit, alpha=0.5": _nested(0.5) | {"fast_reset": "reinit"},
            "sign-matched, loss=task": _NOTES | _TASK | {"consolidation_method": "sign_matched"},
            "baseline, order drawn": _BASELINE | _DRAWN,
            "loss=task, order drawn": _NOTES | _TASK | _DRAWN,
        },
        contrasts=(
            _worth("loss over all classes seen, not the task's", "notes", "loss=task", "loss"),
            _worth("loss over all classes seen, one adapter", "baseline", "baseline, loss=task", "loss"),
            _worth("loss over all classes seen, alpha = 0.5", "alpha=0.5", "alpha=0.5, loss=task", "loss"),
            _worth("loss over all classes seen, order drawn", "order drawn", "loss=task, order drawn", "loss"),
            _worth("fast reset to zero, not drawn anew", "notes", "reinit", "reset"),
            _worth("fast reset to zero, alpha = 0.5", "alpha=0.5", "reinit, alpha=0.5", "reset"),
            _worth("fast reset to zero, loss of the task", "loss=task", "reinit, loss=task", "reset"),
            _worth("nested at alpha = 0.1, not one adapter", "notes", "baseline", "alpha"),
            _worth("nested at alpha = 0.1, order drawn", "order drawn", "baseline, order drawn", "alpha"),
            _worth("alpha = 0.1, not 0", "notes", "alpha=0", "alpha"),
            _worth("alpha = 0.5, not 0.1", "alpha=0.5", "notes", "alpha"),
            _worth("alpha = 0.5, not 0.1, loss of the task", "alpha=0.5, loss=task", "loss=task", "alpha"),
            _worth("slow rate 0.005, not 0", "notes", "lr_slow=0", "slow updates"),
            _worth("slow updates every 5 steps, not every one", "interval=5", "notes", "slow updates"),
            _worth("zeroed gradients in between, not no step", "interval=5", "interval=5, skip", "slow updates"),
            _worth("consolidation of functions, not of parameters", "linear, function", "linear", "space"),
            _worth("class order drawn by seed, not 1993", "order drawn", "notes", "class order"),
        ),
        objective=Objective(metric="final_accuracy"),
        profiles={
            "embedded": _ALPHA_EMBEDDED.model_copy(update={"seeds": 8}),
            "paper": Profile(dataset="cifar100", backbone="vit_base_patch16_224", seeds=8),
        },
        reported=NOTES_LATER,
        reported_source=NOTES_LATER_SOURCE,
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
                settings={"epochs": 3, "data.val_fraction": 0.25},
                data=_CHARACTERS | {"classes": "0::2", "train_per_class": 24, "test_per_class": 20},
                gpus_per_trial=0.2,
                departures=_DEPARTURES,
            ),
            "paper": Profile(
                dataset="cifar100", backbone="vit_base_patch16_224", seeds=8,
                settings={"data.val_fraction": 0.1},
            ),
        },
        reported=tuple(entry for entry in SEEDS_000 if entry.configuration in ("baseline", "alpha=0.1", "alpha=0.5")),
        reported_source=SEEDS_000_SOURCE,
        reported_setting={"dataset": "cifar100", "backbone": "vit_base_patch16_224"},
    )
)  # fmt: skip
