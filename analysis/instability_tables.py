"""Tables of the instability of a study: spread, collapse and modes, departures, early signals."""

from collections.abc import Sequence

from analysis.captions import count
from analysis.cells import Cell, Table, p_text
from analysis.departure import LEVEL, Departure
from analysis.early_signals import SignalSearch
from analysis.instability import QUANTILES, Stability
from analysis.records import STATUSES, Run
from analysis.series import boundary_kind

MOST_SIGNALS = 12
MOST_DEPARTURES = 40
_QUANTILES = ("median (quartiles)", "10 to 90 % quantile")


def spread_table(run: Run, found: Sequence[Stability], metric: str) -> Table:
    """Location, spread, collapse and modes of every configuration, and what became of its seeds.

    Args:
        metric: its name, for the caption.
    """
    rows = [_spread_row(one) for one in found]
    columns = ["configuration", "seeds", "mean", "std", "IQM", *_QUANTILES, "min to max"]
    caption = (
        f"{metric} over finished seeds, in per cent; in brackets 95 % intervals by BCa bootstrap, from three seeds on "
        "(with fewer than about ten they are too narrow)."
    )
    if any(one.collapse for one in found):
        columns.append("collapsed")
        rows = [[*row, _collapse(one)] for row, one in zip(rows, found, strict=True)]
        caption += " Collapsed: below their own head on the frozen backbone, or diverged, with the exact 95 % interval."
    if any(one.dip_p is not None for one in found):
        columns.append("dip test p")
        modes = [None if one.dip_p is None else f"{one.dip_p:.2f}" for one in found]
        rows = [[*row, cell] for row, cell in zip(rows, modes, strict=True)]
        caption += " Dip test: small p means more than one mode; a single bad seed is no mode."
    became = run.trials.groupby(["configuration", "status"]).size().to_dict()
    for status in (status for status in STATUSES[1:] if (run.trials["status"] == status).any()):
        columns.append(status)
        rows = [[*row, int(became.get((one.configuration, status), 0))] for row, one in zip(rows, found, strict=True)]
    return Table("Spread over seeds", columns, rows, caption, "spread")


def _spread_row(one: Stability) -> list[Cell]:
    cells: list[Cell] = [one.configuration, f"{one.values.size} of {one.planned}"]
    summary = one.summary
    if summary is None:
        return cells + [None] * 6
    limits = summary.intervals
    cells.append(_with_interval(summary.mean, limits.get("mean")))
    cells.append(None if summary.std is None else _with_interval(summary.std, limits.get("std")))
    cells.append(_with_interval(summary.iqm, limits.get("iqm")))
    low, quarter, median, three, high = (100 * summary.quantiles[level] for level in QUANTILES)
    cells.append(f"{median:.2f} ({quarter:.2f}-{three:.2f})")
    cells.append(f"{low:.2f}-{high:.2f}")
    cells.append(f"{100 * summary.low:.2f} to {100 * summary.high:.2f}")
    return cells


def _collapse(one: Stability) -> str | None:
    if one.collapse is None:
        return None
    low, high = (100 * side for side in one.collapse.interval)
    return f"{one.collapse.below + one.collapse.diverged} of {one.collapse.n} ({low:.0f}-{high:.0f} %)"


def departure_table(run: Run, found: Sequence[Departure]) -> Table | None:
    """Every bad seed, and when it left the pack; None without one."""
    if not found:
        return None
    kind = boundary_kind(run)
    columns = ["configuration", "seed", "why bad", f"left at {kind}", "steps", "accuracy (%)", "fence (%)", "pack"]
    rows: list[list[Cell]] = [
        [
            one.configuration,
            str(one.seed),
            one.reason,
            None if one.boundary is None else one.boundary + 1,
            _steps(one),
            None
            if one.accuracy is None
            else "not reached"
            if one.accuracy != one.accuracy
            else f"{100 * one.accuracy:.2f}",
            None if one.fence is None else f"{100 * one.fence:.2f}",
            one.pack,
        ]
        for one in found[:MOST_DEPARTURES]
    ]
    caption = (
        f"A seed left the pack at the first {kind} after which its accuracy was, and stayed, below the fence: the "
        f"limit that one more normal seed of the pack is below with probability {100 * LEVEL:.0f} %. Steps: it left "
        "after the first and by the second. Pack: seeds of the configuration that are not bad; no departure where they "
        "are fewer than three, or where the seed never was below them."
    )
    if len(found) > MOST_DEPARTURES:
        caption += f" The first {MOST_DEPARTURES} of {len(found):,}."
    return Table("Bad seeds and when they left", columns, rows, caption, "departures")


def signal_table(search: SignalSearch) -> Table | None:
    """The measurements that set bad seeds apart before they left, strongest first; None where nothing was tried."""
    if not search.signals:
        return None
    rows: list[list[Cell]] = [
        [
            one.label,
            f"{one.auc:.2f}",
            f"{one.interval[0]:.2f} to {one.interval[1]:.2f}",
            p_text(one.p),
            f"{one.bad} and {one.others}",
        ]
        for one in search.signals[:MOST_SIGNALS]
    ]
    tried = count(len(search.signals), "signal")
    caption = (
        f"{tried} from before the earliest departure, seeds compared within their configuration. AUC: probability "
        "that a bad seed's value is the higher one (near 0: low values are the warning). Interval and p corrected for "
        f"{tried}; these seeds cannot give a p below {search.smallest_p:.2g}."
    )
    columns = ["signal", "AUC", "95 % interval", "p", "bad and other seeds"]
    return Table("Early signals of bad seeds", columns, rows, caption, "early_signals")


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    text = f"{100 * value:.2f}"
    return text if interval is None else f"{text} ({100 * interval[0]:.2f}-{100 * interval[1]:.2f})"


def _steps(one: Departure) -> str | None:
    if one.by_step is None:
        return None
    return f"{'start' if one.after_step is None else one.after_step} to {one.by_step}"
