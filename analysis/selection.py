"""Which configurations are shown where there are too many for tables and pictures: the first, the best, the worst."""

from dataclasses import replace

import numpy as np

from analysis.records import Run
from analysis.series import configurations, final_means, objective_metric

MOST_SHOWN = 25  # the first, which the others are compared with, and as many of the best as of the worst


def shortened(run: Run) -> Run:
    """The run itself, or, with more than ``MOST_SHOWN`` configurations, its first, best and worst ones.

    Best and worst by the mean over finished seeds of the study's objective; without any, the first ones are kept.
    Statistics over all configurations take ``whole`` of what is returned.
    """
    labels = configurations(run)
    if len(labels) <= MOST_SHOWN:
        return run
    means = final_means(run, objective_metric(run)).reindex(labels)
    if run.study["objective"].get("direction") == "minimize":
        means = -means
    ordered = means.dropna().sort_values(ascending=False, kind="stable").index.drop(labels[0], errors="ignore")
    half = (MOST_SHOWN - 1) // 2
    chosen = {labels[0], *ordered[:half], *ordered[-half:]} if len(ordered) else set(labels[:MOST_SHOWN])
    how = "the first, the best and the worst" if len(ordered) else "the first"
    known = run.study.get("configurations") or {}
    study = {
        **run.study,
        "configurations": {label: known.get(label, {}) for label in labels if label in chosen},
        "shown": f"{len(chosen)} of {len(labels):,} configurations ({how})",
    }
    trials = run.trials[run.trials["configuration"].isin(chosen)]
    metrics = run.metrics[np.isin(run.metrics["trial_id"].to_numpy(object), trials["trial_id"].unique())]
    return replace(run, study=study, trials=trials, metrics=metrics, unshortened=run)
