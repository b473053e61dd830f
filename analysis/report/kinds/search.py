"""Searches: the first screen is about the confirmed configurations on fresh seeds; what the search saw comes after."""

from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.forest import forest
from analysis.charts.parallel import parallel
from analysis.charts.search import STATES, history, search_front, slices
from analysis.io.objective_labels import dimension_label
from analysis.report.document import Kind, Section
from analysis.report.findings import BETTER, WORSE, Findings, largest_first
from analysis.report.kinds.search_run import Search, fresh_run, searched
from analysis.report.phrases import capital, count, fits, named, shortest
from analysis.report.sections import EVERY_STUDY, curves_section
from analysis.report.tables import Cell, Estimate, Table, cell_text

METHODS = [
    "Search: every configuration sees the same seeds in the same order; held-out training data alone decide which get "
    "more. Configurations with different numbers of seeds are compared by a mixed model of configuration and seed "
    "(Henderson 1975). Failed seeds count with the worst value.",
    "Confirmed configurations are trained anew on seeds that no configuration of the search has seen; only these "
    "replicas are tested.",
    "Optimism gap: the value in the search less that on fresh seeds (above 0, the search was too good); its interval "
    "is that of the fresh seeds, so it covers by how much this search was too good.",
]
IMPORTANCE = (
    "Importance: fANOVA (Hutter et al. 2014), the share of the variance over the space that a parameter explains by "
    "itself. Chance level: 95 % of shuffles of the values leave the largest share of all parameters below it, so in "
    "at most 5 % of searches without any effect a parameter is called important. Configurations tried first and those "
    "stopped early do not take part."
)


def waiting(found: Findings) -> str:
    """What is said before any configuration has a value on fresh seeds."""
    search = searched(found.run)
    tried = len(search.evaluated)
    if not tried:
        return f"No answer yet: none of {count(len(search.trials), 'configuration')} has a result."
    has = f"{count(tried, 'configuration')} {'has' if tried == 1 else 'have'} results in the search"
    ended = int(found.counts[["finished", "diverged", "failed"]].to_numpy().sum())
    return f"No answer yet: {has}, none on fresh seeds{f' ({ended} of these ended without)' if ended else ''}."


def best_sentence(found: Findings) -> str:
    """The best configuration on fresh seeds, named only where the choice among all leaves no other; "" of one."""
    search, names = searched(found.run), _names(found)
    feasible = search.confirmed.loc[search.confirmed["feasible"], "fresh_configuration"]
    seeds = found.seeds[found.seeds["configuration"].isin(feasible)]
    total = seeds["configuration"].nunique()
    if not total:
        return "No configuration on fresh seeds meets the constraints."
    if total < 2:
        return ""
    table = stats.best_of(seeds, "value", maximize=found.metric.maximise)
    kept = table[table["not_excluded"]].sort_values("estimate", ascending=not found.metric.maximise)
    labels = [names[label] for label in kept["configuration"]]
    if len(labels) == 1:
        shown = found.cell(found.means.set_index("configuration").loc[kept["configuration"].iloc[0]])
        value = f"{found.metric.text} {shown} {found.metric.shown_unit}".rstrip()
        best = f"best of {total} configurations on fresh seeds"
        return shortest(f"{labels[0]} is the {best}: {value}.", f"The {best} has {value}.")
    text = f"Which of {total} configurations has the best {found.metric.text} on fresh seeds is undecided"
    return shortest(f"{text}: {named(labels)} are not excluded.", f"{text}; {len(labels)} are not excluded.")


def beaten_sentence(found: Findings) -> str:
    """Which configurations beat the study's own first one by the corrected test; "" where it was not confirmed."""
    search, names, table = searched(found.run), _names(found), found.differences
    if search.own_first is None or names.get(found.baseline) != search.own_first["configuration"] or table.empty:
        return ""
    own, total = f"the study's own {names[found.baseline]}", count(len(table), "configuration")
    own = own if fits(own + " -" * 12) else "the study's own first one"
    better = largest_first(table[table["verdict"] == BETTER])
    if better.empty:
        worse = int((table["verdict"] == WORSE).sum())
        text = f"None of {total} is shown to beat {own} on fresh seeds"
        return f"{text}; {worse} {'is' if worse == 1 else 'are'} worse." if worse else f"{text}."
    row, text = better.iloc[0], f"{len(better)} of {total} beat{'s' * (len(better) == 1)} {own}"
    gap = found.gap(row)
    return shortest(f"{text}, {names[row['configuration']]} by {gap}.", f"{text}, the largest difference is {gap}.")


def gap_sentence(found: Findings) -> str:
    """By how much the search was too good about its own first choice; "" where that is not confirmed."""
    search = searched(found.run)
    rows = search.confirmed[search.column("gap", search.first).reindex(search.confirmed.index).notna()]
    if rows.empty or rows["place"].isna().all():
        return ""
    row = rows.loc[rows["place"].astype(float).idxmin()]
    shown = search.estimate(row, "gap", search.first)
    gap = shown.said(search.first.difference_unit) if shown else ""
    text, rest = "Optimism gap of the search's first choice", "above 0 the search promised too much"
    return shortest(f"{text}, {row['configuration']}: {gap}; {rest}.", f"{text}: {gap}; {rest}.")


