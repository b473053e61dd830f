"""Validated configurations of the trainables: names, defaults, bounds. No torch, so that the command line stays quick.

Every field may be given under its own name or under the name that the experiment notes use (the aliases).
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.errors import InputError

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def noted(default: Any, *names: str, **bounds: Any) -> Any:
    """Field that also answers to the names of the notes; the first one is the field's own."""
    return Field(default, validation_alias=AliasChoices(*names), **bounds)


EVERY_LINEAR_LAYER = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class DataConfig(Strict):
    """Which images, and what happens to them on the way in."""

    classes: str | None = Field(None, description="Python slice over label ids, such as 1::2")
    train_per_class: int | None = Field(None, ge=1, description="training images kept per class")
    test_per_class: int | None = Field(None, ge=1, description="test images kept per class")
    val_fraction: Fraction = Field(0.0, description="part of the training images held out as validation, by seed")
    crop_scale: tuple[float, float] = Field((0.05, 1.0), description="area fraction of the random resized crop")
    flip: bool = Field(True, description="random horizontal flip")
    mean: tuple[float, float, float] | None = Field(None, description="pixel mean; default: the backbone's")
    std: tuple[float, float, float] | None = Field(None, description="pixel std; default: the backbone's")

    @model_validator(mode="after")
    def _crop_scale_is_a_range(self) -> "DataConfig":
        low, high = self.crop_scale
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"crop_scale {self.crop_scale}: 0 < low <= high <= 1 is allowed")
        return self


class TextDataConfig(Strict):
    """Which sentences, and how much of them."""

    train_examples: int | None = Field(
        None, ge=2, description="training examples kept: a random subsample, the same for every seed; default: all"
    )
    test_examples: int | None = Field(None, ge=1, description="test examples kept, likewise; default: all")
    max_length: int = Field(
        128, ge=3, le=65_536, description="tokens after which a sentence is cut, special ones included"
    )
    val_fraction: Fraction = Field(0.0, description="part of the training examples held out as validation, by seed")


class TrainableConfig(Strict):
    """What every trainable is configured with.

    Attributes:
        boundary: after what a replica reports and leaves a checkpoint.
        shortcuts: further names of nested fields, such as ``train_examples`` for ``data.train_examples``.
    """

    boundary: ClassVar[Literal["task", "epoch"]]
    shortcuts: ClassVar[dict[str, str]] = {}

    dataset: str
    backbone: str

    @abstractmethod
    def boundaries(self, classes: int) -> int:
        """How many tasks or epochs a run over ``classes`` classes has.

        Raises:
            InputError: impossible with so many classes.
        """


class ImageConfig(TrainableConfig):
    """What every trainable on images is configured with."""

    dataset: str = "glyphs100"
    backbone: str = "glyph_vit"
    data: DataConfig = DataConfig()
    evaluate: Literal["test", "validation"] = Field(
        "test", description="validation: only held-out training images are evaluated, as during a search"
    )

    @model_validator(mode="after")
    def _validation_needs_images(self) -> Self:
        if self.evaluate == "validation" and not self.data.val_fraction:
            raise ValueError("evaluate=validation needs data.val_fraction above 0")
        return self


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
    """Class-incremental protocol and optimisation, as in the published SEMA configuration (CVPR 2025)."""

    boundary = "task"

    init_cls: int = Field(10, ge=1, description="classes of the first task")
    increment: int = Field(10, ge=1, description="classes of every later task")
    class_order_seed: int | Literal["replica"] = Field(
        1993, description="seed of the class order, held fixed over replicas; 'replica': each seed has its own order"
    )
    epochs: int = noted(5, "epochs", "func_epoch", ge=1, le=10_000)
    batch_size: int = Field(32, ge=1, le=65_536)
    eval_batch_size: int = Field(64, ge=1, le=65_536)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(5e-4, ge=0.0, le=1.0)
    init_lr: float = noted(0.005, "init_lr", "lr_head", ge=0.0, le=100.0)
    eta_min: float = noted(0.0, "eta_min", "min_lr", ge=0.0, le=1.0)
    warmup_steps: int = Field(0, ge=0, description="linear warm-up at the start of every task")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the forward pass")
    log_every: int = Field(10, ge=1, description="steps between rows of norms, contributions and cosines")

    def boundaries(self, classes: int) -> int:
        return len(task_sizes(classes, self.init_cls, self.increment))


