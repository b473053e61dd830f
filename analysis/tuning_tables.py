"""The tables of a study that compares ways of fine-tuning: the notes' own, stability, efficiency, order and floor."""

from collections.abc import Sequence

from analysis.captions import count, measured_caption, reported_setting
from analysis.cells import EMPTY, Cell, Spread, Table
from analysis.differences import FEWEST_SEEDS, PairedDifference
from analysis.ranking import FEWEST_SEEDS_ORDER, Ranking
from analysis.records import Run
from analysis.series import configurations, final_values, replicas, reported
from analysis.tuning_series import counterpart, finals, method, parameters, policy, trainable_parameters

METRIC_NAMES = {"best_top1": "best top-1", "final_top1": "final top-1"}
# Column: final metric, factor, decimals.
_COLUMNS = {
    "step time (s)": ("step_time_s", 1.0, 4),
    "best top-1 (%)": ("best_top1", 100.0, 2),
    "final top-1 (%)": ("final_top1", 100.0, 2),
    "ECE near best": ("ece_near_best", 1.0, 3),
    "batch ECE near best": ("ece_batch_near_best", 1.0, 3),
    "final ECE": ("final_ece", 1.0, 3),
    "final batch ECE": ("final_ece_batch", 1.0, 3),
    "ECE after temperature": ("ece_after_temperature", 1.0, 3),
}
# Under which names the notes report a metric, where not under its own: their code averaged the ECE of test batches.
_REPORTED_AS = {
    "final_top1": ("final_top1", "top1"),
    "final_ece_batch": ("final_ece_batch", "ece"),
    "ece_batch_near_best": ("ece_batch_near_best", "ece_near_best"),
    "ece_near_best": (),
}
_UNDATED = ("top1", "ece")  # the source does not say of which epoch they are


def methods_table(run: Run) -> Table:
    """The table of the notes (seeds/002), with the reported runs below their configuration."""
    rows: list[list[Cell]] = []
    for label in configurations(run):
        what: list[Cell] = [method(run, label) or None, policy(run, label) or None]
        cells = [_spread(run, label, *column) for column in _COLUMNS.values()]
        rows.append([label, *what, trainable_parameters(run, label), *cells])
        for entry in reported(run, label):
            trainable = entry.metrics.get("trainable_params")
            theirs = [_reported(entry.metrics, *column) for column in _COLUMNS.values()]
            rows.append([entry.heading, *what, None if trainable is None else int(trainable), *theirs])
    caption = (
        f"{measured_caption(run)} Best is the best epoch on the test set, as in the notes, hence optimistic; final, "
        "after the last epoch, stands beside it for that reason. ECE (15 bins) near best is that of the best epoch; "
        "final ECE and ECE after temperature are of the last epoch, before and after scaling by a temperature that was "
        "fitted on a held-out part of the training set. Batch ECE is the mean over test batches, which is larger and "
        "is what the notes report. Step time is of seeds that trained alone: none stands here for seeds that trained "
        "together."
    )
    given = [entry for label in configurations(run) for entry in reported(run, label)]
    if given:
        caption += f" Reported: {reported_setting(run, 'rows')}"
    if any(not entry.metrics.keys().isdisjoint(_UNDATED) for entry in given):
        caption += " A reported value without word of its epoch stands under final."
    columns = ["configuration", "method", "policy", "trainable params", *_COLUMNS]
    return Table("Methods", columns, rows, caption, "methods")


