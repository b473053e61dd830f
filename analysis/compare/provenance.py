"""What differs between the origins of two runs: code, versions, hardware, data, weights and setting."""

from collections.abc import Mapping
from typing import Any

_NOT_COMPARED = ("started_at", "command", "spec_hash")  # the last of runs of earlier versions


def provenance_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Key, first value, second value of whatever differs.

    Args:
        first: content of a study.json.
        second: that of another.
    """
    a, b = (_origin(study) for study in (first, second))
    keys = [key for key in dict.fromkeys([*a, *b]) if _text(a.get(key)) != _text(b.get(key))]
    return tuple((key, _text(a.get(key)), _text(b.get(key))) for key in keys)


def _origin(study: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: study.get(key) for key in ("study", "trainable", "profile", "dataset", "backbone")}
    known["device"] = (study.get("resources") or {}).get("device")
    provenance = {key: value for key, value in (study.get("provenance") or {}).items() if key not in _NOT_COMPARED}
    for key, value in provenance.items():
        known |= {f"{key}.{part}": one for part, one in value.items()} if isinstance(value, Mapping) else {key: value}
    return known


def _text(value: object) -> str:
    return "not recorded" if value is None else str(value)
