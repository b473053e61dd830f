"""Validated configurations of the trainables: names, defaults, bounds. No torch, so that the command line stays quick.

Every field may be given under its own name or under the name that the experiment notes use (the aliases).
"""

from trainables.configs.base import TestedConfig, TrainableConfig
from trainables.configs.hybrid import HybridConfig, Policy
from trainables.configs.images import (
    ClassIncrementalConfig,
    DataConfig,
    FastSlowConfig,
    ImageConfig,
    NestedConfig,
    task_sizes,
)
from trainables.configs.sema import SemaConfig
from trainables.configs.texts import RankConfig, TextDataConfig
from trainables.configs.theory import Teacher, TheoryConfig

__all__ = [
    "ClassIncrementalConfig", "DataConfig", "FastSlowConfig", "HybridConfig", "ImageConfig", "NestedConfig", "Policy",
    "RankConfig", "SemaConfig", "Teacher", "TestedConfig", "TextDataConfig", "TheoryConfig", "TrainableConfig",
    "task_sizes",
]  # fmt: skip
