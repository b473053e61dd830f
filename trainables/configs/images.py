"""Configurations of the trainables on images."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainables.configs.base import HeldOutData, TestedConfig, noted
from trainables.errors import InputError

EVERY_LINEAR_LAYER = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))"


Transform = Literal["notes", "timm", "cifar", "cifar_week3"]


class DataConfig(HeldOutData):
    """Which images, and what happens to them on the way in."""

    classes: str | None = Field(None, description="Python slice over label ids, such as 1::2")
    train_per_class: int | None = Field(None, ge=1, description="training images kept per class")
    test_per_class: int | None = Field(None, ge=1, description="test images kept per class")
    max_shorter_side: int | None = Field(
        None,
        ge=8,
        description="pixels; larger pictures are shrunk to it when they are decoded; default: 512, or twice "
        "the backbone's input",
    )
    transform: Transform = Field(
        "notes",
        description="notes: pixels as they are, random resized crops, test pictures resized to 256/224 and "
        "cropped; timm: as the backbone was trained; cifar, cifar_week3: the hybrid notes' two",
    )
    crop_scale: tuple[float, float] | None = Field(
        (0.05, 1.0), description="area fraction of the random resized crop of notes and timm; none: no crop"
    )
    flip: bool = Field(True, description="random horizontal flip")
    mean: tuple[float, float, float] | None = Field(None, description="pixel mean; default: the transform's")
    std: tuple[float, float, float] | None = Field(None, description="pixel std; default: the transform's")

    @model_validator(mode="after")
    def _crop_scale_is_a_range(self) -> "DataConfig":
        low, high = self.crop_scale or (1.0, 1.0)
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"crop_scale {self.crop_scale}: 0 < low <= high <= 1 is allowed")
        return self


class ImageConfig(TestedConfig):
    """What every trainable on images is configured with."""

    dataset: str = "glyphs100"
    backbone: str = "glyph_vit"
    data: DataConfig = DataConfig()


def task_sizes(classes: int, init_cls: int, increment: int) -> list[int]:
    """Number of classes of every task.

    Raises:
        InputError: the classes cannot be divided so.
    """
    if init_cls > classes or (classes - init_cls) % increment:
        raise InputError(
            f"init_cls={init_cls}, increment={increment}: {classes} classes cannot be divided into such tasks; "
            "allowed: classes = init_cls + n * increment"
        )
    return [init_cls] + [increment] * ((classes - init_cls) // increment)


class ClassIncrementalConfig(ImageConfig):
    """Class-incremental protocol and optimisation; defaults are what the notes ran (seeds/000)."""

    boundary = "task"

    init_cls: int = Field(10, ge=1, description="classes of the first task")
    increment: int = Field(10, ge=1, description="classes of every later task")
    class_order: int | Literal["replica", "labels"] | tuple[int, ...] = noted(
        1993,
        "class_order",
        "class_order_seed",
        description="seed of the class order, held fixed over replicas; "
        "replica: each seed has its own; labels: ascending; or the order itself as a list of label ids",
    )
    loss_classes: Literal["seen", "task"] = Field(
        "seen", description="classes whose logits the cross-entropy compares: all seen so far, or the task's alone"
    )
    epochs: int = noted(20, "epochs", "func_epoch", ge=1, le=10_000)
    batch_size: int = Field(32, ge=1, le=65_536)
    eval_batch_size: int = Field(64, ge=1, le=65_536)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(5e-4, ge=0.0, le=1.0, description="adamw: not on biases")
    init_lr: float = noted(0.01, "init_lr", "lr_head", ge=0.0, le=100.0)
    eta_min: float = noted(0.0, "eta_min", "min_lr", ge=0.0, le=1.0)
    warmup_steps: int = Field(0, ge=0, description="linear warm-up at the start of every task")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the forward pass")
    log_every: int = Field(10, ge=1, description="steps between rows of norms, contributions and cosines")

    @model_validator(mode="after")
    def _class_order_is_a_permutation(self) -> Self:
        order = self.class_order
        if isinstance(order, tuple) and sorted(order) != list(range(len(order))):
            raise ValueError(f"class_order={list(order)}: every label id from 0 to {len(order) - 1} once is allowed")
        if isinstance(order, int) and not 0 <= order < 2**32:
            raise ValueError(f"class_order={order}: a seed from 0 to {2**32 - 1} is allowed")
        return self

    def boundaries(self, classes: int) -> int:
        if isinstance(self.class_order, tuple) and len(self.class_order) != classes:
            raise InputError(f"class_order: lists {len(self.class_order)} label ids; the data have {classes} classes")
        return len(task_sizes(classes, self.init_cls, self.increment))


class FastSlowConfig(ClassIncrementalConfig):
    """A slow and a fast adapter side by side (seeds/000, seeds/001)."""

    rank: int = noted(8, "rank", "nested_lora_rank", "ffn_num", ge=1, le=4096)
    lr_fast: float = noted(0.05, "lr_fast", "nested_lora_lr_fast", ge=0.0, le=100.0)
    lr_slow: float = noted(0.005, "lr_slow", "nested_lora_lr_slow", ge=0.0, le=100.0)
    update_interval_slow: int = noted(1, "update_interval_slow", "nested_lora_update_interval_slow", ge=1, le=1_000_000)
    interval_mode: Literal["zero_grad", "skip"] = Field(
        "zero_grad",
        description="between slow updates: a step with zero gradients, as in the notes (momentum and weight "
        "decay go on), or none at all",
    )
    consolidation: bool = noted(True, "consolidation", "nested_lora_use_consolidation")
    consolidation_alpha: float = noted(
        0.1, "consolidation_alpha", "alpha", "nested_lora_consolidation_alpha", ge=0.0, le=1.0
    )
    consolidation_interval: int = noted(
        1,
        "consolidation_interval",
        "nested_lora_consolidation_interval",
        ge=1,
        description="consolidate, and reset fast, after every n-th task",
    )
    consolidation_method: Literal["sum", "sign_matched", "ema"] = noted(
        "sum",
        "consolidation_method",
        "nested_lora_consolidation_method",
        description="slow + alpha fast; the same for "
        "elements of equal sign only (the notes' pam); (1 - alpha) slow + alpha fast",
    )
    consolidation_space: Literal["parameters", "function"] = "parameters"
    fast_reset: Literal["zero", "reinit"] = "zero"

    @field_validator("consolidation_method", mode="before")
    @classmethod
    def _names_of_the_notes(cls, value: Any) -> Any:
        return {"task_arithmetic": "sum", "pam": "sign_matched"}.get(value, value)

    def boundaries(self, classes: int) -> int:
        tasks = super().boundaries(classes)
        if self.consolidation and self.consolidation_interval > tasks:
            raise InputError(
                f"consolidation_interval={self.consolidation_interval}: the run has {tasks} tasks; allowed: 1..{tasks}"
            )
        return tasks


class NestedConfig(FastSlowConfig):
    """Nested LoRA (seeds/000, seeds/001) in every block of a backbone."""

    placement: Literal["parallel", "linear"] = "parallel"
    adapt_start_layer: int = Field(0, ge=0, description="first block with an adapter")
    adapt_end_layer: int | None = Field(None, ge=0, description="last block with an adapter; default: the last")
    layers: str = Field(EVERY_LINEAR_LAYER, description="regex over full module paths, for placement=linear")
    lora_alpha: float = Field(16.0, gt=0.0, le=65_536.0, description="placement=linear scales by lora_alpha / rank")

    @model_validator(mode="after")
    def _function_space_needs_linear_factors(self) -> Self:
        if self.consolidation and self.consolidation_space == "function":
            if self.placement != "linear":
                raise ValueError(
                    "consolidation_space=function needs placement=linear (a ReLU bottleneck has no low-rank product)"
                )
            if self.consolidation_method == "sign_matched":
                raise ValueError(
                    "consolidation_method=sign_matched compares elements; allowed with consolidation_space=function: "
                    "sum, ema"
                )
        if self.adapt_end_layer is not None and self.adapt_end_layer < self.adapt_start_layer:
            raise ValueError(
                f"adapt_end_layer={self.adapt_end_layer}: adapt_start_layer={self.adapt_start_layer} or more is allowed"
            )
        return self