def confirmed_section(found: Findings) -> Section | None:
    """The confirmed configurations: what they are, and what the search saw of them; None without a value."""
    search = searched(found.run)
    first, rows = search.first, search.confirmed
    if rows.empty:
        return None
    known = pd.DataFrame({
        "name": rows["configuration"], "in the search": search.column("value", first),
        "estimate": search.column("fresh", first), "low": search.column("fresh_low", first),
        "high": search.column("fresh_high", first),
    }).loc[rows.index].dropna(subset=["in the search", "estimate"])  # fmt: skip
    chart = forest(
        "optimism", f"{capital(first.text)} in the search and on fresh seeds",
        "Circles and lines: fresh seeds with 95 % intervals; diamonds: the search. All of held-out training data.",
        known, first.axis, line=None, before="in the search",
    ) if len(known) else None  # fmt: skip
    fields = search.fields.loc[rows.index].dropna(axis=1, how="all").map(cell_text)
    parameters: list[dict[str, Cell]] = fields.assign(configuration=rows["configuration"])[
        ["configuration", *fields]
    ].to_dict("records")  # type: ignore[assignment]
    caption = "What the search decides; – where a configuration does not have it."
    tables = [Table.of("parameters", "Their parameters", parameters, caption), _confirmed_table(search)]
    return Section.of("What was confirmed", [], tables, [chart], METHODS)


def race_section(found: Findings) -> Section | None:
    """How many configurations got how many seeds, and what they reached."""
    search = searched(found.run)
    frame, first = search.trials, search.first
    fresh = found.run.trials["trial_id"].isin(frame["fresh_trial_id"].dropna()).sum()
    duplicates = len(search.records.trials) - len(frame)
    said = [f"{count(len(frame), 'configuration')} took {count(len(search.run.trials) - fresh, 'replica')} in the "
            f"search, {len(search.confirmed)} of them {fresh:,} more on fresh seeds."]  # fmt: skip
    said += [f"{count(duplicates, 'trial')} drew a known configuration and took its results."] if duplicates else []
    thinned = len(search.evaluated) - len(search.table)
    reading = "Dashed: the best so far of those with the most seeds. Click a dot or the legend; drag and scroll."
    reading += f" Not drawn: {thinned:,} of the lesser configurations." if thinned else ""
    title = f"{capital(first.text)} by trial"
    drawn = history("history", title, reading, search.table, first.axis, first.maximise) if len(search.table) else None
    states = [state for state in STATES if (frame["state"] == state).any()]
    rows: list[dict[str, Cell]] = [
        {"seeds": str(seeds), "configurations": len(own), **{one: int((own["state"] == one).sum()) for one in states},
         "failed seeds": int(own["failed"].sum()), "stopped seeds": int(own["pruned"].sum())}
        for seeds, own in frame.groupby("seeds")
    ]  # fmt: skip
    caption = "Failed or diverged seeds count against their configuration; stopped ones were behind within their run."
    table = Table.of("race", "The race over seeds", rows, caption)
    return Section.of("How the seeds were spent", said, [table], [drawn])


def parameters_section(found: Findings) -> Section | None:
    """The objective over each parameter and over all of them; None before there is anything to draw."""
    search = searched(found.run)
    if search.table.empty or not search.axes:
        return None
    text, (last, *others) = capital(search.first.text), search.goal_axes
    charts = [
        slices(
            "slices", f"{text} over each parameter",
            "A dot is a configuration, larger with more seeds. Click one to find it in every panel.",
            search.table, search.axes, last,
        ),
        parallel(
            "parallel", f"{text} over all parameters at once",
            "A line is a configuration. Click one to single it out; drag at the last axis to keep a range; "
            "double-click to end.", search.table, [*search.axes, *others, last], search.first.maximise,
        ),
    ]  # fmt: skip
    return Section.of("Parameters", charts=charts)


