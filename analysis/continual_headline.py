"""The answer of a class-incremental study: does it help, can one trust it, and what moves the number?"""

from collections.abc import Sequence

import numpy as np

from analysis.against_notes import Difference, levels, reported_differences
from analysis.captions import count, same_setting
from analysis.differences import CONFIDENCE, PairedDifference
from analysis.headline import compared_sentences
from analysis.power import noises, smallest_difference
from analysis.records import Run
from analysis.sentences import any_final, incomparable, others
from analysis.series import below_frozen, configurations, final_table
from analysis.tuning_series import parameters
from analysis.variance import Component, Split
from analysis.variance_of_runs import HYPERPARAMETERS, variance_sentence

FINAL = "final_accuracy"
_NOT_SEED = (HYPERPARAMETERS, "code", "machine")


def continual_headline(run: Run, found: Sequence[PairedDifference], split: Split | None) -> list[str]:
    """What differs from the baseline, how far one run can be trusted, and what moves the number; empty without any
    final value.

    Args:
        found: its paired differences in final accuracy.
        split: the components of the variance of final accuracy.
    """
    if not any_final(run, FINAL):
        return []
    return [_helps(run, found), _trust(run), _moves(run, split)]


def _helps(run: Run, found: Sequence[PairedDifference]) -> str:
    if not found:
        return incomparable(run, FINAL)
    first, *more = compared_sentences(found, "final accuracy")
    if more:
        first = f"{first.removesuffix('.')}; {more[0][0].lower()}{more[0][1:]}"
    if not _asks_for_consolidation(run):
        return first
    told = {one.mean > 0 for one in found if one.survives_correction}
    verdict = {
        frozenset(): "is not shown to help",
        frozenset({True}): "helps",
        frozenset({False}): "harms",
        frozenset({True, False}): "helps in some configurations and harms in others",
    }[frozenset(told)]
    for opening in ("None", "Beside"):
        first = first.replace(opening, opening.lower(), 1) if first.startswith(opening) else first
    return f"Consolidation {verdict}: {first}"


def _asks_for_consolidation(run: Run) -> bool:
    """Whether the baseline, and it alone, does without consolidation."""
    first, *rest = (parameters(run, label).get("consolidation") for label in configurations(run))
    return first is False and bool(rest) and all(value is True for value in rest)


def _trust(run: Run) -> str:
    """How far one run, and the mean over these seeds, can be trusted, and what became of the replicas."""
    table = 100 * final_table(run.whole, FINAL)
    variances = table.var(axis=1, ddof=1).dropna()
    if variances.empty:
        text = "With a single finished seed per configuration nothing can be said about the spread of final accuracy"
    else:
        text = (
            f"One run alone is good to about ±{2 * np.sqrt(variances.mean()):.1f} points (two standard deviations over "
            "seeds)"
        )
        shown = [(smallest_difference(one.n, one.std), one.n) for one in noises(run, FINAL)]
        if shown:
            least, n = min(shown)
            text += f", and {count(n, 'common seed')} can show differences from {100 * least:.1f} points on"
    statuses = list(run.whole.trials["status"])
    text += f"; {statuses.count('finished')} of {count(len(statuses), 'replica')} finished{others(statuses)}"
    below = below_frozen(run.whole).sum()
    if below["compared"]:
        text += f", {below['below'] or 'none'} of {below['compared']} ended below the frozen backbone"
    return f"{text}."


def _moves(run: Run, split: Split | None) -> str:
    """Hyperparameters or seed, by their shares of the variance, and what that makes of the reported numbers."""
    if split is None or not any(one.variance for one in split.components):
        return variance_sentence(split)
    text, notes = _shares(split), _notes(run)
    return f"{text}; {notes}." if notes else f"{text}."


def _shares(split: Split) -> str:
    seed = [one for one in split.components if one.name not in _NOT_SEED]
    share, std = 100 * sum(one.share or 0 for one in seed), 100 * np.sqrt(sum(one.variance for one in seed))
    seeds = f"the seed ({share:.0f} % of the variance, standard deviation {std:.1f} points)"
    known = {one.name: one for one in split.components}
    if HYPERPARAMETERS not in known:
        return f"{seeds[0].upper()}{seeds[1:]} is all that moves the number here, since one configuration was run"
    both = [seeds, _hyperparameters(known[HYPERPARAMETERS])]
    larger, smaller = both if share >= 50 else both[::-1]
    return f"{larger[0].upper()}{larger[1:]} moves the number more than {smaller}"


def _hyperparameters(one: Component) -> str:
    return (
        f"the choice of hyperparameters ({100 * (one.share or 0):.0f} %, {100 * one.std:.1f} points, "
        f"{100 * CONFIDENCE:.0f} % interval {100 * np.sqrt(one.low):.1f} to {100 * np.sqrt(one.high):.1f})"
    )


def _notes(run: Run) -> str:
    """The smallest and the largest reported difference beside the measured seed noise; empty where there is none."""
    found = sorted(reported_differences(run, FINAL), key=lambda one: abs(one.reported))
    if not found:
        return ""
    values = {f"{one.configuration} {one.label}".strip(): one.reported for one in levels(run, FINAL)}
    clauses = [_beside_noise(one, values) for one in dict.fromkeys((found[0], found[-1]))]
    scope = "" if same_setting(run) else ", as far as noise on other data and another backbone can tell"
    return f"{' and '.join(clauses)}{scope}"


def _beside_noise(one: Difference, values: dict[str, float]) -> str:
    return (
        f"two seeds differ by as much as the reported {100 * values[one.first]:.2f} and {100 * values[one.second]:.2f} "
        f"({one.first}, {one.second}) in {one.as_far} of {one.pairs} measured pairs"
    )
