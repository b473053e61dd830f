"""Tables of a search: the confirmed configurations, their parameters, the race over seeds, what mattered."""

import math
from typing import Any

from analysis.captions import count
from analysis.cells import Cell, Interval, Table
from analysis.search_series import Search, shown
from analysis.sentences import joined


def confirmed_table(search: Search) -> Table | None:
    """The best configurations on fresh seeds beside what the search saw; None before any has been confirmed."""
    if search.confirmed.empty:
        return None
    unit, test_unit = search.first.unit, ", %" if search.test_info.fraction else ""
    front = set(search.front)
    rows: list[list[Cell]] = []
    for _, row in search.confirmed.iterrows():
        finished, planned = search.fresh_seeds(row)
        rows.append(
            [
                row["configuration"], int(row["seeds"]),
                "–" if math.isnan(search.value(row)) else f"{search.value(row):.{search.first.digits}f}",
                search.estimate(row, "fresh"), search.estimate(row, "gap"), search.tested(row),
                *(search.estimate(row, "fresh", other) for other in search.others),
                *([_yes(row["configuration"] in front)] if search.others else []),
                f"{finished} of {planned}", _yes(row["feasible"]),
            ]
        )  # fmt: skip
    columns = [
        "configuration", "seeds in the search", f"{search.first.readable}, search{unit}",
        f"the same on fresh seeds{unit}", "optimism gap", f"{search.test_name} on test examples{test_unit}",
        *(f"{other.readable} on fresh seeds{other.unit}" for other in search.others),
        *(["Pareto-optimal in the search"] if search.others else []), "fresh seeds finished", "feasible",
    ]  # fmt: skip
    return Table(
        "The best configurations on fresh seeds", columns, rows,
        "Ordered by the fresh seeds' held-out examples. In brackets 95 % intervals over seeds; the optimism "
        "gap is what the search showed beyond that, below 0 it showed less. The test set was looked at on the fresh "
        "seeds only. The first configuration of the study is confirmed whatever its place.",
        "confirmed",
    )  # fmt: skip


def parameter_table(search: Search) -> Table | None:
    """What the confirmed configurations are."""
    if search.confirmed.empty:
        return None
    found = [(row["configuration"], search.parameters(row)) for _, row in search.confirmed.iterrows()]
    names = [name for name in found[0][1] if any(shown(values.get(name)) != "–" for _, values in found)]
    rows: list[list[Cell]] = [[label, *(shown(values.get(name)) for name in names)] for label, values in found]
    return Table(
        "Their parameters", ["configuration", *names], rows,
        "Parameters that the search decides; – where a configuration does not have it.", "parameters",
    )  # fmt: skip


def race_table(search: Search) -> Table:
    """How many configurations were given how many seeds, and what became of them."""
    frame = search.records.trials
    frame = frame[frame["state"] != "duplicate"]
    states = [
        name
        for name in ("completed", "eliminated", "pruned", "infeasible", "paused", "running")
        if (frame["state"] == name).any()
    ]
    rows: list[list[Cell]] = []
    for seeds, own in frame.groupby("seeds"):
        fates = [int((own["state"] == name).sum()) for name in states]
        rows.append([f"{seeds}", len(own), *fates, int(own["failed"].sum()), int(own["pruned"].sum())])
    duplicates = int((search.records.trials["state"] == "duplicate").sum())
    return Table(
        "The race over seeds", ["seeds", "configurations", *states, "failed seeds", "pruned seeds"], rows,
        f"{count(len(frame), 'configuration')}, {count(duplicates, 'duplicate')}. Failed or diverged seeds count "
        "against their configuration.", "race",
    )  # fmt: skip


def importance_table(search: Search) -> Table | None:
    """Importance of the parameters; None where there were too few configurations."""
    frame = search.records.importance
    if frame.empty:
        return None
    rows: list[list[Cell]] = [
        [
            row["parameter"], Interval(100 * row["importance"], 100 * row["low"], 100 * row["high"]),
            f"{100 * row['chance']:.1f}",
        ]
        for _, row in frame.iterrows()
    ]  # fmt: skip
    beyond = list(frame.loc[frame["importance"] > frame["chance"], "parameter"])
    return Table(
        "Importance of the parameters", ["parameter", "share, %", "by chance up to, %"], rows,
        f"fANOVA of {frame['objective'].iloc[0]} over "
        f"{count(int(frame['configurations'].iloc[0]), 'configuration')}: the share of the variance over the space "
        "that a parameter explains by itself; the rest is interactions. In brackets 95 % of what other draws of "
        "configurations and seeds give. Beyond what shuffled values give (95 %): "
        f"{joined(beyond, len(beyond)) if beyond else 'none'}. What was tried first because the study says so does not "
        "take part.",
        "importance",
    )  # fmt: skip


def _yes(value: object) -> str:
    return "–" if value is None or value != value else "yes" if value else "no"


def space_table(search: Search) -> Table:
    """What was searched."""
    rows: list[list[Cell]] = []
    for entry in search.run.study["search"]["space"]:
        conditions = [f"{name} = {_listed(wanted, ' or ')}" for name, wanted in entry["when"].items()]
        rows.append([entry["name"], _range(entry), ", ".join(conditions) or "always"])
    spec = search.run.study["search"]
    return Table(
        "The search space", ["parameter", "drawn from", "where"], rows,
        f"SHA-256 of the space: {spec['space_sha256']}. Suggested by {spec['sampler']} (Optuna), seed {spec['seed']}; "
        f"racing {spec['schedule']} seeds; constraints: {_listed(spec['constraints']) or 'none'}.", "space",
    )  # fmt: skip


def _range(entry: dict[str, Any]) -> str:
    """One dimension as text."""
    if entry["kind"] == "fixed":
        return f"{shown(entry['value'])}, fixed"
    if entry["kind"] == "choice":
        return _listed(entry["options"])
    text = f"{shown(entry['low'])} to {shown(entry['high'])}{', logarithmic' if entry['log'] else ''}"
    if entry.get("step", 1) > 1:
        text += f", in steps of {entry['step']}"
    return text + (f", as a ratio to {entry['ratio_to']}" if entry.get("ratio_to") else "")


def _listed(value: Any, between: str = ", ") -> str:
    return between.join(map(shown, value)) if isinstance(value, list) else shown(value)
