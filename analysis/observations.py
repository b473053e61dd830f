"""Final values of several runs in one frame, with what may have moved them: hyperparameters, seed, code, machine.

A replica that stands in several runs of the same code is a rerun: rows that agree in everything but ``run``.
"""

from collections.abc import Sequence

import pandas as pd

from analysis.records import Run

SEED_PARAMETERS = "_seed"  # parameters that end so are seeds of their own, such as class_order_seed


def observations(runs: Sequence[Run], metric: str) -> pd.DataFrame:
    """One row per finished replica that has the metric.

    Args:
        runs: at least one.
        metric: a final metric, without ``metric.``.

    Returns:
        columns run (place in ``runs``), configuration (label), hyperparameters (parameters, data and weights; equal for
        configurations that differ in a seed parameter only), seed, code and machine (identities of the source, and of
        versions with hardware), value, and one column per seed parameter that varies.
    """
    column = f"metric.{metric}"
    frames = []
    for place, run in enumerate(runs):
        rows = run.trials[run.trials["status"] == "finished"]
        if column not in rows:
            continue
        rows = rows.dropna(subset=column)
        provenance = run.study.get("provenance") or {}
        source = provenance.get("source_hash") or _joined(rows, "git_commit", "diff_hash")
        machine = f"{provenance.get('versions')} {provenance.get('hardware')}"
        parameters = rows.filter(like="param.")
        data = _joined(rows, "data_hash", "weights_hash")
        value = rows[column].astype(float)
        frames.append(parameters.assign(run=place, code=source, machine=machine, data=data, value=value))
        frames[-1][["configuration", "seed"]] = rows[["configuration", "seed"]]
    if not frames:
        return pd.DataFrame(columns=["run", "configuration", "hyperparameters", "seed", "code", "machine", "value"])
    frame = pd.concat(frames, ignore_index=True)
    parameters = [str(name) for name in frame.columns if str(name).startswith("param.")]
    seeds = [name for name in parameters if name.endswith(SEED_PARAMETERS) and frame[name].nunique(dropna=False) > 1]
    # A parameter that only one version of the code knows is no difference between configurations.
    known = frame.groupby("run")[parameters].count().gt(0).all() if parameters else pd.Series(dtype=bool)
    alike = [name for name in parameters if known[name] and name not in seeds]
    frame["hyperparameters"] = (
        frame.groupby([*alike, "data"], dropna=False).ngroup() if alike else frame["configuration"]
    )
    kept = ["run", "configuration", "hyperparameters", "seed", "code", "machine", "value", *seeds]
    return frame[kept].rename(columns={name: seed_name(name) for name in seeds})


def seed_name(parameter: str) -> str:
    """``param.class_order_seed`` -> ``class order``."""
    return parameter.removeprefix("param.").removesuffix(SEED_PARAMETERS).replace("_", " ")


def _joined(rows: pd.DataFrame, *columns: str) -> "pd.Series[str]":
    # Nulls would make the whole text null, and groups leave nulls out.
    return rows[list(columns)].astype(object).fillna("-").astype(str).agg(" ".join, axis=1)
