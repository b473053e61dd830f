"""What a study of fine-tuning methods says, in sentences: order, floor, stability, and whether the schedule held."""

from collections.abc import Sequence

import pandas as pd

from analysis.captions import count
from analysis.differences import FEWEST_SEEDS, PairedDifference
from analysis.headline import outcome
from analysis.ranking import Ranking
from analysis.records import Run
from analysis.sentences import MOST_NAMED, any_final, comparison_sentences, joined
from analysis.series import REPLICA, configurations
from analysis.tuning_series import by_step, groups, method, parameters
from analysis.tuning_tables import METRIC_NAMES

FINAL = "final_top1"


def tuning_answer(
    run: Run, found: Sequence[PairedDifference], orders: Sequence[Ranking], floors: Sequence[PairedDifference]
) -> list[str]:
    """The order of the methods, the effect of the floor, what differs from the first configuration, what became of all.

    Args:
        orders: the claimed orders, by each metric.
        floors: the effects of the floor on final top-1.
    """
    compared = comparison_sentences(run, found, FINAL)
    if not any_final(run, FINAL):
        return compared
    alike = dict.fromkeys((one.labels, one.context) for one in orders)
    ranked = [ranking_sentence([one for one in orders if (one.labels, one.context) == key]) for key in alike]
    return [*ranked, *floor_sentences(run, floors), *compared, outcome(run, FINAL)]


def ranking_sentence(orders: Sequence[Ranking]) -> str:
    """Whether one order of configurations holds, by each of the metrics that judged it.

    Args:
        orders: the same labels in the same context, one entry per metric, at least one.
    """
    first = orders[0]
    where = f" ({first.context})" if first.context else ""
    clauses = []
    for one in orders:
        means = " / ".join(f"{100 * mean:.2f}" for mean in one.means)
        clause = f"by {METRIC_NAMES.get(one.metric, one.metric)} it {one.verdict} with {count(one.n, 'common seed')}"
        if one.verdict == "cannot be told":
            clause += f" (the means are {'' if one.holds_in_means else 'not '}in that order: {means} %"
        else:
            clause += f" ({means} %"
        if one.probability is not None:
            clause += f"; the order holds in {100 * one.probability:.0f} % of the bootstrap samples"
        clauses.append(clause + ")")
    text = f"The order {' > '.join(first.labels)}{where}: {'; '.join(clauses)}."
    if first.unlike:
        text += f" These do not share their schedule ({', '.join(first.unlike)}), so the order is not of methods alone."
    return text


def floor_sentences(run: Run, floors: Sequence[PairedDifference]) -> list[str]:
    """What a floor under the learning rate changes in final top-1, largest effect first; none without pairs."""
    if not floors:
        return []
    clauses = []
    for one in sorted(floors, key=lambda one: -abs(one.mean))[:MOST_NAMED]:
        details = []
        if one.low is not None and one.high is not None:
            # Two decimals: these effects are small.
            details.append(f"95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f}")
        details.append(count(one.n, "common seed"))
        if one.n < FEWEST_SEEDS:
            details.append("cannot be told from none with so few")
        elif not one.told_apart:
            details.append("cannot be told from none")
        elif not one.survives_correction:
            details.append(f"not significant once corrected for {count(len(floors), 'pair')}")
        name = method(run, one.configuration)
        name = one.configuration if sum(method(run, other.configuration) == name for other in floors) > 1 else name
        clauses.append(f"of {name} by {100 * one.mean:+.2f} points ({', '.join(details)})")
    values = {parameters(run, one.configuration).get("eta_min", 0.0) for one in floors}
    floor = f"of {values.pop():g} " if len(values) == 1 else ""
    return [f"A floor {floor}under the learning rate changes final top-1 {joined(clauses, len(floors))}."]


def schedule_sentences(run: Run) -> list[str]:
    """Whether the records show what the schedule promised: LoRA frozen at first, and no rate under its floor."""
    return [sentence for sentence in (_warm_up(run), _floor_kept(run)) if sentence]


def freeze_steps(run: Run, configuration: str) -> int:
    """Steps at the start in which LoRA gets no update; 0 where it was not recorded."""
    return int(parameters(run, configuration).get("freeze_lora_steps") or 0)


def _warm_up(run: Run) -> str:
    norms = by_step(run, "weight_norm/lora")
    if norms.empty:
        return ""
    until = norms["configuration"].map({label: freeze_steps(run, label) for label in configurations(run)})
    # The value of step n-1 is the last that holds in whichever order a step and its row come.
    during = norms[norms["step"] < until].groupby(["configuration", *REPLICA], sort=False)["value"]
    # Bit-equal weights have bit-equal norms, so this is no place for a tolerance.
    distinct = during.nunique()[during.size() > 1]
    kept = int((distinct == 1).sum())
    moved = [f"{label} seed {seed}" for label, _, seed in distinct.index[distinct > 1]]
    if not kept and not moved:
        return ""
    if moved:
        named = joined(moved[:MOST_NAMED], len(moved))
        return f"Warm-up: the LoRA weights moved although they were to be frozen, in {named}."
    return f"Warm-up: the norm of the LoRA weights did not change while they were frozen, in {count(kept, 'replica')}."


def _floor_kept(run: Run) -> str:
    curves = [by_step(run, f"lr/{group}").assign(group=group) for group in groups(run, "train", "lr")]
    if not curves:
        return ""
    rates = pd.concat(curves, ignore_index=True)
    floor = rates["configuration"].map(
        {label: float(parameters(run, label).get("eta_min") or 0) for label in configurations(run)}
    )
    frozen = rates["configuration"].map({label: freeze_steps(run, label) for label in configurations(run)})
    # A frozen group may be recorded with rate 0; that is the warm-up, not the floor. Rates that are matched as they go
    # may fall below it.
    parity = rates["configuration"].map(
        {label: parameters(run, label).get("lr_parity") in (None, False, "off") for label in configurations(run)}
    )
    asked = (floor > 0) & parity & ~((rates["group"] == "lora") & (rates["step"] < frozen))
    under = rates[asked & (rates["value"] < floor * (1 - 1e-6))]
    if not under.empty:
        labels = list(dict.fromkeys(under["configuration"]))
        lowest = under["value"].min()
        return f"The learning rate fell below eta_min ({lowest:.2g}) in {joined(labels[:MOST_NAMED], len(labels))}."
    checked = len(rates[asked].drop_duplicates(REPLICA))
    return (
        f"The learning rate never fell below eta_min, in {count(checked, 'replica')} with a floor." if checked else ""
    )
