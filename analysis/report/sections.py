"""The sections that every study gets where it has the data: curves, seeds, contrasts, variance, the notes' numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.curves import curves
from analysis.charts.forest import forest
from analysis.charts.matrix import seed_matrix
from analysis.io.metrics import MetricInfo, metric_info
from analysis.io.values import boundary, curve, evaluated, final_metrics
from analysis.report.document import Section
from analysis.report.findings import FEWEST_SEEDS, UNDECIDED, Findings
from analysis.report.headline import shown_labels
from analysis.report.phrases import capital, count, named
from analysis.report.tables import Cell, Estimate, Table

MOST_CURVES = 12
MOST_SPLIT = 2_000  # replicas, for the simulated intervals of the components
FACTORS = {"configuration": "the configuration", "seed": "the seed", "residual": "chance within both"}


def curves_section(found: Findings) -> Section | None:
    """The evaluated metric after every boundary; None where it was measured once or never."""
    name = evaluated(found.run)
    measured = curve(found.run, "eval", name)
    if measured["at"].nunique() < 2:
        return None
    about = metric_info(found.run.study.get("metrics"), name)
    fraction = about.fraction or name in ("accuracy", "top1")
    measured["value"] *= 100.0 if fraction else 1.0
    labels = shown_labels(found, measured)[:MOST_CURVES]
    measured = measured[measured["configuration"].isin(labels)]
    at, text = boundary(found.run), "top-1" if name == "top1" else about.text
    reading = "Bold: means over seeds; thin: the seeds. Click a configuration in the legend; drag and scroll to zoom."
    axis = f"{text} (%)" if fraction else text
    chart = curves("curves", f"{capital(text)} after every {at}", reading, measured, labels, at, axis)
    return Section.of("Curves", charts=[chart])


def seeds_section(found: Findings) -> Section | None:
    """Every seed of every configuration, its spread, and seeds far from the others; None without a value."""
    if found.seeds.empty:
        return None
    labels = shown_labels(found, found.seeds)
    seeds = found.seeds[found.seeds["configuration"].isin(labels)]
    chart = seed_matrix(
        "seed_matrix", f"{capital(found.metric.text)} by seed and configuration",
        "A column shares data order and initialisation. ×: diverged or failed. Click a cell for its seed.",
        seeds, labels, found.metric.shown_unit or found.metric.text,
    )  # fmt: skip
    fallen = found.collapses.set_index("configuration")
    worst = seeds.groupby("configuration")["value"].agg("min" if found.metric.maximise else "max")
    rows: list[dict[str, Cell]] = []
    spreads = stats.std_interval(seeds, "value", by="configuration").itertuples()
    for spread, middle in zip(
        spreads, stats.iqm_interval(seeds, "value", by="configuration").itertuples(), strict=True
    ):
        label = spread.configuration
        row = {"configuration": label, "seeds": spread.n, "standard deviation": found.cell(spread),
               "interquartile mean": found.cell(middle),
               "worst seed": Estimate(worst[label], digits=found.digits)}  # fmt: skip
        if len(fallen):
            row["collapsed (%)"] = Estimate.of(fallen.loc[label], "rate", 0, 100) if label in fallen.index else None
        rows.append(row)
    caption = "With 95 % intervals: chi-square for standard deviations, exact binomial for rates."
    return Section.of("Seeds", _bad_seeds(found), [Table.of("spread", "Spread over seeds", rows, caption)], [chart])


def contrasts_section(found: Findings) -> Section | None:
    """What each declared change is worth; None for a study that declares none."""
    table, unit = found.contrasts, found.metric.difference_unit
    if table.empty:
        return None
    chart = forest(
        "contrasts", f"What each change does to {found.metric.text}",
        "Points are effects paired by seed, lines their intervals, corrected for the number of changes.",
        table.rename(columns={"contrast": "name", "difference": "estimate"}), unit or found.metric.text,
    )  # fmt: skip
    rows: list[dict[str, Cell]] = [
        {"change": row.contrast, "group": row.group or None, f"effect ({unit})": found.cell(row, "difference"),
         "seeds": row.n, "verdict": row.verdict} for row in table.itertuples()
    ]  # fmt: skip
    undecided = int((table["verdict"] == UNDECIDED).sum())
    said = f"{count(undecided, 'change')} undecided, which does not mean without effect." if undecided else ""
    return Section.of("What each change is worth", [said], [Table.of("contrasts", "Changes", rows)], [chart])


def variance_section(found: Findings) -> Section | None:
    """Which share of the variance goes with configuration, seed and the rest; None with too little to split."""
    table = found.seeds.groupby(["configuration", "seed"])["value"].mean().unstack().dropna(axis=1)
    if min(table.shape) < 2 or np.ptp(table.to_numpy()) == 0 or len(found.seeds) > MOST_SPLIT:
        return None
    split = stats.variance_split(found.seeds, "value", factors=["configuration", "seed"])
    split = split[split["unknown"] == ""]
    known = np.sqrt(split[["variance", "low", "high"]].clip(lower=0).astype(float))
    known = known.set_axis(["estimate", "low", "high"], axis=1).assign(name=split["factor"].map(FACTORS))
    text, unit = found.metric.text, found.metric.difference_unit
    chart = forest(
        "variance", f"How far each source moves {text}",
        "Standard deviations of the components of variance with 95 % intervals.", known,
        f"standard deviation ({unit})" if unit else "standard deviation", line=None,
    )  # fmt: skip
    said = [f"{capital(FACTORS[row.factor])} moves {text} more than {FACTORS[other]} does."
            for row in split.itertuples() for other in row.above]  # fmt: skip
    methods = (
        "Variance: random effects of configuration and seed; that one is larger is tested, with Holm's correction."
    )
    return Section.of("Sources of variance", [*said, _power(found)], charts=[chart], methods=[methods])


def metrics_section(found: Findings) -> Section | None:
    """Every final metric that differs between replicas, means with intervals; None where there is none but the
    objective."""
    caption = "Finished seeds alone, means with 95 % intervals; fractions in per cent."
    metrics = [one for one in final_metrics(found.run) if one.name != found.metric.name and one.reproducible]
    rows: list[dict[str, Cell]] = [
        {"metric": f"{about.text}{' (%)' if about.fraction else ''}", **final_means(found, about)} for about in metrics
    ]
    table = Table.of("metrics", "Final metrics", rows if found.counts["finished"].any() else [], caption)
    return Section.of("Other metrics", tables=[table]) if table else None


def final_means(found: Findings, about: MetricInfo) -> dict[str, Estimate | None]:
    """Means of a final metric over finished seeds by configuration, in the unit that is shown; None without any."""
    trials, labels = found.run.trials, shown_labels(found)
    rows = trials[(trials["status"] == "finished") & trials["configuration"].isin(labels)]
    rows = rows[["configuration"]].assign(value=about.scale * rows[f"metric.{about.name}"].astype(float))
    rows = rows[np.isfinite(rows["value"])]
    if rows.empty:
        return dict.fromkeys(labels)
    digits = about.digits(rows["value"].abs().max())
    means = stats.mean_interval(rows, "value", by="configuration").itertuples()
    return dict.fromkeys(labels) | {row.configuration: Estimate.of(row, digits=digits) for row in means}


def reported_section(found: Findings) -> Section | None:
    """Numbers of the notes beside the measured ones; None for a study that has none."""
    study, unit, means = found.run.study, found.metric.shown_unit, found.means.set_index("configuration")
    known = [(entry, value) for entry in study.get("reported") or () if (value := _reported(entry, found)) is not None]
    rows: list[dict[str, Cell]] = []
    for entry, value in known:
        label = str(entry["configuration"])
        measured = found.cell(means.loc[label]) if label in means.index else None
        name, reported = f"{label} {entry.get('label', '')}".strip(), Estimate(value, digits=2)
        rows.append({"run": name, f"reported ({unit})": reported, f"measured ({unit})": measured})
    caption = (
        f"Reported: {study.get('reported_source') or 'the notes'}, one run each. Measured: {study.get('dataset')}, "
        f"{study.get('backbone')}, with 95 % intervals of the mean."
    )
    table = Table.of("reported", "Reported and measured", rows, caption)
    runs = pd.DataFrame([(str(entry["configuration"]), value) for entry, value in known], columns=["label", "value"])
    return Section.of("Against the notes", _twice(found, runs), [table]) if table else None


def _reported(entry: Mapping[str, Any], found: Findings) -> float | None:
    metrics, accuracy = entry.get("metrics") or {}, entry.get("accuracy") or []
    if found.metric.name in metrics:
        return found.metric.scale * float(metrics[found.metric.name])
    return 100.0 * float(accuracy[-1]) if found.metric.name == "final_accuracy" and accuracy else None


def _twice(found: Findings, runs: pd.DataFrame) -> list[str]:
    """Reported runs of one configuration that differ, and whether its measured seeds differ as much."""
    study, setting = found.run.study, found.run.study.get("reported_setting") or {}
    measured = {label: own.to_numpy() for label, own in found.seeds.groupby("configuration")["value"] if len(own) > 1}
    same = bool(setting) and all(study.get(key) == value for key, value in setting.items())
    known = runs[runs["label"].isin(list(measured))].groupby("label", sort=False)["value"]
    # Of another setting only a pair can be judged.
    pairs = {label: own if same else own[:2] for label, own in known if len(own) > 1}
    if not pairs:
        return []
    words = {"beyond": "no measured pair of seeds does", "undecided": "too few seeds to say whether that is the seed"}
    return [
        f"Reported runs of {row.configuration} differ by {row.gap:.1f} {found.metric.difference_unit}: "
        + words.get(row.verdict, f"{row.as_far} of {row.pairs} measured pairs of seeds do, too")
        + ("." if same else "; they come from other data or another backbone.")
        for row in stats.reported_gap(measured, pairs, same_setting=same).itertuples()
    ]


def _bad_seeds(found: Findings) -> list[str]:
    """Seeds set apart from the others of their configuration, at 5 % over the whole report."""
    kept = found.seeds[~found.seeds["lost"]]
    bad = stats.bad_seeds(kept, "value", by="configuration", maximize=found.metric.maximise)
    names = [f"{row.configuration} (seed {row.seed})" for row in bad.itertuples()]
    return [f"Far below the other seeds of the configuration: {named(names, 4)}."] if names else []


def _power(found: Findings) -> str:
    """The differences that the seeds of the run show, in the quietest and in the noisiest comparison."""
    table, unit = found.differences, found.metric.difference_unit
    if table.empty or len(table) > MOST_CURVES or int(table["n"].min()) < FEWEST_SEEDS:
        return ""
    n, own = int(table["n"].min()), {"value": "value", "baseline": found.baseline}
    shown = [
        stats.smallest_difference(found.seeds, n, level=found.level, **own | {"configuration": label})
        for label in table["configuration"]
    ]
    if not 0 < max(shown) < np.inf:
        return ""
    low, high = (f"{size:.{found.digits}f}" for size in (min(shown), max(shown)))
    reach = (
        f"{low} {unit}".rstrip()
        if low == high
        else f"{low} to {high} {unit}".rstrip() + ", depending on the comparison,"
    )
    return f"{n} seeds show differences of {reach} with a power of at least 80 %."


EVERY_STUDY = (seeds_section, variance_section, metrics_section, reported_section)
"""What comes last in every kind of study."""
