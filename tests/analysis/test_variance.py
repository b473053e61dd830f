"""Components of variance against statsmodels and chi-square, coverage of the intervals, and what cannot be told."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from synthetic import make_run, seeded_finals

from analysis.records import read_run
from analysis.variance import RESIDUAL, Model, identifiable, split
from analysis.variance_of_runs import variance_sentence, variance_split, variance_table

CONFIGURATIONS, SEEDS, RERUNS = 6, 8, 2
GRID = np.meshgrid(range(CONFIGURATIONS), range(SEEDS), range(RERUNS), indexing="ij")
CONFIGURATION, SEED, _ = (axis.ravel() for axis in GRID)
FACTORS = {"configuration": CONFIGURATION, "seed": SEED, "both": CONFIGURATION * SEEDS + SEED}
TRUE = {"configuration": 4.0, "seed": 2.0, "both": 1.0, RESIDUAL: 0.5}


def simulated(rng, variances):
    effects = [np.sqrt(variances[name]) * rng.normal(size=codes.max() + 1)[codes] for name, codes in FACTORS.items()]
    return sum(effects) + np.sqrt(variances[RESIDUAL]) * rng.normal(size=SEED.size)


def test_components_are_those_of_a_mixed_model():
    values = simulated(np.random.default_rng(3), TRUE)
    found = split(values, FACTORS, np.random.default_rng(0))
    frame = pd.DataFrame({"y": values, "all": 1, **FACTORS})
    parts = {name: f"0 + C({name})" for name in FACTORS}
    model = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts).fit(reml=True)
    reference = dict(zip(model.model.exog_vc.names, model.vcomp, strict=True)) | {RESIDUAL: model.scale}
    for name, expected in reference.items():
        assert found[name].variance == pytest.approx(expected, rel=2e-3)
    assert sum(one.share for one in found.components) == pytest.approx(1)


def test_unbalanced_estimates_are_unbiased():
    rng = np.random.default_rng(1)
    kept = rng.random(SEED.size) < 0.7
    model = Model(identifiable({name: codes[kept] for name, codes in FACTORS.items()})[0])
    values = np.stack([simulated(rng, TRUE)[kept] for _ in range(4_000)], axis=1)
    found = np.linalg.solve(model.expected, model.forms(values)).mean(axis=1)
    # Before negative ones are set to 0.
    assert dict(zip(model.names, found, strict=True)) == pytest.approx(TRUE, rel=0.1)


def test_a_single_component_has_the_chi_square_interval():
    values = np.random.default_rng(0).normal(0, 2, 12)
    found = split(values, {}, np.random.default_rng(0))[RESIDUAL]
    expected = 11 * values.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 11)
    assert found.variance == pytest.approx(values.var(ddof=1))
    assert (found.low, found.high) == pytest.approx(expected, rel=0.12)


@pytest.mark.slow
def test_intervals_cover_the_true_components():
    rng, hits = np.random.default_rng(0), dict.fromkeys(TRUE, 0)
    for _ in range(200):
        found = split(simulated(rng, TRUE), FACTORS, rng)
        for name, true in TRUE.items():
            hits[name] += found[name].low <= true <= found[name].high
    assert all(0.90 <= count / 200 <= 0.99 for count in hits.values()), hits


def test_a_component_of_zero_stays_zero_with_a_finite_interval_from_zero():
    rng = np.random.default_rng(0)
    none = {**TRUE, "configuration": 0.0}
    found = [split(simulated(rng, none), FACTORS, rng)["configuration"] for _ in range(12)]
    assert min(one.variance for one in found) == 0.0
    assert sum(one.low == 0.0 for one in found) >= 9
    assert all(np.isfinite(one.high) and one.high >= one.variance for one in found)


def test_constant_values_have_no_variance():
    found = split(np.full(SEED.size, 0.3), FACTORS, np.random.default_rng(0))
    assert all((one.variance, one.low, one.high, one.share) == (0, 0, 0, None) for one in found.components)
    assert "no spread" in variance_sentence(found)


def test_what_cannot_be_told_apart_is_said():
    once = SEED.size // RERUNS
    grid = {name: codes[::RERUNS] for name, codes in FACTORS.items()} | {"machine": np.zeros(once)}
    found = split(
        np.random.default_rng(0).normal(size=once), {**grid, "version": grid["seed"] * 3}, np.random.default_rng(0)
    )
    assert "run again" in found.unidentified["both"]
    assert "only one" in found.unidentified["machine"]
    assert "together with seed" in found.unidentified["version"]


def test_a_run_without_reruns_does_not_name_a_rerun_component(tmp_path):
    run = read_run(make_run(tmp_path, seeded_finals({"a": 0.4, "b": 0.45, "c": 0.5}, 6)))
    found = variance_split([run], np.random.default_rng(0))
    assert [one.name for one in found.components] == [
        "hyperparameters", "seed", "seed within configuration, with rerun noise",
    ]  # fmt: skip
    assert found.unidentified["rerun"] == "no replica was run twice"
    assert "rerun noise cannot be told" in variance_sentence(found)
    assert "95 %" in variance_table(found).caption


def test_reruns_separate_rerun_noise_from_the_seed(tmp_path):
    finals = seeded_finals({"a": 0.4, "b": 0.45, "c": 0.5}, 6)
    rng = np.random.default_rng(0)
    again = {label: [value + rng.normal(0, 0.002) for value in values] for label, values in finals.items()}
    runs = [read_run(make_run(tmp_path / name, values)) for name, values in {"x": finals, "y": again}.items()]
    found = variance_split(runs, np.random.default_rng(0))
    assert [one.name for one in found.components][-2:] == ["seed within configuration", "rerun"]
    # Two runs that differ by noise of 0.002 scatter by 0.002 / sqrt(2) about their mean.
    assert found["rerun"].std == pytest.approx(0.002 / np.sqrt(2), rel=0.4)
    same = variance_split([runs[0], runs[0]], np.random.default_rng(0))
    assert same["rerun"].variance == pytest.approx(0, abs=1e-12)


def test_class_order_is_a_source_of_its_own_where_its_seed_varies(tmp_path):
    finals = seeded_finals({"order 1": 0.4, "order 2": 0.45, "order 3": 0.5}, 6)
    run = read_run(make_run(tmp_path, finals))
    orders = run.trials["configuration"].str[-1].astype(int)
    run.trials["param.class_order_seed"] = orders
    run.trials["param.lr_slow"] = 0.1
    found = variance_split([run], np.random.default_rng(0))
    assert "class order" in [one.name for one in found.components]
    assert found.unidentified["hyperparameters"] == "only one was run"


@pytest.mark.parametrize("finals", [{"a": [0.4, 0.5]}, {"a": [0.4]}])
def test_too_few_replicas_are_said(tmp_path, finals):
    found = variance_split([read_run(make_run(tmp_path, finals))], np.random.default_rng(0))
    assert found is None and "Fewer than three" in variance_sentence(found)


def test_one_configuration_has_one_component(tmp_path):
    run = read_run(make_run(tmp_path, {"a": [0.40, 0.42, 0.45, 0.41]}))
    found = variance_split([run], np.random.default_rng(0))
    assert [one.name for one in found.components] == ["seed, with rerun noise"]
    assert found.components[0].std == pytest.approx(np.std([0.40, 0.42, 0.45, 0.41], ddof=1))
