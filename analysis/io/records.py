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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.io.metrics import metric_info
from analysis.io.parquet_files import (
    SCHEMA_VERSION,
    RecordsError,
    check_version,
    field,
    frame,
    read_file,
    table_of,
    write_file,
)

STATUSES = ("finished", "pruned", "diverged", "failed", "interrupted")
TRIALS_FILE, METRICS_FILE, STUDY_FILE = "trials.parquet", "metrics.parquet", "study.json"
_REQUIRED = False  # the value of ``nullable`` for columns that must not be null

METRICS_SCHEMA = pa.schema(
    [
        field("trial_id", pa.string(), "-", "the trial (configuration) the replica belongs to", _REQUIRED),
        field("seed", pa.int64(), "-", "the replica's seed", _REQUIRED),
        field("phase", pa.string(), "-", "train, val, eval, ablation, boundary, timing, ...", _REQUIRED),
        field("task", pa.int32(), "-", "task, counted from 0; null outside class-incremental studies"),
        field("epoch", pa.int32(), "-", "epoch within the task, counted from 0"),
        field("step", pa.int64(), "optimizer steps", "step, counted on over the tasks"),
        field("name", pa.string(), "-", "what was measured, e.g. accuracy or norm/slow/after", _REQUIRED),
        field("value", pa.float64(), "by name; accuracies are fractions in [0, 1]",
              "the value; NaN and infinities are kept", _REQUIRED),
        field("wall_s", pa.float64(), "s", "seconds since the replica started; not reproducible"),
    ]
)  # fmt: skip
METRICS_KEY = ["trial_id", "seed", "phase", "task", "epoch", "step", "name"]

TRIALS_SCHEMA = pa.schema(
    [
        field("study", pa.string(), "-", "name of the study", _REQUIRED),
        field("run_id", pa.string(), "-", "name of the run", _REQUIRED),
        field("trial_id", pa.string(), "-", "the trial: one configuration", _REQUIRED),
        field("configuration", pa.string(), "-", "label of the configuration", _REQUIRED),
        field("replica_id", pa.string(), "-", "<trial_id>-s<seed>", _REQUIRED),
        field("seed", pa.int64(), "-", "the replica's seed", _REQUIRED),
        field("status", pa.string(), "-", " | ".join(STATUSES), _REQUIRED),
        field("error", pa.string(), "-", "why the replica failed or diverged"),
        field("trainable_params", pa.int64(), "parameters", "parameters that receive updates, per replica"),
        field("total_params", pa.int64(), "parameters", "all parameters, frozen ones included, per replica"),
        field("duration_s", pa.float64(), "s", "wall-clock of the replica; not reproducible, like the next four"),
        field("data_s", pa.float64(), "s", "part of duration_s spent on data"),
        field("train_s", pa.float64(), "s", "part of duration_s spent on training"),
        field("eval_s", pa.float64(), "s", "part of duration_s spent on evaluation and ablations"),
        field("peak_memory_mib", pa.float64(), "MiB", "peak memory of the process, or of the device on a GPU"),
        field("mlflow_run_id", pa.string(), "-", "the replica's MLflow run"),
        field("git_commit", pa.string(), "-", "commit of the code"),
        field("diff_hash", pa.string(), "-", "hash of the uncommitted changes"),
        field("data_hash", pa.string(), "-", "hash of the decoded data set"),
        field("weights_hash", pa.string(), "-", "hash of the backbone's weights"),
        field("environment_hash", pa.string(), "-", "hash of the library versions and the hardware"),
    ]
)
TRIALS_KEY = ["trial_id", "seed"]
_TODAY = {"metric.step_time_s": "metric.step_share_s"}


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


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]], trial_order: Iterable[str] = ()) -> None:
    """Write ``metrics.parquet``; of rows with equal ``METRICS_KEY`` the last is kept.

    Order: trial (as in ``trial_order``, where trials finish in an order that varies, then by first appearance), seed,
    phase, task, epoch, step, name, nulls first. A reader who wants one phase skips the row groups of the others.

    Raises:
        RecordsError: a row lacks a required column, has an unknown one, or holds a value of the wrong type.
    """
    _write(path, rows, METRICS_SCHEMA, METRICS_KEY, trial_order)


