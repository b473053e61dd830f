"""What would settle an undecided difference, and whether it does."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.looks import spend
from analysis.stats.next_seeds import next_seeds

COLUMNS = ["configuration", "baseline", "n", "std", "low", "high", "different"]
COUNTS = {"base": 5, "a": 5, "b": 5}
SECONDS = {"base": 10.0, "a": 20.0, "b": 30.0}


def table(*rows: tuple[str, int, float, float, float, bool]) -> pd.DataFrame:
    return pd.DataFrame([(label, "base", *rest) for label, *rest in rows], columns=COLUMNS)


def test_only_what_is_undecided_and_its_baseline_get_seeds() -> None:
    found = next_seeds(
        table(("a", 5, 1.0, -0.5, 2.0, False), ("b", 5, 1.0, 0.5, 2.0, True)), 1.5, COUNTS, SECONDS, 1, at_once=2
    )
    assert found is not None and found.configurations == ("base", "a") and found.beyond == ()
    assert 5 < found.seeds < 30 and found.seconds == pytest.approx(found.seeds * 30 / 2)


def test_a_baseline_that_has_the_seeds_already_gets_none() -> None:
    undecided = table(("a", 13, 1.0, 0.5, 2.0, True), ("b", 5, 0.5, -0.5, 2.0, False))
    found = next_seeds(undecided, 1.5, {"base": 40, "a": 13, "b": 5}, SECONDS, 2)
    assert found is not None and found.configurations == ("b",)


def test_nothing_is_proposed_where_nothing_is_undecided_or_too_much_is_needed() -> None:
    within = table(("a", 5, 0.1, -0.2, 0.2, False))
    assert next_seeds(within, 1.0, COUNTS, SECONDS, 1) is None
    assert next_seeds(within.assign(low=-2.0, same=True), 1.0, COUNTS, SECONDS, 1) is None
    hopeless = table(("a", 5, 9.0, -9.0, 9.0, False), ("b", 5, 0.5, -0.5, 2.0, False))
    assert next_seeds(hopeless[:1], 1.0, COUNTS, SECONDS, 1) is None
    found = next_seeds(hopeless, 1.0, COUNTS, SECONDS, 1)
    assert found is not None and found.configurations == ("base", "b") and found.beyond == ("a",)
    with pytest.raises(ValueError, match="> 0"):
        next_seeds(hopeless, 0.0, COUNTS, SECONDS, 1)


def test_a_later_look_needs_more_and_so_do_more_comparisons() -> None:
    one = table(("a", 5, 1.0, -0.5, 2.0, False))
    seeds = [found.seeds for look in (1, 2, 3) if (found := next_seeds(one, 1.5, COUNTS, SECONDS, look))]
    assert seeds == sorted(set(seeds)) and len(seeds) == 3
    both = next_seeds(table(*[(label, 5, 1.0, -0.5, 2.0, False) for label in "ab"]), 1.5, COUNTS, SECONDS, 1)
    assert both is not None and both.seeds > seeds[0]


@pytest.mark.parametrize(("n", "std"), [(1, float("nan")), (2, 0.3)])
def test_without_a_spread_five_seeds_are_proposed(n: int, std: float) -> None:
    found = next_seeds(table(("a", n, std, np.nan, np.nan, False)), 1.0, dict.fromkeys(COUNTS, n), SECONDS, 1)
    assert found is not None and found.seeds == 5 - n


def test_equal_gaps_need_as_many_seeds_as_signs_need() -> None:
    found = next_seeds(table(("a", 5, 0.0, np.nan, np.nan, False)), 1.0, COUNTS, SECONDS, 1)
    assert found is not None and 2.0 ** (1 - 5 - found.seeds) <= spend(0.05, 2) < 2.0 ** (2 - 5 - found.seeds)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_proposed_seeds_settle_it(n: int) -> None:
    """Whole story: seeds, a look, the proposal, the seeds added to the same ones, the next look."""
    rng = np.random.default_rng(n)
    level, margin = spend(0.05, 2), 1.2
    found = {"different": [], "same": []}
    for truth, verdict in ((margin, "different"), (0.0, "same")):
        for _ in range(600):
            gaps = rng.normal(truth, 1.0, n)
            asked = next_seeds(
                table(("a", n, gaps.std(ddof=1), -9.0, 9.0, False)), margin, dict.fromkeys(COUNTS, n), SECONDS, 1
            )
            if asked is None:
                continue
            gaps = np.append(gaps, rng.normal(truth, 1.0, asked.seeds))
            total, spread = len(gaps), gaps.std(ddof=1) / len(gaps) ** 0.5
            if verdict == "different":
                reach = stats.t.isf(level / 2, total - 1) * spread
                found[verdict].append(abs(gaps.mean()) > reach)
            else:
                reach = stats.t.isf(level, total - 1) * spread
                found[verdict].append(abs(gaps.mean()) + reach < margin)
    assert min(np.mean(found["different"]), np.mean(found["same"])) > 0.78, found
