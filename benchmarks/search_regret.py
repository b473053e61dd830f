"""True regret of searches at equal replica budget, replayed on a real grid study (``search_grid.py --table``).

    python benchmarks/search_regret.py                       # 200 repetitions on the real table, two processes
    python benchmarks/search_regret.py --synthetic 0.04      # a made-up table per repetition, for development
    python benchmarks/search_regret.py --methods default,gp  # some of the methods, printed and not written

Regret is the table's best mean over all its seeds less that of the configuration a search picks, each by its own rule.
A repetition has its own order of the table's seeds and its own sampler seed. Those of the default ``--first 0`` are
for reporting: defaults were chosen on other repetitions (``--first 5000``) and on made-up tables.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.samplers import GPSampler, TPESampler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import replay  # noqa: E402
from benchmarks.replay import Outcome, Table, engine, plain, synthetic  # noqa: E402
from benchmarks.sections import circumstances, write_section  # noqa: E402
from study.ray_tune.resources import SINGLE_THREAD  # noqa: E402
from study.search.racing import DEFAULT_RACE, SeedSchedule  # noqa: E402

GRID = ROOT / "benchmarks" / "data" / "nested_grid.parquet"
RESULTS = ROOT / "benchmarks" / "results" / "search_regret.md"
HEAD = """# True regret of searches at equal replica budget

