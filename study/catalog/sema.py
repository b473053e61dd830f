"""Studies of SEMA: nested adapters inside it, its ablations, its threshold, and a search."""

from typing import Any

from search_spaces.sema import SEMA
from study.catalog.registry import register
from study.catalog.reported_sema import (
    NESTED_IN_SEMA,
    SEMA_NOTES_SOURCE,
    SEMA_PAPER,
    SEMA_PAPER_SOURCE,
    SEMA_SETTING,
)
from study.spec import Contrast, Objective, Profile, SearchSpec, Study

ON_GLYPHS = (
    "100 characters at 32 px on a small ViT, 16 training images a class; CIFAR-100 at 224 px on ViT-B/16, 500 a class",
    "class_order=labels, not shuffled: a task is a family of characters (digits, capitals, small letters, Greek, "
    "Cyrillic, signs), so that some tasks are unlike all before; shuffled, few blocks grow",
    "data.flip=False, data.crop_scale=0.7 to 1, not 0.05 to 1: a mirrored character is another, its corner none",
    "rd_dim=16, not 128, which is above this ViT's width of 64; detect_batch_size=64, not 128, of a task's 160 images",
)
SMALL: dict[str, Any] = {
    "class_order": "labels", "epochs": 5, "rd_dim": 16, "detect_batch_size": 64,
}  # fmt: skip
QUICK: dict[str, Any] = {"init_lr": 0.05, "lr_fast": 0.1, "lr_slow": 0.01}
GLYPHS: dict[str, Any] = {"flip": False, "crop_scale": (0.7, 1.0), "train_per_class": 16, "test_per_class": 10}
SEMA_EMBEDDED = Profile(
    dataset="glyphs100",
    backbone="glyph_vit",
    seeds=5,
    settings=SMALL | QUICK,
    data=GLYPHS,
    gpus_per_trial=0.2,
    departures=(
        *ON_GLYPHS,
        "init_lr, lr_fast and lr_slow are 10 times the published ones: a task has 25 steps, not 785",
    ),
)
SEMA_PAPER_PROFILE = Profile(seeds=5, **SEMA_SETTING)  # type: ignore[arg-type]

_ADAPTER: dict[str, Any] = {"ffn_adapter_type": "adaptmlp", "ffn_num": 32}
# at the notes' rates, 0.01 and 0.001, which are the defaults
_NESTED: dict[str, Any] = {"ffn_adapter_type": "nested_lora", "rank": 16, "update_interval_slow": 5}
_INTERVALS = {1: "every task", 5: "every 5 tasks"}


def _consolidated(alpha: float, interval: int) -> dict[str, Any]:
    return _NESTED | {"consolidation": True, "consolidation_alpha": alpha, "consolidation_interval": interval}


register(
    Study(
        name="sema_nested",
        question="Inside SEMA, does a nested adapter beat one adapter of its size, and does consolidation help it?",
        trainable="sema",
        # rank 16 + 16 has the weights of a bottleneck of 32, and one bias of the block's width more
        configurations={
            "adapter": _ADAPTER,
            "nested": _NESTED,
            **{
                f"alpha={alpha:g}, {when}": _consolidated(alpha, interval)
                for interval, when in _INTERVALS.items()
                for alpha in (0.0, 0.05, 0.1, 0.2)
            },
        },
        contrasts=(
            Contrast(name="nested, not one adapter of its size", plus=("nested",), minus=("adapter",), group="adapter"),
            *(
                Contrast(
                    name=f"fast emptied after {when}, nothing added", plus=(f"alpha=0, {when}",), minus=("nested",),
                    group="consolidation",
                )
                for when in _INTERVALS.values()
            ),
            *(
                Contrast(
                    name=f"consolidation after {when} (alpha = {alpha})", plus=(f"alpha={alpha}, {when}",),
                    minus=("nested",), group="consolidation",
                )
                for when in _INTERVALS.values()
                for alpha in ("0.05", "0.1", "0.2")
            ),
        ),
        objective=Objective(metric="final_accuracy"),
        profiles={"embedded": SEMA_EMBEDDED, "paper": SEMA_PAPER_PROFILE},
        reported=NESTED_IN_SEMA,
        reported_source=SEMA_NOTES_SOURCE,
        reported_setting=SEMA_SETTING,
    )
)  # fmt: skip

_ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune_adapter": ("one adapter per block, trained in every task", {"expansion": "off"}),
    "average": ("all adapters weighted equally", {"routing": "average"}),
    "random": ("random weights", {"routing": "random"}),
    "top1": ("the likeliest adapter alone", {"routing": "top1"}),
    "random_one": ("one adapter at random", {"routing": "random_one"}),
    "top1_inference": ("the likeliest adapter alone, in tests only", {"routing": "top1_inference"}),
    "lora": ("LoRA, not a bottleneck with ReLU", {"ffn_adapter_type": "lora"}),
    "convpass": ("a convolution in the bottleneck", {"ffn_adapter_type": "convpass"}),
}

