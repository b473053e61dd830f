"""Scores for tools that evaluate algorithms over tasks: rliable (Agarwal et al. 2021), marl-eval (Gorsane et al. 2022).

A configuration is an algorithm, a run directory a task, a seed a run of the algorithm. The score is the objective of
the study; a diverged or failed seed has the worst value of its run.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.io.records import RecordsError, Run
from analysis.io.values import objective, outcomes


def rliable_scores(runs: Sequence[Run]) -> dict[str, NDArray[np.float64]]:
    """What ``rliable.library`` takes: configuration -> scores, shape (seeds, runs), of the configurations that all runs
    have, and of each the seeds that ended in all of them; RecordsError where there are none."""
    tables = [_finals(run) for run in runs]
    rows = {label: pd.concat([table.loc[label] for table in tables], axis=1, join="inner").dropna()
            for label in _common(tables)}  # fmt: skip
    found = {str(label): own.to_numpy(dtype=np.float64) for label, own in rows.items() if len(own)}
    return found or _refused(runs, "no configuration has a seed that ended in every run")


def marl_eval_data(runs: Sequence[Run]) -> dict[str, Any]:
    """What ``marl_eval`` takes: environment -> task -> algorithm -> run_i -> step_n -> ``step_count`` and scores.

    The environment is the first run's study, a task the data set of a run (with the run's id where several have it), a
    step a boundary. marl-eval wants the same algorithms, runs and steps everywhere: these are the configurations that
    all runs have and the seeds that ended in all of them. What a lost seed did not reach has the worst value of its
    run.

    Raises:
        RecordsError: there are none, or runs have other numbers of boundaries.
    """
    tables = [_finals(run) for run in runs]
    labels = _common(tables)
    seeds = pd.concat([table.loc[labels] for table in tables]).dropna(axis=1).columns
    if not labels or seeds.empty:
        _refused(runs, "no seed ended in every run and configuration")
    curves = [_curves(run, table) for run, table in zip(runs, tables, strict=True)]
    if len({curve.shape[1] for curve in curves}) > 1:
        _refused(runs, "other numbers of boundaries; marl-eval takes runs with the same")
    name = objective(runs[0]).name.lower()  # marl-eval looks all names but those of algorithms up in lower case
    tasks: dict[str, Any] = {}
    for task, curve, table in zip(_task_names(runs), curves, tables, strict=True):
        tasks[task] = {str(label): {} for label in labels}
        for label, (place, seed) in product(labels, enumerate(seeds, start=1)):
            values = enumerate(curve.loc[(label, seed)].tolist(), start=1)
            steps = {f"step_{step}": {"step_count": step, name: [value]} for step, value in values}
            final = {"absolute_metrics": {name: [float(table.at[label, seed])]}}
            tasks[task][str(label)][f"run_{place}"] = steps | final
    return {str(runs[0].study.get("study") or "study").lower(): tasks}


def write_rliable(path: Path, scores: Mapping[str, NDArray[np.float64]]) -> None:
    """As ``.npz``: ``dict(numpy.load(path))`` is what went in, whatever the labels are; a new file, else
    RecordsError."""
    with _new(path) as file, zipfile.ZipFile(file, "w") as archive:
        for label, values in scores.items():
            with archive.open(f"{label}.npy", "w") as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def write_marl_eval(path: Path, data: Mapping[str, Any]) -> None:
    """As JSON; a new file, else RecordsError."""
    with _new(path) as file:
        file.write(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False).encode())


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "xb") as file:
            yield file
    except OSError as error:
        why = "is there already" if isinstance(error, FileExistsError) else f"cannot be written ({error.strerror})"
        raise RecordsError(f"{path}: {why}; a new file is allowed") from None


def _finals(run: Run) -> pd.DataFrame:
    """Final values: a row for each configuration, a column for each seed, NaN where it did not end."""
    table = outcomes(run).pivot_table(index="configuration", columns="seed", values="value", sort=False)
    return table.astype(float)


def _curves(run: Run, finals: pd.DataFrame) -> pd.DataFrame:
    """The objective at every boundary: rows (configuration, seed), columns boundaries; a single column of final values
    where a run of an earlier version has no others."""
    about, at, ended = objective(run), str(run.study.get("boundary") or "task"), finals.stack()
    rows = run.metrics[(run.metrics["phase"] == "final") & (run.metrics["name"] == about.name)].dropna(subset=at)
    if rows.empty:
        return ended.to_frame()
    rows = rows.merge(run.trials[["trial_id", "seed", "configuration"]], on=["trial_id", "seed"])
    table = rows.pivot_table(index=["configuration", "seed"], columns=at, values="value").reindex(ended.index)
    return table.where(np.isfinite(table), ended.min() if about.maximise else ended.max()).astype(float)


def _common(tables: Sequence[pd.DataFrame]) -> list[str]:
    return [label for label in tables[0].index if all(label in table.index for table in tables)]


def _task_names(runs: Sequence[Run]) -> list[str]:
    names = [str(run.study.get("dataset") or run.path.name).lower() for run in runs]
    ids = [str(run.study.get("run_id") or run.path.name).lower() for run in runs]
    return [f"{name} {id_}" if names.count(name) > 1 else name for name, id_ in zip(names, ids, strict=True)]


def _refused(runs: Sequence[Run], why: str) -> NoReturn:
    raise RecordsError(f"{', '.join(str(run.path) for run in runs)}: {why}")
