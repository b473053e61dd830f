"""SEMA: where adapters grow, who uses them, what they cost, and accuracies beside the published ones.

Blocks and adapters count from 0, as in the configuration; adapter 0 of a block is there from the start.
"""

from dataclasses import replace

import pandas as pd

from analysis import stats
from analysis.charts.chart import Chart
from analysis.charts.curves import curves
from analysis.charts.matrix import MOST_FACETS, matrices
from analysis.charts.scatter import scatter
from analysis.io.metrics import metric_info
from analysis.io.values import REPLICA, curve
from analysis.report.document import Kind, Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.kinds.continual import CONTINUAL, forgetting_section
from analysis.report.phrases import named
from analysis.report.sections import (
    MOST_CURVES,
    contrasts_section,
    curves_section,
    final_means,
    metrics_section,
    reported_section,
    seeds_section,
    variance_section,
)
from analysis.report.tables import Cell, Estimate, Table

ADAPTERS = r"adapters/block_(?P<block>\d+)"
ROUTED = r"task_(?P<tested>\d+)/block_(?P<block>\d+)/adapter_(?P<adapter>\d+)"
ROUTINGS = {"final_routing/top1": "largest weight alone", "final_routing/average": "equal weights"}
PUBLISHED = ("final_accuracy", "average_incremental_accuracy")
METHODS = [
    "Growth: adapters of every block after every task, over all seeds that reached it. Usage: mean routing weight over "
    "the test images of a task, of finished seeds after their last task.",
]


def numbered(found: Findings, phase: str, pattern: str) -> pd.DataFrame:
    """Rows of a phase by the numbers in their names: columns ``REPLICA``, status, task, value and the pattern's groups,
    in the order of the study."""
    rows = found.run.metrics[found.run.metrics["phase"] == phase]
    numbers = rows["name"].astype(str).str.extract(f"^{pattern}$")
    rows = rows[["trial_id", "seed", "task", "value"]].join(numbers).dropna()
    rows = rows.astype(dict.fromkeys(["task", *numbers], int))
    rows = rows.drop_duplicates(["trial_id", "seed", "task", *numbers], keep="last")
    labels = shown_labels(found)
    rows = rows.merge(found.run.trials[[*REPLICA, "status"]], on=["trial_id", "seed"])
    rows = rows[rows["configuration"].isin(labels)].sort_values(["task", *numbers], kind="stable")
    return rows.sort_values("configuration", key=lambda one: one.map(labels.index), kind="stable", ignore_index=True)


def growth(found: Findings) -> pd.DataFrame:
    """Adapters (value) of every growing block after every task, and whether it grew in that task (grown)."""
    rows = numbered(found, "boundary", ADAPTERS)
    before = rows.groupby([*REPLICA, "block"])["value"].shift(fill_value=1)
    return rows.assign(grown=rows["value"] > before)


def scans(found: Findings) -> pd.DataFrame:
    """By configuration of which blocks can grow: seeds, grew (in how many of them), z (the largest that a scan saw, NaN
    before any) and threshold."""
    rows = (
        growth(found).groupby(["configuration", "seed"], sort=False)["grown"].any().groupby("configuration", sort=False)
    )
    table = rows.agg(seeds="size", grew="sum")
    seen = numbered(found, "expansion", r"block_(?P<block>\d+)/largest_z")
    table["z"] = seen.groupby("configuration")["value"].max()
    trials = found.run.trials.reindex(columns=["configuration", "param.exp_threshold"])
    table["threshold"] = trials.groupby("configuration")["param.exp_threshold"].first().astype(float)
    return table


def still_sentence(found: Findings, everywhere: bool = False) -> str:
    """Which configurations did not grow and how near they came; "" where all did or, ``everywhere``, where one did."""
    table = scans(found)
    still = table[(table["grew"] == 0) & table["z"].notna()]
    if still.empty or (everywhere and len(still) < len(table)):
        return ""
    who = "No block grew in any seed" if len(still) == len(table) else f"No block of {named(list(still.index))} grew"
    nearest = (still["z"] / still["threshold"]).fillna(0).idxmax()
    z, threshold = still.loc[nearest, ["z", "threshold"]]
    which = "" if len(still) == 1 else f", of {named([nearest])}"
    return f"{who}: the largest z{which} was {z:.3g}" + (f", the threshold {threshold:g}." if threshold > 0 else ".")


