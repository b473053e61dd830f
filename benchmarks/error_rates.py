"""How often the statements of ``analysis.stats`` are wrong: the table of docs/statistics.md.

Run: ``make statistics``, or ``python benchmarks/error_rates.py [--quick] [--rliable PYTHON]``. Studies are simulated of
which the truth is known, with 3, 5 and 8 seeds and normal, skewed and bimodal values. ``--rliable`` names a Python that
has rliable, which then gives its intervals for the same draws.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

import analysis.stats as ours
from analysis.stats.best import behind_best, from_the_top, kept, true_means
from analysis.stats.gaps import Rows, holm, measured

START, END = "<!-- measured -->", "<!-- end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
SEEDS, LAWS, CONFIGURATIONS = (3, 5, 8), ("normal", "skewed", "bimodal"), 5
BASELINE = [{place: 1.0, 0: -1.0} for place in range(1, CONFIGURATIONS)]
PAIRS = [{a: 1.0, b: -1.0} for a in range(CONFIGURATIONS) for b in range(a)]
SIX: list[dict[int, float]] = [
    {0: 1, 1: -1}, {0: 1, 2: -1}, {3: 1, 4: -1}, {0: 1, 4: 1, 1: -1, 3: -1}, {5: 1, 6: -1}, {5: 1, 7: -1},
]  # fmt: skip
UNEQUAL = {
    f"{name}, {times} times": np.array(spreads)
    for times in (1.5, 2, 3, 5)
    for name, spreads in {
        "baseline": [times, 1, 1, 1, 1], "another": [1, times, 1, 1, 1], "both": [times, times, 1, 1, 1],
        "graded": np.geomspace(times, 1, 5), "most": [times, times, times, 1, 1],
    }.items()
}  # fmt: skip
RLIABLE: str | None = None  # a Python that has it
RLIABLE_CODE = """
import sys
import numpy as np
from rliable.library import get_interval_estimates
from scipy.stats import trim_mean  # rliable's aggregate_iqm, column by column
np.random.seed(0)
runs = np.load(sys.argv[1] + "/runs.npy")
_, ends = get_interval_estimates({"x": runs}, lambda scores: trim_mean(scores, 0.25, axis=0), reps=1_000)
np.save(sys.argv[1] + "/ends.npy", ends["x"])
"""
Array = NDArray[np.float64]
Measured = Callable[[str, int, np.random.Generator, int], float]  # law, seeds, generator, studies -> rate


def drawn(law: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Values of mean 0: normal; skewed, exponential with the long tail below; bimodal, where one in five lies ten
    standard deviations of the others below them; coarse, in steps of one standard deviation, such as one image of 200
    at a standard deviation of half a point."""
    if law == "skewed":
        return 1 - rng.exponential(size=shape)
    values = rng.normal(size=shape)
    if law == "bimodal":
        return 0.1 * values - (rng.random(shape) < 0.2) + 0.2
    return np.round(values) if law == "coarse" else values


def truth(law: str) -> dict[str, float]:
    """True mean, standard deviation and interquartile mean."""
    if law == "skewed":
        return {"mean": 0.0, "std": 1.0, "iqm": 1 - (0.75 * (1 - np.log(0.75)) - 0.25 * (1 - np.log(0.25))) / 0.5}
    if law == "bimodal":
        low, high = stats.norm.ppf([0.05 / 0.8, 0.55 / 0.8])
        middle = 0.2 + 0.1 * (stats.norm.pdf(low) - stats.norm.pdf(high)) / (0.5 / 0.8)
        return {"mean": 0.0, "std": float(np.sqrt(0.01 + 0.16)), "iqm": float(middle)}
    return {"mean": 0.0, "std": 1.0, "iqm": 0.0}


def frame_of(table: Array, **others: Array) -> pd.DataFrame:
    """Tidy frame of values of shape (n, C)."""
    n, count = table.shape
    labels = {"configuration": np.tile(np.arange(count), n), "seed": np.repeat(np.arange(n), count)}
    return pd.DataFrame({**labels, "value": table.ravel(), **{name: one.ravel() for name, one in others.items()}})


