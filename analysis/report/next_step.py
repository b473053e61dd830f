"""What would settle an open question: how many more seeds of which configurations, and the command for it."""

import math
import shlex

from analysis.report.findings import Findings
from analysis.report.phrases import count, margin_text, named
from analysis.stats.looks import looks_of
from analysis.stats.next_seeds import next_seeds

MOST_SEEDS = 64


def next_step(found: Findings) -> tuple[str, str] | None:
    """A sentence and a command; None where nothing is undecided or no reasonable number of seeds would decide it."""
    if found.margin is None or found.differences.empty or found.run.study.get("search"):
        return None
    table = found.differences.assign(baseline=found.baseline, std=_gap_spreads(found))
    table["same"] = table["verdict"] == "same"
    trials = found.run.trials
    seconds = trials.groupby("configuration")["duration_s"].median().fillna(0.0).to_dict()
    counts = found.seeds.groupby("configuration")["seed"].nunique().to_dict()
    at_once = int((found.run.study.get("resources") or {}).get("max_concurrent") or 1)
    found_step = next_seeds(
        table, found.margin, {label: counts[label] for label in found.labels if label in counts}, seconds,
        looks_of(found.run.study), at_once, MOST_SEEDS,
    )  # fmt: skip
    if found_step is None:
        return None
    labels = found_step.configurations
    which = "every configuration" if len(labels) == len(counts) else named(labels, 4)
    more = count(found_step.seeds, "more seed")
    text = f"To settle differences of {margin_text(found)}: {more} of {which}, about {_clock(found_step.seconds)}."
    only = "" if len(labels) == len(counts) else "".join(f" --only {shlex.quote(label)}" for label in labels)
    return text, f"lora-study extend {shlex.quote(str(found.run.path))} --seeds {found_step.seeds}{only}"


def _gap_spreads(found: Findings) -> list[float]:
    """Standard deviation of the gaps between each compared configuration and the baseline, seed by seed."""
    wide = found.seeds.pivot(index="seed", columns="configuration", values="value")
    spreads = []
    for label in found.differences["configuration"]:
        gaps = (wide[label] - wide[found.baseline]).dropna()
        spreads.append(float(gaps.std(ddof=1)) if len(gaps) > 1 else math.nan)
    return spreads


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = seconds / 60
    return f"{round(minutes)} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
