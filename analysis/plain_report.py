"""The report of any study: final metrics by configuration, differences from the first, every seed in a picture."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.captions import count, measured_caption, measured_setting
from analysis.cells import Interval, Spread, Table
from analysis.differences import PairedDifference, differences
from analysis.document import Report
from analysis.headline import incomparable, outcome
from analysis.metrics import MetricInfo, metric_info
from analysis.pictures import save_pictures
from analysis.records import Run
from analysis.sentences import joined
from analysis.series import boundary_kind, configurations, final_table, finals_of, measured, objective_metric
from analysis.style import MOST_DRAWN, Picture, color_and_marker, new_figure, plain_axes, say_nothing, subtitle

MOST_NAMED = 4


def plain_report(run: Run, folder: Path) -> Report:
    """The report of a study of which no more is known than its metrics; the pictures are written into ``folder``."""
    info = metric_info(run.study.get("metrics"), objective_metric(run))
    found = differences(run, info.name)
    told = [one for one in found if one.survives_correction]
    alike = [one for one in found if not one.survives_correction]
    answer = [_told(info, told) if told else "", _alike(info, alike) if alike else "", outcome(run)]
    return Report(
        question=str(run.study.get("question") or run.study["study"]),
        answer=[line for line in answer if line] if found else [incomparable(run, info.name), outcome(run)],
        tables=[finals_table(run), *([_differences_table(info, found)] if found else [])],
        sentences=[],
        pictures=save_pictures(folder, {"final_values.png": _strip(run, info), "curves.png": _curves(run, info)}),
        markdown=folder / "report.md",
        methods=[
            "Differences: paired by seed over common finished seeds, t interval at 95 % for one comparison, paired t "
            "test, p-values corrected by Holm over the configurations."
        ],
    )


def finals_table(run: Run) -> Table:
    """Every final metric of every configuration, mean and standard deviation over finished seeds."""
    names = [column.removeprefix("metric.") for column in run.trials if column.startswith("metric.")]
    infos = [metric_info(run.study.get("metrics"), name) for name in names]
    labels = configurations(run)
    columns: list[list] = [labels]
    for one in infos:
        values = finals_of(run, one.name)
        planned = [len(run.of(label)) for label in labels]
        cells = [
            Spread.of(values[label].to_numpy(), seeds, one.scale, 2 if one.fraction else 4)
            for label, seeds in zip(labels, planned, strict=True)
        ]
        columns.append(cells)
    headings = [f"{one.text}, {'%' if one.fraction else one.unit}".rstrip(", ") for one in infos]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table("Final metrics", ["configuration", *headings], rows, measured_caption(run), "final_metrics")


def _told(info: MetricInfo, told: Sequence[PairedDifference]) -> str:
    return (
        f"Beside {told[0].baseline}, {info.text} changes{_in(info)} by: {_named(info, told)} ({_seeds(told)}, "
        "Holm-corrected p < 0.05)."
    )


def _alike(info: MetricInfo, alike: Sequence[PairedDifference]) -> str:
    return f"Undecided beside {alike[0].baseline} with {_seeds(alike)}{_in(info)}: {_named(info, alike)}."


def _named(info: MetricInfo, found: Sequence[PairedDifference]) -> str:
    ordered = sorted(found, key=lambda one: -abs(one.mean))
    digits = ".1f" if info.fraction else ".4g"
    return joined(
        [f"{one.configuration} {info.scale * one.mean:+{digits}}" for one in ordered[:MOST_NAMED]], len(found)
    )


def _in(info: MetricInfo) -> str:
    return " in points" if info.fraction else f" in {info.unit}" if info.unit else ""


def _seeds(found: Sequence[PairedDifference]) -> str:
    low, high = min(one.n for one in found), max(one.n for one in found)
    return count(low, "common seed") if low == high else f"{low} to {high} common seeds"


def _differences_table(info: MetricInfo, found: Sequence[PairedDifference]) -> Table:
    rows: list[list] = []
    for one in found:
        low, high = (None if side is None else info.scale * side for side in (one.low, one.high))
        gap = Interval(info.scale * one.mean, low, high, signed=True, digits=2 if info.fraction else 4)
        p = None if one.p_t_holm is None else "< 0.001" if one.p_t_holm < 0.001 else f"{one.p_t_holm:.3f}"
        rows.append([one.configuration, one.n, gap, p, "yes" if one.survives_correction else "undecided"])
    columns = ["configuration", "common seeds", "difference (95 % interval)", "p (t, Holm)", "told apart"]
    caption = (
        f"{info.text.capitalize()} minus that of {found[0].baseline}{_in(info)}, paired by seed. The interval is for "
        "one comparison. Undecided does not mean that there is no difference."
    )
    return Table("Paired differences", columns, rows, caption, "differences")


def _strip(run: Run, info: MetricInfo) -> Picture:
    """Every seed's final value of the objective, a row for each configuration, with the mean."""
    figure, table = new_figure(run), info.scale * final_table(run, info.name)
    axes = figure.subplots()
    plain_axes(axes)
    shown = table.head(MOST_DRAWN)
    for row, (_, values) in enumerate(shown.iterrows()):
        color, _ = color_and_marker(row)
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.5, markersize=7)
        axes.plot(values.mean(), row, "|", color="black", markersize=20, markeredgewidth=2.2)
    axes.set_yticks(range(len(shown)), [str(label) for label in shown.index], parse_math=False)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.set_xlabel(_axis(info))
    if table.empty:
        say_nothing(axes, "no seed has a final value")
    note = f"{measured_setting(run)}; a dot for each finished seed, a bar for their mean"
    subtitle(axes, note)
    long = table.rename_axis(columns="seed").stack().rename("value").reset_index() if len(table) else pd.DataFrame()
    return figure.showing(long, f"Every seed's {info.text} by configuration: {note}.")


def _curves(run: Run, info: MetricInfo) -> Picture | None:
    """The objective step by step; None where replicas reported only once."""
    position, frame = boundary_kind(run), measured(run, "eval")
    frame = frame[(frame["name"] == info.name) & frame[position].notna()]
    if frame[position].nunique() < 2:
        return None
    figure = new_figure(run)
    axes = figure.subplots()
    plain_axes(axes)
    frame = frame.assign(value=info.scale * frame["value"], step=frame[position] + 1)
    for number, label in enumerate(configurations(run)[:MOST_DRAWN]):
        color, marker = color_and_marker(number)
        own = frame[frame["configuration"] == label]
        for _, seed in own.groupby(["trial_id", "seed"]):
            axes.plot(seed["step"], seed["value"], color=color, alpha=0.3, linewidth=1.0)
        mean = own.groupby("step")["value"].mean()
        axes.plot(mean.index, mean, color=color, marker=marker, linewidth=2.2, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(_axis(info))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    note = f"{measured_setting(run)}; thick: mean over seeds, thin: each seed"
    subtitle(axes, note)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)
    return figure.showing(frame[["configuration", "seed", "step", "value"]], f"{info.text} step by step: {note}.")


def _axis(info: MetricInfo) -> str:
    unit = "%" if info.fraction else info.unit
    return f"{info.text} ({unit})" if unit else info.text
