"""Studies of fine-tuning methods: final metrics in closed form, honest sentences, and runs in every state."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic import METHODS, WEEK6_SETTING, make_tuning_run, seeded_finals

from analysis.differences import differences
from analysis.ranking import floor_effects, floor_groups, order_probability, rankings
from analysis.records import read_run
from analysis.report import build_report
from analysis.tuning_curves import interference, learning_rates
from analysis.tuning_plots import accuracy_by_parameters, accuracy_by_step_time
from analysis.tuning_sentences import floor_sentences, ranking_sentence, schedule_sentences
from analysis.tuning_tables import calibration_table, efficiency_table, epochs_table, floor_table, methods_table

MEANS = {"head": 0.80, "norm": 0.86, "lora": 0.87, "parallel": 0.85, "deep_lora": 0.88}
PARAMS = {"method": "lora", "eta_min": 0.0, "epochs": 3, "freeze_lora_steps": 0}


def rows(top1, *more):
    given = [{"phase": "eval", "epoch": epoch, "name": "top1", "value": value} for epoch, value in enumerate(top1)]
    return given + [dict(zip(("phase", "epoch", "name", "value"), one, strict=True)) for one in more]


def column(table, heading):
    return [row[table.columns.index(heading)] for row in table.text_rows()]


def orders(run, metric="final_top1"):
    return rankings(run, [metric], np.random.default_rng(3))


def test_packed_replicas_are_compared_by_their_share_of_a_step_but_not_with_single_runs(tmp_path):
    run = read_run(make_tuning_run(tmp_path, {"norm": [0.86], "lora": [0.87]}, pack=4, **WEEK6_SETTING))
    assert column(methods_table(run), "step time (s)") == ["–", "0.2190", "–", "0.4510"]
    assert column(efficiency_table(run), "step time / LoRA") == [f"{0.22 / 0.45:.2f}", "–"]
    picture = accuracy_by_step_time(run)
    assert picture.data["source"].unique().tolist() == ["measured"]
    assert picture.axes[0].get_xlabel().startswith("a replica's share of a training step")
    assert picture.data["x"].tolist() == pytest.approx([0.22 / 4, 0.45 / 4])


def test_the_ece_of_batches_stands_beside_that_of_the_whole_test_set(tmp_path):
    directory = make_tuning_run(tmp_path, {"norm": [0.86, 0.88], "lora": [0.87, 0.88]})
    table = calibration_table(read_run(directory))
    assert column(table, "final ECE") == ["0.075 ± 0.002", "0.075 ± 0.002"]
    assert column(table, "final batch ECE") == ["0.105 ± 0.002", "0.105 ± 0.002"]
    assert column(table, "batch minus whole") == ["0.030 ± 0.000", "0.030 ± 0.000"]
    run = read_run(directory)
    assert calibration_table(replace(run, trials=run.trials.drop(columns="metric.final_ece_batch"))) is None


def test_methods_table_has_the_reported_run_below_its_configuration(tmp_path):
    table = methods_table(read_run(make_tuning_run(tmp_path, {"norm": [0.86, 0.88], "deep_lora": [0.9, 0.9]})))
    assert column(table, "configuration") == [
        "norm", "norm — reported (1 run)", "deep_lora", "deep_lora — reported (1 run)",
    ]  # fmt: skip
    assert column(table, "policy") == ["–", "–", "deep_lora", "deep_lora"]
    assert column(table, "trainable params") == ["57,700", "57,700", "247,396", "247,396"]
    assert column(table, "step time (s)") == ["0.2210 ± 0.0014", "0.2190", "0.3010 ± 0.0014", "–"]
    assert column(table, "best top-1 (%)") == ["88.00 ± 1.41", "89.41", "91.00 ± 0.00", "90.10"]
    assert column(table, "final top-1 (%)") == ["87.00 ± 1.41", "–", "90.00 ± 0.00", "–"]
    # The notes' code averaged the ECE of test batches.
    assert column(table, "ECE near best") == ["0.065 ± 0.002", "–", "0.066 ± 0.001", "–"]
    assert column(table, "batch ECE near best") == ["0.095 ± 0.002", "0.076", "0.096 ± 0.001", "0.076"]
    assert "optimistic" in table.caption and "final" in table.caption and "seeds/002" in table.caption
    assert "not the same experiment as the measured rows: data set and backbone differ" in table.caption


def test_a_reported_value_without_an_epoch_stands_under_final(tmp_path):
    reported = [{"configuration": "norm", "label": "1 epoch", "metrics": {"top1": 0.827, "ece": 0.18}}]
    run = read_run(make_tuning_run(tmp_path, {"norm": [0.86, 0.88]}, reported=reported, **WEEK6_SETTING))
    table = methods_table(run)
    assert column(table, "configuration")[1] == "norm 1 epoch — reported (1 run)"
    shown = ("best top-1 (%)", "final top-1 (%)", "batch ECE near best", "final ECE", "final batch ECE")
    assert [column(table, name)[1] for name in shown] == ["–", "82.70", "–", "–", "0.180"]
    assert "without word of its epoch" in table.caption
    assert "lack one of the two values" in accuracy_by_parameters(run).axes[0].get_title(loc="left").replace("\n", " ")


def test_the_csv_has_full_precision(tmp_path):
    run = make_tuning_run(tmp_path, {"norm": [0.86, 0.88]})
    build_report(run)
    with open(run / "report" / "tables" / "methods.csv") as file:
        first, second = csv.DictReader(file)
    assert (first["trainable params"], float(first["best top-1 (%) mean"])) == ("57700", pytest.approx(88.0))
    assert float(first["step time (s) std"]) == pytest.approx(np.std([0.220, 0.222], ddof=1))
    assert second["final top-1 (%) mean"] == ""


def test_reported_markers_only_with_the_same_data_set_and_backbone(tmp_path):
    finals = {"norm": [0.86, 0.88], "lora": [0.87, 0.88]}
    other = accuracy_by_parameters(read_run(make_tuning_run(tmp_path / "other", finals)))
    same = accuracy_by_parameters(read_run(make_tuning_run(tmp_path / "same", finals, **WEEK6_SETTING)))
    names = [[text.get_text().replace("\n", " ") for text in one.legends[0].get_texts()] for one in (other, same)]
    assert names[0] == ["norm (n=2)", "lora (n=2)"]
    assert names[1] == ["norm (n=2)", "norm, reported (1 run)", "lora (n=2)", "lora, reported (1 run)"]
    titles = [one.axes[0].get_title(loc="left").replace("\n", " ") for one in (other, same)]
    assert "reported numbers left out" in titles[0] and "hollow: reported" in titles[1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.9, 0.8, 0.9], [0.7, 0.6, 0.7], [0.5, 0.5, 0.4]], 1.0),
        ([[0.5, 0.5, 0.4], [0.9, 0.8, 0.9]], 0.0),
        ([[0.9, 0.8, 0.9], [0.9, 0.8, 0.9]], 0.0),  # equal is no order
        ([[0.9, 0.8], [0.5, 0.5], [0.7, 0.7]], 0.0),  # one wrong pair is enough
    ],
)
def test_bootstrap_probability_of_a_clear_order(values, expected):
    assert order_probability(values, np.random.default_rng(0), 500) == expected


def test_bootstrap_probability_closed_form_for_two_seeds():
    # The gaps are +3 and -1: of the four samples of two seeds only that with twice the second seed reverses the order.
    assert order_probability([[3, 0], [0, 1]], np.random.default_rng(0)) == pytest.approx(3 / 4, abs=0.02)
    again = [order_probability([[3, 0], [0, 1]], np.random.default_rng(5), 100) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("values", [[[0.5], [0.4]], [[0.5, 0.6]], [0.5, 0.6]])
def test_bootstrap_needs_two_of_each(values):
    with pytest.raises(ValueError, match="at least 2 configurations and 2 seeds"):
        order_probability(values, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("means", "seeds", "verdict", "text"),
    [
        (MEANS, 5, "holds", "it holds with 5 common seeds (87"),
        (MEANS | {"deep_lora": 0.84}, 5, "does not hold", "it does not hold with 5 common seeds"),
        (MEANS, 4, "cannot be told", "it cannot be told with 4 common seeds (the means are in that order: "),
        (MEANS | {"deep_lora": 0.84}, 3, "does not hold", "it does not hold with 3 common seeds"),
        (MEANS | {"deep_lora": 0.84}, 1, "cannot be told", "1 common seed (the means are not in that order: "),
    ],
)
@pytest.mark.slow
def test_does_the_order_hold(tmp_path, means, seeds, verdict, text):
    (found,) = orders(read_run(make_tuning_run(tmp_path, seeded_finals(means, seeds, 0.002))))
    assert (found.labels, found.n, found.verdict) == (("deep_lora", "lora", "norm"), seeds, verdict)
    sentence = ranking_sentence([found])
    assert sentence.startswith("The order deep_lora > lora > norm: by final top-1 it ") and text in sentence
    assert (found.probability is None) == ("bootstrap" not in sentence) == (seeds == 1)


def test_an_order_under_unlike_floors_says_so(tmp_path):
    finals = seeded_finals({"norm": 0.86, "lora": 0.87, "deep_lora 1e-05": 0.88}, 5, 0.002)
    (found,) = orders(read_run(make_tuning_run(tmp_path, finals)))
    assert (found.labels, found.unlike) == (("deep_lora 1e-05", "lora", "norm"), ("eta_min",))
    assert "do not share their schedule (eta_min)" in ranking_sentence([found])


def test_pairs_with_and_without_a_floor_are_ranked_apart_and_compared(tmp_path):
    plain = seeded_finals({"norm": 0.86, "lora": 0.87, "deep_lora": 0.88}, 3, 0.002)
    gains = {"norm": 0.0, "lora": 0.001, "deep_lora": 0.01}
    raised = {f"{label} 1e-05": [value + gains[label] for value in values] for label, values in plain.items()}
    run = read_run(make_tuning_run(tmp_path, plain | raised))
    assert [one.context for one in orders(run)] == ["eta_min 0", "eta_min 1e-05"]
    assert not any(one.unlike for one in orders(run))
    assert floor_groups(run) == [[label, f"{label} 1e-05"] for label in plain]
    effects = floor_effects(run, "final_top1")
    assert [one.mean for one in effects] == pytest.approx(list(gains.values()))
    assert column(floor_table(run, {"final_top1": effects}), "told apart") == ["no", "yes", "yes"]
    (sentence,) = floor_sentences(run, effects)
    assert (
        "A floor of 1e-05 under the learning rate changes final top-1 of hybrid_layerwise by +1.00 points" in sentence
    )
    assert (
        "of norm by +0.00 points (95 % interval +0.00 to +0.00, 3 common seeds, cannot be told from none)" in sentence
    )


def test_the_deep_policy_stands_for_the_layerwise_hybrid(tmp_path):
    finals = seeded_finals({"deep_lora": 0.86, "lora": 0.87}, 5)
    METHODS_BUT_ONE = dict(METHODS)
    try:
        METHODS["shallow_lora"] = METHODS["deep_lora"]
        directory = make_tuning_run(tmp_path, {"shallow_lora": finals["lora"], **finals})
    finally:
        METHODS.clear()
        METHODS.update(METHODS_BUT_ONE)
    run = read_run(directory)
    run.trials.loc[run.trials["configuration"] == "shallow_lora", "param.policy"] = "shallow_lora"
    assert [one.labels for one in orders(run)] == [("deep_lora", "lora")]


def test_efficiency_is_measured_from_the_head_alone(tmp_path):
    run = read_run(make_tuning_run(tmp_path, {"head": [0.80, 0.81], "norm": [0.86, 0.87], "lora": [0.87, 0.88]}))
    table = efficiency_table(run)
    assert table is not None
    assert column(table, "points above head") == ["–", "6.00 ± 0.00", "7.00 ± 0.00"]
    assert column(table, "points per 100k params")[1] == f"{6 / 0.192:.2f} ± 0.00"
    per_time = [6 / 2.20, 6 / 2.22]
    assert column(table, "points per 100 ms of step")[1] == f"{np.mean(per_time):.2f} ± {np.std(per_time, ddof=1):.2f}"
    assert column(table, "params / LoRA") == ["0.061", "0.092", "1.000"]
    assert column(table, "step time / LoRA")[2] == "–"
    without = efficiency_table(read_run(make_tuning_run(tmp_path / "2", {"norm": [0.8], "lora": [0.9]})))
    assert without is not None and "points above head" not in without.columns and "No head-only" in without.caption
    assert efficiency_table(read_run(make_tuning_run(tmp_path / "3", {"norm": [0.8]}))) is None


def test_best_and_last_epoch(tmp_path):
    unfinished = {("norm", 1): ("diverged", 2), ("lora", 0): ("interrupted", 0), ("lora", 1): ("failed", 1)}
    finals = {"norm": [0.86, 0.87, 0.88], "lora": [0.8, 0.9, 0.88], "head": [0.5]}
    table = epochs_table(read_run(make_tuning_run(tmp_path, finals, unfinished=unfinished)))
    assert column(table, "final top-1 (%)") == ["87.00 ± 1.41", "88.00", "50.00"]
    assert column(table, "best epoch") == ["3", "3", "3"]
    assert column(table, "best minus final")[0] == "1.00 ± 0.00"


def test_differences_take_the_metric_that_is_asked_for(tmp_path):
    run = read_run(make_tuning_run(tmp_path, seeded_finals(MEANS, 3)))
    assert [one.configuration for one in differences(run, "step_time_s")] == list(MEANS)[1:]
    assert differences(run, "step_time_s")[0].mean == pytest.approx(0.07)
    assert differences(run) == []


@pytest.mark.parametrize("moves", [False, True])
def test_warm_up_and_floor_are_checked_on_the_records(tmp_path, moves):
    run = read_run(make_tuning_run(tmp_path, {"norm 1e-05": [0.86], "deep_lora 1e-05": [0.88, 0.89]}, moves=moves))
    frozen, floor = schedule_sentences(run)
    assert floor == "The learning rate never fell below eta_min, in 3 replicas with a floor."
    assert frozen == (
        "Warm-up: the LoRA weights moved although they were to be frozen, in deep_lora 1e-05 seed 0 and "
        "deep_lora 1e-05 seed 1."
        if moves
        else "Warm-up: the norm of the LoRA weights did not change while they were frozen, in 2 replicas."
    )


def test_a_rate_under_the_floor_is_named(tmp_path):
    run = read_run(make_tuning_run(tmp_path, {"norm 1e-05": [0.86], "lora 1e-05": [0.88]}))
    run.trials.loc[run.trials["configuration"] == "norm 1e-05", "param.eta_min"] = 2e-5
    assert schedule_sentences(run) == ["The learning rate fell below eta_min (1e-05) in norm 1e-05."]


def test_learning_rates_show_floor_and_frozen_steps(tmp_path):
    figure = learning_rates(read_run(make_tuning_run(tmp_path, {"deep_lora 1e-05": [0.88, 0.89]})))
    upper, lower = figure.axes
    assert [1e-5, 1e-5] in [list(line.get_ydata()) for line in upper.lines]
    for axes in (upper, lower):
        (band,) = axes.patches
        assert (band.get_x(), band.get_width()) == (0, 20)
    norm = lower.lines[0].get_ydata()
    assert len(set(norm[:20])) == 1 and norm[20] > norm[0]


def test_report_writes_what_it_returns(tmp_path):
    finals = {label: MEANS[label] for label in ("norm", "lora", "deep_lora")}
    run = make_tuning_run(tmp_path, seeded_finals(finals, 3))
    report = build_report(run)
    assert [path.name for path in report.pictures] == [
        "accuracy_by_parameters.png", "accuracy_by_step_time.png", "learning_rates.png", "calibration.png",
        "interference.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in report.pictures)
    page = report.markdown.read_text()
    assert all(text in page for text in (*report.answer, *report.sentences, "(calibration.png)"))
    names = ["methods", "ranking", "efficiency", "epochs", "batch_ece", "differences"]
    assert [table.name for table in report.tables] == names
    assert interference(read_run(make_tuning_run(tmp_path / "norm", {"norm": [0.8]}))) is None


BOTH = {"norm": [0.84, 0.86], "lora 1e-05": [0.80, 0.81]}
ALL = [(label, seed) for label in BOTH for seed in (0, 1)]
SPARSE = ["tasks", "seeds", "reported", "reported_source", "provenance", "question", "dataset", "configurations"]


@pytest.mark.parametrize(
    ("finals", "unfinished", "dropped", "answer"),
    [
        (BOTH, dict.fromkeys(ALL, ("diverged", 2)), [], "No seed of any configuration has finished (all 4 seeds div"),
        (BOTH, dict.fromkeys(ALL, ("interrupted", 0)), [], "No seed of any configuration has finished"),
        (BOTH, dict.fromkeys(ALL, ("finished", 2)), [], "All 4 seeds finished, but without a complete evaluation"),
        (BOTH, dict.fromkeys(ALL[:2], ("failed", 1)), [], "No seed of norm has finished"),
        (BOTH, {ALL[0]: ("failed", 1), ALL[3]: ("failed", 1)}, [], "No configuration shares a finished seed"),
        ({"norm": [0.84]}, {}, [], "Only norm was run"),
        ({}, {}, [], "No seed of any configuration has finished (no seed was started)"),
        (
            BOTH | {"deep_lora 1e-05": [0.82, 0.83]},
            {},
            SPARSE,
            "By final top-1 the order deep_lora 1e-05 > lora 1e-05 > norm cannot be told with 2 common seeds (82.5 /",
        ),
    ],
)
@pytest.mark.slow
def test_unfinished_and_sparse_runs_get_an_honest_line(tmp_path, finals, unfinished, dropped, answer):
    run = make_tuning_run(tmp_path, finals, unfinished=unfinished)
    written = json.loads((run / "study.json").read_text())
    (run / "study.json").write_text(json.dumps({key: written[key] for key in written if key not in dropped}))
    report = build_report(run)
    assert report.answer[0].startswith(answer) and len(report.answer) == 3
    assert not re.search(r"\bnan\b", report.markdown.read_text(), re.IGNORECASE)


def test_a_configuration_that_never_started_and_columns_that_are_missing(tmp_path):
    run = make_tuning_run(tmp_path, {"norm": [0.84, 0.85]})
    written = json.loads((run / "study.json").read_text())
    written["configurations"]["full"] = {"method": "full", "data": {"flip": True}}
    (run / "study.json").write_text(json.dumps(written))
    report = build_report(run)
    instability = next(section for section in report.sections if section.title == "Instability")
    assert "Without a final value: full (no seed was started)." in instability.sentences
    assert report.answer[-1] == "2 of 2 replicas finished, no final top-1 of full."
