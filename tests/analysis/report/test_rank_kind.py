"""Studies of LoRA's rank: what is said of saturation, harm, alpha and claimed orders, and how often wrongly."""

import numpy as np
import pandas as pd
import pytest
from synthetic import seeded_finals
from synthetic_rank import STEPS, make_rank_run, parameters_of

from analysis.io.metrics import metric_info
from analysis.io.records import Run, read_run
from analysis.report import build_report
from analysis.report.findings import findings
from analysis.report.kinds.claims import claims_section, claims_sentence, orders
from analysis.report.kinds.rank import RANK, comparisons, learning_section, rank_section, rules, saturation
from analysis.report.phrases import fits
from trainables.metrics.finals import RANK as METRICS

RANKS = (1, 2, 4, 8, 16, 32)
RISING = {"head": 0.70, "r=1": 0.75, "r=2": 0.77, "r=4": 0.785, "r=8": 0.80, "r=16": 0.80, "r=32": 0.801, "full": 0.83}
CLAIMS = [
    {"order": ["r=8", "r=1"], "metric": "", "source": "notes"},
    {"order": ["full", "r=8", "head"], "metric": "", "source": "notes"},
]
FLAT = {f"r={rank}": 0.80 for rank in RANKS}
SATURATING = dict(zip(FLAT, (0.70, 0.74, 0.77, 0.80, 0.80, 0.80), strict=True))


def measured(finals, **study):
    """Findings of finals by label and seed, without a folder."""
    configurations = {label: parameters_of(label) for label in finals}
    rows = [
        {"trial_id": label, "configuration": label, "seed": seed, "status": "finished", "metric.final_top1": value}
        for label, values in finals.items()
        for seed, value in enumerate(values)
    ]
    about = {"final_top1": METRICS["final_top1"].__dict__, "final_nll": METRICS["final_nll"].__dict__}
    description = {"objective": {"metric": "final_top1", "direction": "maximize"}, "metrics": about}
    metrics = pd.DataFrame(columns=["trial_id", "seed", "phase", "task", "epoch", "step", "name", "value"])
    run = Run(None, description | {"configurations": configurations} | study, pd.DataFrame(rows), metrics)
    return findings(run)


def finals(means, seeds=5, spread=0.002, draw=0):
    rng = np.random.default_rng(draw)
    return {label: mean + rng.normal(0, spread, seeds) for label, mean in means.items()}


def said(found):
    sentences = [sentence for claim in RANK.claims if (sentence := claim(found))]
    assert all(fits(sentence) and sentence.endswith(".") for sentence in sentences), sentences
    return sentences


def test_rules_are_ordered_by_rank_whatever_the_labels_are():
    found = measured({"r=16": [0.8], "head": [0.7], "r=2 fixed": [0.7], "r=2": [0.7], "full": [0.9]})
    assert [(rule.name, rule.labels, rule.alphas) for rule in rules(found)] == [
        ("alpha=2r", {2: "r=2", 16: "r=16"}, {2: 4.0, 16: 32.0}), ("alpha=16", {2: "r=2 fixed"}, {2: 16.0}),
    ]  # fmt: skip


def test_it_saturates_where_the_ranks_above_are_the_same_and_the_one_below_is_worse():
    found = measured(finals(SATURATING))
    assert said(found) == [
        "Final top-1 saturates at r=8: from there on every rank is within 1 point of the best; r=4 is worse."
    ]
    table = saturation(found, rules(found)[0])
    assert table["rank"].tolist() == list(RANKS) and table["within"].tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("means", "seeds", "spread", "expected"),
    [
        (FLAT, 5, 0.002, "Every rank from r=1 to r=32 is within 1 point of the best."),
        (SATURATING, 5, 0.015, "Undecided: from which rank on final top-1 is within 1 point of the best (more th"),
        (SATURATING | {"r=32": 0.83}, 5, 0.002, "still rises at r=32: r=32 is within 1 point of the best; r=16 is w"),
        (SATURATING | {"r=32": 0.76}, 5, 0.002, "More rank does harm: r=32 differs from r=16 by -4"),
        ({"r=1": 0.792, "r=2": 0.8, "r=4": 0.8}, 5, 0.004, "From r=2 on every rank is within 1 point of the best; r=1"),
        (FLAT, 2, 0.002, None),
        ({"r=4": 0.8, "head": 0.7}, 5, 0.002, None),
    ],
)  # fmt: skip
def test_what_is_said_of_the_rank(means, seeds, spread, expected):
    sentences = said(measured(finals(means, seeds, spread, draw=0 if spread < 0.01 else 1)))
    assert (expected in " ".join(sentences)) if expected else not sentences


