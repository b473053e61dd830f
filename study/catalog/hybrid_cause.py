"""What in the notes' recipe the order of the hybrid methods depends on, one change at a time."""

from typing import Any

from study.catalog.hybrid import (
    CIFAR100,
    DEEP_LORA,
    HYBRID_EMBEDDED,
    LORA,
    NORM,
    OF_PARALLEL,
    PARALLEL,
    UNSCALED,
    WEEK6_PAPER,
)
from study.catalog.registry import register
from study.catalog.reported import SEEDS_002, SEEDS_002_SOURCE
from study.spec import Contrast, Objective, Study

_NOTES: dict[str, dict[str, Any]] = {
    "deep_lora": DEEP_LORA,
    "lora": LORA,
    "norm": NORM,
    "hybrid_parallel": PARALLEL | UNSCALED,
}
_CHANGES: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "LoRA decayed": ({"weight_decay_lora": 0.05}, ("deep_lora", "lora"), "no weight decay on LoRA"),
    "peft init": ({"lora_init": "peft"}, ("deep_lora", "lora"), "the notes' larger A"),
    "timm images": ({"data.transform": "timm"}, ("deep_lora", "lora", "norm"), "whole pictures"),
    "lr_parity": ({"lr_parity": "dynamic"}, ("deep_lora", "hybrid_parallel"), "no lr_parity"),
}
"""Name -> the fields that differ from the notes' recipe, the methods that have them, and what the notes' choice is."""
_GAPS = (("deep_lora", "lora"), ("lora", "norm"), ("deep_lora", "norm"))
_RECIPES = ("", "LoRA decayed", "peft init", "timm images", "lr_parity")


def _label(method: str, change: str) -> str:
    """The configuration of a method under a change, or of the notes where the change does not touch it."""
    return f"{method}, {change}" if change and method in _CHANGES[change][1] else method


def _contrasts() -> list[Contrast]:
    found = [
        Contrast(name=f"{text} ({method})", plus=(method,), minus=(_label(method, change),), group="the notes' choice")
        for change, (_, methods, text) in _CHANGES.items()
        for method in methods
    ]
    found.append(
        Contrast(
            name="shifted pictures, not scaled (hybrid_parallel)",
            plus=("hybrid_parallel",),
            minus=("hybrid_parallel, cifar images",),
            group="the notes' choice",
        )
    )
    for change in _RECIPES:
        for better, worse in _GAPS:
            plus, minus = _label(better, change), _label(worse, change)
            if change and (plus, minus) == (better, worse):
                continue  # the change touches neither
            name = f"{better} over {worse} ({change or 'the notes'})"
            found.append(Contrast(name=name, plus=(plus,), minus=(minus,), group="order"))
    for change in ("LoRA decayed", "peft init", "timm images"):  # lr_parity touches one side: its worth is the move
        found.append(
            Contrast(
                name=f"{_CHANGES[change][2]} (deep_lora over lora)",
                plus=("deep_lora", _label("lora", change)),
                minus=("lora", _label("deep_lora", change)),
                group="moves the gap",
            )
        )
    return found


register(
    Study(
        name="hybrid_cause",
        question="Does the order layerwise hybrid > LoRA > norms depend on the recipe, and on which part of it?",
        trainable="hybrid",
        configurations=_NOTES
        | {
            _label(method, change): _NOTES[method] | fields
            for change, (fields, methods, _) in _CHANGES.items()
            for method in methods
        }
        | {"hybrid_parallel, cifar images": PARALLEL},
        contrasts=tuple(_contrasts()),
        objective=Objective(metric="final_top1"),
        profiles={
            "embedded": HYBRID_EMBEDDED.model_copy(
                update={"seeds": 8, "departures": (*HYBRID_EMBEDDED.departures, *OF_PARALLEL)}
            ),
            "paper": WEEK6_PAPER.model_copy(update={"seeds": 8}),
        },
        reported=SEEDS_002,
        reported_source=SEEDS_002_SOURCE,
        reported_setting=CIFAR100,
    )
)