def growth_section(found: Findings) -> Section | None:
    """Adapters by block and task, and the parameters that they add; None where no block can grow."""
    rows = growth(found)
    if rows.empty:
        return None
    charts = [_expansion(rows), *_costs(found)] if rows["grown"].any() else []
    return Section.of("Growth", [still_sentence(found)], [_grown(found)], charts, METHODS)


def usage_section(found: Findings) -> Section | None:
    """Who routes to which adapter, and other routings; None where no finished seed has a choice."""
    rows = numbered(found, "routing", ROUTED).query("status == 'finished'")
    rows = rows[rows["task"] == rows.groupby(REPLICA)["task"].transform("max")]
    finished = rows.groupby("configuration")["seed"].nunique()
    rows = rows[rows.groupby(["configuration", "block"])["adapter"].transform("max") > 0]
    if rows.empty:
        return None
    rows = rows[rows["configuration"].isin(rows["configuration"].unique()[:MOST_FACETS])]
    panel = rows["configuration"] + ", block " + rows["block"].astype(str)
    keys = ["configuration", "panel", "adapter", "task"]
    cells = stats.mean_interval(rows.assign(panel=panel, task=rows["tested"] + 1), "value", by=keys)
    cells = cells.assign(has=cells["n"] / cells.pop("configuration").map(finished)).rename(
        columns={"estimate": "weight"}
    )
    chart = matrices(
        "usage", "Mean weight of every adapter, by task",
        "Test images of each task, after the last one: mean weight over the seeds that have the adapter; dots: their "
        "share. Adapter 0 is there from the start; blocks that stayed with it alone are left out.",
        cells, {"panel": "", "adapter": "adapter", "task": "images of task"},
        {"weight": "weight", "has": "seeds that have it"}, height=160,
    )  # fmt: skip
    return Section.of("Usage", tables=[_routings(found)], charts=[chart], methods=METHODS)


def published_section(found: Findings) -> Section | None:
    """Last and average accuracy beside the published ones; None for a study that has none."""
    parts = {}
    for name in PUBLISHED:
        about = metric_info(found.run.study.get("metrics"), name)
        if own := reported_section(replace(found, metric=about)):
            titled = {"name": f"reported_{name}", "title": f"Reported and measured: {about.text}"}
            parts[name] = replace(own, tables=[replace(table, **titled) for table in own.tables])
    first = next(iter(parts.values()), None)
    return first and replace(first, tables=[table for own in parts.values() for table in own.tables])


def _expansion(rows: pd.DataFrame) -> Chart:
    rows = rows[rows["configuration"].isin(rows["configuration"].unique()[:MOST_CURVES])]
    keys = ["configuration", "task", "block"]
    rows = rows.assign(task=rows["task"] + 1)
    cells = stats.mean_interval(rows, "value", by=keys).rename(columns={"estimate": "adapters"})
    grown = rows.groupby(keys)["grown"].mean().reset_index()
    return matrices(
        "growth", "Adapters of every block after every task",
        "Colour: mean over seeds; dots: share of the seeds in which the block grew in that task.",
        cells.merge(grown, on=keys), {"configuration": "", "task": "after task", "block": "block"},
        {"adapters": "adapters", "grown": "seeds that grew"}, height=100,
    )  # fmt: skip