def decided(
    tables: Array, rows: list[dict[int, float]], margin: float | None = None
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Decisions of ``paired`` and its relatives in many studies (S, n, C) at once, and their intervals, (S, R) each."""
    found = measured(tables, Rows.of(rows), 0.05, len(rows))
    _, spent, sure = holm(found.p(margin), 0.05)
    return sure, *found.interval(spent if margin is None else 2 * spent)


def covered(statistic: str, law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """How often ``mean_interval``, ``std_interval`` or ``iqm_interval`` holds the truth."""
    frame = frame_of(drawn(law, (n, studies), rng))
    found = getattr(ours, f"{statistic}_interval")(frame, "value", by="configuration")
    return holds(found["low"], found["high"], truth(law)[statistic])


def holds(low: Any, high: Any, true: Any) -> float:
    """Share of intervals that hold a true value, of those that there are; NaN without any."""
    known = np.isfinite(low)
    return float(((low <= true) & (high >= true))[known].mean()) if known.any() else float("nan")


def bootstrapped(statistic: str, method: str, law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """How often a bootstrap interval does, scipy's or rliable's (each study a task of its own); NaN without rliable."""
    if method != "rliable":
        function = {"mean": np.mean, "std": lambda x, axis: x.std(axis=axis, ddof=1)}[statistic]
        with np.errstate(all="ignore"):
            ends = stats.bootstrap((drawn(law, (studies, n), rng),), function, axis=-1, n_resamples=999, method=method,
                                   vectorized=True, batch=100, rng=rng).confidence_interval  # fmt: skip
        return float(((ends.low <= truth(law)[statistic]) & (ends.high >= truth(law)[statistic])).mean())
    if RLIABLE is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/runs.npy", drawn(law, (n, studies), rng))
        subprocess.run([RLIABLE, "-c", RLIABLE_CODE, folder], check=True)
        return holds(*np.load(f"{folder}/ends.npy"), truth(law)[statistic])


def wrong(rows: list[dict[int, float]], law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies without differences in which one is claimed."""
    count = 1 + max(place for row in rows for place in row)
    return float(decided(drawn(law, (studies, n, count), rng), rows)[0].any(axis=1).mean())


def claimed(method: str, tables: Array) -> NDArray[np.bool_]:
    """Decisions against the baseline, shape (S, R): here, by scipy's paired t tests, or with one pooled error."""
    if method == "here":
        return decided(tables, BASELINE)[0]
    p = stats.ttest_rel(tables[..., 1:], tables[..., [0]], axis=1).pvalue
    if method == "pooled":
        n, count = tables.shape[1:]
        centred = tables - tables.mean(axis=1, keepdims=True)
        residuals = centred - centred.mean(axis=2, keepdims=True)
        df = (n - 1) * (count - 1)
        error = np.sqrt(2 / n * (residuals**2).sum(axis=(1, 2)) / df)[:, None]
        p = 2 * stats.t.sf(np.abs((tables[..., 1:] - tables[..., [0]]).mean(axis=1)) / error, df)
    return holm(p, 0.05)[2]


def worst_unequal(method: str, law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies with a wrong claim where the configurations spread differently: the worst of ``UNEQUAL``."""
    tables = drawn(law, (studies, n, CONFIGURATIONS), rng)
    return float(max(claimed(method, tables * spreads).any(axis=1).mean() for spreads in UNEQUAL.values()))


def differences_covered(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Intervals of ``paired`` that hold the true difference."""
    _, low, high = decided(drawn(law, (studies, n, CONFIGURATIONS), rng), BASELINE)
    return holds(low, high, 0)


def wrongly_same(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which all differences are as large as the margin, and one is called within it."""
    tables = drawn(law, (studies, n, CONFIGURATIONS), rng)
    margin = 3 * truth(law)["std"]
    tables[..., 1:] += margin
    return float(decided(tables, BASELINE, margin)[0].any(axis=1).mean())


def best_excluded(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which ``best_of`` excludes the best, which is hardly better than the others."""
    return 1 - float(kept(drawn(law, (studies, n, CONFIGURATIONS), rng), 0.05)[:, 0].mean())


def coin_toss_best(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which one of two equal best of five is given a probability of at most 0.05 or at least 0.95."""
    tables = drawn(law, (studies, n, CONFIGURATIONS), rng)
    tables[..., 2:] -= 5 * truth(law)["std"]
    found = [_best(table, rng)[0] for table in tables]
    return float(np.mean([p <= 0.05 or p >= 0.95 for p in found]))


def overstated_best(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Mean probability of the likeliest minus how often it is the best; true means as spread as the seeds."""
    true = rng.normal(0, truth(law)["std"], (studies, 1, CONFIGURATIONS))
    tables = drawn(law, (studies, n, CONFIGURATIONS), rng) + true
    found = np.array([_best(table, rng) for table in tables])
    return float(found.max(axis=1).mean() - (found.argmax(axis=1) == true[:, 0].argmax(axis=1)).mean())


def _best(table: Array, rng: np.random.Generator) -> Array:
    means = true_means(table[..., None], rng, 500)[..., 0]
    return np.bincount(means.argmax(axis=1), minlength=table.shape[1]) / len(means)


def coin_toss_front(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Configurations that cost more than the one before and are no better, so that a coin tosses whether they are on
    the front, and are given a probability of at most 0.05 or at least 0.95."""
    values = np.zeros((studies, n, CONFIGURATIONS, 2))
    values[..., 0] = -drawn(law, (studies, n, CONFIGURATIONS), rng)
    values[..., 0] -= 5 * truth(law)["std"] * np.array([0, 0, 1, 1, 2])  # pairs of equal ones
    values[..., 1] = np.arange(CONFIGURATIONS)
    found = [np.mean([moocore.is_nondominated(one, keep_weakly=True) for one in true_means(study, rng, 500)], axis=0)
             for study in values]  # fmt: skip
    tossed = np.array(found)[:, [1, 3]]
    return float(((tossed <= 0.05) | (tossed >= 0.95)).mean())


def overstated_power(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies whose ``smallest_difference`` is found with less than the power of 0.8 that it states."""
    tables = drawn(law, (20_000, n, CONFIGURATIONS), np.random.default_rng(n))
    gaps = measured(tables, Rows.of(BASELINE), 0.05, len(BASELINE))
    needed = -gaps.interval(np.full(len(BASELINE), 0.05 / len(BASELINE)))[0][:, 0]  # to be found in each study
    own = (frame_of(table) for table in drawn(law, (studies, n, CONFIGURATIONS), rng))
    return float(np.mean([ours.smallest_difference(one, n, value="value") for one in own] < np.quantile(needed, 0.8)))


def wrongly_larger(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which ``variance_split`` calls one of two equal components larger."""
    found = [split(0.5 * drawn(law, (n, CONFIGURATIONS), rng), 1.0, 1.0, rng)["above"] for _ in range(studies)]
    return float(np.mean(["seed" in above[0] or "configuration" in above[1] for above in found]))


def component_covered(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Components of variance that their intervals hold: of configurations, seeds and the residual."""
    spread = truth(law)["std"]
    true = spread**2 * np.array([4, 1, 1])
    found = (split(drawn(law, (n, CONFIGURATIONS), rng), spread, 2 * spread, rng) for _ in range(studies))
    return float(np.mean([((one["low"] <= true) & (one["high"] >= true)).mean() for one in found]))


def split(values: Array, seed: float, configuration: float, rng: np.random.Generator) -> pd.DataFrame:
    """``variance_split`` of values with effects of seeds and of configurations of these standard deviations added."""
    values = values + seed * rng.normal(size=(len(values), 1)) + configuration * rng.normal(size=(1, values.shape[1]))
    return ours.variance_split(frame_of(values), "value", ["configuration", "seed"])


def level_too_small(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which ``saturation`` names a level below the right one, the worst of four truths; a margin is 5
    standard deviations, for differences of exactly a margin."""
    truths = (([-5, -4, -3, -2, -1, 0], 5), ([-1, -1, -1, 0, 0, 0], 3), ([-3, -2, -1, 0, 0, 0], 3),
              ([0, 0, 0, 0, -1, -1], 6))  # fmt: skip
    noise, rates = drawn(law, (studies, n, 6), rng) / truth(law)["std"], []
    for means, right in truths:
        within = from_the_top(behind_best(5.0 * np.array(means) + noise, 5.0, 0.05)[0], 0.05)
        rates.append((np.where(within.any(axis=-1), within.argmax(axis=-1), 6) < right).mean())
    return float(max(rates))


def called_bad(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Reports on five configurations without a bad seed in which ``bad_seeds`` finds one; NaN where seeds collapse."""
    if law == "bimodal":
        return float("nan")
    reports = (frame_of(drawn(law, (n, CONFIGURATIONS), rng)) for _ in range(studies))
    return sum(not ours.bad_seeds(report, "value").empty for report in reports) / studies


def called_beyond(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Pairs of runs of the measured law that ``reported_gap`` calls beyond the seeds."""
    found = (ours.reported_gap(drawn(law, (n,), rng), drawn(law, (2,), rng)) for _ in range(studies))
    return sum(one["verdict"].eq("beyond").any() for one in found) / studies


def rate_covered(law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """How often the interval of ``collapse`` holds the true rate of values below -0.4."""
    below = {"normal": stats.norm.cdf(-0.4), "skewed": np.exp(-1.4), "bimodal": 0.2}[law]
    found = ours.collapse(frame_of(drawn(law, (n, studies), rng)), "value", 0.0, 0.4)
    return holds(found["low"], found["high"], below)


def found_difference(method: str, law: str, n: int, rng: np.random.Generator, studies: int) -> float:
    """Studies in which one configuration of five that is better by two standard deviations is found so."""
    tables = drawn(law, (studies, n, CONFIGURATIONS), rng)
    tables[..., 1] += 2 * truth(law)["std"]
    return float(claimed(method, tables)[:, 0].mean())


MANY, SOME, FEW = 20_000, 1_000, 200
STATEMENTS: dict[str, list[tuple[str, str, Measured, int]]] = {
    "Intervals that hold the truth": [
        ("`mean_interval`", "95", partial(covered, "mean"), MANY),
        ("scipy, percentile bootstrap of the mean", "95", partial(bootstrapped, "mean", "percentile"), 4 * SOME),
        ("scipy, BCa bootstrap of the mean", "95", partial(bootstrapped, "mean", "BCa"), 4 * SOME),
        ("`std_interval`", "95", partial(covered, "std"), MANY),
        ("scipy, BCa bootstrap of the standard deviation", "95", partial(bootstrapped, "std", "BCa"), 4 * SOME),
        ("`iqm_interval`", "95", partial(covered, "iqm"), MANY),
        ("rliable, interquartile mean", "95", partial(bootstrapped, "iqm", "rliable"), SOME),
        ("`collapse`, the rate", ">= 95", rate_covered, MANY),
        ("`paired`, a difference", ">= 95", differences_covered, MANY),
        ("`variance_split`, a component", "95", component_covered, FEW),
    ],
    "Wrong statements": [
        ("`paired`, 4 differences", "<= 5", partial(wrong, BASELINE), MANY),
        ("`paired`, 1 difference", "<= 5", partial(wrong, BASELINE[:1]), MANY),
        ("`paired`, unequal spreads: the worst of 20", "<= 5", partial(worst_unequal, "here"), 4 * SOME),
        ("scipy, paired t tests, Holm, the same", "<= 5", partial(worst_unequal, "scipy"), 4 * SOME),
        ("one pooled error, Holm, the same", "<= 5", partial(worst_unequal, "pooled"), 4 * SOME),
        ("`all_pairs`, 10 differences", "<= 5", partial(wrong, PAIRS), MANY),
        ("`contrasts`, 6 contrasts", "<= 5", partial(wrong, SIX), MANY),
        ("`equivalence`, 4 differences as large as the margin", "<= 5", wrongly_same, MANY),
        ("`best_of`, the best is excluded", "<= 5", best_excluded, MANY),
        ("`best_of`, two equal: at most 0.05 or at least 0.95", "<= 10", coin_toss_best, SOME),
        ("`pareto_front`, on it or not: at most 0.05 or at least 0.95", "<= 10", coin_toss_front, SOME),
        ("`best_of`, probability of the best, too high by", "<= 0", overstated_best, SOME),
        ("`saturation`, the level named is too small", "<= 5", level_too_small, MANY),
        ("`smallest_difference`, power is less than 0.8", "<= 5", overstated_power, SOME),
        ("`variance_split`, one of two equal parts is larger", "<= 5", wrongly_larger, FEW),
        ("`bad_seeds`, a report without any", "<= 5", called_bad, SOME),
        ("`reported_gap`, beyond the seeds", "<= 5", called_beyond, MANY // 2),
    ],
    "Differences of two standard deviations that are found": [
        ("`paired`, 4 differences", "", partial(found_difference, "here"), MANY),
        ("scipy, paired t tests, Holm", "", partial(found_difference, "scipy"), MANY),
        ("one pooled error, Holm", "", partial(found_difference, "pooled"), MANY),
    ],
}


def table(heading: str, quick: bool) -> str:
    """Markdown of one section of ``STATEMENTS``; per cent with 3 / 5 / 8 seeds."""
    lines = [f"### {heading}", "", f"| statement | nominal | {' | '.join(LAWS)} |", "|:---|---:|:---:|:---:|:---:|"]
    for name, nominal, measure, studies in STATEMENTS[heading]:
        cells = []
        for law in LAWS:
            rates = [measure(law, n, np.random.default_rng(n), studies // (20 if quick else 1)) for n in SEEDS]
            cells.append(" / ".join("-" if np.isnan(rate) else f"{100 * rate:.1f}" for rate in rates))
        lines.append(f"| {name} | {nominal} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    global RLIABLE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the studies, printed and not written")
    parser.add_argument("--rliable", help="a Python that has rliable")
    options = parser.parse_args()
    RLIABLE = options.rliable
    sections = "\n\n".join(table(heading, options.quick) for heading in STATEMENTS)
    if not options.quick:
        head, rest = PAGE.read_text().split(START)
        PAGE.write_text(f"{head}{START}\n\n{sections}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
