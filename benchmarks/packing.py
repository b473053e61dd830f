"""Replica-steps per second: K replicas packed, one after the other, and in one process per core.

    python benchmarks/packing.py                 # CPU
    python benchmarks/packing.py --device gpu

Packed: one process trains K replicas together. Sequential: one process, one step of each of K packs of one replica in
turn. One process per core: as many processes as cores (``--processes``), each with packs of one replica. Every round
measures all of them, one after the other, so that whatever else the machine does falls on all; ratios are taken within
a round.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sections import circumstances, with_spread, write_section  # noqa: E402
from study.catalog import STUDIES  # noqa: E402
from study.ray_tune.resources import KEEP_MEMORY, SINGLE_THREAD  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "packing.md"
HEAD = "# Packed, sequential and one process per core\n\nWritten by `benchmarks/packing.py`; each section is one run."
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_tiny": ("lora_rank", {"method": "lora", "rank": 8}),
    "glyph_vit": ("hybrid_week6", {"method": "lora"}),
}
"""Model -> study whose embedded profile gives data and settings, and the configuration. bert_tiny: review_bert, which
has its shape."""
WARM_UP = 2


def main() -> None:
    options = parse()
    context = multiprocessing.get_context("spawn")
    os.environ.update(SINGLE_THREAD | (KEEP_MEMORY if options.device == "cpu" else {}))
    load = os.getloadavg()[0]
    for model in options.models.split(","):
        workers = []
        for _ in range(options.processes):
            ours, theirs = context.Pipe()
            context.Process(target=work, args=(theirs, model, options.device, options.batch), daemon=True).start()
            workers.append(ours)
        text = measure(workers, options)
        for worker in workers:
            worker.send(None)
        first = (
            f"{circumstances(options.device, 'torch')}; {options.processes} processes; {options.rounds} rounds of "
            f"{options.seconds:g} s; load average at the start {load:.1f}."
        )
        title = f"{options.device.upper()}: {model}, batch {options.batch}"
        print(f"{title}\n{text}")
        write_section(RESULTS, HEAD, title, f"{first}\n\n{text}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sizes", default="1,4,8,16", help="K, comma-separated")
    parser.add_argument("--batch", type=int, default=32, help="examples per replica and step")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of every measurement")
    return parser.parse_args()


def measure(workers: list[Any], options: argparse.Namespace) -> str:
    """Markdown table of replica-steps per second."""
    sizes = [int(size) for size in options.sizes.split(",")]
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for size in sizes:
            for mode, asked in (("packed", workers[:1]), ("sequential", workers[:1]), ("processes", workers)):
                for worker in asked:
                    worker.send((mode, size, options.seconds))
                rates.setdefault((mode, size), []).append(sum(worker.recv() for worker in asked))
    lines = [
        "| K | packed | sequential | one process per core | packed / sequential | packed / process per core |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sizes:
        packed, sequential, processes = (rates[mode, size] for mode in ("packed", "sequential", "processes"))
        medians = (f"{statistics.median(values):.1f}" for values in (packed, sequential, processes))
        ratios = (
            with_spread([a / b for a, b in zip(packed, other, strict=True)], 2) for other in (sequential, processes)
        )
        lines.append(f"| {size} | {' | '.join([*medians, *ratios])} |")
    return "\n".join(lines)


def work(pipe: Any, model: str, device: str, batch: int) -> None:
    """Answer (mode, K, seconds) with replica-steps per second, until None comes."""
    import torch

    from study.ray_tune.worker import prepare_device

    prepare_device(device)
    synchronise = torch.cuda.synchronize if device == "gpu" else lambda: None
    held: dict[tuple[str, int], list[Iterator[None]]] = {}
    while (asked := pipe.recv()) is not None:
        mode, size, seconds = asked
        packs = held.get((mode, size))
        if packs is None:
            single = mode != "packed"
            packs = [steps(model, batch, (seed,)) for seed in range(size)] if single else None
            packs = packs or [steps(model, batch, tuple(range(size)))]
            held[mode, size] = packs
            for pack in packs * WARM_UP:
                next(pack)
        done = 0
        synchronise()
        start = time.perf_counter()
        for pack in itertools.cycle(packs):
            next(pack)
            done += size // len(packs)
            if done % size == 0 and time.perf_counter() - start > seconds:
                break
        synchronise()
        pipe.send(done / (time.perf_counter() - start))


def steps(model: str, batch: int, seeds: tuple[int, ...]) -> Iterator[None]:
    """Training steps of a pack, without end."""
    from trainables.configs.names import nested

    name, fields = MODELS[model]
    study = STUDIES[name]
    profile = study.profiles["embedded"]
    settings = profile.settings | {f"data.{key}": value for key, value in profile.data.items()} | fields
    settings |= {"dataset": profile.dataset, "backbone": profile.backbone, "batch_size": batch}
    config = study.trainable.config.model_validate(nested(settings))
    pack = study.trainable.load().start(config, seeds)
    while True:
        yield from pack.training(0)


if __name__ == "__main__":
    main()
