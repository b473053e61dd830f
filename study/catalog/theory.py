"""The study of linear LoRA against the best error that its rank allows."""

from study.catalog.registry import register
from study.spec import Objective, Profile, Study

register(
    Study(
        name="lora_theory",
        question="Does gradient training of LoRA reach the best error that its rank allows, whatever the scaling?",
        trainable="theory",
        configurations={  # the same at rank 1; from there on fixed alpha makes the update smaller and smaller
            "alpha = r": {"scaling": "proportional", "c": 1.0},
            "alpha = 1": {"scaling": "fixed", "lora_alpha": 1.0},
        },
        objective=Objective(metric="worst_gap"),
        profiles={
            "embedded": Profile(dataset="gaussian", backbone="linear", seeds=16, gpus_per_trial=0.25),
            "paper": Profile(
                dataset="gaussian", backbone="linear", seeds=32, gpus_per_trial=0.25,
                settings={"d_in": 128, "d_out": 128, "samples": 262_144, "ranks": [1, 2, 4, 8, 16, 32, 64],
                          "steps_per_epoch": 200},
            ),
        },
    )
)  # fmt: skip