def importance_section(found: Findings) -> Section | None:
    """Which parameters matter, at 5 % over all of them; None where there are too few configurations."""
    search = searched(found.run)
    frame = search.records.importance
    if frame.empty:
        return None
    title, text = "Importance of the parameters", search.first.text
    if frame["chance"].nunique() > 1:  # of an earlier version: a level for each parameter alone, 5 % each
        return Section.of(title, ["Its chance levels are of an earlier version."])
    beyond = frame.loc[frame["importance"] > frame["chance"], "parameter"].tolist()
    shares = 100 * frame[["importance", "low", "high", "chance"]].rename(columns={"importance": "estimate"})
    verdict = np.where(shares["estimate"] > shares["chance"], "more than chance", "no more than chance")
    number = count(int(frame["configurations"].iloc[0]), "configuration")
    chart = forest(
        "importance", f"Share of the variance of {text} by parameter",
        "Lines: 95 % of what redrawn configurations and seeds give. Dashed: chance level of the largest share.",
        shares.assign(name=frame["parameter"], verdict=verdict), "share (%)", line=float(shares["chance"].iloc[0]),
    )  # fmt: skip
    rows: list[dict[str, Cell]] = [
        {"parameter": name, "share (%)": Estimate.of(row), "chance level (%)": Estimate(row.chance),
         "more than chance": "yes" if row.estimate > row.chance else "no"}
        for name, row in zip(frame["parameter"], shares.itertuples(), strict=True)
    ]  # fmt: skip
    table = Table.of("importance", "Importance", rows, f"Of {number}; what is missing to 100 % is interactions.")
    which = f"{named(beyond, 4)} {'is' if len(beyond) == 1 else 'are'}" if beyond else "No parameter is"
    said = f"{which} shown to move {text} ({number}, 5 % over all parameters)."
    return Section.of(title, [said], [table], [chart], [IMPORTANCE])


def front_section(found: Findings) -> Section | None:
    """The Pareto front of a search for several objectives; None of one."""
    search = searched(found.run)
    if len(search.goals) < 2 or search.table.empty:
        return None
    up, across, *_ = search.goal_axes
    chart = search_front(
        "search_front", f"{capital(search.goals[0].text)} against {search.goals[1].text}",
        "No other configuration with as many seeds is better in every objective than one on the front.",
        search.table, (up, across),
    )  # fmt: skip
    on = search.trials[search.trials["front"]].sort_values("place")
    rows = [{"configuration": row["configuration"], "seeds": int(row["seeds"]),
             **{goal.axis: search.estimate(row, "value", goal) for goal in search.goals}}
            for _, row in on.iterrows()]  # fmt: skip
    said = f"On the front of the search: {named(on.sort_index()['configuration'].tolist(), 6)}." if rows else ""
    caption = "Values of the search, not of fresh seeds."
    table = Table.of("search_front", "Pareto front of the search", rows, caption)
    return Section.of("Objectives against each other", [said], [table], [chart])


def space_section(found: Findings) -> Section:
    """What was searched, and under which constraints."""
    search = searched(found.run)
    spec = search.run.study["search"]
    rows: list[dict[str, Cell]] = []
    for entry in search.space:
        conditions = [f"{name} = {_listed(wanted, ' or ')}" for name, wanted in entry["when"].items()]
        where = ", ".join(conditions) or "always"
        rows.append({"parameter": dimension_label(entry), "drawn from": _range(entry), "where": where})
    caption = (
        f"Suggested by {spec['sampler']} (Optuna), seed {spec['seed']}; seeds {spec['schedule']}. "
        f"SHA-256 of the space: {spec['space_sha256']}."
    )
    broken: list[dict[str, Cell]] = []
    for text in spec.get("constraints") or ():
        known = search.trials.get(f"violation.{text}", pd.Series(dtype=float)).dropna()
        broken.append({"constraint": text, "met": int((known <= 0).sum()), "broken": int((known > 0).sum())})
    tables = [Table.of("space", "Search space", rows, caption), Table.of("constraints", "Constraints", broken)]
    return Section.of("Space and constraints", [], tables)


def _names(found: Findings) -> dict[str, str]:
    """Label on fresh seeds -> label."""
    rows = searched(found.run).confirmed
    return dict(zip(rows["fresh_configuration"], rows["configuration"], strict=True))


def _confirmed_table(search: Search) -> Table | None:
    """The search and fresh seeds side by side."""
    rows: list[dict[str, Cell]] = []
    for _, row in search.confirmed.iterrows():
        cells: dict[str, Cell] = {"configuration": row["configuration"], "seeds in the search": int(row["seeds"])}
        for goal in search.goals:
            for kind, heading in (("value", "search"), ("fresh", "fresh seeds"), ("gap", "optimism gap")):
                cells[f"{goal.axis}, {heading}"] = search.estimate(row, kind, goal)
        if len(search.goals) > 1:
            cells["on the front"] = "yes" if row["front"] else "no"
        if search.run.study["search"].get("constraints"):
            cells["meets the constraints"] = "yes" if row["feasible"] else "no"
        rows.append(cells)
    caption = "With 95 % intervals over the fresh seeds, none where the statistic has none. Held-out training data."
    return Table.of("confirmed", "In the search and on fresh seeds", rows, caption)


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
    return str(value).lower() if isinstance(value, bool) or value is None else cell_text(value)


SEARCH = Kind(
    "search",
    claims=(best_sentence, beaten_sentence, gap_sentence),
    sections=(
        confirmed_section, race_section, parameters_section, importance_section, front_section, space_section,
        curves_section, *EVERY_STUDY,
    ),
    scope=fresh_run,
    waiting=waiting,
)  # fmt: skip
