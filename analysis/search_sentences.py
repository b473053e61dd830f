"""What a search says, in sentences."""

from typing import Any

import pandas as pd

from analysis.captions import count
from analysis.search_series import Search, shown
from analysis.sentences import MOST_NAMED, interval, joined, others

SEARCH_METHODS = [
    "Every configuration of the search sees the same seeds in the same order; which get more seeds is decided on "
    "held-out training data alone. Configurations with different numbers of seeds are compared by the predictions of a "
    "mixed model of configuration and seed (Henderson 1975); failed seeds count against theirs.",
    "The confirmed configurations are trained anew on seeds that no configuration of the search has seen, and only "
    "these replicas are tested; the optimism gap is the search's value minus that on the fresh seeds.",
]


def search_answer(search: Search) -> list[str]:
    """At most three sentences: the best configuration on fresh seeds, beside the study's own, and the optimism gap."""
    if search.evaluated.empty:
        return ["No configuration has results yet: no answer."]
    if search.confirmed.empty:
        return [
            f"{count(len(search.evaluated), 'configuration')} have results, but none has been run on fresh seeds yet: "
            "what the search shows is optimistic, so there is no answer."
        ]
    best = search.confirmed.iloc[0]
    return [sentence for sentence in (_best(search, best), _beside(search, best), _gap(search, best)) if sentence]


def race_sentences(search: Search) -> list[str]:
    """How the seeds were spent, what failed, and how the answer was chosen."""
    frame = search.records.trials
    own = frame[frame["state"] != "duplicate"]
    fresh = search.run.trials["trial_id"].isin(frame["fresh_trial_id"].dropna())
    in_search, again = int((~fresh).sum()), int(fresh.sum())
    statuses = list(search.run.trials["status"])
    tested = search.run.trials.get(f"metric.{search.run.study['objective']['metric']}")
    blind = tested is None or tested[~fresh].isna().all()
    unseen = "; no replica of the search looked at test examples" if blind else ""
    lines = [
        f"{count(len(own), 'configuration')} took {count(in_search, 'replica')} in the search, and "
        f"{count(len(search.confirmed), 'configuration')} {count(again, 'replica')} on fresh seeds"
        f"{others(statuses)}{unseen}."
    ]
    if search.others:
        names = joined([search.first.readable, *(other.readable for other in search.others)], MOST_NAMED)
        lines.append(f"Pareto-optimal in the search in {names}: {joined(search.front, MOST_NAMED)}.")
    if repeated := len(frame) - len(own):
        lines.append(f"{count(repeated, 'trial')} drew a known configuration and took its results.")
    if len(search.confirmed) > 1:
        lines.append(
            f"The best of {len(search.confirmed)} confirmed configurations is named by the held-out "
            f"examples of the fresh seeds, so its value there is slightly favoured; its test value had no say."
        )
    return lines


def _best(search: Search, row: "pd.Series[Any]") -> str:
    values = ", ".join(f"{name}={shown(v)}" for name, v in search.parameters(row).items() if shown(v) != "–")
    finished, planned = search.fresh_seeds(row)
    tested = search.tested(row)
    unit, test_unit = (" %" if one.fraction else "" for one in (search.first.metric, search.test_info))
    test = f"{search.test_name} is {tested}{test_unit} on test examples" if tested else "it has no test value"
    infeasible = "" if row["feasible"] is pd.NA or bool(row["feasible"]) else ", which breaks a constraint,"
    best = f"Best in {search.first.readable}" if search.others else "Best"
    return (
        f"{best} on fresh seeds is {row['configuration']}{infeasible} ({values}): {search.first.readable} "
        f"{search.estimate(row, 'fresh')}{unit}, and {test} ({finished} of {count(planned, 'seed')} finished, "
        "95 % intervals in brackets)."
    )


def _beside(search: Search, best: "pd.Series[Any]") -> str:
    base = search.baseline
    if base is None:
        return ""
    name = base["configuration"]
    if base["trial"] == best["trial"]:
        return f"It is the configuration that the study began with: nothing that was found is better than {name}."
    found = [one for one in search.against_baseline() if one.configuration == best["fresh_configuration"]]
    if not found:
        return f"It shares no finished fresh seed with {name}, so the two cannot be compared."
    one = found[0]
    details = f"{interval(one)}, {count(one.n, 'common seed')}"
    if not one.told_apart:
        return f"On test examples it cannot be told apart from {name} ({100 * one.mean:+.1f} points, {details})."
    way = "above" if one.mean > 0 else "below"
    doubt = "" if one.survives_correction else "; not significant once corrected for all that were compared"
    return f"On test examples it is {100 * abs(one.mean):.1f} points {way} {name} ({details}{doubt})."


def _gap(search: Search, best: "pd.Series[Any]") -> str:
    gap = search.estimate(best, "gap")
    mean = search.first.scale * float(search.confirmed[f"gap.{search.objective}"].mean())
    sign, unit = f"{mean:+.{search.first.digits}f}", " points" if search.first.scale == 100.0 else ""
    before = f"{search.value(best):.{search.first.digits}f}"
    return (
        f"The search had shown {before} for it: an optimism gap of {gap}{unit}, {sign}{unit} on average over what was "
        "confirmed."
    )