def test_harm_within_the_margin_is_none():
    assert "harm" not in " ".join(said(measured(finals(FLAT | {"r=32": 0.797}, 8, 0.0005))))


def test_less_can_be_better_and_without_a_margin_nothing_saturates():
    nll = {"objective": {"metric": "final_top1", "direction": "minimize"}}
    assert "More rank does harm: r=32 differs from r=1 by +9.9 points" in " ".join(
        said(measured(finals(SATURATING), **nll))
    )
    found = measured(finals(SATURATING), metrics={"final_top1": {"direction": "maximize"}})
    assert found.margin is None and said(found) == []
    harm = measured(finals(SATURATING | {"r=32": 0.76}), metrics={"final_top1": {"direction": "maximize"}})
    assert said(harm)[0].startswith("More rank does harm: r=32 differs from r=16 by -0.04")


def test_a_fixed_alpha_is_compared_where_it_differs():
    means = SATURATING | {f"{label} fixed": value for label, value in SATURATING.items()}
    found = measured(finals(means | {"r=16 fixed": 0.77, "r=32 fixed": 0.74}, spread=0.003))
    table = comparisons(found).query("other != ''").set_index("rank")
    assert table.index.tolist() == [1, 2, 4, 16, 32]  # at r=8 both rules are the same factor
    assert table["verdict"].to_dict() == {1: "undecided", 2: "undecided", 4: "undecided", 16: "worse", 32: "worse"}
    first, *others = said(found)
    assert first.startswith("At 2 of 5 ranks alpha=16 differs from alpha=2r: r=32 by -5.9 points")
    assert [sentence[: sentence.index(":")] for sentence in others] == [
        "Final top-1 with alpha=2r saturates at r=8", "More rank does harm with alpha=16",
    ]  # fmt: skip
    equal = measured(finals(means))
    assert said(equal)[0] == "At none of 5 ranks is alpha=16 shown to differ from alpha=2r."


def test_random_weights_are_said_first():
    found = measured(finals(FLAT))
    found.run.study["configurations"]["r=1"]["pretrained"] = False
    assert said(found)[0].startswith("Warning: the encoder starts from random weights")


@pytest.mark.parametrize(
    ("means", "spread", "verdicts", "sentence"),
    [
        (RISING, 0.002, ["holds", "holds"], "Both orders that the notes claim hold."),
        (RISING | {"full": 0.78}, 0.002, ["holds", "is contradicted"],
         "Of 2 orders that the notes claim, 1 holds and 1 is contradicted."),
        (RISING, 0.05, ["undecided", "undecided"], "Both orders that the notes claim are undecided."),
    ],
)  # fmt: skip
def test_claimed_orders(means, spread, verdicts, sentence):
    found = measured(finals(means, 5, spread), claims=CLAIMS)
    assert [order.verdict for order in orders(found)] == verdicts
    assert claims_sentence(found) == sentence
    section = claims_section(found)
    assert [row[0] for row in section.tables[0].rows] == ["r=8 over r=1", "full over r=8", "r=8 over head"]
    assert len(section.sentences) == 2 and len(section.charts[0].behind) == 3


def test_a_single_order_is_said_step_by_step():
    found = measured(finals(RISING | {"full": 0.78}), claims=CLAIMS[1:])
    assert claims_sentence(found).startswith("The order full > r=8 > head of the notes is contradicted: r=8 is 2.")
    noisy = measured(finals(RISING, 5, 0.025, draw=1), claims=CLAIMS[1:])
    assert claims_sentence(noisy) == "The order full > r=8 > head of the notes is undecided: 1 of 2 steps is shown."
    assert claims_sentence(measured(finals(FLAT))) == "" and claims_section(measured(finals(FLAT))) is None


def test_orders_of_what_was_run_and_by_another_metric():
    claims = [
        {"order": ["full", "r=8", "r=1"], "metric": "final_nll", "source": "notes"},
        {"order": ["r=64", "r=1"]},  # only one of them was run
    ]
    found = measured({label: values for label, values in finals(RISING).items() if label != "full"}, claims=claims)
    found.run.trials["metric.final_nll"] = 1 - found.run.trials["metric.final_top1"]
    (order,) = orders(found)
    assert order.labels == ("r=8", "r=1") and order.verdict == "holds"
    assert order.metric == metric_info(found.run.study["metrics"], "final_nll")
    assert claims_sentence(found) == "The order r=8 > r=1 of the notes holds by final NLL (5 shared seeds)."