def _costs(found: Findings) -> list[Chart]:
    """Parameters added by task, and the objective against them where configurations differ in them."""
    about = metric_info(found.run.study.get("metrics"), "added_params")
    added = curve(found.run, "boundary", "params_added", "task")
    added["value"] = added.groupby(REPLICA)["value"].cumsum()
    labels = shown_labels(found, added)[:MOST_CURVES]
    reading = "Bold: means over seeds; thin: the seeds. Click a configuration in the legend."
    charts = [curves("added", "Parameters added by task", reading, added[added["configuration"].isin(labels)], labels,
                     "task", about.axis)]  # fmt: skip
    ended = found.outcomes(about)
    if ended.empty:
        return charts
    sides = {"x": stats.mean_interval(ended, "value", by="configuration"), "y": found.means}
    points = pd.concat(
        [own.set_index("configuration")[["estimate", "low", "high"]].set_axis([side, f"{side}_low", f"{side}_high"], axis=1)
         for side, own in sides.items()], axis=1,
    ).dropna(subset=["x", "y"]).rename_axis("configuration").reset_index()  # fmt: skip
    if points["x"].nunique() < 2:
        return charts
    title, shown = f"{found.metric.text} against {about.text}", shown_labels(found, points)
    reading = "Points are means over seeds with 95 % intervals."
    points = points[points["configuration"].isin(shown)]
    return [*charts, scatter("cost", title, reading, points, shown, (about.axis, found.metric.axis))]


def _grown(found: Findings) -> Table | None:
    """Adapters by block, the largest z and the parameters added."""
    known = [name.removeprefix("metric.") for name in found.run.trials if name.startswith("metric.adapters/block_")]
    known = sorted(known, key=lambda name: int(name.rpartition("_")[2]))
    columns = {name: f"block {name.rpartition('_')[2]}" for name in known}
    columns |= {"adapters_grown": "adapters grown", "added_params": "parameters added"}
    means = {heading: final_means(found, metric_info(found.run.study.get("metrics"), name))
             for name, heading in columns.items() if f"metric.{name}" in found.run.trials}  # fmt: skip
    rows: list[dict[str, Cell]] = []
    for label, own in scans(found).iterrows():
        cells = {heading: known[str(label)] for heading, known in means.items()}
        cells = {heading: one and replace(one, digits=min(one.digits, 1)) for heading, one in cells.items()}
        rows.append({"configuration": str(label), "seeds that grew": f"{own['grew']:.0f} of {own['seeds']:.0f}",
                     "largest z": float(own["z"]), "threshold": float(own["threshold"]), **cells})  # fmt: skip
    caption = "Adapters and parameters: finished seeds, means with 95 % intervals. z: over all tasks, blocks and seeds."
    return Table.of("growth", "Adapters and parameters", rows, caption)


def _routings(found: Findings) -> Table | None:
    """Accuracy with another routing at inference minus the configuration's own, where something grew."""
    own, columns = f"metric.{PUBLISHED[0]}", {f"metric.{name}": text for name, text in ROUTINGS.items()}
    grew = scans(found).query("grew > 0").index
    trials = found.run.trials[found.run.trials["status"].eq("finished") & found.run.trials["configuration"].isin(grew)]
    wide = (
        trials.reindex(columns=["configuration", "seed", own, *columns])
        .dropna()
        .drop_duplicates(["configuration", "seed"])
    )
    seeds = wide.melt(["configuration", "seed"])
    seeds = seeds.assign(value=100 * seeds["value"], case=seeds["configuration"] + " " + seeds["variable"])
    pairs = [(label, column) for label in grew if label in set(wide["configuration"]) for column in columns]
    if not pairs:
        return None
    tested = found.pairs(
        [(f"{label} {column}", f"{label} {own}") for label, column in pairs], seeds=seeds, by="case", maximise=True
    )
    rows: list[dict[str, Cell]] = [
        {"configuration": label, "routing": columns[column], "difference (points)": Estimate.of(row, "difference"),
         "seeds": row.n, "verdict": row.verdict}
        for (label, column), row in zip(pairs, tested.itertuples(), strict=True)
    ]  # fmt: skip
    caption = (
        "Final accuracy with this routing in tests minus that with the softmax that trained, paired by finished seed; "
        "intervals corrected for all rows."
    )
    return Table.of("routings", "Another routing at inference", rows, caption)


SEMA = Kind(
    "sema",
    claims=(lambda found: still_sentence(found, everywhere=True), *CONTINUAL.claims),
    sections=(
        contrasts_section, curves_section, growth_section, usage_section, forgetting_section, seeds_section,
        variance_section, metrics_section, published_section,
    ),
)  # fmt: skip
