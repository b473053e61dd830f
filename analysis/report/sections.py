"""The sections that every study gets where it has the data: curves, seeds, contrasts, variance, the notes' numbers."""

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
    measured = curve(found.run, "eval", name) if name else pd.DataFrame(columns=["at"])
    if measured["at"].nunique() < 2:
        return None
    about = metric_info(found.run.study.get("metrics"), name)
    fraction = about.fraction or name in ("accuracy", "top1")
    measured = measured.assign(value=measured["value"] * (100.0 if fraction else 1.0))
    labels = [label for label in shown_labels(found) if (measured["configuration"] == label).any()][:MOST_CURVES]
    measured = measured[measured["configuration"].isin(labels)]
    at, text = boundary(found.run), "top-1" if name == "top1" else about.text
    reading = "Bold: means over seeds; thin: the seeds. Click a configuration in the legend; drag and scroll to zoom."
    axis = f"{text} (%)" if fraction else text
    chart = curves("curves", f"{capital(text)} after every {at}", reading, measured, labels, at, axis)
    return Section("Curves", charts=[chart])


def seeds_section(found: Findings) -> Section | None:
    """Every seed of every configuration, its spread, and seeds far from the others; None without a value."""
    if found.seeds.empty:
        return None
    labels = [label for label in shown_labels(found) if (found.seeds["configuration"] == label).any()]
    seeds = found.seeds[found.seeds["configuration"].isin(labels)]
    chart = seed_matrix(
        "seed_matrix", f"{capital(found.metric.text)} by seed and configuration",
        "A column shares data order and initialisation. ×: diverged or failed. Click a cell for its seed.",
        seeds, labels, found.unit or found.metric.text,
    )  # fmt: skip
    spread, middle = (
        function(seeds, "value", by="configuration").set_index("configuration")
        for function in (stats.std_interval, stats.iqm_interval)
    )
    fallen = found.collapses.set_index("configuration") if len(found.collapses) else None
    worst = seeds.groupby("configuration")["value"].agg("min" if found.metric.maximise else "max")
    rows: list[list[Cell]] = []
    for label in labels:
        rate = fallen.loc[label] if fallen is not None and label in fallen.index else None
        rows.append([
            label, int(spread.loc[label, "n"]), _estimate(spread.loc[label], found),
            _estimate(middle.loc[label], found), Estimate(float(worst[label]), digits=found.digits),
            None if rate is None else Estimate(100 * rate["rate"], 100 * rate["low"], 100 * rate["high"], digits=0),
        ])  # fmt: skip
    columns = ["configuration", "seeds", "standard deviation", "interquartile mean", "worst seed", "collapsed (%)"]
    if fallen is None:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table = Table(
        "spread", "Spread over seeds", columns, rows,
        "With 95 % intervals: chi-square for standard deviations, exact binomial for rates.",
    )  # fmt: skip
    return Section("Seeds", _bad_seeds(found), [table], [chart])


def contrasts_section(found: Findings) -> Section | None:
    """What each declared change is worth; None for a study that declares none."""
    table = found.contrasts
    if table.empty:
        return None
    estimates = table.rename(columns={"contrast": "name", "difference": "estimate"})
    chart = forest(
        "contrasts", f"What each change does to {found.metric.text}",
        "Points are effects paired by seed, lines their intervals, corrected for the number of changes.",
        estimates[["name", "estimate", "low", "high", "verdict"]], found.difference_unit or found.metric.text,
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [
            row["contrast"], row["group"] or None, _estimate(row, found, "difference", signed=True), int(row["n"]),
            row["verdict"],
        ]
        for _, row in table.iterrows()
    ]  # fmt: skip
    columns = ["change", "group", f"effect ({found.difference_unit})", "seeds", "verdict"]
    undecided = int((table["verdict"] == UNDECIDED).sum())
    said = [f"{count(undecided, 'change')} undecided, which does not mean without effect."] if undecided else []
    return Section("What each change is worth", said, [Table("contrasts", "Changes", columns, rows)], [chart])


def variance_section(found: Findings) -> Section | None:
    """Which share of the variance goes with configuration, seed and the rest; None with too little to split."""
    table = found.seeds.groupby(["configuration", "seed"])["value"].mean().unstack().dropna(axis=1)
    if min(table.shape) < 2 or np.ptp(table.to_numpy()) == 0 or len(found.seeds) > MOST_SPLIT:
        return None
    split = stats.variance_split(found.seeds, "value", factors=["configuration", "seed"])
    split = split[split["unknown"] == ""]
    known = np.sqrt(split[["variance", "low", "high"]].clip(lower=0).astype(float).to_numpy())
    estimates = pd.DataFrame(known, columns=["estimate", "low", "high"])
    estimates.insert(0, "name", [FACTORS[str(one)] for one in split["factor"]])
    chart = forest(
        "variance", f"How far each source moves {found.metric.text}",
        "Standard deviations of the components of variance with 95 % intervals.", estimates,
        f"standard deviation ({found.difference_unit})" if found.difference_unit else "standard deviation", zero=False,
    )  # fmt: skip
    said = [
        f"{capital(FACTORS[str(row['factor'])])} moves {found.metric.text} more than {FACTORS[other]} does."
        for _, row in split.iterrows()
        for other in row["above"]
    ]
    return Section("Sources of variance", [*said, *_power(found)], charts=[chart], methods=[
        "Variance: random effects of configuration and seed; that one is larger is tested, with Holm's correction."
    ])  # fmt: skip