def test_the_sections_show_every_rank_rule_and_reference(tmp_path):
    run = make_rank_run(tmp_path, seeded_finals(RISING | {"r=1 fixed": 0.6, "r=32 fixed": 0.61}, 5, 0.002))
    found = findings(read_run(run))
    section = rank_section(found)
    behind = section.charts[0].behind
    assert behind["series"].tolist() == ["alpha=2r"] * 6 + ["alpha=16"] * 2
    assert behind["x"].tolist() == [*RANKS, 1, 32]
    drawn = [row for rows in section.charts[0].spec["datasets"].values() for row in rows]
    assert {row["reference"] for row in drawn if "reference" in row} == {"head alone", "full fine-tuning"}
    assert [table.name for table in section.tables] == ["saturation", "ranks"]
    assert [row[0] for row in section.tables[1].rows][-3:] == [
        "largest rank against r=1, alpha=16", "alpha=16 against alpha=2r at r=1", "alpha=16 against alpha=2r at r=32",
    ]  # fmt: skip
    curve = learning_section(found).charts[0].behind.query("configuration == 'r=1'")
    assert curve["at"].tolist() == [0, STEPS // 2, STEPS, STEPS + STEPS // 2, 2 * STEPS]
    assert curve["value"].iloc[0] == pytest.approx(50) and curve["value"].iloc[-1] == pytest.approx(
        found.estimate("r=1")
    )


def test_what_the_first_look_at_an_extended_run_decided_stays_decided():
    """Two thirds of the seeds show harm, three more seeds are so noisy that all together would not."""
    values = {label: np.append(own, [0.8, 0.8, 0.8]) for label, own in finals(FLAT, 6, 0.0005).items()}
    values["r=32"] = np.append(values["r=32"][:6] - 0.05, np.array([0.8, 0.8, 0.8]) + [0.35, -0.35, -0.15])
    looks = {"looks": [dict.fromkeys(values, 6), dict.fromkeys(values, 9)],
             "trials": [{"configuration": label, "seeds": list(range(9))} for label in values]}  # fmt: skip
    claims = [{"order": ["r=16", "r=32"]}]
    alone, extended = measured(values, claims=claims), measured(values, claims=claims, **looks)
    assert set(comparisons(alone)["verdict"]) == {"undecided"} and orders(alone)[0].verdict == "undecided"
    assert set(comparisons(extended)["verdict"]) == {"worse"} and orders(extended)[0].verdict == "holds"
    assert extended.level < alone.level
    (rule,) = rules(extended)
    assert saturation(extended, rule)["n"].tolist() == [9] * 6


@pytest.mark.parametrize(
    ("given", "unfinished"),
    [
        ({"r=1": [0.5], "r=2": [0.6]}, {("r=1", 0): ("failed", 0), ("r=2", 0): ("diverged", 1)}),
        ({"head": [0.5, 0.6], "full": [0.6, 0.7]}, {}),
        ({"r=4": [0.5, 0.6, 0.7]}, {}),
        ({"r=1": [0.5, 0.5], "r=2": [0.6, 0.6]}, {("r=1", 0): ("failed", 0), ("r=2", 1): ("interrupted", 0)}),
        ({"r=1": [0.5] * 3, "r=2": [0.5] * 3, "r=2 fixed": [0.5] * 3}, {}),
    ],
)
def test_a_report_in_every_state(tmp_path, given, unfinished):
    report = build_report(make_rank_run(tmp_path, given, unfinished=unfinished, claims=CLAIMS))
    assert report.answer and all(map(fits, report.answer))


def wrong(sentences, right):
    """Whether any sentence is false where the smallest right rank of saturation is ``right`` and no rank or rule does
    harm."""
    for sentence in sentences:
        named = next((int(word.strip(":")[2:]) for word in sentence.split() if word.startswith("r=")), None)
        if "harm" in sentence or "differs" in sentence or "contradicted" in sentence:
            return True
        if sentence.startswith("Both orders") and " hold." in sentence or right == 1 and " holds" in sentence:
            return True
        if ("saturates" in sentence or "is within" in sentence) and named is not None and named < right:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize(("means", "right"), [(FLAT, 1), (SATURATING, 8)])
def test_at_most_one_study_in_twenty_says_something_wrong(means, right, seeds, monkeypatch):
    """Both rules for alpha are equal in law, and the claimed order is that of the truth or of equals."""
    monkeypatch.setattr("analysis.stats.seeds_needed", lambda *given, **settings: 10)  # takes half of the time
    rng, drawn = np.random.default_rng(seeds), 50
    both = means | {f"{label} fixed": mean for label, mean in means.items()}
    claims = [{"order": ["r=32", "r=8"]}, {"order": ["r=8", "r=4"]}]
    false = 0
    for _ in range(drawn):
        shared = rng.normal(0, 0.01, seeds)
        values = {label: mean + shared + rng.normal(0, 0.004, seeds) for label, mean in both.items()}
        false += wrong(said(measured(values, claims=claims)), right)
    assert false <= 6  # of 50 at 5 % more than 6 come in 1 of 80
