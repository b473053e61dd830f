"""Tables of a search: the confirmed configurations, their parameters, the race over seeds, what mattered."""

from analysis.captions import count
from analysis.cells import Cell, Interval, Table
from analysis.search_series import Search, scale_of, shown


def confirmed_table(search: Search) -> Table | None:
    """The best configurations on fresh seeds beside what the search saw; None before any has been confirmed."""
    if search.confirmed.empty:
        return None
    unit, test_unit = (", %" if scale == 100.0 else "" for scale in (search.scale, scale_of(search.test_metric)))
    rows: list[list[Cell]] = []
    for _, row in search.confirmed.iterrows():
        finished, planned = search.fresh_seeds(row)
        rows.append(
            [
                row["configuration"], int(row["seeds"]), f"{search.value(row):.{search.digits}f}",
                search.estimate(row, "fresh"), search.estimate(row, "gap"), search.tested(row),
                f"{finished} of {planned}", _yes(row["feasible"]),
            ]
        )  # fmt: skip
    columns = [
        "configuration", "seeds in the search", f"{search.readable}, search{unit}",
        f"the same on fresh seeds{unit}", "optimism gap", f"{search.test_name} on test {search.examples}{test_unit}",
        "fresh seeds finished", "feasible",
    ]  # fmt: skip
    return Table(
        "The best configurations on fresh seeds", columns, rows,
        f"Ordered by the fresh seeds' held-out {search.examples}. In brackets 95 % intervals over seeds; the optimism "
        "gap is what the search showed beyond that, below 0 it showed less. The test set was looked at on the fresh "
        "seeds only. The first configuration of the study is confirmed whatever its place.",
        "confirmed",
    )  # fmt: skip


def parameter_table(search: Search) -> Table | None:
    """What the confirmed configurations are."""
    if search.confirmed.empty:
        return None
    found = [(row["configuration"], search.parameters(row)) for _, row in search.confirmed.iterrows()]
    names = list(found[0][1])
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
        name for name in ("completed", "eliminated", "pruned", "paused", "running") if (frame["state"] == name).any()
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
        [row["parameter"], Interval(100 * row["importance"], 100 * row["low"], 100 * row["high"])]
        for _, row in frame.iterrows()
    ]
    return Table(
        "Importance of the parameters", ["parameter", "share, %"], rows,
        f"PED-ANOVA of {frame['objective'].iloc[0]} over "
        f"{count(int(frame['configurations'].iloc[0]), 'configuration')}: how the values of a parameter in the best "
        "quarter differ from those in all. In brackets 95 % of the values that other draws of the seeds give.",
        "importance",
    )  # fmt: skip


def _yes(value: object) -> str:
    return "–" if value is None or value != value else "yes" if value else "no"
