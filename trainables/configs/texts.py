"""Configurations of the trainables on texts."""

from typing import ClassVar, Literal

from pydantic import Field

from trainables.configs.base import Fraction, HeldOutData, TestedConfig, noted


class TextDataConfig(HeldOutData):
    """Which sentences, and how much of them."""

    train_examples: int | None = Field(
        None, ge=2, description="training examples kept: a random subsample, the same for every seed; default: all"
    )
    test_examples: int | None = Field(None, ge=1, description="test examples kept, likewise; default: all")
    max_length: int = Field(
        128, ge=3, le=65_536, description="tokens after which a sentence is cut, special ones included"
    )


QUERY_AND_VALUE = r".*\.(query|value|(query|value|q|v)_proj|(q|v)_lin|attn\.(q|v))"
"""The projections of BERT and its kin, of DeBERTa and decoder-only models, of DistilBERT and of MPNet."""


class RankConfig(TestedConfig):
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
