"""What was found between runs, in sentences and as rows of tables."""

import math
import re
from collections.abc import Sequence

from analysis.compare.cause import Cause, cause
from analysis.compare.runs import Comparison, Pair, Verdict
from analysis.compare.verdicts import BIT_EQUAL, SHIFTED, SPREAD, UNDECIDED, Gap
from analysis.io.metrics import MetricInfo

Rows = tuple[list[str], list[list[str]]]
"""Columns and rows of a table."""
MOST_NAMED = 4  # in one sentence; the others are in the table
_HASH = re.compile(r"[0-9a-f]{40,}")
_EMPTY = "–"
_ORDER = (SHIFTED, SPREAD, UNDECIDED, BIT_EQUAL)


def verdict_table(found: Comparison) -> Rows:
    """A row for every configuration and pair of runs; those that moved stand first."""
    several, about = len(found.pairs) > 1, found.metric
    columns = ["configuration", *(["run", "against"] if several else []), "verdict", "seeds"]
    columns += [f"difference,{_unit(about)}".rstrip(","), "interval", "p", "spread ratio", "explained by"]
    rows = []
    for pair in found.pairs:
        for one in sorted(pair.verdicts, key=lambda one: _ORDER.index(one.verdict)):
            row = [one.configuration, *([pair.run, pair.baseline] if several else []), one.verdict, str(len(one.seeds))]
            cells = [_EMPTY] * 4
            if gap := one.gap:
                p = "< 0.001" if gap.p < 0.001 else _text(gap.p, ".3f")
                cells = [_amount(gap.difference, about), _interval(gap, about), p, _text(gap.spread_ratio, ".2f")]
            rows.append([*row, *cells, str(cause(one, pair))])
    return columns, rows


def provenance_table(pair: Pair) -> Rows:
    """What differs between the origins of two runs, hashes shortened."""
    rows = [[_HASH.sub(lambda hash_: hash_[0][:12], cell) for cell in row] for row in pair.provenance]
    return ["what differs", pair.baseline, pair.run], rows


def sentences(pair: Pair, metric: MetricInfo) -> list[str]:
    """The verdicts, what moved the numbers, where rows first differ, and what could not be compared."""
    said = []
    for verdict in _ORDER:
        named = [_named(one, metric) for one in pair.verdicts if one.verdict == verdict]
        if len(named) > 1 and len(named) == len(pair.verdicts) and verdict in (UNDECIDED, BIT_EQUAL):
            said.append(f"All {len(named)} configurations: {verdict}.")
        elif named:
            said.append(f"{verdict.capitalize()}: {_listed(named)}.")
    for one in pair.verdicts:
        if at := one.first_difference:
            values = " against ".join("missing" if value is None else f"{value:.9g}" for value in (at.second, at.first))
            rows = f"{at.rows} of {at.compared} rows"
            said.append(f"{one.configuration} first differs at {at.place}: {values}; {rows}.")
            break
    lost = [sum(one.lost[side] for one in pair.verdicts) for side in (0, 1)]
    if any(lost):
        counted = f"{lost[1]} of {sum(len(one.seeds) for one in pair.verdicts)} replicas in {pair.run}"
        said.append(f"Diverged or failed: {counted}, {lost[0]} in {pair.baseline}; they count as the worst value.")
    return [*said, *_causes(pair, metric), *_only(pair)]


def _causes(pair: Pair, metric: MetricInfo) -> list[str]:
    """One sentence for each cause."""
    groups: dict[tuple[Cause, bool], list[Verdict]] = {}
    for one in pair.verdicts:
        groups.setdefault((cause(one, pair), one.verdict == BIT_EQUAL), []).append(one)
    differing = [f"{_listed([key for key, _, _ in pair.provenance])} differ"] if pair.provenance else []
    said = []
    for (what, bit_equal), moved in groups.items():
        labels = _listed([one.configuration for one in moved])
        if what in (Cause.CODE, Cause.HYPERPARAMETER, Cause.HYPERPARAMETER_OR_CODE):
            changed = [_listed(list(dict.fromkeys(text for one in moved for text in one.parameters)))]
            said.append(f"Moved by {what}: {labels} ({'; '.join(filter(None, changed + differing))}).")
        elif what is Cause.RERUN:
            noise = f"standard deviation {_amount(pair.rerun_std, metric).lstrip('+')}{_unit(metric)}"
            count = f"{pair.differing} of {pair.replicas} replicas"
            said.append(f"Rerun: all that is recorded is the same, and {count} gave other numbers ({noise}).")
        elif what is Cause.SEED and bit_equal:
            said.append(f"Only other seeds can move the mean of {labels}: the common ones are bit-equal.")
        elif what is Cause.SEED:
            said.append(f"Redrawn random numbers (the seed) would explain the gaps of {labels}; no more is shown.")
        elif what is Cause.OPEN:
            said.append(f"Too few common seeds to say what moved {labels}.")
    return said or ["Nothing moved the number."]


def _only(pair: Pair) -> list[str]:
    said = []
    for side, name in enumerate((pair.baseline, pair.run)):
        seeds = [f"seed {', '.join(map(str, one.only[side]))} of {one.configuration}"
                 for one in pair.verdicts if one.only[side]]  # fmt: skip
        whats = (("has", pair.only[side]), ("measures", pair.only_metrics[side]), ("ended", seeds))
        said += [f"Only {name} {verb} {_listed(what)}." for verb, what in whats if what]
    return said


def _named(one: Verdict, metric: MetricInfo) -> str:
    if one.gap is None or one.verdict in (BIT_EQUAL, UNDECIDED):
        return one.configuration
    if one.verdict == SPREAD:
        return f"{one.configuration}, {one.gap.spread_ratio:.2f} times the standard deviation"
    by = f"{_amount(one.gap.difference, metric)}{_unit(metric)}"
    return f"{one.configuration} by {by} ({_interval(one.gap, metric)}, {len(one.seeds)} seeds)"


def _interval(gap: Gap, metric: MetricInfo) -> str:
    if not math.isfinite(gap.high - gap.low):
        return "no interval"
    return f"{_amount(gap.low, metric)} to {_amount(gap.high, metric)}"


def _unit(metric: MetricInfo) -> str:
    return f" {metric.difference_unit}".rstrip()


def _listed(parts: Sequence[str]) -> str:
    """``a, b and c``; says how many there are beyond ``MOST_NAMED``."""
    more = len(parts) - MOST_NAMED
    *first, last = [*parts[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _amount(value: float, metric: MetricInfo) -> str:
    return _text(metric.scale * value, "+.2f" if metric.fraction else "+.4g")


def _text(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else _EMPTY
