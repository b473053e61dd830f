"""What would settle an open question: how many more seeds of which configurations, and the command for it."""

import shlex

from analysis.report.findings import SAME, Findings
from analysis.report.phrases import count, margin_text, named
from analysis.stats.looks import looks_of
from analysis.stats.next_seeds import next_seeds


def next_step(found: Findings) -> tuple[str, str] | None:
    """A sentence and a command; None where nothing is undecided or no reasonable number of seeds would decide it."""
    study, table = found.run.study, found.differences
    if found.margin is None or table.empty or study.get("search"):
        return None
    wide = found.seeds.pivot(index="seed", columns="configuration", values="value")
    spreads = wide.sub(wide[found.baseline], axis=0).std()  # of the gaps, seed by seed
    table = table.assign(
        baseline=found.baseline, std=table["configuration"].map(spreads), same=table["verdict"] == SAME
    )
    seconds = found.run.trials.groupby("configuration")["duration_s"].median().fillna(0.0).to_dict()
    counts = found.seeds.groupby("configuration", sort=False)["seed"].nunique().to_dict()
    at_once = int((study.get("resources") or {}).get("max_concurrent") or 1)
    step = next_seeds(table, found.margin, counts, seconds, looks_of(study), at_once)
    if step is None:
        return None
    every = len(step.configurations) == len(counts)
    which = "every configuration" if every else named(step.configurations, 4)
    more = f"{count(step.seeds, 'more seed')} of {which}, about {_clock(step.seconds)}"
    only = "" if every else "".join(f" --only {shlex.quote(label)}" for label in step.configurations)
    command = f"lora-study extend {shlex.quote(str(found.run.path))} --seeds {step.seeds}{only}"
    return f"To settle differences of {margin_text(found)}: {more}.", command


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    minutes = seconds / 60
    return f"{round(minutes)} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
