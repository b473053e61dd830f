"""Throughput of the linear theory: all ranks, seeds and teachers in one batch against the same training in a loop.

Both train the same models (ranks x seeds x teachers of the embedded study) from the same factors, in Gram form, with
the same gradients in closed form and torch's fused Adam, one thread; the loop takes one model after the other. Every
round times a block of steps of both, the order changing from round to round, and the ratio is taken within a round.
Before the clock starts, both take a few steps and must agree.

    python benchmarks/theory_batching.py                  # appends a row to benchmarks/results/theory_batching.md
    python benchmarks/theory_batching.py --clock process  # CPU time, for a CPU that has other work to do
"""

import argparse
import math
import os
import statistics
import sys
import time
from datetime import date
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.ray_tune.resources import KEEP_MEMORY, SINGLE_THREAD  # noqa: E402
from study.records.provenance import hardware  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "theory_batching.md"
HEADER = """# Linear theory: one batch against a loop over rank, seed and teacher

Written by `benchmarks/theory_batching.py`, one row per run. A model is one rank, seed and teacher; step: of all
models. Ratios are taken within a round; in brackets the 5 % and 95 % quantiles over the rounds.

| date | machine | models | rounds x steps | batch, ms/step | loop, ms/step | loop / batch |
|---|---|---:|---:|---:|---:|---:|
"""
AGREEMENT_STEPS = 5


def main() -> None:
    options = parse()
    wanted = KEEP_MEMORY | SINGLE_THREAD
    if any(os.environ.get(name) != value for name, value in wanted.items()):  # read only at the start of a process
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # both sides on the CPU, whatever there is
    import torch

    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    batch, loop, models = build(options)
    now = time.process_time if options.clock == "process" else time.perf_counter
    seconds: dict[str, list[float]] = {"batch": [], "loop": []}
    sides = {"batch": batch, "loop": loop}
    for number in range(options.rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = now()
            sides[name](options.steps)
            seconds[name].append((now() - start) / options.steps)
    ratios = sorted(slow / fast for slow, fast in zip(seconds["loop"], seconds["batch"], strict=True))
    low, high = (ratios[round(share * (len(ratios) - 1))] for share in (0.05, 0.95))
    machine = f"{hardware()['cpu']}, {hardware()['cores']} cores, torch {metadata.version('torch')}"
    row = (
        f"| {date.today().isoformat()} | {machine}, 1 thread, {options.clock} time, load {load:.1f} | {models} | "
        f"{options.rounds} x {options.steps} | {1e3 * statistics.median(seconds['batch']):.2f} | "
        f"{1e3 * statistics.median(seconds['loop']):.2f} | {statistics.median(ratios):.1f} [{low:.1f}, {high:.1f}] |\n"
    )
    if not options.out.exists():
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(HEADER)
    with options.out.open("a") as file:
        file.write(row)
    print(row)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="of every model, in a round")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def build(options: argparse.Namespace):
    """The two sides, each a function of a number of steps, and how many models they train."""
    import torch

    from trainables.configs import TheoryConfig
    from trainables.methods.theory import TheoryRun

    config = TheoryConfig()
    run = TheoryRun(config, range(options.seeds))
    models = [
        Model(config, rank, *(factor[row] for factor in run.factors[rank][:2]), run.gram[row], run.target[row])
        for rank in config.ranks
        for row in range(len(run.own))
    ]

    def batch(steps: int) -> None:
        for step in range(steps):
            run.step(step)

    def loop(steps: int) -> None:
        for model in models:
            for step in range(steps):
                model.step(step)

    batch(AGREEMENT_STEPS)
    loop(AGREEMENT_STEPS)
    learned = {rank: run.learned(rank).float() for rank in config.ranks}
    for number, model in enumerate(models):
        expected = learned[model.rank][number % len(run.own)]
        torch.testing.assert_close(model.learned(), expected, rtol=1e-3, atol=1e-3)
    return batch, loop, len(models)


class Model:
    """One rank, seed and teacher by itself, in two-dimensional products; starts from copies of ``a`` and ``b``."""

    def __init__(self, config, rank: int, a, b, gram, target) -> None:
        import torch

        self.config, self.rank, self.scale, self.gram, self.target = config, rank, config.scale(rank), gram, target
        flat = torch.cat([a.flatten(), b.flatten()])
        flat.grad = torch.zeros_like(flat)
        self.a, self.b = flat[: a.numel()].view_as(a), flat[a.numel() :].view_as(b)
        self.grad_a, self.grad_b = flat.grad[: a.numel()].view_as(a), flat.grad[a.numel() :].view_as(b)
        self.optimizer = torch.optim.Adam([flat], config.lr, fused=True)

    def step(self, step: int) -> None:
        import torch

        residual = torch.addmm(self.target, self.b, self.a @ self.gram, beta=-self.scale, alpha=self.scale**2)
        torch.mm(self.b.mT, residual, out=self.grad_a)
        torch.mm(residual, self.a.mT, out=self.grad_b)
        rate = self.config.lr * (1 + math.cos(math.pi * step / self.config.steps)) / 2
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    def learned(self):
        return self.scale * self.b @ self.a


if __name__ == "__main__":
    main()
