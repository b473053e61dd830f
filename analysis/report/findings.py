"""What a run shows by its study's objective: computed once, read by the headline, the sections and the kinds."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis import stats
from analysis.io.metrics import MetricInfo
from analysis.io.records import Run
from analysis.io.values import REFERENCES, configurations, counts, objective, outcomes, references
from analysis.report.tables import Estimate
from analysis.stats.looks import looks_of, over_looks, seeds_by_look, spend

LEVEL = 0.05
FEWEST_SEEDS = 3
OF_ALL_CLASSES = ("final_accuracy", "final_val_accuracy", "final_top1", "final_val_top1", "best_top1", "best_val_top1")
"""Metrics that the reference lines are values of: accuracies on all classes at the end."""
FLOORS = ("frozen", "majority", "chance")
"""References that training has to leave; the first that was measured is the one that seeds can collapse below."""
BETTER, WORSE, SAME, UNDECIDED = "better", "worse", "same", "undecided"
Test = Callable[[pd.DataFrame, float], pd.DataFrame]
"""Rows of replicas and a level -> a table as ``stats.paired`` returns it."""


@dataclass(frozen=True)
class Findings:
    """Values are in the unit that is shown: per cent of fractions, differences in points.

    Attributes:
        run: all of it.
        metric: the study's objective.
        margin: differences below it do not matter; None where nobody said, which takes all words of sameness away.
        chosen_baseline: the configuration that others are compared with; None for the study's first.
    """

    run: Run
    metric: MetricInfo
    margin: float | None = None
    chosen_baseline: str | None = None

    @cached_property
    def level(self) -> float:
        """Significance level that this look at the run may spend."""
        return spend(LEVEL, looks_of(self.run.study))

    @cached_property
    def labels(self) -> list[str]:
        """Configurations in the order of the study."""
        return configurations(self.run)

    @property
    def baseline(self) -> str:
        return self.chosen_baseline or next(iter(self.labels), "")

    @cached_property
    def digits(self) -> int:
        """Decimals of a shown value."""
        return self.metric.digits(self.seeds["value"].abs().max() if len(self.seeds) else 0.0)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """``outcomes``, values in the unit that is shown, in the order of the study."""
        return self.outcomes(self.metric)

    def outcomes(self, about: MetricInfo) -> pd.DataFrame:
        """``outcomes`` of a metric, values in the unit that is shown."""
        found = outcomes(self.run, about.name)
        return found.assign(value=found["value"] * about.scale)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Replicas by how they ended."""
        return counts(self.run)

    @property
    def lost(self) -> int:
        """Replicas that diverged or failed and count with the worst value."""
        return int(self.seeds["lost"].sum())

    @cached_property
    def means(self) -> pd.DataFrame:
        """Columns configuration, n, estimate, low, high, in the order of the study; only what has a value."""
        if self.seeds.empty:
            return pd.DataFrame(columns=["configuration", "n", "estimate", "low", "high"])
        confidence = 1 - (LEVEL if looks_of(self.run.study) == 1 else self.level)
        return stats.mean_interval(self.seeds, "value", by="configuration", confidence=confidence)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """``stats.paired`` of every other configuration and the baseline, with a verdict each; empty without two."""
        present = set(self.seeds["configuration"])
        if self.baseline not in present or len(present) < 2:
            return pd.DataFrame(columns=["configuration", "n", "difference", "low", "high", "verdict"])
        found = self.tested(lambda seeds, level: stats.paired(seeds, "value", baseline=self.baseline, level=level))
        found["verdict"] = verdicts(found, self.metric.maximise)
        if (margin := self.margin) is not None:
            same = self.tested(
                lambda seeds, level: stats.equivalence(seeds, "value", margin, baseline=self.baseline, level=level)
            )
            equal = set(same.loc[same["same"], "configuration"])
            found.loc[found["configuration"].isin(equal) & (found["verdict"] == UNDECIDED), "verdict"] = SAME
        return found

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """``stats.contrasts`` that the study declares, with group and verdict (raises | lowers | undecided)."""
        present = set(self.seeds["configuration"])
        declared = [one for one in self.run.study.get("contrasts") or () if {*one["plus"], *one["minus"]} <= present]
        if not declared:
            return pd.DataFrame(columns=["contrast", "n", "difference", "low", "high", "different", "verdict", "group"])
        weights = {str(place): Counter(one["plus"]) for place, one in enumerate(declared)}
        for own, one in zip(weights.values(), declared, strict=True):
            own.subtract(one["minus"])
        found = self.tested(lambda seeds, level: stats.contrasts(seeds, "value", weights, level=level))
        found["verdict"] = verdicts(found, True, ("raises", "lowers"))
        found["group"] = [str(one.get("group") or "") for one in declared]
        names = pd.Series([str(one["name"]) for one in declared])
        found["contrast"] = np.where(names.duplicated(keep=False), found["group"] + ": " + names, names)
        return found

    @cached_property
    def references(self) -> pd.DataFrame:
        """Reference values of the replicas, in the unit that is shown."""
        found = references(self.run) if self.metric.name in OF_ALL_CLASSES else references(self.run).iloc[:0]
        return found.assign(value=found["value"] * self.metric.scale)

    @cached_property
    def reference_means(self) -> dict[str, float]:
        """Name as people read it -> mean over the replicas; of those that were measured, worst first."""
        means = self.references.groupby("name")["value"].mean()
        return {text: float(means[name]) for name, text in REFERENCES.items() if name in means.index}

    @cached_property
    def collapses(self) -> pd.DataFrame:
        """``stats.collapse`` below what training has to leave, such as the frozen backbone; empty without any."""
        known = set(self.references["name"])
        name = next((one for one in FLOORS if one in known), None)
        if name is None:
            return pd.DataFrame(columns=["configuration", "n", "collapsed", "rate", "low", "high"])
        floor = self.references[self.references["name"] == name].groupby(["configuration", "seed"])["value"].mean()
        table = self.seeds.join(floor.rename("floor"), on=["configuration", "seed"])
        table = table[table["lost"] | table["floor"].notna()]
        # A lost seed has reached no reference of its own: it is below any.
        below = table["value"] + (1 if self.metric.maximise else -1) * ((self.margin or 0.0) + 1.0)
        table["floor"] = table["floor"].mask(table["lost"], below)
        found = stats.collapse(table, "value", floor="floor", margin=self.margin or 0.0, maximize=self.metric.maximise)
        return found.assign(floor=REFERENCES[name])

    @cached_property
    def stuck(self) -> dict[str, str]:
        """Configuration -> chance or majority class, where none of its finished seeds leaves it by the margin."""
        found: dict[str, str] = {}
        best = self.seeds[~self.seeds["lost"]].groupby("configuration")["value"].max()
        for name in ("chance", "majority"):
            level = self.references[self.references["name"] == name].groupby("configuration")["value"].max()
            near = best - level.reindex(best.index) <= (self.margin or 0.0)
            found |= {label: REFERENCES[name] for label in best.index[near]}
        return found

    def estimate(self, label: str) -> float:
        """Mean of a configuration; NaN without a value."""
        return float(self.means.set_index("configuration")["estimate"].get(label, np.nan))

    def cell(self, row: object, value: str = "estimate") -> Estimate:
        """An estimate or difference of a row of any of these tables, as it is shown."""
        return Estimate.of(row, value, self.digits)

    def gap(self, row: object) -> str:
        """The difference of a row with its unit and interval, within a sentence."""
        return self.cell(row, "difference").said(self.metric.difference_unit)

    def tested(self, test: Test, share: float = 1.0, seeds: pd.DataFrame | None = None) -> pd.DataFrame:
        """A test of ``seeds``, those of the objective where None, at a share of the level, over all looks."""
        rows, study = self.seeds if seeds is None else seeds, self.run.study
        if looks_of(study) == 1:
            return test(rows, share * self.level)
        return over_looks(rows, seeds_by_look(study), test, share * LEVEL)

    def pairs(
        self, pairs: Sequence[tuple[str, str]], share: float = 1.0, seeds: pd.DataFrame | None = None,
        by: str = "configuration", maximise: bool | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """``stats.contrasts`` of first minus second of each pair, tested together; with verdicts of the first one."""
        weights = {str(number): {one: 1.0, another: -1.0} for number, (one, another) in enumerate(pairs)}
        found = self.tested(
            lambda rows, level: stats.contrasts(rows, "value", weights, by=by, level=level), share, seeds
        )
        found["verdict"] = verdicts(found, self.metric.maximise if maximise is None else maximise)
        return found


def verdicts(table: pd.DataFrame, maximise: bool, words: tuple[str, str] = (BETTER, WORSE)) -> np.ndarray:
    """A word for each tested difference: the first where it is for the better, the second, or undecided."""
    better = (table["difference"] > 0) == maximise
    return np.where(table["different"], np.where(better, *words), UNDECIDED)


def largest_first(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by the size of their difference."""
    return table.sort_values("difference", key=lambda one: -one.abs(), kind="stable")


def findings(run: Run, margin: float | None = None, baseline: str | None = None) -> Findings:
    """What a run shows.

    Args:
        margin: in points of a fraction, else in the unit of the metric; 1 point where it is None.
        baseline: a configuration; the study's first where it is None.
    """
    metric = objective(run)
    return Findings(run, metric, margin if margin is not None else 1.0 if metric.fraction else None, baseline)
