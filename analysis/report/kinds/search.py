"""Searches: the first screen is about the confirmed configurations on fresh seeds; what the search saw comes after."""

import numpy as np
import pandas as pd

from analysis import stats
from analysis.charts.forest import forest
from analysis.charts.parallel import parallel
from analysis.charts.search import history, optimism, search_front, slices
from analysis.report.document import Section
from analysis.report.findings import BETTER, WORSE, Findings
from analysis.report.kind import Kind
from analysis.report.kinds.search_run import fresh_run, searched
from analysis.report.kinds.search_tables import (
    confirmed_table,
    constraints_table,
    front_table,
    importance_table,
    parameters_table,
    race_table,
    space_table,
)
from analysis.report.phrases import capital, count, fits, named
from analysis.report.sections import (
    curves_section,
    metrics_section,
    reported_section,
    seeds_section,
    variance_section,
)
from analysis.report.tables import Estimate

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
    table = stats.best_of(seeds, "value", by="configuration", seed="seed", maximize=found.metric.maximise)
    kept = table[table["not_excluded"]].sort_values("estimate", ascending=not found.metric.maximise)
    labels = [names[label] for label in kept["configuration"]]
    if len(labels) == 1:
        row = found.means.set_index("configuration").loc[kept["configuration"].iloc[0]]
        shown = Estimate(row["estimate"], row["low"], row["high"], digits=found.digits)
        value = f"{found.metric.text} {shown} {found.unit}".rstrip()
        best = f"best of {total} configurations on fresh seeds"
        return _fitting(f"{labels[0]} is the {best}: {value}.", f"The {best} has {value}.")
    text = f"Which of {total} configurations has the best {found.metric.text} on fresh seeds is undecided"
    return _fitting(f"{text}: {named(labels)} are not excluded.", f"{text}; {len(labels)} are not excluded.")


def beaten_sentence(found: Findings) -> str:
    """Which configurations beat the study's own first one by the corrected test; "" where it was not confirmed."""
    search, names, table = searched(found.run), _names(found), found.differences
    if search.own_first is None or names.get(found.baseline) != search.own_first["configuration"] or table.empty:
        return ""
    own, total = f"the study's own {names[found.baseline]}", count(len(table), "configuration")
    own = own if fits(own + " -" * 12) else "the study's own first one"
    better = table[table["verdict"] == BETTER]
    better = better.reindex(better["difference"].abs().sort_values(ascending=False, kind="stable").index)
    if better.empty:
        worse = int((table["verdict"] == WORSE).sum())
        text = f"None of {total} is shown to beat {own} on fresh seeds"
        return f"{text}; {worse} {'is' if worse == 1 else 'are'} worse." if worse else f"{text}."
    row = better.iloc[0]
    shown = Estimate(row["difference"], row["low"], row["high"], signed=True, digits=found.digits)
    value, _, reach = str(shown).partition(" (")
    gap = f"{value} {found.difference_unit}".rstrip() + (f" ({reach}" if reach else "")
    text = f"{len(better)} of {total} beat{'s' * (len(better) == 1)} {own}"
    return _fitting(f"{text}, {names[row['configuration']]} by {gap}.", f"{text}, the largest difference is {gap}.")


def gap_sentence(found: Findings) -> str:
    """By how much the search was too good about its own first choice; "" where that is not confirmed."""
    search = searched(found.run)
    rows = search.confirmed[search.column("gap", search.first).reindex(search.confirmed.index).notna()]
    if rows.empty or rows["place"].isna().all():
        return ""
    row = rows.loc[rows["place"].astype(float).idxmin()]
    value, _, reach = str(search.estimate(row, "gap", search.first)).partition(" (")
    gap = f"{value} {search.first.difference_unit}".rstrip() + (f" ({reach}" if reach else "")
    text, rest = "Optimism gap of the search's first choice", "above 0 the search promised too much"
    return _fitting(f"{text}, {row['configuration']}: {gap}; {rest}.", f"{text}: {gap}; {rest}.")


def confirmed_section(found: Findings) -> Section | None:
    """The confirmed configurations: what they are, and what the search saw of them; None without a value."""
    search = searched(found.run)
    first, rows = search.first, search.confirmed
    known = pd.DataFrame({kind: search.column(kind, first) for kind in ("value", "fresh", "fresh_low", "fresh_high")})
    known = rows[["configuration"]].join(known).set_axis(["configuration", "search", "fresh", "low", "high"], axis=1)
    tables = [table for table in (parameters_table(search), confirmed_table(search)) if table]
    known = known.dropna(subset=["search", "fresh"])
    charts = [
        optimism(
            "optimism", f"{capital(first.text)} in the search and on fresh seeds",
            "Lines are 95 % intervals over the fresh seeds; both values are of held-out training data.",
            known, first.axis,
        )
    ] if len(known) else []  # fmt: skip
    return Section("What was confirmed", [], tables, charts, METHODS) if tables else None


