"""Time of one class-incremental run with expansion: SEMA as a study trains it, against the published procedure.

The published procedure is the tests' reference, executed plainly: every epoch of every phase runs through the whole
backbone, those of descriptors included, and test accuracy is watched after each of them. Both get the same
configuration (``variant=code``), backbone, images and seed, on one thread of the same machine; they draw the same
numbers and decide alike but for rounding. Every round runs both, one after the other, the first one changing; the ratio
is taken within a round. What ours does beyond (ablations, reference lines, checkpoints) is in its time; before the
clock starts pictures are decoded and the frozen backbone's features of the reference lines are cached.

    python benchmarks/sema.py                  # glyphs100 on glyph_vit: a section of benchmarks/results/sema.md
    python benchmarks/sema.py --dataset FOLDER --classes 1::2 --backbone FILE.safetensors
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1]),
    str(Path(__file__).resolve().parents[1] / "tests" / "support"),
]

from benchmarks.sections import circumstances, with_spread, write_section  # noqa: E402
from study.ray_tune.resources import KEEP_MEMORY, SINGLE_THREAD  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "sema.md"
HEAD = "# SEMA against the published procedure\n\nWritten by `benchmarks/sema.py`; each section is one run."


def main() -> None:
    options = parse()
    wanted = KEEP_MEMORY | SINGLE_THREAD
    if options.device == "cpu":
        wanted |= {"CUDA_VISIBLE_DEVICES": ""}
    if any(os.environ.get(name) != value for name, value in wanted.items()):  # read only at the start of a process
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    import torch

    assert options.device == "cpu" or torch.cuda.is_available(), "--device gpu: there is no GPU here"
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    config, now = configuration(options), time.process_time if options.clock == "process" else time.perf_counter
    sides = {"ours": lambda seed: ours(config, seed), "published": lambda seed: published(config, seed, options.device)}
    ours(config.model_copy(update={"epochs": 1, "rd_epoch": 1}), 0)  # decodes pictures, caches frozen features
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, list[Outcome]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = now()
            found[name].append(sides[name](number))  # ends with accuracies, so nothing is left running on a GPU
            seconds[name].append(now() - start)
            print(f"round {number}: {name}: {seconds[name][-1]:.1f} s, {found[name][-1]}", file=sys.stderr)
    what = f"{Path(options.dataset).name} on {Path(options.backbone).stem}"
    title = f"{options.device.upper()}: {what}, {len(found['ours'][0][1])} tasks, threshold {options.threshold:g}"
    text = report(options, seconds, found, load)
    print(text)
    write_section(options.out, HEAD, title, text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dataset", default="glyphs100")
    parser.add_argument("--classes", help="Python slice over label ids")
    parser.add_argument("--backbone", default="glyph_vit")
    parser.add_argument("--increment", type=int, default=10, help="classes per task")
    parser.add_argument("--train-per-class", type=int, default=25)
    parser.add_argument(
        "--test-per-class", type=int, default=5, help="a fifth of the training images, as CIFAR-100 has"
    )
    parser.add_argument("--epochs", type=int, default=5, help="of a functional phase; on CIFAR-100 as published: 5")
    parser.add_argument("--rd-epochs", type=int, default=20, help="of a descriptors' phase; as published: 20")
    parser.add_argument("--rd-dim", type=int, default=32)
    parser.add_argument(
        "--rd-views", type=int, default=4, help="augmented views that descriptors learn from; 0: always new"
    )
    parser.add_argument("--threshold", type=float, default=1.4)
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall", help="process: CPU time, on a busy CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def configuration(options: argparse.Namespace) -> Any:
    from trainables.configs import DataConfig, SemaConfig

    data = DataConfig(
        classes=options.classes, train_per_class=options.train_per_class, test_per_class=options.test_per_class,
        flip=False, crop_scale=(0.7, 1.0),
    )  # fmt: skip
    return SemaConfig(
        variant="code", dataset=options.dataset, backbone=options.backbone, data=data, init_cls=options.increment,
        increment=options.increment, epochs=options.epochs, rd_epoch=options.rd_epochs, rd_dim=options.rd_dim,
        rd_views=options.rd_views, exp_threshold=options.threshold, init_lr=0.02, rd_lr=0.02,
    )  # fmt: skip


Outcome = tuple[int, list[float]]  # expansions, and accuracy on all classes seen after every task


def ours(config: Any, seed: int) -> Outcome:
    from trainables.methods.sema import train
    from trainables.packs.checkpoint import Checkpoints

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(config, (seed,), lambda new: rows.extend(new[seed]), Checkpoints(Path(folder), {seed: "r"}))
    added = [row for row in rows if row["phase"] == "expansion" and row["name"].endswith("/added")]
    return len(added), [row["value"] for row in rows if row["phase"] == "eval" and row["name"] == "accuracy"]


def published(config: Any, seed: int, device: str) -> Outcome:
    from sema_reference import Reference

    trace = Reference(config, seed, watch=True, device="cuda" if device == "gpu" else "cpu").run()
    return len(trace.events), trace.accuracy


def report(
    options: argparse.Namespace, seconds: dict[str, list[float]], found: dict[str, list[Outcome]], load: float
) -> str:
    """Markdown text of a section."""
    lines = [
        f"{circumstances(options.device, 'torch', 'timm')}; 1 thread, {options.clock} time; {options.rounds} rounds, "
        f"a seed each; load average {load:.1f}. {options.increment} classes a task, {options.train_per_class} training "
        f"and {options.test_per_class} test images a class, {options.epochs} functional and {options.rd_epochs} "
        f"descriptor epochs, rd_views {options.rd_views}.",
        "",
        "| | run, s | expansions | final accuracy, % | average accuracy, % |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, outcomes in found.items():
        final, average = ([100 * of(own) for _, own in outcomes] for of in (lambda own: own[-1], statistics.mean))
        events = ", ".join(str(events) for events, _ in outcomes)
        lines.append(
            f"| {name} | {statistics.median(seconds[name]):.1f} | {events} | {statistics.mean(final):.1f} | "
            f"{statistics.mean(average):.1f} |"
        )
    ratios = [slow / fast for slow, fast in zip(seconds["published"], seconds["ours"], strict=True)]
    lines += ["", f"published / ours: {with_spread(ratios, 1)} (median of the rounds, 5 and 95 % quantiles)."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
