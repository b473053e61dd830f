"""What differs between two runs besides their numbers: origins and parameters."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

_NOT_COMPARED = ("started_at", "command", "spec_hash")  # the last of runs of earlier versions


def provenance_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Key, first value, second value of whatever differs between two contents of study.json: code, versions, hardware,
    data, weights and setting."""
    a, b = (_origin(study) for study in (first, second))
    pairs = {key: ("not recorded" if (one := a.get(key)) is None else str(one),
                   "not recorded" if (two := b.get(key)) is None else str(two)) for key in a | b}  # fmt: skip
    return tuple((key, one, two) for key, (one, two) in pairs.items() if one != two)


def other_parameters(first: pd.DataFrame, second: pd.DataFrame) -> tuple[str, ...]:
    """``name: value -> value`` of the parameters that differ between rows of ``trials`` of two configurations; one that
    only one version of the code knows is no difference."""
    a, b = (rows.filter(like="param.").iloc[0].astype(object) for rows in (first, second))
    texts = {key: ["none" if pd.isna(side[key]) else str(side[key]) for side in (a, b)] for key in a.index if key in b}
    return tuple(f"{key.removeprefix('param.')}: {one} -> {two}" for key, (one, two) in texts.items() if one != two)


def _origin(study: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: study.get(key) for key in ("study", "trainable", "profile", "dataset", "backbone")}
    known["device"] = (study.get("resources") or {}).get("device")
    for key, value in (study.get("provenance") or {}).items():
        if key not in _NOT_COMPARED:
            nested = isinstance(value, Mapping)
            known |= {f"{key}.{part}": one for part, one in value.items()} if nested else {key: value}
    return known
