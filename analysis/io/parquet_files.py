"""Parquet files with a schema: checked, versioned, written atomically. What is in them is said in ``records`` and
``search_records``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1


class RecordsError(ValueError):
    """A run directory or a row that cannot be read or written; the message is one line for the user."""


def field(name: str, type_: pa.DataType, unit: str, meaning: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, type_, nullable, {"unit": unit, "meaning": meaning})


def table_of(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; RecordsError, with ``path``, for a missing or unknown column or a value of the wrong type."""
    required = [one.name for one in schema if not one.nullable]
    for number, row in enumerate(rows):
        if unknown := row.keys() - set(schema.names):
            raise RecordsError(f"{path}: row {number}: unknown column {min(unknown)!r}")
        if missing := [name for name in required if row.get(name) is None]:
            raise RecordsError(f"{path}: row {number}: column {missing[0]!r} is missing")
    try:
        return pa.Table.from_pylist(list(rows), schema=schema)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise RecordsError(f"{path}: a value does not fit its column ({error})") from None


def write_file(path: Path, table: pa.Table) -> None:
    """Write a table with the schema's version, or raise RecordsError; readers see the old file or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)}), partial)
        os.replace(partial, path)
    except OSError as error:
        raise RecordsError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        partial.unlink(missing_ok=True)


def read_file(path: Path, schema: pa.Schema) -> pa.Table:
    """Raises RecordsError where the file is missing, damaged, of another schema version, or lacks a column."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RecordsError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    check_version(path, (table.schema.metadata or {}).get(b"schema_version", b"").decode())
    if missing := [name for name in schema.names if name not in table.schema.names]:
        raise RecordsError(f"{path}: column {missing[0]!r} is missing")
    return table


def frame(table: pa.Table) -> pd.DataFrame:
    """Integers with nulls stay integers."""
    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    return table.to_pandas(types_mapper=nullable.get)


def check_version(path: Path, found: object) -> None:
    if not str(found).isdigit():
        raise RecordsError(f"{path}: has no schema version; it was not written by a study")
    newer = int(str(found)) - SCHEMA_VERSION
    if newer > 0:
        raise RecordsError(f"{path}: schema version {found} is newer than {SCHEMA_VERSION}; update this program")
    if newer < 0:
        advice = "read it with the version of the program that wrote it"
        raise RecordsError(f"{path}: schema version {found} is older than {SCHEMA_VERSION}; {advice}")
