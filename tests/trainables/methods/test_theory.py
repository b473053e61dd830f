"""The linear theory as its user relies on it: known spectra and bounds, batches that change no number, convergence."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training import numbers, train_through, trained

from analysis.report import build_report
from study.cli import main
from trainables.configs import TheoryConfig
from trainables.data.teachers import draw_gram, draw_update, loss_optima, rank_r_residual
from trainables.methods.theory import SPECTRA, TheoryRun, count_parameters, train
from trainables.metrics.finals import gap_finals
from trainables.packs.checkpoint import Checkpoints, Row
from trainables.packs.seeding import generator

SMALL = {"d_in": 12, "d_out": 10, "ranks": (1, 3, 6), "teacher_rank": 3, "samples": 4096}


def config(**fields: object) -> TheoryConfig:
    return TheoryConfig(**(SMALL | {"epochs": 3, "steps_per_epoch": 7} | fields))


run = partial(trained, train)


def value(rows: list[Row], name: str, epoch: int) -> float:
    (found,) = [row["value"] for row in rows if (row["phase"], row["name"], row["epoch"]) == ("eval", name, epoch)]
    return found


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), rank=st.integers(0, 9), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_the_bound_is_the_error_of_the_truncated_svd(rows: int, columns: int, rank: int, seed: int) -> None:
    delta = np.random.default_rng(seed).normal(size=(2, rows, columns))
    if rank > min(rows, columns):
        with pytest.raises(ValueError, match=f"allowed: 0..{min(rows, columns)}"):
            rank_r_residual(torch.from_numpy(delta), rank)
        return
    left, singular, right = np.linalg.svd(delta, full_matrices=False)
    best = left[..., :rank] * singular[:, None, :rank] @ right[:, :rank]
    expected = ((delta - best) ** 2).sum((1, 2))
    np.testing.assert_allclose(rank_r_residual(torch.from_numpy(delta), rank), expected, rtol=1e-9, atol=1e-9)


def test_teachers_have_the_spectrum_they_claim() -> None:
    made = config(exponent=1.5)
    singular = {
        teacher: np.linalg.svd(draw_update(made, teacher, generator(3, "data", 1)).numpy(), compute_uv=False)
        for teacher in SPECTRA
    }
    for values in singular.values():
        assert (values**2).sum() == pytest.approx(made.d_out)
    law = np.arange(1, 11) ** -1.5
    np.testing.assert_allclose(singular["power_law"], law * math.sqrt(made.d_out / (law**2).sum()), rtol=1e-10)
    assert (singular["exact_rank"][:3] > 0.1).all() and (singular["exact_rank"][3:] < 1e-12).all()
    assert singular["gaussian"][-1] > 1e-4
    entries = draw_update(config(d_in=200, d_out=150, samples=300), "gaussian", generator(3, "data", 1))
    assert abs(float(entries.mean())) < 0.01
    assert float((entries / entries.std()).pow(4).mean()) == pytest.approx(3, abs=0.1)


def test_inputs_are_white() -> None:
    made = config(samples=20_000)  # more than one chunk
    gram = draw_gram(made, generator(0, "data", 0))
    assert torch.equal(gram, gram.mT)
    assert (gram - torch.eye(made.d_in)).abs().max() < 6 / math.sqrt(made.samples)


def test_bounds_of_a_run_are_those_of_numpy(tmp_path: Path) -> None:
    made = config()
    rows = run(made, (5,), tmp_path)[5]
    for index, teacher in enumerate(SPECTRA):
        update = draw_update(made, teacher, generator(5, "data", 1, index)).numpy()
        singular = np.linalg.svd(update, compute_uv=False)
        for rank in made.ranks:
            bound = value(rows, f"bound/{teacher}/r{rank}", 0)
            assert bound == pytest.approx((singular[rank:] ** 2).sum(), rel=1e-9, abs=1e-9)
            assert (bound == 0) == (teacher == "exact_rank" and rank >= 3)
            for epoch in range(made.epochs):
                error, gap = (value(rows, f"{name}/{teacher}/r{rank}", epoch) for name in ("error", "gap"))
                assert error >= bound - 1e-9  # no rank can do better
                assert gap == pytest.approx((error - bound) / (bound or made.d_out), rel=1e-9)


def test_the_optimum_of_the_loss_has_no_gradient_and_no_rival() -> None:
    made = config(samples=64)
    delta, gram = draw_update(made, "gaussian", generator(1, "data", 1)), draw_gram(made, generator(1, "data", 0))

    def loss(update: torch.Tensor) -> float:
        return float(torch.trace((delta - update) @ gram @ (delta - update).mT))

    best = loss_optima(delta, gram, (3,))[3]
    assert torch.linalg.matrix_rank(best) == 3
    left, singular, right = torch.linalg.svd(delta)
    assert loss(best) < loss(left[:, :3] * singular[:3] @ right[:3])
    u, s, v = torch.linalg.svd(best)
    for scale in (1e-3, 1e-2):
        for draw in range(10):
            noise = [torch.randn(size, 3, generator=torch.Generator().manual_seed(draw)) for size in (10, 12)]
            assert loss((u[:, :3] * s[:3] + scale * noise[0]) @ (v[:3] + scale * noise[1].mT)) > loss(best)


@pytest.mark.parametrize("scaling", ["proportional", "fixed"])
def test_gradients_are_those_of_the_squared_error(scaling: str) -> None:
    """Autograd on the inputs themselves, one model by one, against the batch over seeds and teachers."""
    made = config(scaling=scaling, c=0.7, lora_alpha=4.0, samples=100)
    started = TheoryRun(made, (0, 1))
    for rank in made.ranks:
        started.factors[rank][1].normal_(generator=torch.Generator().manual_seed(rank))
        started.backward(rank)
        for row, (seed, _) in enumerate(started.own):
            a, b, grad_a, grad_b = (tensor[row] for tensor in started.factors[rank])
            a, b = a.double().clone().requires_grad_(), b.double().clone().requires_grad_()
            inputs = torch.randn(100, made.d_in, generator=generator(seed, "data", 0)).double()
            error = inputs @ (started.updates[row] - made.scale(rank) * b @ a).mT
            (error.square().sum() / (2 * 100)).backward()
            torch.testing.assert_close(grad_a.double(), a.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(grad_b.double(), b.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_batched_equals_a_loop(optimizer: str) -> None:
    """Every rank, seed and teacher trained by itself with torch's optimizer ends where the batch ends."""
    made = config(optimizer=optimizer, epochs=2, steps_per_epoch=20)
    started = TheoryRun(made, (0, 4))
    first = {rank: [factor.clone() for factor in started.factors[rank][:2]] for rank in made.ranks}
    for epoch in range(made.epochs):
        train_through(started, epoch)
        started.measure(epoch)
    for rank in made.ranks:
        learned = started.learned(rank)
        for row in range(len(started.own)):
            a, b = (factor[row].clone().requires_grad_() for factor in first[rank])
            single = torch.optim.Adam([a, b]) if optimizer == "adam" else torch.optim.SGD([a, b], 1, 0.9, nesterov=True)
            for step in range(made.steps):
                single.param_groups[0]["lr"] = made.lr * (1 + math.cos(math.pi * step / made.steps)) / 2
                residual = started.updates[row].float() - made.scale(rank) * b @ a
                single.zero_grad()
                (torch.trace(residual @ started.gram[row] @ residual.mT) / 2).backward()
                single.step()
            expected = made.scale(rank) * (b @ a).detach().double()
            torch.testing.assert_close(learned[row], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "sgd"},
        {"scaling": "fixed", "ranks": (1, 2, 5)},
        {"teachers": ("power_law",)},
        {"teachers": ("exact_rank",), "ranks": (1,), "d_in": 64, "d_out": 64},
        {"d_in": 7, "d_out": 5, "ranks": (1, 4)},
    ],
    ids=["adam", "sgd", "fixed", "one teacher", "one matrix", "odd widths"],
)
def test_a_pack_and_a_cut_change_no_number(tmp_path: Path, fields: dict) -> None:
    made = config(**fields)
    packed = run(made, (0, 7, 3), tmp_path / "packed")
    alone = run(made, (7,), tmp_path / "alone")
    assert numbers(alone[7]) == numbers(packed[7])
    assert numbers(run(made, (3, 7), tmp_path / "other")[7]) == numbers(packed[7])
    assert numbers(packed[0]) != numbers(packed[3])
    with pytest.raises(KeyboardInterrupt):
        run(made, (7,), tmp_path / "cut", stop_after=1)  # the state of two epochs is there, the third is not
    assert Checkpoints(tmp_path / "cut", {7: "r-s7"}, "epoch").last_common((7,)) == 1
    assert numbers(run(made, (7,), tmp_path / "cut")[7]) == numbers(alone[7])
    last = [Checkpoints(tmp_path / which, {7: "r-s7"}, "epoch").load(7, 2).tensors for which in ("alone", "cut")]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


