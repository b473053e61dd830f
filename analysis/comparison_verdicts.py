"""Verdicts per configuration of two runs: paired tests over seeds, corrected, and rerun noise. See ``comparison``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.differences import CONFIDENCE, PairedDifference, corrected, holm, paired_difference
from analysis.observations import observations
from analysis.permutation import smallest_permutation_p, spread_p
from analysis.records import Run
from analysis.row_differences import FirstDifference

OTHER, IDENTICAL, WITHIN_NOISE, SHIFTED, SPREAD, UNDECIDED = (
    "not the same configuration",
    "identical",
    "same within rerun noise",
    "shifted",
    "changed in spread",
    "not told apart",
)
FEWEST_SEEDS_SPREAD = 7  # see permutation.spread_p


@dataclass(frozen=True)
class RerunNoise:
    """``std`` of a final metric between runs of the same replica, ``freedom`` its degrees of freedom (None where it is
    0 by contract), ``source`` where it is from. ``std`` None: not known."""

    std: float | None
    freedom: int | None
    source: str


@dataclass(frozen=True)
class ConfigurationChange:
    """One configuration under both versions; differences are second minus first.

    ``only_first``, ``only_second``: seeds that one run alone finished. ``difference``: paired, None without a common
    finished seed. ``test``: what decided on a shift. ``p_shift``, ``p_spread``: Holm-corrected; ``p_spread`` None where
    it was not tested. ``spread_ratio``: standard deviation of the second over the first, None where undefined.
    ``p_noise``: probability of differences as large from rerun noise alone, None where that is not known.
    """

    configuration: str
    verdict: str
    seeds: tuple[int, ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    difference: PairedDifference | None = None
    test: str = ""
    p_shift: float | None = None
    p_spread: float | None = None
    spread_ratio: float | None = None
    p_noise: float | None = None
    first_difference: FirstDifference | None = None
    parameters: tuple[str, ...] = ()


def rerun_noise(run: Run, reruns: Sequence[Run], metric: str) -> RerunNoise:
    """Standard deviation between runs of the same replica, pooled; 0 on a CPU by contract where there are none.

    Args:
        reruns: runs of the same code.
    """
    frame = observations([run, *reruns], metric)
    groups = frame.groupby(["hyperparameters", "seed"])["value"]
    freedom = int((groups.size() - 1).sum()) if len(frame) else 0
    if reruns and freedom:
        squares = float(((frame["value"] - groups.transform("mean")) ** 2).sum())
        return RerunNoise(float(np.sqrt(squares / freedom)), freedom, f"measured over {freedom} reruns")
    if (run.study.get("resources") or {}).get("device") == "cpu":
        return RerunNoise(0.0, None, "none on a CPU: the same code and seed give the same bits")
    return RerunNoise(None, None, "not known: no reruns were given, and this run is not known to be on a CPU")


def configuration_change(
    first: pd.DataFrame,
    second: pd.DataFrame,
    own: pd.DataFrame,
    earliest: FirstDifference | None,
    noise: RerunNoise,
) -> ConfigurationChange:
    """One configuration, its p-values not yet corrected and its verdict open where these decide."""
    label = str(first["configuration"].iloc[0])
    seeds = [
        set(rows["seed"].to_numpy()[(rows["status"] == "finished").to_numpy()].tolist()) for rows in (first, second)
    ]
    paired = own.dropna(subset=["first", "second"])
    a, b = paired["first"].to_numpy(dtype=np.float64), paired["second"].to_numpy(dtype=np.float64)
    unequal = (own["status_first"] != own["status_second"]).any() or (a != b).any()
    same = len(own) > 0 and earliest is None and not unequal
    other, parameters = _parameters(first, second)
    found = ConfigurationChange(
        label,
        OTHER if other else IDENTICAL if same else UNDECIDED,
        tuple(int(seed) for seed in paired["seed"]),
        tuple(sorted(seeds[0] - seeds[1])),
        tuple(sorted(seeds[1] - seeds[0])),
        first_difference=earliest,
        parameters=parameters,
    )
    if not a.size:
        return found
    spread = spread_p(a, b) if a.size >= FEWEST_SEEDS_SPREAD else None
    ratio = float(b.std(ddof=1) / a.std(ddof=1)) if a.size > 1 and a.std(ddof=1) > 0 else None
    return replace(
        found,
        difference=paired_difference(label, str(first["run_id"].iloc[0]), b, a),
        p_spread=None if spread is None else float(spread),
        spread_ratio=ratio,
        p_noise=_noise_p(b - a, same, noise),
    )


def _noise_p(gaps: NDArray[np.float64], same: bool, noise: RerunNoise) -> float | None:
    """Probability that rerun noise alone makes differences with so large a mean square; of shape (n,)."""
    if noise.std is None:
        return None
    if noise.std == 0:
        # Without noise any difference in bits is a change.
        return float(same)
    return float(stats.f.sf((gaps**2).mean() / (2 * noise.std**2), gaps.size, noise.freedom))


def judged(found: Sequence[ConfigurationChange]) -> list[ConfigurationChange]:
    """The same with corrected p-values and verdicts."""
    differences = iter(corrected([one.difference for one in found if one.difference]))
    spreads = holm([one.p_spread for one in found])
    tested = sum(one.difference is not None for one in found)
    level = 1 - CONFIDENCE
    result = []
    for one, p_spread in zip(found, spreads, strict=True):
        if one.difference is None:
            result.append(one)
            continue
        difference = next(differences)
        by_signs = smallest_permutation_p(difference.n) * tested <= level
        p_shift = difference.p_permutation_holm if by_signs else difference.p_t_holm
        verdict = one.verdict
        if verdict == UNDECIDED:
            if p_shift is not None and p_shift <= level:
                verdict = SHIFTED
            elif p_spread is not None and p_spread <= level:
                verdict = SPREAD
            elif one.p_noise is not None and one.p_noise > level:
                verdict = WITHIN_NOISE
        test = "sign flips" if by_signs else "paired t test"
        result.append(
            replace(one, verdict=verdict, difference=difference, test=test, p_shift=p_shift, p_spread=p_spread)
        )
    return result


def _parameters(first: pd.DataFrame, second: pd.DataFrame) -> tuple[bool, tuple[str, ...]]:
    """Whether a parameter that both versions know has another value, and ``name: value -> value`` of all that differ.

    Trial ids are made of the parameters, but for the folders of data and weights, so equal ones tell of no difference.
    """
    if first["trial_id"].iloc[0] == second["trial_id"].iloc[0]:
        return False, ()
    a, b = ({str(name): rows[name].iloc[0] for name in rows.filter(like="param.")} for rows in (first, second))
    differing = {}
    for key in dict.fromkeys([*a, *b]):
        sides = [side.get(key, "not recorded") for side in (a, b)]
        texts = ["none" if pd.isna(value) else str(value) for value in sides]
        if texts[0] != texts[1]:
            differing[key] = f"{key.removeprefix('param.')}: {texts[0]} -> {texts[1]}"
    return any(key in a and key in b for key in differing), tuple(differing.values())
