"""The schemas of a run's Parquet files, and the only code that writes and reads them.

``trials.parquet`` holds one row per replica, ``metrics.parquet`` one row per measured value (long form). Every field of
``TRIALS_SCHEMA`` and ``METRICS_SCHEMA`` carries its unit and meaning as pyarrow field metadata, which is stored in the
file, so a reader in any language finds it there. The version is file metadata under the key ``schema_version``.

Trials have two families of dynamic columns: ``param.<key>``, one per parameter of a configuration (type from the
values; lists and mappings as JSON text), and ``metric.<key>``, one per final metric (float64). Both are null where a
replica has no such parameter or metric.

Writing is atomic and deterministic: the same rows give the same bytes, and a reader never sees half a file.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1
STATUSES = ("finished", "pruned", "diverged", "failed", "interrupted")
TRIALS_FILE, METRICS_FILE, STUDY_FILE = "trials.parquet", "metrics.parquet", "study.json"


class RecordsError(ValueError):
    """A run directory or a row that cannot be read or written; the message is one line for the user."""


def _field(name: str, type_: pa.DataType, unit: str, meaning: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, type_, nullable, {"unit": unit, "meaning": meaning})


_REQUIRED = False  # the value of ``nullable`` for columns that must not be null

METRICS_SCHEMA = pa.schema(
    [
        _field("trial_id", pa.string(), "-", "the trial (configuration) the replica belongs to", _REQUIRED),
        _field("seed", pa.int64(), "-", "the replica's seed", _REQUIRED),
        _field("phase", pa.string(), "-", "train, val, eval, ablation, boundary, timing, ...", _REQUIRED),
        _field("task", pa.int32(), "-", "task, counted from 0; null outside class-incremental studies"),
        _field("epoch", pa.int32(), "-", "epoch within the task, counted from 0"),
        _field("step", pa.int64(), "optimizer steps", "step, counted on over the tasks"),
        _field("name", pa.string(), "-", "what was measured, e.g. accuracy or norm/slow/after", _REQUIRED),
        _field(
            "value",
            pa.float64(),
            "by name; accuracies are fractions in [0, 1]",
            "the value; NaN and infinities are kept",
            _REQUIRED,
        ),
        _field("wall_s", pa.float64(), "s", "seconds since the replica started; not reproducible"),
    ]
)
METRICS_KEY = ["trial_id", "seed", "phase", "task", "epoch", "step", "name"]

TRIALS_SCHEMA = pa.schema(
    [
        _field("study", pa.string(), "-", "name of the study", _REQUIRED),
        _field("run_id", pa.string(), "-", "name of the run", _REQUIRED),
        _field("trial_id", pa.string(), "-", "the trial: one configuration", _REQUIRED),
        _field("configuration", pa.string(), "-", "label of the configuration", _REQUIRED),
        _field("replica_id", pa.string(), "-", "<trial_id>-s<seed>", _REQUIRED),
        _field("seed", pa.int64(), "-", "the replica's seed", _REQUIRED),
        _field("status", pa.string(), "-", " | ".join(STATUSES), _REQUIRED),
        _field("error", pa.string(), "-", "why the replica failed or diverged"),
        _field("trainable_params", pa.int64(), "parameters", "parameters that receive updates, per replica"),
        _field("total_params", pa.int64(), "parameters", "all parameters, frozen ones included, per replica"),
        _field("duration_s", pa.float64(), "s", "wall-clock of the replica; not reproducible, like the next four"),
        _field("data_s", pa.float64(), "s", "part of duration_s spent on data"),
        _field("train_s", pa.float64(), "s", "part of duration_s spent on training"),
        _field("eval_s", pa.float64(), "s", "part of duration_s spent on evaluation and ablations"),
        _field("peak_memory_mib", pa.float64(), "MiB", "peak memory of the process, or of the device on a GPU"),
        _field("mlflow_run_id", pa.string(), "-", "the replica's MLflow run"),
        _field("git_commit", pa.string(), "-", "commit of the code"),
        _field("diff_hash", pa.string(), "-", "hash of the uncommitted changes"),
        _field("spec_hash", pa.string(), "-", "hash of the resolved configuration"),
        _field("data_hash", pa.string(), "-", "hash of the decoded data set"),
        _field("weights_hash", pa.string(), "-", "hash of the backbone's weights"),
        _field("environment_hash", pa.string(), "-", "hash of the library versions and the hardware"),
    ]
)
TRIALS_KEY = ["trial_id", "seed"]


@dataclass(frozen=True)
class Run:
    """One run directory, read: ``study`` is study.json, the frames have the schemas of this module.

    Nullable integers are pandas ``Int32``/``Int64``; ``seed`` is a plain int64. A run of which only some configurations
    are shown has all of them in ``whole``.
    """

    path: Path
    study: dict[str, Any]
    trials: pd.DataFrame
    metrics: pd.DataFrame
    unshortened: "Run | None" = None

    @property
    def whole(self) -> "Run":
        """The run with all of its configurations."""
        return self.unshortened or self

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        return self.trials.groupby("configuration", sort=False).indices

    def of(self, configuration: str) -> pd.DataFrame:
        """Rows of ``trials`` of one configuration, in time independent of the number of the others."""
        return self.trials.take(self._places.get(configuration, np.empty(0, int)))


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]], trial_order: Iterable[str] = ()) -> None:
    """Write ``metrics.parquet``; of rows with equal ``METRICS_KEY`` the last is kept.

    Order: trial (as in ``trial_order``, then by first appearance), seed, phase, task, epoch, step, name, nulls first.
    Phase comes before task so that a reader who wants one phase skips the row groups of the others. Give
    ``trial_order`` where trials finish in an order that varies from run to run.

    Raises:
        RecordsError: a row lacks a required column, has an unknown one, or holds a value of the wrong type.
    """
    _write(path, rows, METRICS_SCHEMA, METRICS_KEY, trial_order)


def write_trials(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``trials.parquet``; of rows with equal trial and seed the last is kept; order: trial as given, seed.

    Rows hold the columns of ``TRIALS_SCHEMA`` and any ``param.<key>`` and ``metric.<key>``. ``replica_id`` is filled in
    where it is absent.

    Raises:
        RecordsError: as ``write_metrics``; also a status that is not in ``STATUSES``.
    """
    full = [{"replica_id": f"{row.get('trial_id')}-s{row.get('seed')}", **row} for row in rows]
    for row in full:
        if row.get("status") not in STATUSES:
            raise RecordsError(f"{row['replica_id']}: status {row.get('status')!r} is not one of {', '.join(STATUSES)}")
    dynamic: list[pa.Field] = []
    for name in sorted({key for row in full for key in row if key.startswith("param.")}):
        values, type_ = _parameter_column([row.get(name) for row in full])
        dynamic.append(_field(name, type_, "-", "parameter of the configuration"))
        for row, value in zip(full, values, strict=True):
            row[name] = value
    for name in sorted({key for row in full for key in row if key.startswith("metric.")}):
        dynamic.append(_field(name, pa.float64(), "accuracies are fractions in [0, 1]", "final metric of the replica"))
    _write(path, full, pa.schema([*TRIALS_SCHEMA, *dynamic]), TRIALS_KEY, ())


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        RecordsError: not a run directory, a file is missing or damaged, or its schema version is another.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RecordsError(f"{run_dir}: no such run directory")
    missing = [name for name in (STUDY_FILE, TRIALS_FILE, METRICS_FILE) if not (run_dir / name).is_file()]
    if STUDY_FILE in missing:
        raise RecordsError(f"{run_dir}: not a run directory ({STUDY_FILE} is missing)")
    if missing:
        raise RecordsError(f"{run_dir}: {' and '.join(missing)} missing; the run has not written its records yet")
    try:
        study = json.loads((run_dir / STUDY_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordsError(f"{run_dir / STUDY_FILE}: not valid JSON ({error})") from None
    if not isinstance(study, dict):
        raise RecordsError(f"{run_dir / STUDY_FILE}: expected a JSON object, found {type(study).__name__}")
    _check_version(run_dir / STUDY_FILE, study.get("schema_version", SCHEMA_VERSION))
    trials = _read(run_dir / TRIALS_FILE, TRIALS_SCHEMA)
    return Run(run_dir, study, trials, _read(run_dir / METRICS_FILE, METRICS_SCHEMA))


def _write(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, key: list[str], trial_order: Iterable[str]
) -> None:
    names, required = set(schema.names), [field.name for field in schema if not field.nullable]
    for number, row in enumerate(rows):
        if not names.issuperset(row):
            raise RecordsError(f"{path}: row {number}: unknown column {min(set(row) - names)!r}")
        for name in required:
            if row.get(name) is None:
                raise RecordsError(f"{path}: row {number}: column {name!r} is missing")
    try:
        table = pa.Table.from_pylist(list(rows), schema=schema)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise RecordsError(f"{path}: a value does not fit its column ({error})") from None

    # Only the keys go through pandas, which would turn a NaN loss into a null.
    keys = _frame(table.select(key)).drop_duplicates(keep="last")
    order = list(dict.fromkeys([*trial_order, *keys["trial_id"]]))
    rank = keys["trial_id"].map({trial: position for position, trial in enumerate(order)})
    keys = keys.assign(trial_id=rank).sort_values(key, kind="stable", na_position="first")
    table = table.take(pa.array(keys.index.to_numpy(), pa.int64()))
    table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})

    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(table, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RecordsError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    _check_version(path, (table.schema.metadata or {}).get(b"schema_version", b"").decode())
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise RecordsError(f"{path}: column {missing[0]!r} is missing")
    return _frame(table)


def _frame(table: pa.Table) -> pd.DataFrame:
    nullable_integers = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    return table.to_pandas(types_mapper=nullable_integers.get).astype({"seed": "int64"})


def _check_version(path: Path, found: object) -> None:
    try:
        version = int(str(found))
    except ValueError:
        raise RecordsError(f"{path}: has no schema version; it was not written by a study") from None
    if version > SCHEMA_VERSION:
        advice = "update this program to read it"
    elif version < SCHEMA_VERSION:
        advice = "read it with the version of the program that wrote it"
    else:
        return
    age = "newer" if version > SCHEMA_VERSION else "older"
    raise RecordsError(f"{path}: schema version {version} is {age} than {SCHEMA_VERSION}; {advice}")


def _parameter_column(values: list[Any]) -> tuple[list[Any], pa.DataType]:
    """One type for a parameter's values over all replicas: bool, int, float, or text where they are mixed."""
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    nested = (list, tuple, dict)
    values = [json.dumps(value, sort_keys=True) if isinstance(value, nested) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return values, pa.bool_()
    if kinds == {int}:
        return values, pa.int64()
    if kinds and kinds <= {int, float}:
        return values, pa.float64()
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pa.string()
