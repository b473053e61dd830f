"""Validated configurations of the trainables: names, defaults, bounds. No torch, so that the command line stays quick.

Every field may be given under its own name or under the name that the experiment notes use (the aliases).
"""

from pydantic import AliasChoices, BaseModel

from trainables.configs.base import TestedConfig, TrainableConfig
from trainables.configs.hybrid import HybridConfig, Policy
from trainables.configs.images import ClassIncrementalConfig, DataConfig, ImageConfig, NestedConfig, task_sizes
from trainables.configs.texts import RankConfig, TextDataConfig
from trainables.configs.theory import Teacher, TheoryConfig

__all__ = [
    "CONFIGS", "ClassIncrementalConfig", "DataConfig", "HybridConfig", "ImageConfig", "NestedConfig", "Policy",
    "RankConfig", "Teacher", "TestedConfig", "TextDataConfig", "TheoryConfig", "TrainableConfig", "aliases",
    "task_sizes",
]  # fmt: skip

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
