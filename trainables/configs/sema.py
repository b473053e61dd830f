"""Configuration of SEMA: mixtures of adapters that grow where a task is new."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trainables.configs.base import noted
from trainables.configs.images import FastSlowConfig
from trainables.errors import InputError

AdapterType = Literal["adaptmlp", "nested_lora", "lora", "convpass"]
Routing = Literal["softmax", "average", "random", "top1", "random_one", "top1_inference"]
Variant = Literal["code", "paper"]

VARIANTS: dict[str, dict[str, Any]] = {
    "code": {
        "ffn_num": 16, "rd_activation": "none", "adapter_input": "residual", "rd_training": "alone",
        "expansion_criterion": "batch_mean", "without_expansion": "train_head", "rd_loss": "mean",
        "first_router": "frozen",
    },
    "paper": {
        "ffn_num": 48, "rd_activation": "leaky_relu", "adapter_input": "norm2", "rd_training": "joint",
        "expansion_criterion": "any_sample", "without_expansion": "skip", "rd_loss": "sum", "first_router": "trained",
    },
}  # fmt: skip
"""Where the released code and the paper disagree: what ``variant`` sets, unless a key is given by itself. ``epochs`` is
the ninth key: 20, and 5 on CIFAR-100, in the code; 5 in the paper."""


def _of_variant(name: str, description: str) -> Any:
    return Field(VARIANTS["code"][name], description=f"{description}; default: the variant's")


class SemaConfig(FastSlowConfig):
    """SEMA (seeds/001; Wang et al., CVPR 2025, arXiv 2403.18886): every block has an adapter, and the blocks from
    ``adapt_start_layer`` to ``adapt_end_layer`` get more of them where descriptors find a task's images unlike the old.
    """

    variant: Variant = Field("code", description="released code or paper: sets the keys in which they disagree")
    loss_classes: Literal["seen", "task"] = Field(
        "task", description="classes whose logits the cross-entropy compares: all seen so far, or the task's alone"
    )
    init_lr: float = noted(0.005, "init_lr", "lr_head", ge=0.0, le=100.0, description="of head, adapters and router")
    ffn_adapter_type: AdapterType = "adaptmlp"
    ffn_num: int = Field(16, ge=1, le=4096, description="bottleneck of adaptmlp and convpass; default: the variant's")
    rank: int = noted(
        16, "rank", "nested_lora_rank", ge=1, le=4096, description="of lora, and each part of nested_lora"
    )
    lora_alpha: float = Field(16.0, gt=0.0, le=65_536.0, description="lora is scaled by lora_alpha / rank")
    lr_fast: float = noted(0.01, "lr_fast", "nested_lora_lr_fast", ge=0.0, le=100.0)
    lr_slow: float = noted(0.001, "lr_slow", "nested_lora_lr_slow", ge=0.0, le=100.0)
    consolidation: bool = noted(False, "consolidation", "nested_lora_use_consolidation")
    consolidation_space: Literal["parameters"] = "parameters"
    adapt_start_layer: int = Field(-3, description="first block that may grow; negative: counted from the end")
    adapt_end_layer: int = Field(-1, description="last block that may grow; negative: counted from the end")
    expansion: Literal["on", "off"] = Field(
        "on", description="off: one adapter per block, trained in every task (finetune_adapter), and no descriptors"
    )
    exp_threshold: float = Field(2.0, ge=0.0, le=1e6, description="z-score above which a block gets another adapter")
    detect_batch_size: int = Field(128, ge=1, le=65_536, description="images whose z-scores are looked at together")
    routing: Routing = Field(
        "softmax", description="weights of a block's adapters: of the router, all equal, random, of the largest alone, "
        "of a random one alone, or softmax in training and the largest alone in tests",
    )  # fmt: skip
    rd_epoch: int = Field(20, ge=1, le=10_000, description="epochs of the representation descriptors")
    rd_lr: float = Field(0.01, ge=0.0, le=100.0)
    rd_dim: int = Field(128, ge=1, le=65_536, description="code of the descriptors' autoencoders")
    buffer_size: int = Field(500, ge=3, le=1_000_000, description="last losses of a descriptor that z-scores stand on")
    rd_views: int = Field(
        4, ge=0, le=10_000, description="augmented views of every image that descriptors learn from in turn, their "
        "features computed once per phase, and new ones while losses are recorded; 0: always new, as published",
    )  # fmt: skip
    rd_activation: Literal["none", "leaky_relu"] = _of_variant("rd_activation", "after the encoder of a descriptor")
    rd_loss: Literal["mean", "sum"] = _of_variant("rd_loss", "over the features of a reconstruction's squared errors")
    rd_training: Literal["alone", "joint"] = _of_variant(
        "rd_training", "descriptors in a phase of their own, or with the adapters, then alone up to rd_epoch epochs"
    )
    adapter_input: Literal["residual", "norm2"] = _of_variant(
        "adapter_input", "of adapters, router and descriptors: the residual stream after attention, or its norm2"
    )
    expansion_criterion: Literal["batch_mean", "any_sample"] = _of_variant(
        "expansion_criterion", "what exceeds exp_threshold for every adapter: the mean z of a batch, or one image's z"
    )
    without_expansion: Literal["train_head", "skip"] = _of_variant(
        "without_expansion", "a task that no block grew for: the head learns it, or nothing does"
    )
    first_router: Literal["frozen", "trained"] = _of_variant(
        "first_router", "a block's first router row, which no gradient reaches while it is alone: as it was drawn for "
        "ever, or trained with the second one",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_variant(cls, values: Any) -> Any:
        if not isinstance(values, dict) or (variant := values.get("variant", "code")) not in VARIANTS:
            return values
        preset = dict(VARIANTS[variant])
        if "func_epoch" not in values:
            preset["epochs"] = 5 if variant == "paper" or values.get("dataset") == "cifar100" else 20
        return preset | values

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        if self.consolidation and self.ffn_adapter_type != "nested_lora":
            raise ValueError(
                f"consolidation=true needs ffn_adapter_type=nested_lora, it is {self.ffn_adapter_type}: one adapter "
                "has nothing to consolidate"
            )
        if (self.adapt_start_layer < 0) == (self.adapt_end_layer < 0) and self.adapt_end_layer < self.adapt_start_layer:
            raise ValueError(
                f"adapt_end_layer={self.adapt_end_layer}: adapt_start_layer={self.adapt_start_layer} or more is allowed"
            )
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of a functional adapter."""
        return ("fast", "slow") if self.ffn_adapter_type == "nested_lora" else ("adapter",)

    @property
    def width(self) -> int:
        """Bottleneck of one part."""
        return self.ffn_num if self.ffn_adapter_type in ("adaptmlp", "convpass") else self.rank

    def growing_blocks(self, depth: int) -> range:
        """The blocks, counted from 0, that may get more adapters.

        Raises:
            InputError: the backbone, which has ``depth`` blocks, has none of that number.
        """
        numbers = {}
        for name in ("adapt_start_layer", "adapt_end_layer"):
            number = getattr(self, name)
            if not -depth <= number < depth:
                raise InputError(
                    f"{name}={number}: {self.backbone} has {depth} blocks; allowed: 0..{depth - 1}, or -{depth}..-1 "
                    "from the end"
                )
            numbers[name] = number % depth
        start, end = numbers.values()
        if end < start:
            raise InputError(f"adapt_end_layer={self.adapt_end_layer}: lies before block {start}, adapt_start_layer")
        return range(start, end + 1)
