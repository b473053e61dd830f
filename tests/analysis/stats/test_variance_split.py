"""Components of variance against a mixed model and chi-square, what data cannot tell, and wrong statements."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from analysis.stats import variance_split
from benchmarks.error_rates import SEEDS, component_covered, frame_of, wrongly_larger

GRID = np.meshgrid(range(6), range(8), range(2), indexing="ij")
FRAME = pd.DataFrame(dict(zip(("configuration", "seed", "rerun"), (axis.ravel() for axis in GRID), strict=True)))
FACTORS = ["configuration", "seed", ("configuration", "seed")]
TRUE = [4.0, 2.0, 1.0, 0.5]


def simulated(seed=0, variances=TRUE):
    rng = np.random.default_rng(seed)
    codes = [FRAME["configuration"], FRAME["seed"], 8 * FRAME["configuration"] + FRAME["seed"], FRAME.index]
    parts = [
        np.sqrt(v) * rng.normal(size=own.max() + 1)[own.to_numpy()] for v, own in zip(variances, codes, strict=True)
    ]
    return FRAME.assign(value=sum(parts))


def test_components_are_those_of_a_mixed_model():
    frame = simulated(3)
    found = variance_split(frame, "value", FACTORS)
    assert found["factor"].tolist() == ["configuration", "seed", "configuration x seed", "residual"]
    assert found["levels"].tolist() == [6, 8, 48, 96] and found["share"].sum() == pytest.approx(1)
    parts = {"a": "0 + C(configuration)", "b": "0 + C(seed)", "c": "0 + C(configuration):C(seed)"}
    model = smf.mixedlm("value ~ 1", frame.assign(all=1), groups="all", vc_formula=parts).fit(reml=True)
    assert found["variance"].tolist() == pytest.approx([*model.vcomp, model.scale], rel=5e-3)


def test_unbalanced_estimates_are_close_to_the_truth_on_average():
    rng, found = np.random.default_rng(0), []
    for seed in range(30):
        frame = simulated(seed)[rng.random(96) < 0.7]
        found.append(variance_split(frame, "value", ["configuration", "seed"])["variance"])
    assert np.mean(found, axis=0)[:2] == pytest.approx(TRUE[:2], rel=0.4)


def test_the_residual_alone_has_the_chi_square_interval():
    values = np.random.default_rng(0).normal(0, 2, 12)
    frame = pd.DataFrame({"value": values, "machine": "one"})
    found = variance_split(frame, "value", ["machine"]).set_index("factor")
    assert found.loc["machine", "unknown"] == "constant" and np.isnan(found.loc["machine", "variance"])
    ends = 11 * values.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 11)
    assert found.loc["residual", "variance"] == pytest.approx(values.var(ddof=1))
    assert found.loc["residual", ["low", "high"]].tolist() == pytest.approx(ends, rel=0.12)


def test_a_clearly_larger_component_is_above():
    found = variance_split(simulated(0, [100.0, 0.1, 0.1, 0.5]), "value", FACTORS).set_index("factor")
    assert set(found.loc["configuration", "above"]) == {"seed", "configuration x seed", "residual"}
    assert found.loc["seed", "above"] == ()
    assert (found["low"] <= found["variance"]).all() and (found["variance"] <= found["high"]).all()


def test_constant_values_have_no_variance():
    found = variance_split(FRAME.assign(value=0.3), "value", FACTORS)
    assert (found[["variance", "low", "high"]] == 0).all(axis=None) and found["share"].isna().all()
    assert all(own == () for own in found["above"])


def test_what_the_data_cannot_tell_is_said():
    frame = simulated()[::2].assign(version=lambda rows: rows["seed"] * 3, lab=lambda rows: rows["seed"] % 2)
    factors = [*FACTORS, "version", "lab", "rerun"]
    found = variance_split(frame, "value", factors).set_index("factor")["unknown"]
    assert found.to_dict() == {
        "configuration": "", "seed": "", "configuration x seed": "never repeated", "version": "as seed", "lab": "",
        "rerun": "constant", "residual": "",
    }  # fmt: skip
    rows = pd.DataFrame({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "c": [0, 1, 1, 0], "value": [1.0, 2, 4, 3]})
    assert variance_split(rows, "value", ["a", "b", "c"])["unknown"].tolist() == ["", "", "confounded", ""]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_split(simulated(), "value", []), "1 factor needed"),
        (lambda: variance_split(simulated()[:2], "value", ["seed"]), "at least 3 rows"),
        (lambda: variance_split(simulated(), "value", ["code"]), "no column 'code'"),
        (lambda: variance_split(FRAME.assign(value=np.nan), "value", ["seed"]), "not finite"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_equal_components_are_not_called_larger():
    assert wrongly_larger("normal", 5, np.random.default_rng(0), 60) <= 0.13  # 0.05 and three standard errors


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
def test_components_are_covered_and_compared_as_often_as_is_said(n):
    assert component_covered("normal", n, np.random.default_rng(0), 150) >= 0.90
    assert wrongly_larger("normal", n, np.random.default_rng(0), 300) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_levels_of_any_kind_are_levels():
    values = np.random.default_rng(0).normal(size=(4, 3))
    numbered = frame_of(values)
    named = numbered.assign(configuration=numbered["configuration"].map({0: "x", 1: None, 2: "z"}))
    first, second = (variance_split(one, "value", ["configuration", "seed"]) for one in (numbered, named))
    pd.testing.assert_frame_equal(first, second)