def metrics_section(found: Findings) -> Section | None:
    """Every final metric that differs between replicas, means with intervals; None where there is none but the
    objective."""
    trials = found.run.trials[found.run.trials["status"] == "finished"]
    metrics = [one for one in final_metrics(found.run) if one.name != found.metric.name and one.reproducible]
    if not metrics or trials.empty:
        return None
    labels = shown_labels(found)
    trials = trials[trials["configuration"].isin(labels)]
    rows = [_metric_row(trials, about, labels) for about in metrics]
    caption = "Finished seeds alone, means with 95 % intervals; fractions in per cent."
    return Section("Other metrics", [], [Table("metrics", "Final metrics", ["metric", *labels], rows, caption)])


def _metric_row(trials: pd.DataFrame, about: MetricInfo, labels: list[str]) -> list[Cell]:
    own = trials[["configuration", f"metric.{about.name}"]].set_axis(["configuration", "value"], axis=1)
    own = own.assign(value=about.scale * own["value"].astype(float))
    own = own[np.isfinite(own["value"])]
    known = {label: stats.mean_interval(values) for label, values in own.groupby("configuration")["value"]}
    size = own["value"].abs().max() if len(own) else 1.0
    digits = 1 if about.fraction else int(np.clip(3 - np.floor(np.log10(max(1e-9, size))), 0, 6))
    shown = (known.get(label) for label in labels)
    name = f"{about.text}{' (%)' if about.fraction else ''}"
    return [name, *(Estimate(one.estimate, one.low, one.high, digits=digits) if one else None for one in shown)]


def reported_section(found: Findings) -> Section | None:
    """Numbers of the notes beside the measured ones; None for a study that has none."""
    rows: list[list[Cell]] = []
    spreads = found.means.set_index("configuration")
    for entry in found.run.study.get("reported") or ():
        value = _reported(entry, found)
        if value is not None:
            label = str(entry["configuration"])
            measured = _estimate(spreads.loc[label], found) if label in spreads.index else None
            rows.append([f"{label} {entry.get('label', '')}".strip(), Estimate(value, digits=2), measured])
    if not rows:
        return None
    caption = (
        f"Reported: {found.run.study.get('reported_source') or 'the notes'}, one run each. Measured: "
        f"{found.run.study.get('dataset')}, {found.run.study.get('backbone')}, with 95 % intervals of the mean."
    )
    table = Table(
        "reported",
        "Reported and measured",
        ["run", f"reported ({found.unit})", f"measured ({found.unit})"],
        rows,
        caption,
    )
    return Section("Against the notes", _twice(found), [table])


def _reported(entry: dict[str, object], found: Findings) -> float | None:
    metrics, accuracy = entry.get("metrics") or {}, entry.get("accuracy") or []
    if found.metric.name in metrics:  # type: ignore[operator]
        return found.metric.scale * float(metrics[found.metric.name])  # type: ignore[index]
    if found.metric.name == "final_accuracy" and accuracy:
        return 100.0 * float(accuracy[-1])  # type: ignore[index]
    return None


def _twice(found: Findings) -> list[str]:
    """Reported runs of one configuration that differ, and whether its measured seeds differ as much."""
    known: dict[str, list[float]] = {}
    for entry in found.run.study.get("reported") or ():
        if (value := _reported(entry, found)) is not None:
            known.setdefault(str(entry["configuration"]), []).append(value)
    measured = {label: own.to_numpy() for label, own in found.seeds.groupby("configuration")["value"] if len(own) > 1}
    setting = found.run.study.get("reported_setting") or {}
    same = bool(setting) and all(found.run.study.get(key) == value for key, value in setting.items())
    most = len if same else lambda values: 2  # of another setting only a pair can be judged
    pairs = {label: values[: most(values)] for label, values in known.items() if label in measured and len(values) > 1}
    if not pairs:
        return []
    table = stats.reported_gap(measured, pairs, same_setting=same)
    words = {"beyond": "no measured pair of seeds does", "undecided": "too few seeds to say whether that is the seed"}
    return [
        f"Reported runs of {row['configuration']} differ by {row['gap']:.1f} {found.difference_unit}: "
        + words.get(row["verdict"], f"{row['as_far']} of {row['pairs']} measured pairs of seeds do, too")
        + ("." if same else "; they come from other data or another backbone.")
        for _, row in table.iterrows()
    ]


def _bad_seeds(found: Findings) -> list[str]:
    """Seeds set apart from the others of their configuration, at 5 % over the whole report."""
    kept = found.seeds[~found.seeds["lost"]]
    bad = stats.bad_seeds(kept, "value", by="configuration", maximize=found.metric.maximise)
    if bad.empty:
        return []
    names = [f"{row['configuration']} (seed {row['seed']})" for _, row in bad.iterrows()]
    return [f"Far below the other seeds of the configuration: {named(names, 4)}."]


def _power(found: Findings) -> list[str]:
    """The differences that the seeds of the run show, in the quietest and in the noisiest comparison."""
    table = found.differences
    if table.empty or len(table) > MOST_CURVES or int(table["n"].min()) < FEWEST_SEEDS:
        return []
    n = int(table["n"].min())
    shown = [
        stats.smallest_difference(
            found.seeds, n, level=found.level, value="value", baseline=found.baseline, configuration=label
        )
        for label in table["configuration"]
    ]
    low, high = (f"{size:.{found.digits}f}" for size in (min(shown), max(shown)))
    if not np.isfinite(max(shown)) or not max(shown) > 0:
        return []
    unit = f" {found.difference_unit}" if found.difference_unit else ""
    reach = f"{low}{unit}" if low == high else f"{low} to {high}{unit}, depending on the comparison,"
    return [f"{n} seeds show differences of {reach} with a power of at least 80 %."]


def _estimate(row: "pd.Series[float]", found: Findings, value: str = "estimate", signed: bool = False) -> Estimate:
    return Estimate(float(row[value]), float(row["low"]), float(row["high"]), signed, found.digits)
