"""The instability of a study in sentences, with what cannot be said."""

from collections.abc import Sequence

from analysis.captions import count
from analysis.departure import FEWEST_PACK, Departure
from analysis.differences import CONFIDENCE
from analysis.early_signals import SignalSearch
from analysis.instability import FEWEST_SEEDS_BOOTSTRAP, FEWEST_SEEDS_DIP, Stability
from analysis.records import Run
from analysis.sentences import MOST_NAMED, joined, outcomes
from analysis.series import boundary_kind, replicas


def spread_sentence(run: Run, one: Stability, scale: float = 100.0) -> str:
    """How far the seeds of a configuration agree, or why that cannot be said.

    Args:
        run: the run.
        one: from ``stabilities``.
        scale: what the values are multiplied by; 100 makes per cent of fractions.
    """
    summary, label = one.summary, one.configuration
    if summary is None:
        return f"{label}: {outcomes(list(replicas(run, label)['status']))}, without a final value."
    if summary.std is None:
        text = f"{label}: one seed, at {scale * summary.mean:.1f}; nothing can be said about spread, modes or intervals"
    elif summary.high == summary.low:
        text = f"{label}: all {summary.n} seeds ended at exactly {scale * summary.mean:.1f}"
    else:
        text = f"{label}: mean {scale * summary.mean:.1f}, standard deviation {scale * summary.std:.1f}"
        text += f" over {summary.n} seeds, IQM {scale * summary.iqm:.1f}"
        if summary.n < FEWEST_SEEDS_BOOTSTRAP:
            text += f"; too few for an interval, which takes {FEWEST_SEEDS_BOOTSTRAP}"
        if summary.n < FEWEST_SEEDS_DIP:
            text += f"; too few to look for modes, which takes {FEWEST_SEEDS_DIP}"
        elif one.dip_p is not None and one.dip_p <= 1 - CONFIDENCE:
            text += f"; more than one mode (dip test p = {one.dip_p:.3f})"
    missing = one.planned - summary.n
    if missing:
        text += f"; {count(missing, 'seed')} of {one.planned} without a final value"
    if one.collapse is not None:
        fallen = one.collapse.below + one.collapse.diverged
        low, high = (100 * side for side in one.collapse.interval)
        text += f"; {fallen or 'none'} of {one.collapse.n} collapsed ({low:.0f}-{high:.0f} % at 95 %)"
    return f"{text}."


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
