"""Many runs as one Parquet data set, partitioned by study and run, which every reader of Parquet opens at once.

``DIR/trials/study=<study>/run_id=<run>/trials.parquet`` and the same with ``metrics``. Study and run are in the path
alone, as Hive has it. All trial files have the same columns, null where a run has no such parameter or metric: readers
that take the schema from one file, as pandas does, see all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.io.parquet_files import SCHEMA_VERSION, RecordsError, write_file
from analysis.io.records import METRICS_FILE, METRICS_SCHEMA, TRIALS_FILE, TRIALS_SCHEMA, read_run, read_trials

FOLDERS = {"trials": TRIALS_FILE, "metrics": METRICS_FILE}
PARTITIONED_BY = ("study", "run_id")


@dataclass(frozen=True)
class Merged:
    """What one run contributed; ``replaced``: an earlier state of it was there."""

    study: str
    run_id: str
    replicas: int
    rows: int
    replaced: bool


def merge_runs(run_dirs: Sequence[Path], out: Path) -> list[Merged]:
    """Add runs to a data set, or replace those of the same study and run id that it holds.

    Nothing is written unless every run is good. Each file is replaced atomically. A parameter that has another type in
    another run becomes float64 where both are numbers, else text.

    Args:
        run_dirs: run directories, at least one.
        out: folder of the data set; new, empty or an earlier one.

    Raises:
        RecordsError: an unreadable run, one given twice, a folder with anything else in it, another schema version.
    """
    held = _held(out)
    new: dict[tuple[str, str], dict[str, pa.Table]] = {}
    for path in run_dirs:
        run = read_run(path)
        if run.trials.empty:
            raise RecordsError(f"{path}: has no replicas to export")
        tables = {"trials": read_trials(path / TRIALS_FILE), "metrics": pq.read_table(path / METRICS_FILE)}
        ids = set(zip(run.trials["study"], run.trials["run_id"], strict=True))
        if len(ids) > 1:
            raise RecordsError(f"{path / TRIALS_FILE}: holds several runs; one is allowed")
        ((study, run_id),) = ids
        if (study, run_id) in new:
            raise RecordsError(f"{path}: run {run_id} of {study} is given twice")
        new[study, run_id] = tables | {"trials": tables["trials"].drop_columns(list(PARTITIONED_BY))}
    schemas = [tables["trials"].schema for tables in new.values()]
    schema = _union([*(pq.read_schema(path) for path in held), *schemas])
    folders = {key: _folder(*key) for key in new}
    for path in held:
        # Those that are replaced below are read for nothing, and those that have the schema already are left alone.
        if path.parent.relative_to(out / "trials") not in folders.values() and pq.read_schema(path) != schema:
            write_file(path, _cast(pq.read_table(path, partitioning=None), schema))
    merged = []
    for key, tables in new.items():
        target = out / "trials" / folders[key] / TRIALS_FILE
        replaced = target.exists()
        write_file(out / "metrics" / folders[key] / METRICS_FILE, _cast(tables["metrics"], METRICS_SCHEMA))
        write_file(target, _cast(tables["trials"], schema))
        merged.append(Merged(*key, tables["trials"].num_rows, tables["metrics"].num_rows, replaced))
    return merged


def _held(out: Path) -> list[Path]:
    """Trial files of an earlier data set."""
    if not out.exists():
        return []
    if strange := [path for path in out.iterdir() if path.name not in FOLDERS] if out.is_dir() else [out]:
        raise RecordsError(f"{out}: {strange[0].name} is no part of a data set; a new or empty folder is allowed")
    held = sorted((out / "trials").glob(f"study=*/run_id=*/{TRIALS_FILE}"))
    for path in held:
        version = (pq.read_schema(path).metadata or {}).get(b"schema_version", b"none").decode()
        if version != str(SCHEMA_VERSION):
            raise RecordsError(f"{path}: schema version {version} is not {SCHEMA_VERSION}; export to a new folder")
    return held


def _folder(study: str, run_id: str) -> Path:
    return Path(f"study={quote(study, safe=' ')}") / f"run_id={quote(run_id, safe=' ')}"


def _union(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Fixed columns, then parameters, then metrics, each in the order of the alphabet."""
    fields: dict[str, pa.Field] = {}
    for field in (field for schema in schemas for field in schema):
        types = {(known := fields.setdefault(field.name, field)).type, field.type}
        if len(types) > 1:
            numbers = all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in types)
            fields[field.name] = known.with_type(pa.float64() if numbers else pa.string())
    fixed = [field for field in TRIALS_SCHEMA if field.name not in PARTITIONED_BY]
    dynamic = [fields[name] for name in sorted(fields, key=lambda name: (name.startswith("metric."), name))
               if name not in TRIALS_SCHEMA.names]  # fmt: skip
    return pa.schema([*fixed, *dynamic], {"schema_version": str(SCHEMA_VERSION)})


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif pa.types.is_boolean(table.schema.field(field.name).type) and pa.types.is_string(field.type):
            # As JSON has it, which is how records.py writes mixed values.
            columns.append(pc.if_else(table[field.name], "true", "false"))
        else:
            columns.append(table[field.name].cast(field.type))
    return pa.table(columns, schema=schema)
