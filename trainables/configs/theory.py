"""Configuration of linear LoRA on teachers of known spectrum."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainables.configs.base import TrainableConfig, noted


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