def epochs_table(run: Run) -> Table:
    """When the seeds of each configuration were at their best, and what they lost after it."""
    rows: list[list[Cell]] = []
    for label in configurations(run):
        both = finals(run, label, "best_top1", "final_top1")
        epochs = final_values(run, label, "best_epoch").to_numpy() + 1
        rows.append(
            [
                label,
                Spread.of(both["final_top1"].to_numpy(), len(both)),
                _range(epochs.min(), epochs.max()) if len(epochs) else EMPTY,
                Spread.of((both["best_top1"] - both["final_top1"]).to_numpy(), len(both)),
            ]
        )
    caption = (
        "Top-1 on the test set after the last epoch in %, over finished seeds. Best epoch counts from 1. Best minus "
        "final, in points, is what a run lost after its best epoch, and also what choosing the epoch on the test set "
        "adds to it."
    )
    columns = ["configuration", "final top-1 (%)", "best epoch", "best minus final"]
    return Table("Best and last epoch", columns, rows, caption, "epochs")


def efficiency_table(run: Run) -> Table | None:
    """What a configuration costs beside LoRA and what it gains over the head alone; None without either of them."""
    labels = configurations(run)
    known = {label: parameters(run, label) for label in labels}
    lora = {label: counterpart(known, label, "lora") for label in labels}
    head = {label: counterpart(known, label, "head") for label in labels}
    if not any(lora.values()) and not any(head.values()):
        return None
    columns = ["configuration", "trainable params", "params / LoRA", "step time / LoRA", "peak memory (MiB)"]
    columns += ["points above head", "points per 100k params", "points per 100 ms of step"]
    rows: list[list[Cell]] = []
    for label in labels:
        own, theirs = trainable_parameters(run, label), trainable_parameters(run, lora[label] or "")
        share = f"{own / theirs:.3f}" if own and theirs else None
        gained = _over_head(run, label, head[label])
        memory = _spread(run, label, "peak_memory_mib", 1.0, 0)
        rows.append([label, own, share, _time_ratio(run, label, lora[label]), memory, *gained])
    caption = (
        f"{measured_caption(run)} LoRA is the configuration with that method and, as far as there is one, the same "
        "other parameters. Step time is a replica's share of a step of all seeds that train together. "
    )
    if any(head.values()):
        caption += (
            "Points are of final top-1 above the head-only configuration, paired by seed; per 100k params: divided by "
            "the trainable parameters beyond the head's; per 100 ms: by the whole step time. Both flatter the smallest "
            "method: the first parameters always buy the most."
        )
    else:
        columns, rows = columns[:-3], [row[:-3] for row in rows]
        caption += "No head-only configuration was run, so no gain over it can be said."
    return Table("Efficiency", columns, rows, caption, "efficiency")


def calibration_table(run: Run) -> Table | None:
    """The ECE of the whole test set beside the mean ECE of its batches; None where not both were measured."""
    rows: list[list[Cell]] = []
    for label in configurations(run):
        both = finals(run, label, "final_ece", "final_ece_batch")
        if len(both):
            planned = replicas(run, label)["seed"].nunique()
            kinds = [both["final_ece"], both["final_ece_batch"], both["final_ece_batch"] - both["final_ece"]]
            rows.append([label, *(Spread.of(own.to_numpy(), planned, 1.0, 3) for own in kinds)])
    if not rows:
        return None
    caption = (
        f"{measured_caption(run)} After the last epoch, 15 bins. Averaging over batches adds the noise of few images "
        "per bin, so the second column is the larger one and only it can stand beside the notes' numbers."
    )
    columns = ["configuration", "final ECE", "final batch ECE", "batch minus whole"]
    return Table("ECE of the test set and of its batches", columns, rows, caption, "batch_ece")