class NestedConfig(ClassIncrementalConfig):
    """Nested LoRA (seeds/000, seeds/001): a slow and a fast adapter side by side."""

    rank: int = noted(16, "rank", "nested_lora_rank", "ffn_num", ge=1, le=4096)
    lr_fast: float = noted(0.05, "lr_fast", "nested_lora_lr_fast", ge=0.0, le=100.0)
    lr_slow: float = noted(0.005, "lr_slow", "nested_lora_lr_slow", ge=0.0, le=100.0)
    update_interval_slow: int = noted(1, "update_interval_slow", "nested_lora_update_interval_slow", ge=1, le=1_000_000)
    consolidation: bool = noted(True, "consolidation", "nested_lora_use_consolidation")
    consolidation_alpha: float = noted(
        0.1, "consolidation_alpha", "alpha", "nested_lora_consolidation_alpha", ge=0.0, le=1.0
    )
    consolidation_space: Literal["parameters", "function"] = "parameters"
    fast_reset: Literal["zero", "reinit"] = "zero"
    placement: Literal["parallel", "linear"] = "parallel"
    layers: str = Field(EVERY_LINEAR_LAYER, description="regex over full module paths, for placement=linear")
    lora_alpha: float = Field(16.0, gt=0.0, le=65_536.0, description="placement=linear scales by lora_alpha / rank")

    @model_validator(mode="after")
    def _function_space_needs_linear_factors(self) -> "NestedConfig":
        if self.consolidation and self.consolidation_space == "function" and self.placement != "linear":
            raise ValueError(
                "consolidation_space=function needs placement=linear (a ReLU bottleneck has no low-rank product)"
            )
        return self


Method = Literal["head", "norm", "lora", "hybrid_parallel", "hybrid_layerwise", "full"]
Policy = Literal["deep_lora", "shallow_lora", "alternate"]


