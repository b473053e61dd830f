"""Reads the Parquet that a run exports and says what it means: tables, sentences, pictures.

Reads only the run directory (``study.json``, ``trials.parquet``, ``metrics.parquet``), so that a result can be
judged on a machine that has neither torch nor ray. The schemas are in ``analysis.records``.
"""
