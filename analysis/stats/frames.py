"""What goes into the statistics: samples and tidy frames, refused in one line where they are not what is needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Columns = str | Sequence[str]
FEWEST_SEEDS = 3  # of any verdict
EQUAL = 1e-12  # of the largest number: below, numbers differ by rounding


def sample(values: ArrayLike, name: str = "values") -> Array:
    """Numbers as floats, shape (n,), n >= 1; ValueError where empty, not numbers, not one-dimensional or not finite."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: numbers needed, found other content") from None
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"{name}: a one-dimensional array of at least 1 number needed, found shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: {int((~np.isfinite(found)).sum())} of {found.size} numbers are not finite")
    return found


def names(by: Columns) -> list[str]:
    """Grouping columns as a list."""
    return [by] if isinstance(by, str) else list(by)


def known(labels: Any) -> str:
    """What there is, at the end of an error."""
    return f"there are: {', '.join(map(str, labels))}"


def checked(frame: pd.DataFrame, numbers: Sequence[str], others: Sequence[str] = ()) -> pd.DataFrame:
    """The named columns of a frame, those of ``numbers`` as finite floats; ValueError where one is not there, or no
    row."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a DataFrame with one row per replica needed, found {type(frame).__name__}")
    for name in (*numbers, *others):
        if name not in frame.columns:
            raise ValueError(f"no column {name!r}; {known(frame.columns)}")
    if frame.empty:
        raise ValueError("a frame with at least 1 row needed, found none")
    floats = {name: sample(frame[name], f"column {name!r}") for name in numbers}
    return frame[list(dict.fromkeys(others))].assign(**floats)


def seed_table(frame: pd.DataFrame, value: str, by: str, seed: str, fewest: int = 2) -> pd.DataFrame:
    """One row per seed, one column per level of ``by`` in order of appearance, NaN where a pair has no value;
    ValueError as ``checked``, below ``fewest`` levels, and for a seed that stands twice in a configuration."""
    rows = checked(frame, [value], [by, seed])
    if missing := int(rows[[by, seed]].isna().any(axis=1).sum()):
        raise ValueError(f"a {by} and a {seed} in every row needed, {missing} of {len(rows)} have none")
    if (twice := rows.duplicated([by, seed])).any():
        label, again = (rows.loc[twice, name].tolist()[0] for name in (by, seed))
        raise ValueError(f"one row per {by} and {seed} needed, found several of {label!r} and {again!r}")
    levels = rows[by].unique()
    if len(levels) < fewest:
        raise ValueError(f"at least {fewest} levels of {by!r} needed, found 1; {known(levels)}")
    return rows.pivot(index=seed, columns=by, values=value)[list(levels)]


def fraction(value: float, name: str = "confidence") -> float:
    """A number strictly between 0 and 1; ValueError otherwise."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, found {value}")
    return float(value)


def level_of(confidence: float, level: float | None) -> float:
    """The level that a test may spend."""
    return 1 - fraction(confidence) if level is None else fraction(level, "level")


def above_zero(margin: float) -> float:
    """A margin; ValueError where it is not above 0."""
    if not margin > 0:
        raise ValueError(f"margin must be above 0, found {margin}")
    return margin