def ranking_table(found: Sequence[Ranking]) -> Table:
    """The claimed order in every context, by each metric, with its uncertainty."""
    columns = ["order", "by", "context", "seeds", "means (%)", "gaps, 95 % interval", "bootstrap", "verdict"]
    rows: list[list[Cell]] = [
        [
            " > ".join(one.labels),
            METRIC_NAMES.get(one.metric, one.metric),
            one.context or None,
            one.n,
            " / ".join(f"{100 * mean:.2f}" for mean in one.means),
            "; ".join(gap_text(gap) for gap in one.gaps),
            None if one.probability is None else f"{one.probability:.2f}",
            one.verdict,
        ]
        for one in found
    ]
    caption = (
        "The order that the notes claim. Means and gaps (each configuration minus the next, in points, paired by seed, "
        "t interval for one comparison) are over the common finished seeds; bootstrap is the share of resamplings of "
        "these seeds in which the whole order holds. "
        "It does not hold where a gap is reversed and told apart after Holm's correction, or the bootstrap says so. "
        f"Below {FEWEST_SEEDS_ORDER} seeds it is never said to hold: chance alone makes so few agree too often."
    )
    for unlike in dict.fromkeys(one.unlike for one in found if one.unlike):
        caption += f" Not the same in all configurations of an order: {', '.join(unlike)}."
    return Table("Order of the methods", columns, rows, caption, "ranking")


def floor_table(run: Run, effects: dict[str, list[PairedDifference]]) -> Table:
    """What a floor under the learning rate changes, method by method."""
    columns = ["with floor", "without", "method", "eta_min", "by", "common seeds", "effect", "told apart"]
    rows: list[list[Cell]] = []
    for metric, found in effects.items():
        for one in found:
            floors = [parameters(run, label).get("eta_min", 0.0) for label in (one.configuration, one.baseline)]
            told = "yes" if one.survives_correction else "before correction only" if one.told_apart else "no"
            rows.append(
                [
                    one.configuration,
                    one.baseline,
                    method(run, one.configuration),
                    f"{floors[0]:g} against {floors[1]:g}",
                    METRIC_NAMES.get(metric, metric),
                    one.n,
                    gap_text(one),
                    told if one.n >= FEWEST_SEEDS else "too few seeds",
                ]
            )
    compared = max(map(len, effects.values()), default=0)
    caption = (
        "With the floor minus without, in points, paired by seed, with a 95 % t interval for one comparison; told "
        f"apart says whether the difference survives a Holm correction over {count(compared, 'pair')}."
    )
    return Table("Effect of the floor under the learning rate", columns, rows, caption, "eta_min")


def _spread(run: Run, label: str, metric: str, scale: float, digits: int) -> Spread | None:
    values = final_values(run, label, metric).to_numpy()
    return Spread.of(values, replicas(run, label)["seed"].nunique(), scale, digits)


def _reported(metrics: dict[str, float], metric: str, scale: float, digits: int) -> Spread | None:
    names = _REPORTED_AS.get(metric, (metric,))
    given = next((metrics[name] for name in names if name in metrics), None)
    return None if given is None else Spread(scale * given, None, 1, 1, digits)


def _time_ratio(run: Run, label: str, lora: str | None) -> Spread | None:
    if lora is None or lora == label:
        return None
    own, theirs = (final_values(run, one, "step_share_s") for one in (label, lora))
    ratio = (own / theirs).dropna().to_numpy()
    return Spread.of(ratio, len(ratio), 1.0, 2)


def _over_head(run: Run, label: str, head: str | None) -> list[Cell]:
    """Points above the head alone, per 100k parameters beyond the head's, per 100 ms of a step; over common seeds."""
    if head is None or head == label:
        return [None, None, None]
    gain = (final_values(run, label, "final_top1") - final_values(run, head, "final_top1")).dropna()
    own, heads = trainable_parameters(run, label), trainable_parameters(run, head)
    per_parameter = None
    if own and heads and own > heads:
        per_parameter = Spread.of(gain.to_numpy(), len(gain), 100 * 1e5 / (own - heads))
    per_time = (gain / final_values(run, label, "step_share_s")).dropna().to_numpy()
    return [Spread.of(gain.to_numpy(), len(gain)), per_parameter, Spread.of(per_time, len(per_time), 100 * 0.1)]


def gap_text(one: PairedDifference) -> str:
    """A difference in points and its interval, where it has one."""
    text = f"{100 * one.mean:+.2f}"
    if one.low is None or one.high is None:
        return text
    return f"{text} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"


def _range(low: float, high: float) -> str:
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