register(
    Study(
        name="sema_ablation",
        question="Which parts of SEMA does its accuracy need: growing, the router's weights, the kind of adapter?",
        trainable="sema",
        configurations={"SEMA": {}} | {label: fields for label, (_, fields) in _ABLATIONS.items()},
        contrasts=tuple(
            Contrast(
                name=name, plus=(label,), minus=("SEMA",),
                group=next(iter(fields)).replace("ffn_adapter_type", "adapter"),
            )
            for label, (name, fields) in _ABLATIONS.items()
        ),
        objective=Objective(metric="final_accuracy"),
        profiles={"embedded": SEMA_EMBEDDED, "paper": SEMA_PAPER_PROFILE},
        reported=SEMA_PAPER["SEMA"],
        reported_source=SEMA_PAPER_SOURCE,
        reported_setting=SEMA_SETTING,
    )
)  # fmt: skip

_THRESHOLDS, _LAST = (1.0, 1.5, 2.0, 3.0), (3, 2, 4)


def _grown(threshold: float, last: int) -> str:
    return f"z > {threshold:g}, last {last} blocks"


register(
    Study(
        name="sema_threshold",
        question="How do the threshold and the number of blocks that may grow trade accuracy for adapters?",
        trainable="sema",
        configurations={
            _grown(threshold, last): {"exp_threshold": threshold, "adapt_start_layer": -last}
            for last in _LAST
            for threshold in sorted(_THRESHOLDS, key=lambda threshold: threshold != 2.0)
        },
        contrasts=(
            *(
                Contrast(
                    name=f"threshold {threshold:g}, not 2, last {last} blocks", plus=(_grown(threshold, last),),
                    minus=(_grown(2.0, last),), group="threshold",
                )
                for last in _LAST
                for threshold in _THRESHOLDS
                if threshold != 2.0
            ),
            *(
                Contrast(
                    name=f"last {last} blocks, not 3, z > {threshold:g}", plus=(_grown(threshold, last),),
                    minus=(_grown(threshold, 3),), group="blocks",
                )
                for last in _LAST[1:]
                for threshold in _THRESHOLDS
            ),
        ),
        objective=Objective(metric="final_accuracy"),
        profiles={
            "embedded": SEMA_EMBEDDED.model_copy(update={"seeds": 3}),
            "paper": SEMA_PAPER_PROFILE.model_copy(update={"seeds": 3}),
        },
        reported=tuple(
            entry.model_copy(update={"configuration": _grown(2.0, 3)}) for entry in SEMA_PAPER["SEMA"]
        ),
        reported_source=SEMA_PAPER_SOURCE,
        reported_setting=SEMA_SETTING,
    )
)  # fmt: skip

_BRIEF: dict[str, Any] = {"epochs": 1, "rd_epoch": 1}

register(
    Study(
        name="sema_debug",
        question="Does SEMA run from end to end, with one adapter and with a nested one, in under a minute?",
        trainable="sema",
        configurations={
            "adapter": {"ffn_adapter_type": "adaptmlp"},
            "nested": _NESTED | {"rank": 8, "update_interval_slow": 2},
        },
        objective=Objective(metric="final_accuracy"),
        profiles={
            "embedded": SEMA_EMBEDDED.model_copy(
                update={
                    "seeds": 2, "settings": SMALL | QUICK | _BRIEF | {"exp_threshold": 0.5},
                    "data": GLYPHS | {"classes": "0::5", "train_per_class": 10, "test_per_class": 5},
                    "departures": (
                        *SEMA_EMBEDDED.departures,
                        "two tasks of 10 characters, not of 50 classes, 10 images each; exp_threshold=0.5, not 2: "
                        "descriptors of one epoch know nothing, and something is to grow",
                    ),
                }
            ),
            "paper": SEMA_PAPER_PROFILE.model_copy(
                update={"seeds": 1, "settings": _BRIEF | {"init_cls": 50, "increment": 50}}
            ),
        },
    )
)  # fmt: skip

register(
    Study(
        name="sema_search",
        question="Which SEMA is good on seeds that its search has never seen?",
        trainable="sema",
        configurations={"adapter": _ADAPTER, "nested": _NESTED, "finetune_adapter": {"expansion": "off"}},
        objective=Objective(metric="final_accuracy"),
        search=SearchSpec(space=SEMA, objectives=(Objective(metric="final_val_accuracy"),)),
        profiles={
            "embedded": SEMA_EMBEDDED.model_copy(
                update={
                    "seeds": 8, "settings": SMALL | QUICK | {"epochs": 3, "data.val_fraction": 0.25},
                    "data": GLYPHS | {"classes": "0::2", "train_per_class": 24},
                    "departures": (
                        *SEMA_EMBEDDED.departures,
                        "every second character in 5 tasks, 24 training images each, 6 of them held out",
                    ),
                }
            ),
            "paper": SEMA_PAPER_PROFILE.model_copy(update={"seeds": 8, "settings": {"data.val_fraction": 0.1}}),
        },
        reported=tuple(entry for entry in NESTED_IN_SEMA if entry.configuration in ("adapter", "nested")),
        reported_source=SEMA_NOTES_SOURCE,
        reported_setting=SEMA_SETTING,
    )
)  # fmt: skip
