"""Class-incremental metrics by seed, forgetting by task, and the accuracy matrix over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import series
from analysis.captions import measured_caption
from analysis.cells import Cell, Spread, Table
from analysis.records import Run

MOST_REPLICAS = 200  # rows of the table by seed
MOST_MATRICES = 6
_PREFIX = "accuracy/task_"
METRICS = {
    "final_accuracy": "final accuracy",
    "average_incremental_accuracy": "average incremental accuracy",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
}


def accuracy_matrices(run: Run, configuration: str) -> dict[int, NDArray[np.float64]]:
    """Accuracy on task i's classes after task t, by seed: a[t, i] of shape (T, T), NaN where it was not measured.

    Of every replica that reached a task, finished or not; by ascending seed.
    """
    rows = _task_rows(run)
    return _matrices(rows[rows["configuration"] == configuration], series.task_count(run))


def _task_rows(run: Run) -> pd.DataFrame:
    rows = series.measured(run, "eval")
    return rows[rows["name"].str.startswith(_PREFIX) & rows["task"].notna()]


def _matrices(rows: pd.DataFrame, tasks: int) -> dict[int, NDArray[np.float64]]:
    """Those of one configuration's rows."""
    learned = rows["name"].str.removeprefix(_PREFIX).astype(int).to_numpy()
    after, seeds = rows["task"].astype(int).to_numpy(), rows["seed"].to_numpy()
    known = sorted(set(seeds.tolist()))
    table = np.full((len(known), tasks, tasks), np.nan)
    inside = (learned <= after) & (after < tasks)
    place = np.searchsorted(known, seeds[inside]) if known else np.array([], dtype=int)
    table[place, after[inside], learned[inside]] = rows["value"].to_numpy(dtype=np.float64)[inside]
    return dict(zip(map(int, known), table, strict=True))


def continual_table(run: Run) -> Table:
    """Final metrics of every replica that has them, and their mean over the seeds of a configuration, in per cent."""
    rows: list[list[Cell]] = []
    by_seed = len(run.trials) <= MOST_REPLICAS
    finals = {metric: series.finals_of(run, metric) for metric in METRICS}
    replicas = run.trials["configuration"].value_counts()
    for label in series.configurations(run):
        known = {metric: own[label] for metric, own in finals.items()}
        seeds = sorted(set().union(*(own.index for own in known.values())))
        for seed in seeds if by_seed else []:
            values = [known[metric].get(seed) for metric in METRICS]
            rows.append([label, str(seed), *(None if value is None else f"{100 * value:.2f}" for value in values)])
        planned = int(replicas.get(label, 0))
        spreads = [Spread.of(own.to_numpy(dtype=np.float64), planned) for own in known.values()]
        rows.append([label, "all", *spreads])
    caption = (
        "In per cent. Forgetting: mean fall of the earlier tasks from their best accuracy to their last; backward "
        f"transfer: mean change since they were learned. {measured_caption(run)}"
        f"{'' if by_seed else f' {len(run.trials):,} single seeds are left out: they are in trials.parquet.'}"
    )
    return Table("Continual learning by seed", ["configuration", "seed", *METRICS.values()], rows, caption, "continual")


def forgetting_table(run: Run) -> Table | None:
    """What each earlier task lost, by configuration, over the finished seeds; None with fewer than two tasks or where
    accuracy on single tasks was not measured."""
    tasks, rows = series.task_count(run), _task_rows(run)
    rows = rows[rows["status"] == "finished"]
    cells: list[list[Cell]] = []
    for label, own in rows.groupby("configuration", sort=False) if tasks > 1 else ():
        complete = [one for one in _matrices(own, tasks).values() if np.isfinite(one[np.tril_indices(tasks)]).all()]
        if complete:
            lost = np.stack([np.nanmax(one[:-1, :-1], axis=0) - one[-1, :-1] for one in complete])
            planned = len(series.replicas(run, str(label)))
            kinds = [*lost.T, lost.mean(axis=1)]
            cells.append([str(label), *(Spread.of(kind, planned, digits=1) for kind in kinds)])
    if not cells:
        return None
    order = series.configurations(run)
    cells.sort(key=lambda row: order.index(str(row[0])))
    caption = (
        "In points: the best accuracy on a task's own classes before the last task, minus that after it (Chaudhry et "
        f"al. 2018). {measured_caption(run)}"
    )
    columns = ["configuration", *(f"task {task + 1}" for task in range(tasks - 1)), "mean"]
    return Table("Forgetting by task", columns, cells, caption, "forgetting")


def matrix_tables(run: Run) -> list[Table]:
    """The accuracy matrices, mean ± standard deviation over seeds, of the first ``MOST_MATRICES`` configurations in
    which one was measured."""
    tables: list[Table] = []
    for label in series.configurations(run):
        matrices = accuracy_matrices(run, label) if len(tables) < MOST_MATRICES else {}
        if matrices:
            tables.append(_matrix_table(run, label, len(tables), matrices))
    return tables


def matrix_sentences(run: Run, tables: Sequence[Table]) -> list[str]:
    """Which accuracy matrices are not there."""
    if not tables:
        return ["Accuracy on single tasks was not measured, so there is no accuracy matrix."]
    hidden = len(series.configurations(run.whole)) - len(tables)
    if hidden <= 0:
        return []
    return [f"Accuracy matrices of the first {len(tables)} configurations; {hidden:,} more are left out or have none."]


def _matrix_table(run: Run, configuration: str, number: int, matrices: dict[int, NDArray[np.float64]]) -> Table:
    stacked, tasks = np.stack(list(matrices.values())), series.task_count(run)
    rows: list[list[Cell]] = []
    for after in range(tasks):
        cells: list[Cell] = [after + 1]
        for learned in range(tasks):
            seen = stacked[:, after, learned]
            cells.append(Spread.of(seen[~np.isnan(seen)], len(matrices), digits=1))
        rows.append(cells)
    caption = f"Accuracy (%) on each task's own classes, after each task. {measured_caption(run)}"
    columns = ["after task", *(f"task {task + 1}" for task in range(tasks))]
    return Table(f"Accuracy matrix of {configuration}", columns, rows, caption, f"accuracy_matrix_{number}")
