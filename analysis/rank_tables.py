"""The tables of a study of LoRA's rank: parameters and accuracy, saturation, and the rules for alpha side by side."""

from analysis.captions import measured_caption
from analysis.cells import Cell, Spread, Table
from analysis.differences import FEWEST_SEEDS, PairedDifference
from analysis.rank_series import FINAL, on_front, rule_gaps, rule_name, rules, saturation, scale, seed_interval
from analysis.records import Run
from analysis.series import configurations, final_values, replicas
from analysis.tuning_series import parameters, trainable_parameters
from analysis.tuning_tables import gap_text


def rank_table(run: Run) -> Table:
    """Parameters, accuracy with its seed interval, calibration and cost of every configuration."""
    columns = ["configuration", "alpha", "alpha / r", "trainable params", "share of all (%)", "final top-1 (%)",
               "95 % interval", "final NLL", "final ECE", "norm of the change", "step (ms)",
               "on the front"]  # fmt: skip
    front = on_front(run)
    rows: list[list[Cell]] = []
    for label in configurations(run):
        known, trainable, total = parameters(run, label), trainable_parameters(run, label), _total(run, label)
        factor = scale(known)
        bounds = seed_interval(final_values(run, label, FINAL).to_numpy())
        rows.append(
            [
                label,
                rule_name(known).removeprefix("alpha = ") or None,
                None if factor is None else f"{factor:g}",
                trainable,
                f"{100 * trainable / total:.3g}" if trainable and total else None,
                _spread(run, label, FINAL, 100.0, 2),
                None if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}",
                _spread(run, label, "final_nll", 1.0, 3),
                _spread(run, label, "final_ece", 1.0, 3),
                _spread(run, label, "delta_norm", 1.0, 2),
                _spread(run, label, "step_share_s", 1e3, 1),
                None if label not in front else "yes" if front[label] else "no",
            ]
        )
    caption = (
        f"{measured_caption(run)} Final is after the last epoch, on the test texts; the interval is that of the mean "
        "over seeds (t). Norm of the change: Frobenius norm of (alpha / r) B A over all adapted layers. On the front: "
        "no configuration with at most as many trained parameters has a higher mean."
    )
    return Table("Ranks", columns, rows, caption, "ranks")


def saturation_table(run: Run) -> Table | None:
    """Every rank against the best one of its rule; None where no rule has two finished ranks."""
    columns = ["rule", "rank", "mean (%)", "minus the best rank", "common seeds", "below the best"]
    rows: list[list[Cell]] = []
    for rule in rules(run):
        found = saturation(run, rule)
        if found is None or not found.gaps:
            continue
        for rank, label in rule.labels.items():
            values = final_values(run, label, FINAL)
            gap = found.gaps.get(rank)
            mean = f"{100 * values.mean():.2f}" if len(values) else None
            if rank == found.best:
                rows.append([rule.name, rank, mean, "the best", None, None])
            elif gap:
                rows.append([rule.name, rank, mean, gap_text(gap), gap.n, _told(gap, gap.told_apart)])
    if not rows:
        return None
    caption = (
        "Points of final top-1, paired by seed, with a 95 % t interval for one comparison. A rule saturates at the "
        "smallest rank that is not below the best. The best is chosen by the same numbers, which flatters it a little."
    )
    return Table("Where the rank saturates", columns, rows, caption, "saturation")


def scaling_table(run: Run) -> Table | None:
    """The first two rules side by side, rank by rank; None with fewer."""
    every = rules(run)
    if len(every) < 2:
        return None
    first, second = every[:2]
    gaps = rule_gaps(run, first, second)
    columns = ["rank", "alpha / r", first.name, second.name, "difference", "common seeds", "told apart"]
    rows: list[list[Cell]] = []
    for rank in sorted(set(first.labels) | set(second.labels)):
        own = [rule.labels.get(rank) for rule in (first, second)]
        factors = [scale(parameters(run, label)) if label else None for label in own]
        both = " / ".join("–" if factor is None else f"{factor:g}" for factor in factors)
        cells = [_spread(run, label, FINAL, 100.0, 2) if label else None for label in own]
        gap = gaps.get(rank)
        last: list[Cell] = [gap_text(gap), gap.n, _told(gap, gap.survives_correction)] if gap else [None, None, None]
        rows.append([rank, both, *cells, *last])
    caption = (
        f"Final top-1 (%) and {second.name} minus {first.name} in points, paired by seed, with a 95 % t interval for "
        f"one comparison; told apart after a Holm correction over {len(gaps)} ranks."
    )
    return Table("The rules for alpha side by side", columns, rows, caption, "scaling")


def _told(gap: PairedDifference, apart: bool) -> str:
    return "too few seeds" if gap.n < FEWEST_SEEDS else "yes" if apart else "no"


def _spread(run: Run, label: str, metric: str, factor: float, digits: int) -> Spread | None:
    values = final_values(run, label, metric).to_numpy()
    return Spread.of(values, replicas(run, label)["seed"].nunique(), factor, digits)


def _total(run: Run, label: str) -> int | None:
    known = replicas(run, label)["total_params"].dropna()
    return int(known.iloc[0]) if len(known) else None
