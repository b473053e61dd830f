"""The instability of a study in sentences, with what cannot be said."""

from collections.abc import Sequence

from analysis.captions import count
from analysis.departure import FEWEST_PACK, Departure
from analysis.differences import CONFIDENCE
from analysis.early_signals import SignalSearch
from analysis.instability import FEWEST_SEEDS_BOOTSTRAP, FEWEST_SEEDS_DIP, Stability
from analysis.records import Run
from analysis.sentences import MOST_NAMED, joined, outcomes
from analysis.series import boundary_kind


def spread_sentences(run: Run, found: Sequence[Stability]) -> list[str]:
    """What the table of the spread cannot show: seeds without a value, and why something cannot be said."""
    known = [(one, one.summary) for one in found if one.summary is not None]
    without = [f"{one.configuration} ({outcomes(list(run.of(one.configuration)['status']))})" for one in found
               if one.summary is None]  # fmt: skip
    single = [one.configuration for one, summary in known if summary.n == 1]
    few = [one.configuration for one, summary in known if 1 < summary.n < FEWEST_SEEDS_BOOTSTRAP]
    no_dip = [one.configuration for one, summary in known if FEWEST_SEEDS_BOOTSTRAP <= summary.n < FEWEST_SEEDS_DIP]
    equal = [one.configuration for one, summary in known if summary.n > 1 and summary.low == summary.high]
    modes = [f"{one.configuration} (dip test p = {one.dip_p:.3f})" for one, _ in known
             if one.dip_p is not None and one.dip_p <= 1 - CONFIDENCE]  # fmt: skip
    fallen = [f"{one.collapse.below + one.collapse.diverged} of {one.collapse.n} seeds of {one.configuration}"
              for one in found if one.collapse and one.collapse.below + one.collapse.diverged]  # fmt: skip
    clauses = [
        ("Without a final value: ", without),
        ("Of a single seed nothing can be said about spread, modes or intervals: ", single),
        (f"Too few seeds for an interval, which takes {FEWEST_SEEDS_BOOTSTRAP}: ", few),
        (f"Too few seeds to look for modes, which takes {FEWEST_SEEDS_DIP}: ", no_dip),
        ("All seeds ended at exactly the same value: ", equal),
        ("More than one mode: ", modes),
        ("Collapsed: ", fallen),
    ]
    said = [f"{start}{joined(names[:MOST_NAMED], len(names))}." for start, names in clauses if names]
    if not fallen and any(one.collapse for one in found):
        said.append("No seed diverged or ended below its frozen backbone.")
    return said


def departure_sentence(run: Run, found: Sequence[Departure]) -> str:
    """Which seeds left the pack, and when."""
    if not found:
        if not run.trials["status"].isin(["finished", "diverged"]).any():
            return "No seed finished or diverged, so none can be called bad."
        largest = run.trials[run.trials["status"] == "finished"].groupby("configuration").size().max()
        if not largest > FEWEST_PACK:
            return f"No configuration has more than {FEWEST_PACK} finished seeds, too few to call one an outlier."
        return "No seed left the pack: none diverged, ended below its frozen backbone or far below the other seeds."
    kind, clauses = boundary_kind(run), []
    for one in sorted(found, key=lambda one: one.boundary is None)[:MOST_NAMED]:
        text = f"seed {one.seed} of {one.configuration} ({one.reason})"
        if one.boundary is not None:
            text += f" left at {kind} {one.boundary + 1}"
            if one.by_step is not None:
                text += f", by step {one.by_step}"
        elif one.pack < FEWEST_PACK:
            text += f" has no pack to leave, with {count(one.pack, 'other good seed')}"
        else:
            text += " ended inside the pack"
        clauses.append(text)
    joint = joined(clauses, len(found))
    return f"{joint[0].upper()}{joint[1:]}."


def signal_sentence(search: SignalSearch) -> str:
    """Which early measurement tells bad seeds from the others, as far as these seeds can show."""
    if not search.signals:
        return f"No early signal could be looked for: {search.why_not}."
    best, tried = search.signals[0], count(len(search.signals), "early signal")
    details = (
        f"a {'high' if best.auc > 0.5 else 'low'} {best.label}: AUC {max(best.auc, 1 - best.auc):.2f}, corrected "
        f"p {'< 0.001' if best.p < 0.001 else f'= {best.p:.3f}'}, {best.bad} bad against {best.others} other seeds"
    )
    if best.p <= 1 - CONFIDENCE:
        return f"The strongest of {tried} is {details}."
    reason = ", nor could these seeds show any" if search.smallest_p > 1 - CONFIDENCE else ""
    return f"None of {tried} is shown to predict a bad seed{reason}; the strongest is {details}."
