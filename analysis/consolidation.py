"""Does consolidation destroy? Ablations at every task boundary, before and after it.

A boundary is destructive when slow alone is worse than the frozen backbone under the same head.
"""

import pandas as pd

from analysis.cells import EMPTY, Cell, Table
from analysis.instability import exact_interval
from analysis.records import Run
from analysis.series import ablation_by_task, configurations, destructive_flags, task_count

MOMENTS = ("before", "after")


def destructive_counts(run: Run) -> pd.DataFrame:
    """Columns configuration, task (from 0), moment (before | after), destructive, n: seeds in which slow alone was
    worse than the frozen backbone, of those in which both were measured; only configurations that consolidate, where
    that was recorded."""
    columns = ["configuration", "task", "moment"]
    frame = ablation_by_task(run)
    frame = frame[frame["part"].isin(["slow", "frozen"])]
    if asked := set(destructive_flags(run)["configuration"]):
        # Without consolidation nothing can be destroyed by it.
        frame = frame[frame["configuration"].isin(asked)]
    wide = frame.pivot_table(index=[*columns, "trial_id", "seed"], columns="part", values="accuracy", aggfunc="last")
    wide = wide.reindex(columns=["slow", "frozen"]).dropna()
    worse = (wide["slow"] < wide["frozen"]).groupby(level=columns).agg(["sum", "size"])
    return worse.set_axis(["destructive", "n"], axis=1).astype(int).reset_index()


def consolidation_table(run: Run) -> Table | None:
    """Destructive boundaries by task, before → after consolidation; None where no ablation was measured."""
    counts, tasks = destructive_counts(run), task_count(run)
    if counts.empty:
        return None
    places = counts.set_index(["configuration", "moment", "task"])[["destructive", "n"]]
    cell = {place: f"{k}/{n}" for place, k, n in places.itertuples(name=None)}
    sums = counts.groupby(["configuration", "moment"])[["destructive", "n"]].sum()
    low, high = exact_interval(sums["destructive"], sums["n"])
    total = {
        place: f"{k} of {n} ({100 * a:.0f}-{100 * b:.0f} %)"
        for (place, k, n), a, b in zip(sums.itertuples(name=None), low, high, strict=True)
    }
    known, rows = set(counts["configuration"]), []
    for label in [label for label in configurations(run) if label in known]:
        cells: list[Cell] = [label]
        for task in range(tasks):
            before, after = (cell.get((label, moment, task)) for moment in MOMENTS)
            cells.append(after if before == after else f"{before or EMPTY} → {after or EMPTY}")
        cells += [total.get((label, moment)) for moment in MOMENTS]
        rows.append(cells)
    caption = (
        "Seeds in which slow alone was worse than the frozen backbone, of those measured, before → after "
        "consolidation; one entry where both agree. The 95 % interval of all boundaries takes them as independent, "
        "though the boundaries of one seed are not: it is too narrow."
    )
    columns = ["configuration", *(f"task {task + 1}" for task in range(tasks)), "all, before", "all, after"]
    return Table("Destructive consolidation", columns, rows, caption, "consolidation")


def consolidation_sentence(run: Run) -> str:
    """Where consolidation did most harm, in one sentence; says so where it was not measured."""
    counts = destructive_counts(run)
    if counts.empty:
        return "Slow weights alone were not compared with the frozen backbone."
    total = counts.groupby("moment")[["destructive", "n"]].sum().reindex(MOMENTS).fillna(0).astype(int)
    sides = [
        f"{row.destructive or 'none'} of {row.n} boundaries {row.Index} consolidation" for row in total.itertuples()
    ]
    text = f"Slow alone was worse than the frozen backbone at {' and '.join(sides)}"
    after = counts[counts["moment"] == "after"].groupby("configuration")[["destructive", "n"]].sum()
    if len(after) > 1 and after["destructive"].any():
        worst = (after["destructive"] / after["n"]).idxmax()
        text += f", most often after it in {worst} ({after.loc[worst, 'destructive']} of {after.loc[worst, 'n']})"
    return f"{text}."
