"""What each change is worth: the contrasts of a run as a table, in sentences, and as the first lines of the answer."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.against_notes import reported_differences
from analysis.captions import count
from analysis.cells import Cell, Interval, Table, p_text
from analysis.contrasts import Contrast, Effect, effects
from analysis.document import Section
from analysis.headline import common_seeds
from analysis.instability import collapses
from analysis.records import Run
from analysis.sentences import MOST_NAMED, joined
from analysis.series import configurations, final_table, objective_metric

LOST = ("diverged", "failed")
CONTRAST_METHODS = [
    "Contrasts: paired by seed, t interval at 95 % for one contrast, paired t test, p-values corrected by Holm over "
    "the contrasts of the study; diverged and failed seeds count with the worst value that any seed of the run has. In "
    "simulated studies of 6 contrasts without any effect at most 5 % decided one wrongly. Where one side of a contrast "
    "alone collapses, in 1 of 5 seeds, and both have the same mean, 16 to 22 % of single contrasts over 3 to 8 seeds "
    "are decided wrongly: read the rates of collapse beside the effects.",
]


@dataclass(frozen=True)
class Judged:
    """The contrasts of a run. ``left_out``: how many of the study's name a configuration that was not run. ``lost``:
    replicas of the compared configurations that diverged or failed."""

    metric: str
    effects: tuple[Effect, ...]
    left_out: int
    lost: int

    @property
    def name(self) -> str:
        """Of the metric, in words."""
        return self.metric.replace("_top1", " top-1").replace("_", " ")


def judged_contrasts(run: Run) -> Judged | None:
    """The contrasts that the study declares, by its objective's metric, over all configurations; None without any."""
    declared = [
        Contrast(str(one["name"]), tuple(one["plus"]), tuple(one["minus"]), str(one.get("group") or ""))
        for one in run.study.get("contrasts") or []
    ]
    if not declared:
        return None
    metric, objective = objective_metric(run), run.study.get("objective") or {}
    values, lost = contrast_values(run.whole, metric)
    known = [one for one in declared if set(one.labels) <= set(values.columns)]
    found = effects(values, lost, known, minimise=objective.get("direction") == "minimize")
    compared = list({label for one in known for label in one.labels})
    return Judged(metric, tuple(found), len(declared) - len(known), int(lost[compared].to_numpy().sum()))


