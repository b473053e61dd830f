"""Numbers reported for SEMA, by its paper and in the notes' repository. None was measured by this project."""

from study.spec import Reported


def _reported(configuration: str, label: str, average: float, last: float) -> Reported:
    """Average incremental and final accuracy, given in per cent."""
    metrics = {"average_incremental_accuracy": round(average / 100, 6), "final_accuracy": round(last / 100, 6)}
    return Reported(configuration=configuration, label=label, metrics=metrics)


SEMA_PAPER_SOURCE = (
    "SEMA's paper (CVPR 2025, arXiv 2403.18886): ViT-B/16-IN1K, one class order, no deviations; CIFAR-100 at 224 px in "
    "10 tasks"
)
SEMA_NOTES_SOURCE = (
    "the notes' repository, later reports: nested LoRA inside SEMA's released code, CIFAR-100 at 224 px in 10 tasks, "
    "ViT-B/16, class order 1993, one run each; nested without consolidation stands in two of them, the second time "
    "with the numbers of alpha=0.1 after every task"
)
SEMA_SETTING = {"dataset": "cifar100", "backbone": "vit_base_patch16_224"}
_CIFAR100 = (91.37, 86.98)

SEMA_PAPER = {label: (_reported(label, "paper", *_CIFAR100),) for label in ("SEMA", "code", "paper")}
"""CIFAR-100, by the label of the configuration that stands for SEMA."""

NESTED_IN_SEMA = (
    _reported("adapter", "notes", 91.42, 86.49),
    _reported("nested", "notes, first report", 91.39, 85.98),
    _reported("nested", "notes, second report (alpha=0)", 86.19, 80.70),
    _reported("alpha=0.05, every task", "notes", 85.50, 80.01),
    _reported("alpha=0.1, every task", "notes", 86.19, 80.70),
    _reported("alpha=0.2, every task", "notes", 87.61, 81.91),
    _reported("alpha=0.05, every 5 tasks", "notes", 86.17, 76.95),
    _reported("alpha=0.1, every 5 tasks", "notes", 86.76, 78.06),
    _reported("alpha=0.2, every 5 tasks", "notes", 87.81, 80.06),
)

SEMA_FILES_SOURCE = (
    "SEMA's paper for its published files (ViT-B/16-IN1K, one class order), the notes' repository for theirs"
)
SEMA_FILES = {
    entry.configuration: entry
    for entry in (
        _reported("sema_cifar", "paper", *_CIFAR100),
        _reported("sema_inr_5task", "paper", 84.75, 79.78),
        _reported("sema_inr_10task", "paper", 83.56, 78.00),
        _reported("sema_inr_20task", "paper", 81.75, 74.53),
        _reported("sema_ina", "paper", 64.53, 53.32),
        _reported("sema_vtab", "paper", 91.26, 89.64),
        _reported("baseline_sema_cifar", "notes", 91.42, 86.49),
        _reported("nested_lora_cifar", "notes", 91.39, 85.98),
        _reported("exp_alpha0", "notes", 86.19, 80.70),
        _reported("exp_alpha0.05_int1", "notes", 85.50, 80.01),
        _reported("exp_alpha0.1_int1", "notes", 86.19, 80.70),
        _reported("exp_alpha0.2_int1", "notes", 87.61, 81.91),
        _reported("exp_alpha0.05_int5", "notes", 86.17, 76.95),
        _reported("exp_alpha0.1_int5", "notes", 86.76, 78.06),
        _reported("exp_alpha0.2_int5", "notes", 87.81, 80.06),
    )
}
"""By the name of the configuration file: what ``--config`` sets beside the measured numbers."""