def test_numbers_depend_on_no_other_rank_or_teacher(tmp_path: Path) -> None:
    every = numbers(run(config(), (0,), tmp_path / "every")[0])
    some = numbers(run(config(ranks=(3,), teachers=("exact_rank", "power_law")), (0,), tmp_path / "some")[0])
    by_case = {row[:5]: row[5] for row in every}
    assert len(some) > 0
    for row in some:
        if row[4] in ("worst_gap", "mean_gap"):  # over all ranks and teachers
            continue
        assert by_case[row[:5]] == pytest.approx(row[5], rel=1e-3, abs=1e-5)


def test_a_replica_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    made = config()
    sound = TheoryRun(made, (0, 1))
    broken = TheoryRun(made, (0, 1))
    broken.factors[3][0][0, 0, 0] = math.inf
    for started in (sound, broken):
        for epoch in range(made.epochs):
            train_through(started, epoch)
            started.measure(epoch)
    assert broken.finite.tolist() == [False, True]
    assert [row["name"] for row in broken.rows[0] if row["phase"] == "boundary"] == ["diverged"]
    assert numbers(broken.rows[1]) == numbers(sound.rows[1])


def test_training_reaches_the_bound_for_every_rank_seed_and_teacher(tmp_path: Path) -> None:
    made = config(epochs=5, steps_per_epoch=100, samples=200_000)
    for rows in run(made, (0, 1), tmp_path).values():
        found = gap_finals(rows, made.epochs - 1)
        assert found["worst_gap"] < 0.01
        assert len(found) == 2 + len(made.ranks) * len(made.teachers)
        for teacher in made.teachers:
            for rank in made.ranks:
                floor = value(rows, f"gap_of_optimum/{teacher}/r{rank}", made.epochs - 1)
                assert floor >= -1e-9 and found[f"gap/{teacher}/r{rank}"] == pytest.approx(floor, abs=2e-3)
    assert gap_finals(rows, made.epochs) == {}


