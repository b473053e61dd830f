"""Every named study, as data, in the order of ``list``. Adding a study is one ``register`` call (CONTRIBUTING.md)."""

from study.catalog import nested, sema, sema_variant, hybrid_week1, hybrid, hybrid_cause, theory, rank  # isort: skip
from study.catalog.registry import STUDIES

__all__ = ["STUDIES", "hybrid", "hybrid_cause", "hybrid_week1", "nested", "rank", "sema", "sema_variant", "theory"]
