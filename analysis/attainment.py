"""Empirical attainment surfaces: what a share of the seeds reaches, in two objectives at once.

Each seed's configurations together attain a region; the surface at p % bounds what at least p % of the seeds attain.

Source: Grunert da Fonseca, Fonseca and Hall 2001; López-Ibáñez, Paquete and Stützle 2010; ``moocore.eaf``.
"""

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd

from analysis.objectives import Array, Objective

LEVELS = (0.0, 50.0, 100.0)  # best, median and worst of the seeds


def attainment_surfaces(
    values: pd.DataFrame, objectives: Sequence[Objective], levels: Sequence[float] = LEVELS
) -> dict[float, Array]:
    """The corners of the surface at each level, in the objectives' own units.

    Only seeds that every configuration has are counted: with fewer configurations a seed would attain less.

    Args:
        objectives: two of its columns.
        levels: per cent of the seeds; 0 is what the best seed attains.

    Returns:
        level -> corners, shape (n, 2), sorted by the second objective; empty where no seed is shared by all.

    Raises:
        ValueError: not two objectives.
    """
    if len(objectives) != 2:
        raise ValueError(f"an attainment surface is drawn over 2 objectives, found {len(objectives)}")
    values = values[[objective.column for objective in objectives]]
    configurations = values.index.get_level_values("configuration").nunique()
    seeds = values.index.get_level_values("seed")
    shared = values[values.groupby(seeds)[objectives[0].column].transform("size") == configurations]
    if shared.empty:
        return {level: np.empty((0, 2)) for level in levels}
    signs = np.array([-1.0 if objective.maximise else 1.0 for objective in objectives])
    _, sets = np.unique(shared.index.get_level_values("seed"), return_inverse=True)
    order = np.argsort(sets, kind="stable")  # moocore wants a set's rows together
    found = moocore.eaf(shared.to_numpy()[order] * signs, sets[order], percentiles=list(levels))
    surfaces = {}
    for level in levels:
        corners = found[np.isclose(found[:, 2], level), :2]
        surfaces[level] = corners[np.lexsort((corners[:, 0], corners[:, 1]))] * signs
    return surfaces


def staircase(corners: Array, grid: Array, maximise: bool) -> Array:
    """The best first objective that is attained with a second objective, to be small, of at most ``grid``.

    Args:
        corners: shape (n, 2), from ``attainment_surfaces`` or the members of a front.
        grid: values of the second objective, shape (g,).
        maximise: whether the first objective is to be large.

    Returns:
        shape (g,); NaN where nothing is attained.
    """
    attained = np.full(len(grid), np.nan)
    best = np.fmax if maximise else np.fmin
    for first, second in corners:
        attained = np.where(grid >= second, best(attained, first), attained)
    return attained
