"""What every configuration of a trainable has in common."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def noted(default: Any, *names: str, **bounds: Any) -> Any:
    """Field that also answers to the names of the notes; the first one is the field's own."""
    return Field(default, validation_alias=AliasChoices(*names), **bounds)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


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


class HeldOutData(Strict):
    """Data of which a part of the training examples may be held out."""

    val_fraction: Fraction = Field(0.0, description="part of the training examples held out as validation, by seed")


class TestedConfig(TrainableConfig):
    """What trainables with training, validation and test examples are configured with."""

    data: HeldOutData
    evaluate: Literal["test", "validation"] = Field(
        "test", description="validation: only held-out training examples are evaluated, as during a search"
    )

    @model_validator(mode="after")
    def _validation_needs_examples(self) -> Self:
        if self.evaluate == "validation" and not self.data.val_fraction:
            raise ValueError("evaluate=validation needs data.val_fraction above 0")
        return self
