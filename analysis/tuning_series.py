"""What the tables, sentences and pictures of a study of fine-tuning methods are made of: parameters and plain frames.

Epochs and steps are counted from 0; accuracies and calibration errors are fractions in [0, 1].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.records import Run
from analysis.series import REPLICA, final_values, measured, replicas


def parameters(run: Run, configuration: str) -> dict[str, Any]:
    """The parameters of a configuration without those that are null; of one that never started, as study.json has them.

    Values are Python scalars; numbers that are equal compare equal whatever their column's type.
    """
    rows = replicas(run, configuration)
    if rows.empty:
        return dict((run.study.get("configurations") or {}).get(configuration) or {})
    given = rows.iloc[0].filter(like="param.").dropna()
    return {
        str(name).removeprefix("param."): value.item() if isinstance(value, np.generic) else value
        for name, value in given.items()
    }


def method(run: Run, configuration: str) -> str:
    """The fine-tuning method of a configuration, empty where it was not recorded."""
    return str(parameters(run, configuration).get("method", ""))


def policy(run: Run, configuration: str) -> str:
    """Which blocks train what; empty for methods that have no such choice."""
    known = parameters(run, configuration)
    # Every configuration carries the field; it decides something in the layerwise hybrids alone.
    return str(known.get("policy", "")) if known.get("method") == "hybrid_layerwise" else ""


def trainable_parameters(run: Run, configuration: str) -> int | None:
    """Parameters that receive updates, per replica."""
    known = replicas(run, configuration)["trainable_params"].dropna()
    return int(known.iloc[0]) if len(known) else None


def epoch_count(run: Run, configuration: str) -> int:
    """Epochs of a complete replica of this configuration."""
    return int(parameters(run, configuration).get("epochs") or run.study.get("tasks") or 0)


def counterpart(known: Mapping[str, Mapping[str, Any]], configuration: str, wanted: str) -> str | None:
    """The configuration with method ``wanted`` that shares the most parameters with this one; None without any.

    Args:
        known: the parameters of every configuration, in display order.
        configuration: a key of ``known``.
        wanted: a method.
    """
    candidates = [label for label, its in known.items() if its.get("method") == wanted]

    def shared(label: str) -> int:
        return sum(known[configuration].get(key) == value for key, value in known[label].items())

    # max keeps the first of equals, in display order.
    return max(candidates, key=shared, default=None)


def by_epoch(run: Run, phase: str, name: str) -> pd.DataFrame:
    """Columns configuration, status, trial_id, seed, epoch, value: all epochs that were reached, finished or not."""
    return _at(measured(run, phase), name, "epoch")


def by_step(run: Run, name: str) -> pd.DataFrame:
    """Columns configuration, status, trial_id, seed, step, value of a training curve."""
    return _at(measured(run, "train"), name, "step")


def groups(run: Run, phase: str, prefix: str) -> list[str]:
    """The groups of parameters (head, norm, lora) for which ``<prefix>/<group>`` was measured in any replica."""
    names = run.metrics.loc[run.metrics["phase"] == phase, "name"].unique()
    found = [str(name).removeprefix(f"{prefix}/") for name in names if str(name).startswith(f"{prefix}/")]
    order = ["head", "norm", "lora"]
    return sorted(found, key=lambda group: (order.index(group) if group in order else len(order), group))


def finals(run: Run, configuration: str, *metrics: str) -> pd.DataFrame:
    """One row per finished seed that has all of these final metrics, one column per metric, indexed by seed."""
    return pd.DataFrame({name: final_values(run, configuration, name) for name in metrics}).dropna()


def _at(frame: pd.DataFrame, name: str, position: str) -> pd.DataFrame:
    frame = frame[(frame["name"] == name) & frame[position].notna()].astype({position: int})
    return frame[["configuration", "status", *REPLICA, position, "value"]].sort_values([*REPLICA, position])