def race_section(found: Findings) -> Section | None:
    """How many configurations got how many seeds, and what they reached."""
    search = searched(found.run)
    fresh = found.run.trials["trial_id"].isin(search.trials["fresh_trial_id"].dropna()).sum()
    total, every = len(search.trials), len(search.run.trials)
    duplicates = len(search.records.trials) - total
    said = [f"{count(total, 'configuration')} took {count(every - fresh, 'replica')} in the search, "
            f"{len(search.confirmed)} of them {fresh:,} more on fresh seeds."]  # fmt: skip
    said += [f"{count(duplicates, 'trial')} drew a known configuration and took its results."] if duplicates else []
    charts = []
    if len(search.table):
        thinned = len(search.evaluated) - len(search.table)
        reading = "Dashed: the best so far of those with the most seeds. Click a dot or the legend; drag and scroll."
        reading += f" Not drawn: {thinned:,} of the lesser configurations." if thinned else ""
        charts = [history("history", f"{capital(search.first.text)} by trial", reading, search.table,
                          search.first.axis, search.first.maximise)]  # fmt: skip
    return Section("How the seeds were spent", said, [race_table(search)], charts)


def parameters_section(found: Findings) -> Section | None:
    """The objective over each parameter and over all of them; None before there is anything to draw."""
    search = searched(found.run)
    if search.table.empty or not search.axes:
        return None
    first = search.first
    last, *others = search.goal_axes
    charts = [
        slices(
            "slices", f"{capital(first.text)} over each parameter",
            "A dot is a configuration, larger with more seeds. Click one to find it in every panel.",
            search.table, search.axes, last,
        ),
        parallel(
            "parallel", f"{capital(first.text)} over all parameters at once",
            "A line is a configuration. Click one to single it out; drag at the last axis to keep a range; "
            "double-click to end.", search.table, [*search.axes, *others, last], first.maximise,
        ),
    ]  # fmt: skip
    return Section("Parameters", charts=charts)


def importance_section(found: Findings) -> Section | None:
    """Which parameters matter, at 5 % over all of them; None where there are too few configurations."""
    search = searched(found.run)
    frame = search.records.importance
    if frame.empty:
        return None
    if frame["chance"].nunique() > 1:  # of an earlier version: a level for each parameter alone, 5 % each
        return Section("Importance of the parameters", ["Its chance levels are of an earlier version."])
    level = 100 * float(frame["chance"].iloc[0])
    beyond = frame.loc[frame["importance"] > frame["chance"], "parameter"].tolist()
    estimates = pd.DataFrame({
        "name": frame["parameter"], "estimate": 100 * frame["importance"], "low": 100 * frame["low"],
        "high": 100 * frame["high"],
        "verdict": np.where(frame["importance"] > frame["chance"], "more than chance", "no more than chance"),
    })  # fmt: skip
    number = count(int(frame["configurations"].iloc[0]), "configuration")
    chart = forest(
        "importance", f"Share of the variance of {search.first.text} by parameter",
        "Lines: 95 % of what redrawn configurations and seeds give. Dashed: chance level of the largest share.",
        estimates, "share (%)", line=level,
    )  # fmt: skip
    which = f"{named(beyond, 4)} {'is' if len(beyond) == 1 else 'are'}" if beyond else "No parameter is"
    said = [f"{which} shown to move {search.first.text} ({number}, 5 % over all parameters)."]
    return Section("Importance of the parameters", said, [importance_table(search)], [chart], [IMPORTANCE])


def front_section(found: Findings) -> Section | None:
    """The Pareto front of a search for several objectives; None of one."""
    search = searched(found.run)
    if len(search.goals) < 2 or search.table.empty:
        return None
    goals = search.goal_axes
    on = search.table.loc[search.table["front"], "configuration"].tolist()
    chart = search_front(
        "search_front", f"{capital(search.goals[0].text)} against {search.goals[1].text}",
        "No other configuration with as many seeds is better in every objective than one on the front.",
        search.table, (goals[0], goals[1]),
    )  # fmt: skip
    said = [f"On the front of the search: {named(on, 6)}."] if on else []
    return Section("Objectives against each other", said, [front_table(search)] if on else [], [chart])


def space_section(found: Findings) -> Section:
    """What was searched, and under which constraints."""
    search = searched(found.run)
    broken = constraints_table(search)
    return Section("Space and constraints", [], [space_table(search), *([broken] if broken else [])])


def _names(found: Findings) -> dict[str, str]:
    """Label on fresh seeds -> label."""
    rows = searched(found.run).confirmed
    return dict(zip(rows["fresh_configuration"], rows["configuration"], strict=True))


def _fitting(*sentences: str) -> str:
    """The first one that is short enough."""
    return next(filter(fits, sentences), sentences[-1])


SEARCH = Kind(
    "search",
    claims=(best_sentence, beaten_sentence, gap_sentence),
    sections=(
        confirmed_section, race_section, parameters_section, importance_section, front_section, space_section,
        curves_section, seeds_section, variance_section, metrics_section, reported_section,
    ),
    scope=fresh_run,
    waiting=waiting,
)  # fmt: skip
