"""Order of configurations by one or several objectives under constraints."""

import moocore
import numpy as np


def order(losses: np.ndarray, violations: np.ndarray) -> list[int]:
    """Indices, best first: feasible before infeasible, those by total violation; then by Pareto rank, and within a
    rank by crowding distance (Deb et al. 2002; the lonely ones first). Ties keep their order; a configuration
    without a value (NaN) comes last.

    Args:
        losses: objectives, all minimized, (M, J).
        violations: total violation per configuration, 0 where feasible, (M,).
    """
    known = ~np.isnan(losses).any(axis=1)
    rank, crowding = np.zeros(len(losses)), np.zeros(len(losses))
    if losses.shape[1] == 1:
        rank = losses[:, 0]
    elif known.any():
        rank[known] = moocore.pareto_rank(losses[known])
        for level in np.unique(rank[known]):
            members = np.flatnonzero(known & (rank == level))
            crowding[members] = crowding_distance(losses[members])
    beyond = np.where(known, violations, 0.0)
    return np.lexsort((-crowding, rank, beyond, ~known)).tolist()


def crowding_distance(losses: np.ndarray) -> np.ndarray:
    """Side length of the box that a point's neighbours leave it, summed over objectives scaled to [0, 1], (M,)."""
    distance = np.zeros(len(losses))
    for column in losses.T:
        position = np.argsort(column, kind="stable")
        ordered = column[position]
        distance[position[[0, -1]]] = np.inf
        span = ordered[-1] - ordered[0]
        if span > 0 and len(ordered) > 2:
            distance[position[1:-1]] += (ordered[2:] - ordered[:-2]) / span
    return distance


def pareto_front(losses: np.ndarray) -> np.ndarray:
    """Which configurations no other one dominates, bool (M,); those without a value are not among them."""
    known = ~np.isnan(losses).any(axis=1)
    front = np.zeros(len(losses), dtype=bool)
    if known.any():
        front[known] = moocore.pareto_rank(losses[known]) == 0
    return front
