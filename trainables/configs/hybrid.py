"""Configuration of LoRA, norm tuning and their hybrids."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainables.configs.base import Fraction, noted
from trainables.configs.images import EVERY_LINEAR_LAYER, DataConfig, ImageConfig, Transform
from trainables.errors import InputError

ATTENTION_LAYERS = r"blocks\.\d+\.attn\.(qkv|proj)"
GROUPS = {"lora": "LoRA", "norm": "the norms"}
"""Groups of parameters that can be frozen for a while, and what messages call them."""

Method = Literal["head", "norm", "lora", "hybrid_parallel", "hybrid_layerwise", "full"]
Policy = Literal["deep_lora", "shallow_lora", "even_lora", "odd_lora"]


class HybridData(DataConfig):
    """Which images, and what happens to them on the way in: by default what the hybrid notes did."""

    transform: Transform = Field(
        "cifar",
        description="cifar: whole pictures, flipped, scaled by CIFAR's mean and deviation; cifar_week3: cropped out of "
        "a padding of 4 and not scaled, as the notes had it for hybrid_parallel; timm: as the backbone was trained; "
        "notes: the Nested LoRA notes' own",
    )


class HybridConfig(ImageConfig):
    """LoRA, norm tuning and their hybrids on one task over all classes (seeds/002, seeds/003); AdamW, cosine per epoch.

    Fields answer to the options of the notes' command lines; defaults are what their code did.
    """

    boundary = "epoch"

    data: HybridData = HybridData()
    method: Method = "lora"
    policy: Policy | None = Field(
        None, description="which blocks get LoRA, for method=hybrid_layerwise; default there: deep_lora"
    )
    rank: int = noted(8, "rank", "lora_r", ge=1, le=4096)
    lora_alpha: float = Field(16.0, gt=0.0, le=65_536.0, description="LoRA is scaled by lora_alpha / rank")
    lora_init: Literal["notes", "peft"] = Field(
        "notes",
        description="bound of LoRA's uniform A: 1 / sqrt(rank), since the notes' A lies the other way round, or "
        "1 / sqrt(inputs)",
    )
    lora_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="on LoRA's input in training; masks come from the replica's seed"
    )
    layers: str = Field(EVERY_LINEAR_LAYER, description="regex over full module paths that get LoRA")
    attn_only: bool = Field(False, description="LoRA on the linear layers of attention alone, instead of layers")
    lr: float = noted(1e-3, "lr", "lr_head", ge=0.0, le=100.0, description="of the head")
    lr_norm: float = Field(1e-3, ge=0.0, le=100.0)
    lr_lora: float = Field(5e-4, ge=0.0, le=100.0, description="0: LoRA is inserted and frozen")
    lr_full: float = Field(1e-4, ge=0.0, le=100.0, description="of the backbone, for method=full")
    lr_parity: Literal["off", "dynamic", "update_norm"] = Field(
        "off",
        description="dynamic (1): as in the notes, every 20 steps the rate of LoRA or of the norms is scaled so that "
        "their gradients' norms come near each other; update_norm: LoRA's rate is, so that its updates are as large",
    )
    weight_decay: float = Field(
        0.05, ge=0.0, le=1.0, description="of the head; method=full: of every matrix, and no bias"
    )
    weight_decay_lora: float = Field(0.0, ge=0.0, le=1.0)
    weight_decay_norm: float = Field(0.0, ge=0.0, le=1.0)
    batch_size: int = Field(128, ge=1, le=65_536)
    epochs: int = Field(15, ge=1, le=10_000)
    steps_per_epoch: int | None = Field(None, ge=1, description="batches of an epoch; default: all images")
    cosine_epochs: int | None = Field(None, ge=1, le=100_000, description="length of the cosine; default: epochs")
    eta_min: float = noted(1e-5, "eta_min", "min_lr", ge=0.0, le=1.0)
    freeze_lora_steps: int = Field(0, ge=0, description="first steps, in which LoRA gets no update")
    freeze_norm_steps: int = Field(0, ge=0, description="first steps, in which the norms get no update")
    alt_freeze_every: int = Field(
        0, ge=0, description="after these, LoRA and the norms are frozen in turn, for so many steps each; 0: never"
    )
    alt_freeze_order: Literal["lora-first", "norm-first"] = Field(
        "lora-first", description="which of the two is frozen in steps 0 to alt_freeze_every - 1 of every two turns"
    )
    temperature_fraction: Fraction = Field(
        0.1, description="part of the training images held out to fit the temperature; 0: no temperature scaling"
    )
    eval_batch_size: int = Field(64, ge=1, le=65_536)
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp16", description="autocast of the forward pass; fp16: with a loss scale, and on a CPU fp32, as in the notes"
    )
    log_every: int = Field(10, ge=1, description="steps between rows of loss, learning rates and LoRA's norm")

    @model_validator(mode="before")
    @classmethod
    def _layerwise_has_a_policy(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "hybrid_layerwise" and values.get("policy") is None:
            return values | {"policy": "deep_lora"}
        if isinstance(values, dict) and values.get("policy") == "alternate":
            return values | {"policy": "even_lora"}
        return values

    @field_validator("lr_parity", mode="before")
    @classmethod
    def _switch_of_the_notes(cls, value: Any) -> Any:
        return {0: "off", 1: "dynamic"}.get(value, value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> "HybridConfig":
        if self.policy is not None and self.method != "hybrid_layerwise":
            raise ValueError(f"policy={self.policy} needs method=hybrid_layerwise, method is {self.method}")
        if self.attn_only and self.layers != EVERY_LINEAR_LAYER:
            raise ValueError(f"layers={self.layers!r} with attn_only=true: one of the two is allowed")
        if self.cosine_epochs is not None and self.cosine_epochs < self.epochs:
            raise ValueError(f"cosine_epochs={self.cosine_epochs}: at least epochs={self.epochs} is allowed")
        if self.steps_per_epoch is not None:
            self.check_freeze(self.epochs * self.steps_per_epoch)
        return self

    @property
    def trains_lora(self) -> bool:
        return self.method in ("lora", "hybrid_parallel", "hybrid_layerwise")

    @property
    def trains_norms(self) -> bool:
        return self.method in ("norm", "hybrid_parallel", "hybrid_layerwise")

    @property
    def lora_layers(self) -> str:
        """Regex over the full paths of the layers that get LoRA."""
        return ATTENTION_LAYERS if self.attn_only else self.layers

    @property
    def scale(self) -> float:
        """Factor on the output of a LoRA pair."""
        return self.lora_alpha / self.rank

    def boundaries(self, classes: int) -> int:
        return self.epochs

    def frozen(self, group: str, step: int) -> bool:
        """Whether ``group`` gets no update at ``step``, which counts from 0.

        Source: METHODS.md "Hybrid LoRA + norm tuning".
        """
        first = {"lora": self.freeze_lora_steps, "norm": self.freeze_norm_steps}
        if group not in first:
            return False
        if step < first[group]:
            return True
        if not self.alt_freeze_every or step < max(first.values()):
            return False
        turn = ("lora", "norm") if self.alt_freeze_order == "lora-first" else ("norm", "lora")
        return group == turn[step // self.alt_freeze_every % 2]

    def check_freeze(self, steps: int) -> None:
        """Raises InputError when LoRA or the norms would stay frozen through all of a run's ``steps``."""
        for group, trains in (("lora", self.trains_lora), ("norm", self.trains_norms)):
            key = f"freeze_{group}_steps"
            start: int = getattr(self, key)
            if trains and start >= steps:
                raise InputError(f"{key}={start}: the run has {steps} steps; allowed: 0..{steps - 1}")
            every = self.alt_freeze_every
            next_turn = (start // every + 1) * every if every else 0
            if trains and self.frozen(group, start) and next_turn >= steps:
                raise InputError(
                    f"alt_freeze_every={every}: {GROUPS[group]} would stay frozen in all of the run's {steps} steps; "
                    f"allowed: 0..{steps - 1 - start}"
                )
