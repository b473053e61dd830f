"""Every named study, as data, in the order of ``list``. Adding a study is one ``register`` call (CONTRIBUTING.md)."""

from study.catalog import nested, hybrid, theory, rank  # isort: skip
from study.catalog.registry import STUDIES

__all__ = ["STUDIES", "hybrid", "nested", "rank", "theory"]
