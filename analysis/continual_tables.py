"""Class-incremental metrics by seed, and the accuracy matrix over seeds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis import series
from analysis.captions import measured_caption
from analysis.cells import Cell, Spread, Table
from analysis.records import Run

MOST_REPLICAS = 200  # rows of the table by seed
MOST_MATRICES = 6
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
    tasks, prefix = series.task_count(run), "accuracy/task_"
    rows = series.measured(run, "eval")
    rows = rows[(rows["configuration"] == configuration) & rows["name"].str.startswith(prefix) & rows["task"].notna()]
    learned = rows["name"].str.removeprefix(prefix).astype(int).to_numpy()
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
    """Which accuracy matrices are not there.

    Args:
        run: the run.
        tables: from ``matrix_tables``.
    """
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