def contrast_values(run: Run, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A final metric of finished replicas, and which replicas diverged or failed: a row per seed, a column per
    configuration, shape (S, L) each."""
    seeds, labels = sorted(run.trials["seed"].unique()), configurations(run)
    values = final_table(run, metric).T.reindex(index=seeds, columns=labels).astype(float)
    lost = pd.DataFrame(False, index=seeds, columns=labels)
    gone = run.trials[run.trials["status"].isin(LOST)]
    for label, seed in zip(gone["configuration"], gone["seed"], strict=True):
        lost.loc[seed, label] = pd.isna(values.loc[seed, label])
    return values, lost


def contrast_section(run: Run, folder: Path) -> Section | None:
    """Every contrast in the order of the study; None for a study that declares none."""
    found = judged_contrasts(run)
    if found is None:
        return None
    tables = [contrast_table(found)] if found.effects else []
    rates = below_frozen_table(run) if run.study.get("report") == "continual" else None
    return Section("What each change is worth", _left_out(found), [*tables, *([rates] if rates else [])],
                   methods=CONTRAST_METHODS if found.effects else [])  # fmt: skip


def contrast_headline(run: Run) -> list[str]:
    """What is decided, the largest effect first, and what is not; empty where no contrast has a common seed."""
    found = judged_contrasts(run)
    known = [one for one in found.effects if one.mean is not None] if found else []
    if found is None or not known:
        return []
    known.sort(key=lambda one: -abs(one.mean or 0))
    decided, open_ = ([one for one in known if one.decided is wanted] for wanted in (True, False))
    scope = f"{count(len(known), 'contrast')}, {common_seeds([one.n for one in known])}, Holm-corrected p < 0.05"
    if decided:
        clauses = [f"{one.name} {one.verdict} it by {abs(one.mean or 0):.1f} points" for one in decided[:MOST_NAMED]]
        text = f"{found.name[0].upper()}{found.name[1:]}: {joined(clauses, len(decided))} ({scope})"
    else:
        text = f"No change is shown to raise or lower {found.name} ({scope})"
    if found.lost:
        verb = "counts" if found.lost == 1 else "count"
        text += f"; {count(found.lost, 'seed')} that diverged or failed {verb} with the worst value of the run"
    return [f"{text}.", _undecided(open_)] if open_ else [f"{text}."]


def contrast_table(found: Judged) -> Table:
    """A row per contrast, as declared."""
    columns = ["group", "contrast", "effect (95 % interval)", "p (Holm)", "seeds", "verdict"]
    rows: list[list[Cell]] = [
        [
            one.group or None,
            one.name,
            None if one.mean is None else Interval(one.mean, one.low, one.high, signed=True, digits=2),
            p_text(one.p_holm),
            f"{one.n} ({one.lost} lost)" if one.lost else one.n,
            one.verdict,
        ]
        for one in found.effects
    ]
    if not any(one.group for one in found.effects):
        columns, rows = columns[1:], [row[1:] for row in rows]
    caption = (
        f"Points of {found.name}, paired by seed. The interval is for one contrast; there is none where all seeds give "
        f"the same value. p-values are Holm-corrected over {count(len(found.effects), 'contrast')}. Undecided does not "
        "mean that there is no effect."
    )
    if any(one.lost for one in found.effects):
        caption += " Lost: seeds that diverged or failed; they count with the worst value of the run."
    return Table("Contrasts", columns, rows, caption, "contrasts")


def below_frozen_table(run: Run) -> Table | None:
    """How often each configuration ended below its frozen backbone; None where that was not measured."""
    fallen, rows = collapses(run), list[list[Cell]]()
    for label in configurations(run):
        if label in fallen:
            one = fallen[label]
            low, high = one.interval
            rows.append([label, one.n, one.below, one.diverged, Interval(100 * one.rate, 100 * low, 100 * high)])
    if not rows:
        return None
    caption = (
        "Seeds that ended below their own head on the frozen backbone, or diverged, of those of which that is known; "
        "the rate in per cent with its exact 95 % interval (Clopper and Pearson)."
    )
    columns = ["configuration", "seeds", "below", "diverged", "rate (95 % interval)"]
    return Table("Ended below the frozen backbone", columns, rows, caption, "below_frozen")


def reported_twice_sentence(run: Run) -> str:
    """The largest difference between two reported runs of one configuration beside that of its measured seeds; empty
    where no configuration was reported twice and measured with enough seeds."""
    twice = [one for one in reported_differences(run) if one.configuration]
    if not twice:
        return ""
    one = max(twice, key=lambda one: abs(one.reported))
    gap = f"{100 * abs(one.reported):.1f} points"
    return (
        f"Two reported runs of {one.configuration} differ by {gap}; on {run.study.get('dataset')} two seeds of this "
        f"configuration differ by at least {gap} in {one.as_far} of {one.pairs} measured pairs."
    )


def _undecided(effects: list[Effect]) -> str:
    bounded = [one for one in effects if one.hidden is not None]
    clauses = [f"{one.name} ({one.mean:+.1f})" for one in effects[:MOST_NAMED]]
    text = f"Undecided: {joined(clauses, len(effects))}"
    if bounded:
        widest = max(one.hidden or 0 for one in bounded)
        text += f"; effects of up to {widest:.1f} points could have hidden there"
    if len(bounded) < len(effects):
        text += f"; of {len(effects) - len(bounded)} of them these seeds give no interval"
    return f"{text}."


def _left_out(found: Judged) -> list[str]:
    if not found.left_out:
        return []
    total = found.left_out + len(found.effects)
    return [
        f"Left out, since not all of their configurations were run: {found.left_out} of {count(total, 'contrast')}."
    ]