def write_trials(
    path: Path, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write ``trials.parquet``; of rows with equal trial and seed the last is kept; order: trial as given, seed.

    Args:
        rows: the columns of ``TRIALS_SCHEMA`` and any ``param.<key>`` and ``metric.<key>``; ``replica_id`` may be
            absent.
        metrics: what is known of them, as study.json has it; goes into the columns' metadata.

    Raises:
        RecordsError: as ``write_metrics``; also a status that is not in ``STATUSES``.
    """
    full = [{"replica_id": f"{row.get('trial_id')}-s{row.get('seed')}", **row} for row in rows]
    for row in full:
        if row.get("status") not in STATUSES:
            raise RecordsError(f"{row['replica_id']}: status {row.get('status')!r} is not one of {', '.join(STATUSES)}")
    fields: list[pa.Field] = []
    dynamic = {key for row in full for key in row if key.startswith(("param.", "metric."))}
    for name in sorted(dynamic, key=lambda name: (name.startswith("metric."), name)):
        if name.startswith("metric."):
            known = metric_info(metrics or {}, name.removeprefix("metric."))
            fields.append(pa.field(name, pa.float64(), metadata=known.as_metadata()))
            continue
        values, type_ = _parameter_column([row.get(name) for row in full])
        fields.append(field(name, type_, "-", "parameter of the configuration"))
        for row, value in zip(full, values, strict=True):
            row[name] = value
    _write(path, full, pa.schema([*TRIALS_SCHEMA, *fields]), TRIALS_KEY, ())


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        RecordsError: not a run directory, a file is missing or damaged, or its schema version is another.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RecordsError(f"{run_dir}: no such run directory")
    if not (run_dir / STUDY_FILE).is_file():
        raise RecordsError(f"{run_dir}: not a run directory ({STUDY_FILE} is missing)")
    if missing := [name for name in (TRIALS_FILE, METRICS_FILE) if not (run_dir / name).is_file()]:
        raise RecordsError(f"{run_dir}: {' and '.join(missing)} missing; the run has not written its records yet")
    try:
        study = json.loads((run_dir / STUDY_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordsError(f"{run_dir / STUDY_FILE}: not valid JSON ({error})") from None
    if not isinstance(study, dict):
        raise RecordsError(f"{run_dir / STUDY_FILE}: expected a JSON object, found {type(study).__name__}")
    check_version(run_dir / STUDY_FILE, study.get("schema_version", SCHEMA_VERSION))
    tables = read_trials(run_dir / TRIALS_FILE), read_metrics(run_dir / METRICS_FILE)
    trials, metrics = (frame(table).astype({"seed": "int64"}) for table in tables)
    return Run(run_dir, study, trials, metrics)


def read_trials(path: Path) -> pa.Table:
    """``trials.parquet`` under today's names (step_time_s once held step_share_s); RecordsError where it cannot be
    read."""
    table = read_file(path, TRIALS_SCHEMA)
    names = table.schema.names
    return table if "metric.step_share_s" in names else table.rename_columns([_TODAY.get(one, one) for one in names])


def read_metrics(path: Path) -> pa.Table:
    """``metrics.parquet``; RecordsError where it cannot be read."""
    return read_file(path, METRICS_SCHEMA)


def _write(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, key: list[str], trial_order: Iterable[str]
) -> None:
    table = table_of(path, rows, schema)
    # Only the keys go through pandas, which would turn a NaN loss into a null.
    keys = frame(table.select(key)).drop_duplicates(keep="last")
    order = dict.fromkeys([*trial_order, *keys["trial_id"]])
    rank = keys["trial_id"].map({trial: position for position, trial in enumerate(order)})
    keys = keys.assign(trial_id=rank).sort_values(key, kind="stable", na_position="first")
    table = table.take(pa.array(keys.index.to_numpy(), pa.int64()))
    write_file(Path(path), table)


def _parameter_column(values: list[Any]) -> tuple[list[Any], pa.DataType]:
    """One type for a parameter's values over all replicas: bool, int, float, or text where they are mixed."""
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    values = [json.dumps(one, sort_keys=True) if isinstance(one, list | tuple | dict) else one for one in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds and (kinds <= {int, float} or kinds == {bool}):
        return values, pa.bool_() if bool in kinds else pa.float64() if float in kinds else pa.int64()
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pa.string()
