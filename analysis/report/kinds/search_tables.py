"""Tables of a search: what was confirmed, the race over seeds, what mattered, the space."""

from typing import Any

from analysis.io.objective_labels import dimension_label
from analysis.report.kinds.search_run import Search
from analysis.report.phrases import count
from analysis.report.tables import Cell, Estimate, Table, cell_text

STATES = ("completed", "eliminated", "pruned", "infeasible", "paused", "running")


def parameters_table(search: Search) -> Table | None:
    """What the confirmed configurations are; None before any is confirmed."""
    rows: list[list[Cell]] = []
    fields = search.fields.loc[search.confirmed.index].dropna(axis=1, how="all")
    for label, values in zip(search.confirmed["configuration"], fields.itertuples(index=False), strict=True):
        rows.append([label, *(cell_text(value) for value in values)])
    columns = ["configuration", *map(str, fields.columns)]
    caption = "What the search decides; – where a configuration does not have it."
    return Table("parameters", "Their parameters", columns, rows, caption) if rows else None


def confirmed_table(search: Search) -> Table | None:
    """The search and fresh seeds side by side; None before any is confirmed."""
    rows: list[list[Cell]] = []
    several, bound = len(search.goals) > 1, bool(search.run.study["search"].get("constraints"))
    for _, row in search.confirmed.iterrows():
        values = [search.estimate(row, kind, goal) for goal in search.goals for kind in ("value", "fresh", "gap")]
        more = ([_yes(row["front"])] if several else []) + ([_yes(row["feasible"])] if bound else [])
        rows.append([row["configuration"], int(row["seeds"]), *values, *more])
    kinds = ("search", "fresh seeds", "optimism gap")
    headings = [f"{goal.axis}, {kind}" for goal in search.goals for kind in kinds]
    more = (["on the front"] if several else []) + (["meets the constraints"] if bound else [])
    columns = ["configuration", "seeds in the search", *headings, *more]
    caption = "With 95 % intervals over the fresh seeds, none where the statistic has none. Held-out training data."
    return Table("confirmed", "In the search and on fresh seeds", columns, rows, caption) if rows else None


def race_table(search: Search) -> Table:
    """How many configurations were given how many seeds, and what became of them."""
    frame = search.trials
    states = [state for state in STATES if (frame["state"] == state).any()]
    rows: list[list[Cell]] = []
    for seeds, own in frame.groupby("seeds"):
        became = [int((own["state"] == state).sum()) for state in states]
        rows.append([str(seeds), len(own), *became, int(own["failed"].sum()), int(own["pruned"].sum())])
    caption = "Failed or diverged seeds count against their configuration; stopped ones were behind within their run."
    columns = ["seeds", "configurations", *states, "failed seeds", "stopped seeds"]
    return Table("race", "The race over seeds", columns, rows, caption)


def importance_table(search: Search) -> Table:
    """Importance of the parameters."""
    frame = search.records.importance
    rows: list[list[Cell]] = [
        [
            row["parameter"], Estimate(100 * row["importance"], 100 * row["low"], 100 * row["high"]),
            Estimate(100 * row["chance"]), _yes(row["importance"] > row["chance"]),
        ]
        for _, row in frame.iterrows()
    ]  # fmt: skip
    columns = ["parameter", "share (%)", "chance level (%)", "more than chance"]
    number = count(int(frame["configurations"].iloc[0]), "configuration")
    return Table("importance", "Importance", columns, rows, f"Of {number}; what is missing to 100 % is interactions.")


def front_table(search: Search) -> Table:
    """The configurations that no other one beats in every objective."""
    rows: list[list[Cell]] = []
    for _, row in search.trials[search.trials["front"]].sort_values("place").iterrows():
        values = [search.estimate(row, "value", goal) for goal in search.goals]
        rows.append([row["configuration"], int(row["seeds"]), *values])
    columns = ["configuration", "seeds", *(goal.axis for goal in search.goals)]
    caption = "Values of the search, not of fresh seeds."
    return Table("search_front", "Pareto front of the search", columns, rows, caption)


def space_table(search: Search) -> Table:
    """What was searched."""
    rows: list[list[Cell]] = []
    for entry in search.space:
        conditions = [f"{name} = {_listed(wanted, ' or ')}" for name, wanted in entry["when"].items()]
        rows.append([dimension_label(entry), _range(entry), ", ".join(conditions) or "always"])
    spec = search.run.study["search"]
    caption = (
        f"Suggested by {spec['sampler']} (Optuna), seed {spec['seed']}; seeds {spec['schedule']}. "
        f"SHA-256 of the space: {spec['space_sha256']}."
    )
    return Table("space", "Search space", ["parameter", "drawn from", "where"], rows, caption)


def constraints_table(search: Search) -> Table | None:
    """How many configurations break each constraint; None without constraints."""
    rows: list[list[Cell]] = []
    for text in search.run.study["search"].get("constraints") or ():
        known = search.trials[f"violation.{text}"].dropna() if f"violation.{text}" in search.trials else []
        rows.append([text, int(sum(value <= 0 for value in known)), int(sum(value > 0 for value in known))])
    return Table("constraints", "Constraints", ["constraint", "met", "broken"], rows) if rows else None


def _yes(value: object) -> str:
    return "yes" if bool(value) else "no"


def _range(entry: dict[str, Any]) -> str:
    """One dimension as text."""
    if entry["kind"] == "fixed":
        return f"{_listed(entry['value'])}, fixed"
    if entry["kind"] == "choice":
        return _listed(entry["options"])
    text = f"{cell_text(entry['low'])} to {cell_text(entry['high'])}{', logarithmic' if entry['log'] else ''}"
    return text + (f", in steps of {entry['step']}" if entry.get("step", 1) > 1 else "")


def _listed(value: Any, between: str = ", ") -> str:
    if isinstance(value, list):
        return between.join(map(_listed, value))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return cell_text(value)