Written by `benchmarks/search_regret.py`; each section is one run. Values are in percentage points of the table's metric
(final accuracy) with 95 % bootstrap intervals over repetitions. The truth is the mean over the table's seeds, the same
that searches see: up to 8 of them, those with one seed per trial up to all. So the regret here is smaller than on seeds
that a search has not seen, for all of them. What it compares is the spending of seeds: whether the suggestions matter
is in the row of random suggestions in the same race. A search sees a parameter's position in the grid as an integer.
Picks: the project's search by its own order (`best`), Optuna with one seed per trial by its best value, the Gaussian
process by its highest posterior mean at an evaluated point. Of the budgets, 82 and 102 are what runs of
`nested_search` and `hybrid_search` spent; 48 and 64 are less than one seed per configuration of the real grid."""

Search = Callable[[Table, Sequence[int], int, Sequence[int]], list[Outcome]]


def scheduled(text: str, **options: Any) -> Search:
    """The project's search with another schedule; ``keep`` among the options is the schedule's."""
    changed = {"keep": options.pop("keep")} if "keep" in options else {}
    schedule = SeedSchedule.parse(text).model_copy(update=changed)
    return partial(engine, schedule=schedule, **options)


def single_seed(table: Table, seeds: Sequence[int], seed: int, budgets: Sequence[int]) -> list[Outcome]:
    return plain(table, seeds, budgets, TPESampler(seed=seed, multivariate=True), replay.highest_value)


def gaussian_process(table: Table, seeds: Sequence[int], seed: int, budgets: Sequence[int]) -> list[Outcome]:
    sampler = GPSampler(seed=seed, deterministic_objective=False)
    return plain(table, seeds, budgets, sampler, replay.highest_posterior_mean)


METHODS: dict[str, tuple[str, Search]] = {
    "default": (f"this project's search (default: TPE, {DEFAULT_RACE})", engine),
    "single": ("TPE, one seed per trial", single_seed),
    "fixed2": ("TPE, 2 seeds each", scheduled("fixed:2")),
    "fixed4": ("TPE, 4 seeds each", scheduled("fixed:4")),
    "fixed8": ("TPE, 8 seeds each", scheduled("fixed:8")),
    "random": ("random, one seed each", scheduled("fixed:1", sampler="random")),
    "gp": ("Gaussian process with noise, one seed per trial", gaussian_process),
    "thirds": ("the default's rungs, a third goes on", scheduled(DEFAULT_RACE, keep=1 / 3)),
    "from 1": ("racing 1, 2, 4, 8, half go on", scheduled("halving:1,2,4,8")),
    "random racing": ("the default's race, random suggestions", partial(engine, sampler="random")),
    "as measured": ("default, values not shrunken for the sampler", partial(engine, shrunk=False)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=GRID)
    parser.add_argument("--synthetic", type=float, metavar="SD", help="made-up tables of this spread over seeds")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first repetition")
    parser.add_argument("--budgets", default="48,64,82,102,160", help="replicas, comma-separated")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", type=Path, metavar="PARQUET", help="a row per repetition, method and budget")
    options = parser.parse_args()
    budgets = tuple(int(budget) for budget in options.budgets.split(","))
    methods = options.methods.split(",")
    load, begin = os.getloadavg()[0], time.monotonic()
    os.environ |= SINGLE_THREAD  # of the processes that are started below
    source: Path | float = options.table if options.synthetic is None else options.synthetic
    repetitions = range(options.first, options.first + options.repetitions)
    tasks = [(source, method, repetition, budgets) for repetition in repetitions for method in methods]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        found = pd.DataFrame(sum(pool.imap_unordered(replayed, tasks, chunksize=4), []))
    if options.save:
        found.to_parquet(options.save, index=False)
    title = "Real grid" if options.synthetic is None else f"Made-up tables, spread over seeds {100 * source:g} points"
    first = (
        f"{circumstances('cpu', 'optuna', 'numpy')}; {options.repetitions} repetitions from {options.first} in "
        f"{time.monotonic() - begin:.0f} s; load average at the start {load:.1f}."
    )
    text = as_text(found, budgets)
    print(f"{title}\n{text}")
    if methods == list(METHODS):
        shape = describe(Table.read(options.table)) if options.synthetic is None else describe(synthetic(0, source))
        write_section(RESULTS, HEAD, title, f"{first}\n{shape}\n\n{text}")


def replayed(task: tuple[Path | float, str, int, tuple[int, ...]]) -> list[dict[str, Any]]:
    """One repetition of one method: a row per budget."""
    source, method, repetition, budgets = task
    table = Table.read(source) if isinstance(source, Path) else synthetic(repetition, source)
    seeds = [int(seed) for seed in np.random.default_rng([repetition, 1]).permutation(table.values.shape[1])]
    cpu = time.process_time()
    outcomes = METHODS[method][1](table, seeds, repetition, budgets)
    cpu = (time.process_time() - cpu) / len(budgets)
    return [
        {"method": method, "repetition": repetition, "budget": budget, "replicas": outcome.replicas, "cpu_s": cpu,
         "regret": float(table.truth.max() - table.truth[outcome.row]), "clock_s": outcome.clock_s}
        for budget, outcome in zip(budgets, outcomes, strict=True)
    ]  # fmt: skip


def as_text(found: pd.DataFrame, budgets: Sequence[int]) -> str:
    """A table per budget, and where the default search loses."""
    blocks = []
    for budget in budgets:
        part = found[found["budget"] == budget]
        regret = 100 * part.pivot(index="repetition", columns="method", values="regret")
        lines = [
            f"**{budget} replicas**\n",
            "| search | median regret | mean regret | regret 0 | default less this, mean | virtual clock, 2 workers |",
            "|---|---|---|---|---|---|",
        ]
        for method in (name for name in METHODS if name in regret):
            values = regret[method].to_numpy()
            against = "-"
            if "default" in regret and method != "default":
                against = with_interval(regret["default"].to_numpy() - values, np.mean)
            clock = part.loc[part["method"] == method, "clock_s"].median()
            lines.append(
                f"| {METHODS[method][0]} | {with_interval(values, np.median)} | {with_interval(values, np.mean)} | "
                f"{(values < 1e-7).mean():.0%} | {against} | {clock:.0f} s |"
            )
        blocks.append("\n".join([*lines, "", *verdict(regret)]))
    return "\n\n".join(blocks)


def verdict(regret: pd.DataFrame) -> list[str]:
    """What is better than the default search, by the interval of the mean of paired differences (percentage points)."""
    if "default" not in regret:
        return []
    others = [name for name in METHODS if name in regret and name != "default"]
    bounds = {name: interval((regret["default"] - regret[name]).to_numpy(), np.mean) for name in others}
    lost = [METHODS[name][0] for name, (low, _) in bounds.items() if low > 0]
    won = [METHODS[name][0] for name, (_, high) in bounds.items() if high < 0]
    lines = [f"The default loses to: {'; '.join(lost) or 'none'}. It beats: {'; '.join(won) or 'none'}."]
    if "random racing" in bounds:
        low, high = bounds["random racing"]
        words = "cannot be told apart from TPE's" if low <= 0 <= high else "are better" if low > 0 else "are worse"
        lines.append(f"In the same race random suggestions {words} (TPE less random {low:.2f} to {high:.2f} points).")
    if "single" in regret and (single := regret["single"].median()) > 0:
        lines.append(f"Its median regret is {regret['default'].median() / single:.2f} x that of single-seed TPE.")
    return lines


def interval(values: np.ndarray, statistic: Callable[..., Any], draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap over repetitions, values (R,)."""
    picked = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(statistic(values[picked], axis=1), [0.025, 0.975])
    return float(low), float(high)


def with_interval(values: np.ndarray, statistic: Callable[..., Any]) -> str:
    low, high = interval(values, statistic)
    return f"{float(statistic(values)):.2f} [{low:.2f}, {high:.2f}]"


def describe(table: Table) -> str:
    """What makes a table easy or hard."""
    truth, spread = 100 * table.truth, 100 * table.values.std(axis=1, ddof=1).mean()
    best = np.sort(truth)[::-1]
    shared = 100 * table.values.mean(axis=0).std(ddof=1)
    return (
        f"{len(truth)} configurations x {table.values.shape[1]} seeds; means from {best[-1]:.1f} to {best[0]:.1f} %, "
        f"the second best {best[0] - best[1]:.2f} and the tenth {best[0] - best[9]:.2f} points below; standard "
        f"deviation over seeds {spread:.2f} points, that of the seeds' own means {shared:.2f}."
    )


if __name__ == "__main__":
    main()
