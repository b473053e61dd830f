"""SEMA: where adapters grow, who uses them, what they cost, and its accuracies with the published ones.

Blocks and adapters count from 0, as in the configuration; adapter 0 of a block is there from the start.
"""

from dataclasses import replace
from itertools import product

import pandas as pd

from analysis import stats
from analysis.charts.chart import Chart
from analysis.charts.curves import curves
from analysis.charts.matrix import MOST_FACETS, matrices
from analysis.charts.scatter import scatter
from analysis.io.metrics import MetricInfo, metric_info
from analysis.io.values import REPLICA, curve, final_metrics
from analysis.report import phrases, sections
from analysis.report.document import Kind, Section
from analysis.report.findings import Findings
from analysis.report.headline import shown_labels
from analysis.report.kinds.continual import CONTINUAL, forgetting_section
from analysis.report.tables import Cell, Estimate, Table

ROUTED = r"task_(?P<tested>\d+)/block_(?P<block>\d+)/adapter_(?P<adapter>\d+)"
ROUTINGS = {"final_routing/top1": "largest weight alone", "final_routing/average": "equal weights"}
PUBLISHED = ("final_accuracy", "average_incremental_accuracy")


def numbered(found: Findings, phase: str, pattern: str) -> pd.DataFrame:
    """Rows of a phase by the numbers in their names: columns ``REPLICA``, status, task, value and the pattern's groups;
    configurations in the order of the study, tasks in theirs."""
    rows = found.run.metrics[found.run.metrics["phase"] == phase]
    numbers = rows["name"].astype(str).str.extract(f"^{pattern}$")
    rows = rows[["trial_id", "seed", "task", "value"]].join(numbers).dropna()
    rows = rows.astype(dict.fromkeys(["task", *numbers], int)).sort_values(["task", *numbers])
    rows = rows.drop_duplicates(["trial_id", "seed", "task", *numbers], keep="last")
    rows = rows.merge(found.run.trials[[*REPLICA, "status"]], on=["trial_id", "seed"])
    return rows.set_index("configuration").loc[shown_labels(found, rows)].reset_index()


def growth(found: Findings) -> pd.DataFrame:
    """Adapters (value) of every block that may grow after every task, and whether it grew in that task (grown)."""
    rows = numbered(found, "boundary", r"adapters/block_(?P<block>\d+)")
    return rows.assign(grown=rows["value"] > rows.groupby([*REPLICA, "block"])["value"].shift(fill_value=1))


def scans(found: Findings) -> pd.DataFrame:
    """By configuration: seeds, grew (how many of them), z (the largest that a scan saw, NaN before any), threshold."""
    grown = growth(found).groupby(["configuration", "seed"], sort=False)["grown"].any()
    table = grown.groupby("configuration", sort=False).agg(seeds="size", grew="sum")
    seen = numbered(found, "expansion", r"block_(?P<block>\d+)/largest_z").groupby("configuration")["value"].max()
    trials = found.run.trials.reindex(columns=["configuration", "param.exp_threshold"])
    return table.assign(z=seen, threshold=trials.groupby("configuration")["param.exp_threshold"].first().astype(float))


def still_sentence(found: Findings, everywhere: bool = False) -> str:
    """Which configurations did not grow, and how near they came; "" where all did (``everywhere``: where any did)."""
    table = scans(found)
    still = table[(table["grew"] == 0) & table["z"].notna()]
    if still.empty or (everywhere and len(still) < len(table)):
        return ""
    some = f"No block of {phrases.named(list(still.index))} grew"
    who = some if len(still) < len(table) else "No block grew in any seed"
    near = still.loc[(still["z"] / still["threshold"]).fillna(0).idxmax()]
    which = f", of {phrases.named([str(near.name)])}," if len(still) > 1 else ""
    limit = f", the threshold {near['threshold']:g}" if near["threshold"] > 0 else ""
    return f"{who}: the largest z{which} was {near['z']:.3g}{limit}."


