"""The schemas of a search's Parquet files, and the only code that writes and reads them.

``search.parquet`` holds one row per configuration of a search in the order of its trials, ``importance.parquet`` one
row per parameter. Both lie beside ``trials.parquet``, which has the replicas: those of a configuration in the search
under ``trial_id``, those on fresh seeds under ``fresh_trial_id``.

``search.parquet`` has dynamic columns (``DYNAMIC``): the label of an objective, such as ``mean of final_val_accuracy``,
or a constraint after the dot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.io.parquet_files import RecordsError, field, frame, read_file, table_of, write_file
from analysis.io.records import Run

SEARCH_FILE, IMPORTANCE_FILE = "search.parquet", "importance.parquet"
DYNAMIC = {
    "value": ("of the metric", "the objective in the search"),
    "fresh": ("of the metric", "the objective on fresh seeds"),
    "fresh_low": ("of the metric", "lower end of its 95 % interval over seeds; null where they do not give one"),
    "fresh_high": ("of the metric", "upper end"),
    "gap": ("of the metric", "optimism gap: by how much the search was better than the fresh seeds; below 0, worse"),
    "gap_low": ("of the metric", "lower end of its 95 % interval, which is that of the fresh seeds"),
    "gap_high": ("of the metric", "upper end"),
    "violation": ("share of the bound", "of the constraint, <= 0 where it is met"),
}
"""What stands before the dot -> unit and meaning."""


SEARCH_SCHEMA = pa.schema(
    [
        field("trial", pa.int64(), "-", "number of the trial, from 0", False),
        field("configuration", pa.string(), "-", "its label, as in trials.parquet", False),
        field("trial_id", pa.string(), "-", "its replicas in trials.parquet; of a duplicate those of the original"),
        field("fresh_trial_id", pa.string(), "-", "its replicas on fresh seeds; null where it was not confirmed"),
        field("fresh_configuration", pa.string(), "-", "their label"),
        field("enqueued", pa.bool_(), "-", "tried first because the study says so", False),
        field("state", pa.string(), "-",
              "running | paused | completed | eliminated | pruned | infeasible | duplicate", False),
        field("duplicate_of", pa.int64(), "-", "earlier trial with the same configuration, whose results count"),
        field("rung", pa.int32(), "-", "highest rung of the race with all results, from 0"),
        field("seeds", pa.int32(), "seeds", "seeds it was given", False),
        field("failed", pa.int32(), "seeds", "of these failed or diverged, counted by the objective's rule", False),
        field("pruned", pa.int32(), "seeds", "of these stopped within their run", False),
        field("feasible", pa.bool_(), "-", "all constraints are met in the search"),
        field("front", pa.bool_(), "-", "Pareto-optimal among those with the most seeds"),
        field("place", pa.int32(), "-", "in the final order of the search, from 1"),
    ]
)  # fmt: skip

IMPORTANCE_SCHEMA = pa.schema(
    [
        field("objective", pa.string(), "-", "label of the objective", False),
        field("parameter", pa.string(), "-", "what was drawn: a dimension, or its ratio to another", False),
        field("importance", pa.float64(), "share", "fANOVA: part of the variance over the space, by it alone", False),
        field("low", pa.float64(), "share", "95 % percentile interval over resampled configurations and seeds"),
        field("high", pa.float64(), "share", "its upper end"),
        field("chance", pa.float64(), "share", "95 % of shuffles of the values leave the largest share below it"),
        field("configurations", pa.int64(), "-", "configurations that it rests on", False),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class SearchRecords:
    """Both files, read."""

    trials: pd.DataFrame
    importance: pd.DataFrame


def write_search(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``search.parquet``; raises RecordsError for a column that is neither in the schema nor dynamic."""
    dynamic = sorted({key for row in rows for key in row} - set(SEARCH_SCHEMA.names))
    for name in dynamic:
        if name.partition(".")[0] not in DYNAMIC or "." not in name:
            raise RecordsError(f"{path}: unknown column {name!r}")
    fields = [field(name, pa.float64(), *DYNAMIC[name.partition(".")[0]]) for name in dynamic]
    write_file(path, table_of(path, rows, pa.schema([*SEARCH_SCHEMA, *fields])))


def write_importance(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``importance.parquet``; no row where there are too few configurations."""
    write_file(path, table_of(path, rows, IMPORTANCE_SCHEMA))


def read_search(run: Run) -> SearchRecords:
    """Raises RecordsError where a file is missing, damaged or of another schema version."""
    files = ((SEARCH_FILE, SEARCH_SCHEMA), (IMPORTANCE_FILE, IMPORTANCE_SCHEMA))
    trials, importance = (frame(read_file(run.path / name, schema)) for name, schema in files)
    return SearchRecords(trials, importance)
