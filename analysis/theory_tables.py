"""The tables of the linear theory: error over bound, worst gaps, and what the scaling rule does on the way."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.captions import measured_setting
from analysis.cells import Cell, Spread, Table
from analysis.records import Run
from analysis.series import configurations
from analysis.theory_series import TOLERANCE, early_gaps, final_cases, pairs, percent, steps_to_bound, teachers

STAR = (
    "* Bound 0, since the rank reaches the teacher's: the error as a fraction of ||W* - W0||_F^2 stands in its place."
)


def bound_table(run: Run, every: pd.DataFrame) -> Table:
    """Learned error over the Eckart-Young bound, mean and standard deviation over seeds, by teacher and rank."""
    caption = (
        "Squared Frobenius error of the learned update over the smallest that any update of this rank can have (the "
        f"sum of the squared singular values beyond the rank), after the last step; {measured_setting(run)}, mean ± "
        f"standard deviation over finished seeds. {STAR} A number of inputs n leaves even the exact minimum of the "
        "training loss above the bound, by a fraction of order d_in / n."
    )

    def ratio(own: pd.DataFrame) -> Cell:
        ratios = (own["gap"] + (own["bound"] > 0)).to_numpy(dtype=np.float64)
        return Spread.of(ratios, len(ratios), 1.0, 4)

    def bound(own: pd.DataFrame) -> Cell:
        bounds = own.drop_duplicates("seed")["bound"].to_numpy(dtype=np.float64)
        return Spread.of(bounds, len(bounds), 1.0, 3)

    table = _by_case(run, final_cases(every), ratio)
    bounds = [[bound(own)] for _, own in _grouped(run, final_cases(every))]
    rows = [[row[0], *extra, *row[1:]] for row, extra in zip(table, bounds, strict=True)]
    columns = ["teacher, rank", "bound", *(f"error / bound: {label}" for label in configurations(run))]
    return Table("Learned error over the bound", columns, rows, caption, "error_over_bound")


def worst_table(run: Run, every: pd.DataFrame) -> Table:
    """The worst seed's gap by teacher and rank."""

    def worst(own: pd.DataFrame) -> Cell:
        return f"{100 * own['gap'].max():.3f}" if len(own) else None

    columns = ["teacher, rank", *(f"worst gap (%): {label}" for label in configurations(run))]
    caption = f"The largest gap of any seed, in per cent of the bound. {STAR}"
    return Table("Worst gap over seeds", columns, _by_case(run, final_cases(every), worst), caption, "worst_gap")


def theory_scaling_table(run: Run, every: pd.DataFrame) -> Table | None:
    """The two scaling rules at equal numbers of steps, rank by rank; None where there is nothing to compare."""
    rows: list[list[Cell]] = []
    first, last = 0, int(every["step"].max()) if len(every) else 0
    for fixed, proportional in pairs(run):
        needed = {label: steps_to_bound(every, label) for label in (fixed, proportional)}
        for one in early_gaps(every, fixed, proportional):
            first = one.step
            gap, interval = one.gap, None
            if gap.low is not None and gap.high is not None:
                interval = f"{100 * gap.low:+.2f} to {100 * gap.high:+.2f}"
            steps = [_steps(needed[label].get(one.rank), last) for label in (proportional, fixed)]
            row: list[Cell] = [f"{proportional} / {fixed}", one.rank]
            rows.append([*row, f"{100 * one.proportional:.2f} / {100 * one.fixed:.2f}", interval, " / ".join(steps)])
    if not rows:
        return None
    columns = ["scaling rules", "rank", f"gap after {first} steps (%)", "fixed minus other, 95 % interval"]
    columns += [f"steps to within {percent(TOLERANCE)}"]
    caption = (
        "Both rules from the same initial factors, in the order of the first column. Gaps are means over teachers and "
        "seeds; the difference is paired by seed (t interval, for one comparison). Steps: median over seeds of the "
        f"first measured step from which on every teacher stays within {percent(TOLERANCE)} of its bound."
    )
    return Table("Fixed alpha against alpha = c r on the way", columns, rows, caption, "scaling")


def _grouped(run: Run, final: pd.DataFrame) -> list[tuple[tuple[str, int], pd.DataFrame]]:
    order = {teacher: place for place, teacher in enumerate(teachers(run, final))}
    groups = [((str(teacher), int(rank)), own) for (teacher, rank), own in final.groupby(["teacher", "rank"])]
    return sorted(groups, key=lambda group: (order[group[0][0]], group[0][1]))


def _by_case(run: Run, final: pd.DataFrame, cell: Callable[[pd.DataFrame], Cell]) -> list[list[Cell]]:
    """One row per teacher and rank, one cell per configuration."""
    rows: list[list[Cell]] = []
    for (teacher, rank), own in _grouped(run, final):
        star = "" if (own["bound"] > 0).all() else " *"
        cells = [cell(own[own["configuration"] == label]) for label in configurations(run)]
        rows.append([f"{teacher}, {rank}{star}", *cells])
    return rows


def _steps(steps: float | None, last: int) -> str:
    if steps is None:
        return "-"
    return f"{steps:,.0f}" if np.isfinite(steps) else f"> {last:,}"
