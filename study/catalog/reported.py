"""Numbers reported in the experiment notes. They were not measured by this project; every table labels them so."""

from study.spec import Reported


def percent(*values: float) -> tuple[float, ...]:
    return tuple(round(value / 100, 6) for value in values)


SEEDS_000_SOURCE = "notes seeds/000: CIFAR-100 at 224 px, ViT-B/16 ImageNet-21k, one run each"
SEEDS_000 = (
    Reported(
        configuration="baseline",
        label="run 1",
        accuracy=percent(99.20, 86.30, 71.81, 65.49, 60.63, 57.45, 53.55, 50.69, 47.86, 45.92),
    ),
    Reported(
        configuration="alpha=0.1",
        label="run 1",
        accuracy=percent(96.00, 81.10, 70.88, 64.17, 60.48, 57.45, 53.38, 51.13, 48.12, 46.11),
    ),
    Reported(
        configuration="alpha=0.1",
        label="run 2",
        accuracy=percent(96.00, 66.20, 50.43, 44.05, 45.74, 42.25, 29.00, 35.39, 24.06, 28.01),
        ablation={"fast": 0.3957, "slow": 0.2801, "combined": 0.2801},
    ),
    Reported(
        configuration="alpha=0.5",
        label="run 1",
        accuracy=percent(97.80, 84.85, 72.82, 64.72, 59.99, 56.29, 51.82, 48.81, 45.95, 43.96),
    ),
)

NOTES_LATER_SOURCE = (
    "the notes' repository, later reports: minimal nested LoRA, loss of the task, 5 epochs, CIFAR-100 at 224 px, "
    "ViT-B/16, one run each"
)
NOTES_LATER = (
    Reported(configuration="loss=task", label="plain sum", metrics={"final_accuracy": 0.8134}),
    Reported(configuration="sign-matched, loss=task", label="sign-matched", metrics={"final_accuracy": 0.8127}),
)

SEEDS_003_SOURCE = (
    "notes seeds/003 and the table in their repository: CIFAR-10, vit_tiny_patch16_224, batches of 32, one run each; "
    "after 50 batches the accuracies are multiples of 1/1600, so that 50 test batches seem to have been read"
)
SEEDS_003 = tuple(
    Reported(configuration=label, label="week 1", metrics={"final_top1": top1, "final_ece_batch": ece})
    for label, top1, ece in (
        ("lora, 1 x 50", 0.790, 0.2079),
        ("norm, 1 x 50", 0.827, 0.1795),
        ("hybrid_as_in_week1, 1 x 50", 0.572, 0.2252),
        ("lora, 5 x 50", 0.920, 0.0872),
        ("norm, 5 x 50", 0.916, 0.0942),
        ("hybrid_as_in_week1, 5 x 50", 0.8344, 0.1952),
        ("lora, full epoch", 0.9593, 0.0485),
        ("norm, full epoch", 0.9455, 0.0588),
        ("hybrid_as_in_week1, full epoch", 0.9460, 0.0677),
    )
)

WEEK5_SOURCE = (
    "the notes' repository, week 5: CIFAR-100 at 224 px, vit_small_patch16_224, batch 128, 5 epochs; their table holds "
    "4 runs without freezing (89.73 to 90.06 %), 8 with the warm-up (89.74 to 90.21 %), 7 and 2 with the groups frozen "
    "in turn (89.67 to 89.93 %, 89.38 to 89.50 %), of which one each stands here"
)
WEEK5 = (
    Reported(
        configuration="no freezing",
        label="week 5",
        metrics={"final_top1": 0.9004, "final_ece_batch": 0.0637, "step_time_s": 0.570, "trainable_params": 247_396},
    ),
    Reported(
        configuration="warm-up",
        label="week 5, 200 steps",
        metrics={"final_top1": 0.9021, "final_ece_batch": 0.0600, "step_time_s": 0.571, "trainable_params": 247_396},
    ),
    Reported(
        configuration="in turn, LoRA frozen first",
        label="week 5, 50 steps each",
        metrics={"final_top1": 0.8993, "final_ece_batch": 0.0592, "step_time_s": 0.478},
    ),
    Reported(
        configuration="in turn, norms frozen first",
        label="week 5, 50 steps each",
        metrics={"final_top1": 0.8950, "final_ece_batch": 0.0592, "step_time_s": 0.472},
    ),
)