class HybridConfig(ImageConfig):
    """LoRA, norm tuning and their hybrids on one task over all classes (seeds/002, seeds/003); AdamW, cosine per epoch.

    Fields answer to the options of the notes' week-6 command line.
    """

    boundary = "epoch"

    method: Method = "lora"
    policy: Policy | None = Field(
        None, description="which blocks get LoRA, for method=hybrid_layerwise; default there: deep_lora"
    )
    rank: int = noted(8, "rank", "lora_r", ge=1, le=4096)
    lora_alpha: float = Field(16.0, gt=0.0, le=65_536.0, description="LoRA is scaled by lora_alpha / rank")
    layers: str = Field(EVERY_LINEAR_LAYER, description="regex over full module paths that get LoRA")
    lr: float = noted(1e-3, "lr", "lr_head", ge=0.0, le=100.0, description="of the head")
    lr_norm: float = Field(1e-3, ge=0.0, le=100.0)
    lr_lora: float = Field(5e-4, ge=0.0, le=100.0)
    lr_full: float = Field(1e-4, ge=0.0, le=100.0, description="of the backbone, for method=full")
    lr_parity: bool = Field(False, description="scale LoRA's rate so that its updates are as large as the norms'")
    weight_decay: float = Field(0.05, ge=0.0, le=1.0, description="not on norm scales and biases")
    batch_size: int = Field(128, ge=1, le=65_536)
    epochs: int = Field(15, ge=1, le=10_000)
    steps_per_epoch: int | None = Field(None, ge=1, description="batches of an epoch; default: all images")
    cosine_epochs: int | None = Field(None, ge=1, le=100_000, description="length of the cosine; default: epochs")
    eta_min: float = noted(1e-5, "eta_min", "min_lr", ge=0.0, le=1.0)
    freeze_lora_steps: int = Field(0, ge=0, description="first steps, in which LoRA gets no update")
    temperature_fraction: Fraction = Field(
        0.1, description="part of the training images held out to fit the temperature; 0: no temperature scaling"
    )
    eval_batch_size: int = Field(64, ge=1, le=65_536)
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the forward pass")
    log_every: int = Field(10, ge=1, description="steps between rows of loss, learning rates and LoRA's norm")

    @model_validator(mode="before")
    @classmethod
    def _layerwise_has_a_policy(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "hybrid_layerwise" and values.get("policy") is None:
            return values | {"policy": "deep_lora"}
        return values

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> "HybridConfig":
        if self.policy is not None and self.method != "hybrid_layerwise":
            raise ValueError(f"policy={self.policy} needs method=hybrid_layerwise, method is {self.method}")
        if self.cosine_epochs is not None and self.cosine_epochs < self.epochs:
            raise ValueError(f"cosine_epochs={self.cosine_epochs}: at least epochs={self.epochs} is allowed")
        if self.steps_per_epoch is not None:
            self.check_freeze(self.epochs * self.steps_per_epoch)
        return self

    @property
    def trains_lora(self) -> bool:
        return self.method in ("lora", "hybrid_parallel", "hybrid_layerwise")

    @property
    def scale(self) -> float:
        """Factor on the output of a LoRA pair."""
        return self.lora_alpha / self.rank

    def boundaries(self, classes: int) -> int:
        return self.epochs

    def check_freeze(self, steps: int) -> None:
        """Raises InputError when LoRA would stay frozen through all of a run's ``steps``."""
        if self.trains_lora and self.freeze_lora_steps >= steps:
            raise InputError(
                f"freeze_lora_steps={self.freeze_lora_steps}: the run has {steps} steps; allowed: 0..{steps - 1}"
            )


def listed(value: Any) -> Any:
    """``1,2,4`` of the command line, or a single value, as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int) else value


Teacher = Literal["gaussian", "power_law", "exact_rank"]


class TheoryConfig(TrainableConfig):
    """Linear LoRA on teachers of known spectrum, all ranks at once (seeds/004, part I); Adam or SGD, cosine per step.

    ``scaling`` says what the product B A is multiplied by: ``proportional`` is alpha = c r, hence the factor c at every
    rank; ``fixed`` is one alpha, hence the factor lora_alpha / rank.
    """

    boundary = "epoch"

    dataset: Literal["gaussian"] = "gaussian"
    backbone: Literal["linear"] = "linear"
    d_in: int = Field(64, ge=1, le=4096, description="width of the input")
    d_out: int = Field(64, ge=1, le=4096, description="width of the output")
    ranks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(listed)] = noted(
        (1, 2, 4, 8, 16, 32), "ranks", "rank", min_length=1, description="all trained in every replica"
    )
    teachers: Annotated[tuple[Teacher, ...], BeforeValidator(listed)] = noted(
        ("gaussian", "power_law", "exact_rank"), "teachers", "spectrum", min_length=1, description="spectra of W* - W0"
    )
    exponent: float = Field(1.0, gt=0.0, le=10.0, description="of power_law: singular value i is i^-exponent")
    teacher_rank: int = noted(8, "teacher_rank", "k", ge=1, description="of exact_rank")
    samples: int = noted(
        65_536, "samples", "n", le=2**26, description="training inputs; the loss sees them through their Gram matrix"
    )
    scaling: Literal["proportional", "fixed"] = "proportional"
    c: float = Field(1.0, gt=0.0, le=65_536.0, description="alpha = c * rank, for scaling=proportional")
    lora_alpha: float = noted(
        1.0, "lora_alpha", "alpha", gt=0.0, le=65_536.0, description="for scaling=fixed; 1: equal to c = 1 at rank 1"
    )
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd: with Nesterov's momentum")
    momentum: float = Field(0.9, gt=0.0, lt=1.0, description="for optimizer=sgd")
    lr: float = Field(0.05, gt=0.0, le=100.0, description="at the first step; a cosine takes it to 0 at the last")
    epochs: int = Field(15, ge=1, le=10_000, description="blocks of steps, with a measurement after each")
    steps_per_epoch: int = Field(100, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _sizes_fit_each_other(self) -> "TheoryConfig":
        width = min(self.d_in, self.d_out)
        for name, ranks in (("ranks", self.ranks), ("teacher_rank", (self.teacher_rank,))):
            if max(ranks) > width:
                raise ValueError(f"{name}={max(ranks)}: above the width; allowed: 1..{width}")
        for name, listing in (("ranks", self.ranks), ("teachers", self.teachers)):
            if len(set(listing)) < len(listing):
                raise ValueError(f"{name}={','.join(map(str, listing))}: every one once is allowed")
        if self.samples <= self.d_in:
            raise ValueError(
                f"samples={self.samples}: the Gram matrix of so few inputs is singular; allowed: more than "
                f"d_in={self.d_in}"
            )
        return self

    def scale(self, rank: int) -> float:
        """Factor on the product B A of a rank."""
        return self.c if self.scaling == "proportional" else self.lora_alpha / rank

    @property
    def steps(self) -> int:
        """Optimizer steps of a run."""
        return self.epochs * self.steps_per_epoch

    def boundaries(self, classes: int) -> int:
        return self.epochs


QUERY_AND_VALUE = r".*\.attention\.(self\.(query|value)|(q|v)_lin)"


class RankConfig(TrainableConfig):
    """LoRA of a rank, the head alone, or everything, on a text classification task (seeds/004); AdamW, linear schedule.

    ``scaling`` says what LoRA's output is multiplied by: ``proportional`` is alpha = c r, hence the factor c at every
    rank; ``fixed`` is one alpha, hence the factor lora_alpha / rank.
    """

    boundary = "epoch"
    shortcuts: ClassVar[dict[str, str]] = {
        "train_examples": "data.train_examples",
        "test_examples": "data.test_examples",
        "max_length": "data.max_length",
    }

    dataset: str = "reviews"
    backbone: str = "review_bert"
    data: TextDataConfig = TextDataConfig()
    pretrained: bool = Field(True, description="false: the backbone starts from random weights")
    weights_seed: int = Field(
        0, ge=0, le=2**32 - 1, description="of the random weights of pretrained=false, which all replicas share"
    )
    method: Literal["head", "lora", "full"] = "lora"
    rank: int = noted(8, "rank", "lora_r", "r", ge=1, le=4096)
    scaling: Literal["proportional", "fixed"] = "proportional"
    c: float = Field(2.0, gt=0.0, le=65_536.0, description="alpha = c * rank, for scaling=proportional")
    lora_alpha: float = noted(16.0, "lora_alpha", "alpha", gt=0.0, le=65_536.0, description="for scaling=fixed")
    layers: str = Field(QUERY_AND_VALUE, description="regex over full module paths that get LoRA")
    dropout: float | None = Field(
        None, ge=0.0, lt=1.0, description="default: the model's own; masks come from the replica's seed"
    )
    lr: float = noted(1e-3, "lr", "lr_head", ge=0.0, le=100.0, description="of the head")
    lr_lora: float = Field(2e-3, ge=0.0, le=100.0)
    lr_full: float = Field(3e-4, ge=0.0, le=100.0, description="of the encoder, for method=full")
    weight_decay: float = Field(0.01, ge=0.0, le=1.0, description="not on norm scales and biases")
    batch_size: int = Field(32, ge=1, le=65_536)
    epochs: int = Field(5, ge=1, le=10_000)
    steps_per_epoch: int | None = Field(None, ge=1, description="batches of an epoch; default: all texts")
    warmup_fraction: Fraction = Field(0.1, description="part of all steps in which the rates rise linearly")
    warmup_steps: int | None = Field(None, ge=0, description="instead of warmup_fraction")
    evaluations_per_epoch: int = Field(2, ge=1, le=1000, description="points of the learning curve")
    eval_batch_size: int = Field(64, ge=1, le=65_536)
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the forward pass")
    log_every: int = Field(10, ge=1, description="steps between rows of loss and learning rates")

    @property
    def trains_lora(self) -> bool:
        return self.method == "lora"

    @property
    def scale(self) -> float:
        """Factor on the output of a LoRA pair."""
        return self.c if self.scaling == "proportional" else self.lora_alpha / self.rank

    def boundaries(self, classes: int) -> int:
        return self.epochs


CONFIGS: dict[str, type[TrainableConfig]] = {
    "nested": NestedConfig,
    "hybrid": HybridConfig,
    "theory": TheoryConfig,
    "rank": RankConfig,
}


def aliases(config: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every accepted key of a configuration -> its own dotted name, nested models included."""
    names: dict[str, str] = dict(config.shortcuts) if issubclass(config, TrainableConfig) else {}
    for name, field in config.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names |= aliases(annotation, f"{prefix}{name}.")
            continue
        choices = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        for key in (name, *(str(choice) for choice in choices)):
            names[f"{prefix}{key}"] = f"{prefix}{name}"
    return names