def test_counts_are_those_of_the_factors_and_the_frozen_weights() -> None:
    made = config()
    trainable, total = count_parameters(made, 0)
    started = TheoryRun(made, (0,))
    assert trainable == sum(factor[0].numel() for r in made.ranks for factor in started.factors[r][:2]) * 3
    assert trainable == 3 * (1 + 3 + 6) * (12 + 10) and total == trainable + 12 * 10


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["lora_theory", *words])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


BAD = {
    "rank 0": (["ranks=0"], "greater than or equal to 1"),
    "rank 0 of several": (["ranks=4,0"], "greater than or equal to 1"),
    "rank above width": (["ranks=1,65"], "ranks=65: above the width; allowed: 1..64"),
    "rank above a narrower output": (["d_out=16"], "ranks=32: above the width; allowed: 1..16"),
    "rank twice": (["ranks=2,2"], "every one once"),
    "no number": (["ranks=big"], "valid integer"),
    "spectrum": (["teachers=cauchy"], "'gaussian', 'power_law' or 'exact_rank'"),
    "teacher rank": (["k=65"], "teacher_rank=65: above the width; allowed: 1..64"),
    "few samples": (["samples=64"], "allowed: more than d_in=64"),
    "scaling": (["scaling=square"], "'proportional' or 'fixed'"),
    "factor": (["c=0"], "greater than 0"),
    "rate": (["lr=0"], "greater than 0"),
    "steps": (["epochs=0"], "greater than or equal to 1"),
    "images": (["data.classes=1::2"], "unknown key of trainable 'theory'"),
}


@pytest.mark.parametrize("given, hint", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_exit_code_2(given: list[str], hint: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "--profile", "embedded", *(word for pair in given for word in ("--set", pair)))
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and err.startswith("error: ") and hint in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["--dataset", "--backbone"])
def test_another_data_set_or_backbone_is_refused(option: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, option, "glyphs100")
    assert code == 2 and "Input should be" in err and len(err.strip().splitlines()) == 1


def test_dry_run_lists_both_scaling_rules(capsys) -> None:
    code, out, _ = call(capsys, "--profile", "embedded", "--device", "cpu", "--dry-run", "--json")
    trials = json.loads(out)
    assert code == 0
    assert {trial["params"]["scaling"] for trial in trials} == {"proportional", "fixed"}
    for trial in trials:
        assert len(trial["seeds"]) == 16
        assert trial["trainable_params"] == 3 * 63 * 128 and trial["total_params"] == 3 * 63 * 128 + 64 * 64
        assert trial["params"]["d_in"] == 64 and trial["params"]["ranks"] == [1, 2, 4, 8, 16, 32]


@pytest.mark.slow
def test_a_small_study_ends_in_a_report(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    small = ["d_in=12", "d_out=12", "ranks=1,3,6", "k=3", "epochs=4", "steps_per_epoch=150", "samples=20000"]
    words = [word for pair in small for word in ("--set", pair)]
    code, out, err = call(capsys, "--profile", "embedded", "--device", "cpu", "--seeds", "2", "--out", "run", *words)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 160
    report = build_report(tmp_path / "run")
    tables = {table.name: table for table in report.tables}
    assert {"configurations", "bound_met", "gaps", "way"} <= set(tables)
    assert len(tables["gaps"].rows) == 9 and len(tables["way"].rows) == 2
    assert all(path.is_file() for path in report.pictures) and len(report.pictures) >= 3
    assert report.answer[0].startswith("All 36 cases")
