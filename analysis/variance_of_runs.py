"""The components of variance of a study: hyperparameters, seed and its parts, code, machine, rerun."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.cells import Cell, Table
from analysis.observations import observations
from analysis.records import Run
from analysis.series import objective_metric
from analysis.variance import RESIDUAL, Split, split

SEED, HYPERPARAMETERS, INTERACTION, RERUN = "seed", "hyperparameters", "seed within configuration", "rerun"
SEED_PARTS = "init, data order and augmentation"
_FIXED = ["run", "configuration", HYPERPARAMETERS, SEED, "code", "machine", "value"]


def variance_split(runs: Sequence[Run], rng: np.random.Generator, metric: str | None = None) -> Split | None:
    """Components of variance of a final metric over all replicas of the runs.

    ``seed`` is what a seed does to every configuration alike, ``seed within configuration`` what it does to one alone.
    Without reruns, rerun noise is part of the latter and named so. Code and machine appear where runs differ in them.

    Args:
        runs: the run, and its reruns where there are any.
        rng: simulates the intervals.
        metric: a final metric; the objective of the first run where None.

    Returns:
        None below 3 finished replicas.
    """
    frame = observations(runs, metric or objective_metric(runs[0]))
    cell = [HYPERPARAMETERS, *(name for name in frame.columns if name not in _FIXED), SEED]
    factors = {HYPERPARAMETERS: frame[HYPERPARAMETERS]}
    factors |= {name: frame[name] for name in ("code", "machine") if frame[name].nunique() > 1}
    factors |= {str(name): frame[name].astype(str) for name in cell[1:-1]}
    factors[SEED] = frame[SEED]
    factors[INTERACTION] = frame.groupby(cell, dropna=False).ngroup() if len(frame) else pd.Series(dtype=int)
    found = split(frame["value"], factors, rng)
    if found is None:
        return None
    reasons = dict(found.unidentified)
    if INTERACTION in reasons:
        residual = f"{INTERACTION}, with rerun noise"
        del reasons[INTERACTION]
        repeated = len(frame) > frame.groupby(cell, dropna=False).ngroups
        if HYPERPARAMETERS in reasons:
            # With one configuration there is no seed effect beside the one within it.
            residual = RERUN if repeated else f"{SEED}, with rerun noise"
            reasons.pop(SEED, None)
        if residual != RERUN:
            reasons[RERUN] = "no replica was run twice"
    else:
        residual = RERUN
    reasons[SEED_PARTS] = "they all come from the one seed of a replica"
    reasons.setdefault("class order", _class_order(runs[0])) if "class order" not in factors else None
    components = (replace(one, name=residual) if one.name == RESIDUAL else one for one in found.components)
    return Split(found.n, tuple(components), reasons)


def variance_table(found: Split) -> Table:
    """Components as standard deviations with intervals and shares.

    Args:
        found: the components.
    """
    rows: list[list[Cell]] = [
        [
            one.name,
            f"{100 * one.std:.2f}",
            f"{100 * np.sqrt(one.low):.2f} to {100 * np.sqrt(one.high):.2f}",
            None if one.share is None else f"{100 * one.share:.0f}",
            one.levels,
        ]
        for one in found.components
    ]
    rows += [[f"{name}: not known, {reason}", None, None, None, None] for name, reason in found.unidentified.items()]
    caption = (
        f"Random-effects model over {found.n} finished replicas; standard deviation of each source in percentage "
        "points, interval by test inversion at 95 %, share of the variance. A source seen at fewer than about five "
        "levels is known only roughly."
    )
    columns = ["source", "standard deviation", "95 % interval", "share (%)", "levels"]
    return Table("Where the spread comes from", columns, rows, caption, "variance")


def variance_sentence(found: Split | None) -> str:
    """The largest source and what cannot be told, in one sentence.

    Args:
    """
    if found is None:
        return "Fewer than three replicas finished, so the spread cannot be split into its sources."
    if not any(one.variance for one in found.components):
        return f"All {found.n} finished replicas agree, so there is no spread to split."
    largest = max(found.components, key=lambda one: one.variance)
    low, high = 100 * np.sqrt(largest.low), 100 * np.sqrt(largest.high)
    text = (
        f"The largest source of spread is {largest.name}: {100 * (largest.share or 0):.0f} % of the variance, a "
        f"standard deviation of {100 * largest.std:.1f} points (95 % interval {low:.1f} to {high:.1f})"
    )
    if RERUN in found.unidentified:
        text += f"; rerun noise cannot be told from the seed, since {found.unidentified[RERUN]}"
    return f"{text}."


def _class_order(run: Run) -> str:
    known = {str(value) for value in run.trials.get("param.class_order_seed", pd.Series(dtype=str)).dropna()}
    if known == {"replica"}:
        return "it comes from the seed of the replica"
    if len(known) == 1:
        return f"it was held fixed (seed {float(known.pop()):g})"
    return "this study has none"