def growth_section(found: Findings) -> Section | None:
    """Adapters by block and task, and the parameters that they add; None where no block may grow."""
    rows = growth(found)
    if rows.empty:
        return None
    rows, keys = rows.assign(task=rows["task"] + 1), ["configuration", "task", "block"]
    cells = _means(rows, keys, "adapters").join(rows.groupby(keys)["grown"].mean(), on=keys)
    chart = matrices(
        "growth", "Adapters of every block after every task",
        "Colour: mean over seeds; dots: share of the seeds in which the block grew in that task.",
        cells, {"configuration": "", "task": "after task", "block": "block"},
        {"adapters": "adapters", "grown": "seeds that grew"}, height=100,
    )  # fmt: skip
    charts = [chart, *_costs(found)] if rows["grown"].any() else []
    return Section.of("Growth", [still_sentence(found)], [_grown(found)], charts)


def usage_section(found: Findings) -> Section | None:
    """Who routes to which adapter, and other routings; None where no finished seed has a choice."""
    rows = numbered(found, "routing", ROUTED).query("status == 'finished'")
    rows = rows[rows["task"] == rows.groupby(REPLICA)["task"].transform("max")]
    seeds = rows.groupby("configuration")["seed"].nunique()
    rows = rows[rows.groupby(["configuration", "block"])["adapter"].transform("max") > 0]
    if rows.empty:
        return None
    labels = list(rows["configuration"].unique())
    rows = rows[rows["configuration"].isin(labels[:MOST_FACETS])].assign(task=rows["tested"] + 1)
    rows["panel"] = rows["configuration"] + ", block " + rows["block"].astype(str)
    cells = _means(rows, ["configuration", "panel", "adapter", "task"], "weight")
    share = cells["seeds"] / cells.pop("configuration").map(seeds)
    cells["have"] = share.where(share < 1)
    some = {"have": "seeds that have it"} if cells["have"].notna().any() else {}
    chart = matrices(
        "usage", "Mean weight of every adapter by task",
        "Test images of each task, after the last task: mean over the finished seeds that have the adapter. A dot: "
        "their share, where not all have it. Adapter 0 is there from the start; blocks that have no other are left out."
        + (f" Shown: the first {MOST_FACETS} of {len(labels)} configurations." if len(labels) > MOST_FACETS else ""),
        cells, {"panel": "", "adapter": "adapter", "task": "images of task"},
        {"weight": "weight", **some}, height=160,
    )  # fmt: skip
    return Section.of("Usage", tables=[_routings(found)], charts=[chart])


def published_section(found: Findings) -> Section | None:
    """Final and average accuracy with the published ones; None for a study that has none."""
    parts = {name: sections.reported_section(replace(found, metric=_about(found, name))) for name in PUBLISHED}
    known = {name: part for name, part in parts.items() if part}
    tables = [
        replace(part.tables[0], name=f"reported_{name}", title=f"Reported and measured: {_about(found, name).text}")
        for name, part in known.items()
    ]
    return replace(next(iter(known.values())), tables=tables) if known else None


def _about(found: Findings, name: str) -> MetricInfo:
    return metric_info(found.run.study.get("metrics"), name)


