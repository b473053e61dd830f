"""Numbers reported in the experiment notes. They were not measured by this project; every table labels them so."""

from study.spec import Reported


def percent(*values: float) -> tuple[float, ...]:
    return tuple(round(value / 100, 6) for value in values)


SEEDS_000_SOURCE = "notes seeds/000: CIFAR-100 at 224 px, ViT-B/16 ImageNet-21k, one run each"
_BY_TASK: tuple[tuple[str, str, tuple[float, ...], dict[str, float]], ...] = (
    ("baseline", "run 1", (99.20, 86.30, 71.81, 65.49, 60.63, 57.45, 53.55, 50.69, 47.86, 45.92), {}),
    ("alpha=0.1", "run 1", (96.00, 81.10, 70.88, 64.17, 60.48, 57.45, 53.38, 51.13, 48.12, 46.11), {}),
    ("alpha=0.1", "run 2", (96.00, 66.20, 50.43, 44.05, 45.74, 42.25, 29.00, 35.39, 24.06, 28.01),
     {"fast": 0.3957, "slow": 0.2801, "combined": 0.2801}),
    ("alpha=0.5", "run 1", (97.80, 84.85, 72.82, 64.72, 59.99, 56.29, 51.82, 48.81, 45.95, 43.96), {}),
)  # fmt: skip
SEEDS_000 = tuple(
    Reported(configuration=name, label=label, accuracy=percent(*accuracy), ablation=ablation)
    for name, label, accuracy, ablation in _BY_TASK
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
WEEK5 = tuple(
    Reported(configuration=name, label=label,
             metrics={"final_top1": top1, "final_ece_batch": ece, "step_time_s": seconds} | parameters)
    for name, label, top1, ece, seconds, parameters in (
        ("no freezing", "week 5", 0.9004, 0.0637, 0.570, {"trainable_params": 247_396}),
        ("warm-up", "week 5, 200 steps", 0.9021, 0.0600, 0.571, {"trainable_params": 247_396}),
        ("in turn, LoRA frozen first", "week 5, 50 steps each", 0.8993, 0.0592, 0.478, {}),
        ("in turn, norms frozen first", "week 5, 50 steps each", 0.8950, 0.0592, 0.472, {}),
    )
)  # fmt: skip

SEEDS_002_SOURCE = (
    "notes seeds/002 and, for final top-1 and hybrid_parallel, the tables in their repository: CIFAR-100 at 224 px, "
    "vit_small_patch16_224, batch 128, 15 epochs, one run each"
)
_METRICS = ("best_top1", "final_top1", "ece_near_best", "step_time_s", "trainable_params")
_LAYERWISE = ("best in epochs 14-15", 0.9010, 0.9010, 0.076, 0.297, 247_396)
_LAYERWISE_TO_ZERO = ("best in epoch 9", 0.9008, 0.9003, 0.0736, 0.297, 247_396)
_LORA = ("best in epoch 15 (their table has 0.8961 in epoch 14)", 0.8958, 0.8958, 0.078, 0.451, 628_324)
_NORM = ("best in epoch 6; its ECE is that of epoch 2", 0.8941, 0.8937, 0.059, 0.219, 57_700)
_PARALLEL = ("best in epoch 15", 0.8979, 0.8979, 0.0746, 0.461, 647_524)


def _week6(**runs: tuple[str | float, ...]) -> tuple[Reported, ...]:
    return tuple(
        Reported(configuration=name, label=str(label), metrics=dict(zip(_METRICS, map(float, values), strict=True)))
        for name, (label, *values) in runs.items()
    )


SEEDS_002 = _week6(deep_lora=_LAYERWISE, lora=_LORA, norm=_NORM, hybrid_parallel=_PARALLEL)
SEEDS_002_BY_FLOOR = _week6(
    **{"deep_lora, eta_min=1e-5": _LAYERWISE, "deep_lora, eta_min=0": _LAYERWISE_TO_ZERO, "lora, eta_min=0": _LORA,
       "norm, eta_min=0": _NORM}
)  # fmt: skip
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