SEEDS_002_SOURCE = (
    "notes seeds/002 and, for final top-1 and hybrid_parallel, the tables in their repository: CIFAR-100 at 224 px, "
    "vit_small_patch16_224, batch 128, 15 epochs, one run each"
)
_LAYERWISE = {
    "best_top1": 0.9010, "final_top1": 0.9010, "ece_near_best": 0.076, "step_time_s": 0.297,
    "trainable_params": 247_396,
}  # fmt: skip
_LAYERWISE_TO_ZERO = {
    "best_top1": 0.9008, "final_top1": 0.9003, "ece_near_best": 0.0736, "step_time_s": 0.297,
    "trainable_params": 247_396,
}  # fmt: skip
_LORA = {
    "best_top1": 0.8958, "final_top1": 0.8958, "ece_near_best": 0.078, "step_time_s": 0.451,
    "trainable_params": 628_324,
}  # fmt: skip
_NORM = {
    "best_top1": 0.8941, "final_top1": 0.8937, "ece_near_best": 0.059, "step_time_s": 0.219,
    "trainable_params": 57_700,
}  # fmt: skip
_PARALLEL = {
    "best_top1": 0.8979, "final_top1": 0.8979, "ece_near_best": 0.0746, "step_time_s": 0.461,
    "trainable_params": 647_524,
}  # fmt: skip
_LORA_LABEL = "best in epoch 15 (their table has 0.8961 in epoch 14)"
_NORM_LABEL = "best in epoch 6; its ECE is that of epoch 2"
SEEDS_002 = (
    Reported(configuration="deep_lora", label="best in epochs 14-15", metrics=_LAYERWISE),
    Reported(configuration="lora", label=_LORA_LABEL, metrics=_LORA),
    Reported(configuration="norm", label=_NORM_LABEL, metrics=_NORM),
    Reported(configuration="hybrid_parallel", label="best in epoch 15", metrics=_PARALLEL),
)
SEEDS_002_BY_FLOOR = (
    Reported(configuration="deep_lora, eta_min=1e-5", label="best in epochs 14-15", metrics=_LAYERWISE),
    Reported(configuration="deep_lora, eta_min=0", label="best in epoch 9", metrics=_LAYERWISE_TO_ZERO),
    Reported(configuration="lora, eta_min=0", label=_LORA_LABEL, metrics=_LORA),
    Reported(configuration="norm, eta_min=0", label=_NORM_LABEL, metrics=_NORM),
)
"""The same runs by the floor of their learning rate, and one more, for a study that compares floors."""

WEEK6_COMMAND = {
    "python src/week6/train.py": "lora-study hybrid_week6 --profile paper --trials 1, which is all of the below",
    "--dataset cifar100": "--dataset cifar100 (with --profile paper: the default)",
    "--model vit_small_patch16_224": "--backbone vit_small_patch16_224 (with --profile paper: the default)",
    "--img_size 224": "no option: images are resized to what the backbone was built for",
    "--batch_size 128": "--set batch_size=128",
    "--workers 4": "no option: images are decoded once and augmented on the device, no loader processes",
    "--epochs 15": "--set epochs=15",
    "--pretrained": "no option: a backbone always comes with its weights",
    "--log_csv FILE": "no option: every run leaves metrics.parquet and trials.parquet in its --out folder",
    "--method hybrid_layerwise": "--set method=hybrid_layerwise",
    "--policy deep_lora": "--set policy=deep_lora",
    "--unfreeze": "no option: the head is always trained (everything: --set method=full)",
    "--lora_r 8": "--set lora_r=8",
    "--lora_alpha 16": "--set lora_alpha=16",
    "--lora_dropout 0.0": "--set lora_dropout=0.0",
    "--attn_only": "--set attn_only=true",
    "--lr 1e-3": "--set lr=1e-3",
    "--lr_norm 1e-3": "--set lr_norm=1e-3",
    "--lr_lora 5e-4": "--set lr_lora=5e-4",
    "--weight_decay 0.05": "--set weight_decay=0.05 (of the head, as there; 0: weight_decay_lora, weight_decay_norm)",
    "--freeze_lora_steps 400": "--set freeze_lora_steps=400",
    "--freeze_norm_steps 0": "--set freeze_norm_steps=0",
    "--alt_freeze_every 0": "--set alt_freeze_every=0",
    "--alt_freeze_order lora-first": "--set alt_freeze_order=lora-first",
    "--lr_parity 0": "--set lr_parity=0",
    "--lr_parity 1": "--set lr_parity=1 (or dynamic; their code's default)",
    "fp16 on CUDA": "--set precision=fp16 (the default; on a CPU fp32, as there)",
}
"""Command line of seeds/002, "Week-6 recipe", and the further options of its script, option by option."""
