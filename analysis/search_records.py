"""The schemas of a search's Parquet files, and the only code that writes and reads them.

``search.parquet`` holds one row per configuration of a search in the order of its trials, ``importance.parquet`` one
row per parameter. Both lie beside ``trials.parquet``, which has the replicas: those of a configuration in the search
under ``trial_id``, those on fresh seeds under ``fresh_trial_id``.

``search.parquet`` has dynamic columns, one per objective (its label after the dot, such as ``mean of
final_val_accuracy``): ``value.`` in the search; on fresh seeds ``fresh.``, ``fresh_low.``, ``fresh_high.``; and the
optimism gap ``gap.``, ``gap_low.``, ``gap_high.``, by how much the search was better than the fresh seeds (below 0: it
was worse). Intervals are at 95 %. ``violation.<constraint>`` is relative to the bound, <= 0: met.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.records import SCHEMA_VERSION, RecordsError, Run

SEARCH_FILE, IMPORTANCE_FILE = "search.parquet", "importance.parquet"
PER_OBJECTIVE = ("value", "fresh", "fresh_low", "fresh_high", "gap", "gap_low", "gap_high")


def _field(name: str, type_: pa.DataType, unit: str, meaning: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, type_, nullable, {"unit": unit, "meaning": meaning})


SEARCH_SCHEMA = pa.schema(
    [
        _field("trial", pa.int64(), "-", "number of the trial, from 0", False),
        _field("configuration", pa.string(), "-", "its label, as in trials.parquet", False),
        _field("trial_id", pa.string(), "-", "its replicas in trials.parquet; of a duplicate those of the original"),
        _field("fresh_trial_id", pa.string(), "-", "its replicas on fresh seeds; null where it was not confirmed"),
        _field("fresh_configuration", pa.string(), "-", "their label"),
        _field("enqueued", pa.bool_(), "-", "tried first because the study says so", False),
        _field(
            "state", pa.string(), "-", "running | paused | completed | eliminated | pruned | duplicate", False
        ),
        _field("duplicate_of", pa.int64(), "-", "earlier trial with the same configuration, whose results count"),
        _field("rung", pa.int32(), "-", "highest rung of the race with all results, from 0"),
        _field("seeds", pa.int32(), "seeds", "seeds it was given", False),
        _field("failed", pa.int32(), "seeds", "of these failed or diverged, counted by the objective's rule", False),
        _field("pruned", pa.int32(), "seeds", "of these stopped within their run", False),
        _field("feasible", pa.bool_(), "-", "all constraints are met in the search"),
        _field("front", pa.bool_(), "-", "Pareto-optimal among those with the most seeds"),
        _field("place", pa.int32(), "-", "in the final order of the search, from 1"),
    ]
)  # fmt: skip

IMPORTANCE_SCHEMA = pa.schema(
    [
        _field("objective", pa.string(), "-", "label of the objective", False),
        _field("parameter", pa.string(), "-", "dimension of the space", False),
        _field("importance", pa.float64(), "share", "PED-ANOVA, all parameters add up to 1", False),
        _field("low", pa.float64(), "share", "95 % percentile interval over resampled seeds"),
        _field("high", pa.float64(), "share", "its upper end"),
        _field("configurations", pa.int64(), "-", "configurations that it rests on", False),
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
        if name.partition(".")[0] not in (*PER_OBJECTIVE, "violation") or "." not in name:
            raise RecordsError(f"{path}: unknown column {name!r}")
    fields = [
        _field(name, pa.float64(), "of the objective; relative for violation", "see the file's module")
        for name in dynamic
    ]
    _write(path, rows, pa.schema([*SEARCH_SCHEMA, *fields]))


def write_importance(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``importance.parquet``; no row where there are too few configurations."""
    _write(path, rows, IMPORTANCE_SCHEMA)


def read_search(run: Run) -> SearchRecords:
    """Raises RecordsError where a file is missing, damaged or of another schema version."""
    return SearchRecords(
        _read(run.path / SEARCH_FILE, SEARCH_SCHEMA), _read(run.path / IMPORTANCE_FILE, IMPORTANCE_SCHEMA)
    )


def _write(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        for field in schema:
            if not field.nullable and table[field.name].null_count:
                raise RecordsError(f"{path}: column {field.name!r} is missing in a row")
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise RecordsError(f"{path}: a value does not fit its column ({error})") from None
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)}), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RecordsError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    found = (table.schema.metadata or {}).get(b"schema_version", b"").decode()
    if found != str(SCHEMA_VERSION):
        raise RecordsError(f"{path}: schema version {found or 'none'}, this program reads {SCHEMA_VERSION}")
    if missing := [name for name in schema.names if name not in table.schema.names]:
        raise RecordsError(f"{path}: column {missing[0]!r} is missing")
    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return table.to_pandas(types_mapper=nullable.get)