def _means(rows: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """A row per cell: the keys, seeds, the mean under a name, and as text with its interval."""
    cells = stats.mean_interval(rows, "value", by=keys)
    cells["mean"] = [str(Estimate.of(row, digits=2)) for row in cells.itertuples()]
    return cells.drop(columns=["low", "high"]).rename(columns={"n": "seeds", "estimate": name})


def _costs(found: Findings) -> list[Chart]:
    """Parameters added by task, and the objective against them where configurations differ in them."""
    about = _about(found, "added_params")
    added = curve(found.run, "boundary", "params_added", "task")
    added["value"] = added.groupby(REPLICA)["value"].cumsum()
    labels = shown_labels(found, added)[: sections.MOST_CURVES]
    reading = "Bold: means over seeds; thin: the seeds. Click a configuration in the legend."
    added = added[added["configuration"].isin(labels)]
    charts = [curves("added", "Parameters added by task", reading, added, labels, "task", about.axis)]
    ended = found.outcomes(about)
    if ended["value"].nunique() < 2 or found.means.empty:
        return charts
    points = found.means.merge(stats.mean_interval(ended, "value", by="configuration"), on="configuration")
    points = points.set_axis(["configuration", "seeds", "y", "y_low", "y_high", "n", "x", "x_low", "x_high"], axis=1)
    labels = shown_labels(found, points)
    points = points[points["configuration"].isin(labels)]
    title = f"{phrases.capital(found.metric.text)} against {about.text}"
    reading = "Points are means over seeds with 95 % intervals."
    return [*charts, scatter("cost", title, reading, points, labels, (about.axis, found.metric.axis))]


def _grown(found: Findings) -> Table | None:
    """Adapters, parameters added, and how near the scans came to the threshold."""
    metrics = [one for one in final_metrics(found.run, changing=False) if one.unit in ("adapters", "parameters")]
    metrics = sorted(metrics, key=lambda one: (len(one.name), one.name))  # block_9 before block_10
    means = {one.text.rpartition(", ")[2]: sections.final_means(found, one) for one in metrics}
    rows: list[dict[str, Cell]] = []
    for row in scans(found).itertuples():
        cells = {heading: own[row.Index] for heading, own in means.items()}
        cells = {heading: one and replace(one, digits=min(one.digits, 1)) for heading, one in cells.items()}
        rows.append({"configuration": row.Index, "seeds that grew": f"{row.grew} of {row.seeds}",
                     "largest z": row.z, "threshold": row.threshold, **cells})  # fmt: skip
    caption = (
        "Parameters added, adapters grown, and adapters of each block: finished seeds, means with 95 % intervals. "
        "Largest z: over all tasks, blocks and seeds; above the threshold a block grows."
    )
    return Table.of("growth", "Adapters and parameters", rows, caption)


def _routings(found: Findings) -> Table | None:
    """Accuracy with another routing at inference minus the configuration's own, where something grew."""
    trials, own = found.run.trials, f"metric.{PUBLISHED[0]}"
    columns = {f"metric.{name}": text for name, text in ROUTINGS.items()}
    grew = trials["configuration"].isin(scans(found).query("grew > 0").index)
    known = trials[grew & (trials["status"] == "finished")].reindex(columns=["configuration", "seed", own, *columns])
    values = 100 * known.dropna().groupby(["configuration", "seed"], sort=False).mean()
    seeds = values.rename_axis(columns="routing").stack().rename("value").reset_index()
    if seeds.empty:
        return None
    seeds["case"] = seeds["configuration"] + " " + seeds["routing"]
    cases = list(product(shown_labels(found, seeds), columns))
    pairs = [(f"{label} {column}", f"{label} {own}") for label, column in cases]
    tested = found.pairs(pairs, seeds=seeds, by="case", maximise=True)
    rows: list[dict[str, Cell]] = [
        {"configuration": label, "routing": columns[column], "difference (points)": Estimate.of(row, "difference"),
         "seeds": row.n, "verdict": row.verdict}
        for (label, column), row in zip(cases, tested.itertuples(), strict=True)
    ]  # fmt: skip
    caption = (
        "Final accuracy with this routing in tests minus the configuration's own; finished seeds, paired; intervals "
        "corrected for all rows."
    )
    return Table.of("routings", "Another routing at inference", rows, caption)


SEMA = Kind(
    "sema",
    claims=(lambda found: still_sentence(found, everywhere=True), *CONTINUAL.claims),
    sections=(
        sections.contrasts_section, sections.curves_section, growth_section, usage_section, forgetting_section,
        *sections.EVERY_STUDY[:-1], published_section,
    ),
)  # fmt: skip
