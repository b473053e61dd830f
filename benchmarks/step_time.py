"""Time of a training step of every hybrid method and of PEFT's LoRA, interleaved in one run.

Every round runs one step of each method, one after the other, so that whatever else the machine does falls on all of
them; the ratio to PEFT is taken within a round. A step is forward, cross-entropy, backward and AdamW on images that
are already on the device. Weights are random: they do not change the time.

    python benchmarks/step_time.py                 # CPU: vit_tiny, 32 px, batch 32, fp32, one thread
    python benchmarks/step_time.py --device gpu    # GPU: vit_small_patch16_224, 224 px, batch 128, bf16
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sections import circumstances, with_spread, write_section  # noqa: E402
from study.ray_tune.resources import KEEP_MEMORY, SINGLE_THREAD  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "step_time.md"
HEAD = "# Step time of the hybrid methods\n\nWritten by `benchmarks/step_time.py`; each section is one run."
PEFT = "PEFT LoRA"
METHODS = ("head", "norm", "lora", "hybrid_parallel", "hybrid_layerwise", "full")
WARM_UP = 3
DEFAULTS = {
    "cpu": {"backbone": "vit_tiny_patch16_224", "size": 32, "patch": 4, "batch": 32, "precision": "fp32", "rounds": 60},
    "gpu": {"backbone": "vit_small_patch16_224", "size": 224, "patch": 16, "batch": 128, "precision": "bf16",
            "rounds": 100},
}  # fmt: skip


@dataclass
class Method:
    """One row of the table.

    Attributes:
        step: one training step of ``replicas`` replicas.
        seconds: of every timed step, per replica.
        held_mib, step_mib: GPU memory that the method keeps, and takes on top of it within a step.
        flop: of one step and replica.
    """

    name: str
    step: Callable[[], None]
    trainable: int
    replicas: int = 1
    seconds: list[float] = field(default_factory=list)
    held_mib: float = 0.0
    step_mib: float = 0.0
    flop: int = 0


def main() -> None:
    options = parse()
    if options.device == "cpu":
        with_environment(options.threads)
    import torch

    if options.device == "gpu" and not torch.cuda.is_available():
        sys.exit("error: --device gpu: there is no GPU here")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    load = os.getloadavg()
    methods = measure(options, device)
    title, text = report(options, methods, load)
    print(text)
    write_section(options.out, HEAD, title, text)
    print(f"written to {options.out}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--backbone", help="timm ViT name")
    parser.add_argument("--size", type=int, help="pixels of an image's side")
    parser.add_argument("--patch", type=int, help="pixels of a patch's side")
    parser.add_argument("--batch", type=int, help="images per replica and step")
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, help="timed steps of every method")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=1, help="replicas in a pack of ours; times are per replica")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock",
        choices=("wall", "process"),
        default="wall",
        help="process: CPU time of this process, for a CPU that has other work to do",
    )
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated; PEFT's LoRA always runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.clock == "process" and options.device == "gpu":
        parser.error("--clock process: counts the CPU's time; for a GPU wall is allowed")
    for key, value in DEFAULTS[options.device].items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    unknown = set(options.methods.split(",")) - set(METHODS)
    if unknown:
        parser.error(f"--methods: unknown {', '.join(sorted(unknown))}; allowed: {', '.join(METHODS)}")
    return options


def with_environment(threads: int) -> None:
    """Start again with the allocator and thread settings of a study's workers, which are read only at the start."""
    wanted = KEEP_MEMORY | {name: str(threads) for name in SINGLE_THREAD}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)


def measure(options: argparse.Namespace, device) -> list[Method]:
    """Build every method, warm it up, and time ``options.rounds`` rounds, the first method changing from round to
    round."""
    import torch

    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    allocated = torch.cuda.memory_allocated if device.type == "cuda" else lambda: 0
    now = time.process_time if options.clock == "process" else time.perf_counter
    names = [PEFT, *options.methods.split(",")]
    methods = []
    for name in names:
        before = allocated()
        method = peft_lora(options, device) if name == PEFT else ours(name, options, device)
        for _ in range(WARM_UP):
            method.step()
        method.held_mib = (allocated() - before) / 2**20
        method.flop = count_flop(method.step) // method.replicas
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            start = allocated()
            method.step()
            method.step_mib = (torch.cuda.max_memory_allocated() - start) / 2**20
        methods.append(method)
        print(f"{name}: {method.trainable:,} trainable parameters", file=sys.stderr)
    for number in range(options.rounds):
        turn = number % len(methods)
        for method in methods[turn:] + methods[:turn]:
            synchronise()
            start_s = now()
            method.step()
            synchronise()
            method.seconds.append((now() - start_s) / method.replicas)
    return methods


def model_of(options: argparse.Namespace, classes: int):
    import timm

    model = timm.create_model(
        options.backbone, img_size=options.size, patch_size=options.patch, num_classes=classes, pretrained=False
    )
    return model.eval()


def batch_of(options: argparse.Namespace, device, replicas: int):
    import torch

    images = torch.randn(replicas * options.batch, 3, options.size, options.size, device=device)
    return images, torch.randint(0, options.classes, (replicas * options.batch,), device=device)


def ours(name: str, options: argparse.Namespace, device) -> Method:
    """A pack of the hybrid trainable with this method."""
    import torch
    import torch.nn.functional as F

    from trainables.configs import HybridConfig
    from trainables.models.vision import Backbone
    from trainables.packs.optim import BankOptimizer, decay_columns
    from trainables.packs.seeding import generator
    from trainables.packs.tuned import TunedReplicas, base_rates

    model = model_of(options, classes=0).requires_grad_(False)
    backbone = Backbone(model, options.size, model.num_features, (0.5,) * 3, (0.5,) * 3, "")
    config = HybridConfig(method=name, precision=options.precision, batch_size=options.batch)
    replicas = options.replicas
    pack = TunedReplicas(backbone, config, options.classes, replicas, device)
    bank = pack.bank
    for replica in range(replicas):
        pack.initialise(replica, generator(replica, "init"))
    optimizer = BankOptimizer(bank, "adamw", decay_columns(bank, config.weight_decay, pack.decayed()))
    rates = torch.tensor(base_rates(config, bank.groups)).expand(replicas, -1)
    update = torch.ones(replicas, len(bank.groups), dtype=torch.bool)
    images, targets = batch_of(options, device, replicas)
    images, targets = images.unflatten(0, (replicas, -1)), targets.unflatten(0, (replicas, -1))

    def step() -> None:
        bank.grad.zero_()
        for rows in pack.passes():
            logits = pack.logits(pack.features(images[rows].flatten(0, 1)), slice(None))
            loss = F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten(), reduction="sum") / options.batch
            loss.backward()
        optimizer.step(rates, update)

    return Method(name, step, bank.count(), replicas)


def peft_lora(options: argparse.Namespace, device) -> Method:
    """PEFT's LoRA on the same layers with the same rank, and its head, by torch's AdamW."""
    import torch
    import torch.nn.functional as F
    from peft import LoraConfig, get_peft_model

    from trainables.configs import HybridConfig

    config = HybridConfig(method="lora")
    adapted = LoraConfig(
        r=config.rank, lora_alpha=int(config.lora_alpha), target_modules=config.layers, modules_to_save=["head"]
    )
    model = get_peft_model(model_of(options, options.classes), adapted).to(device).eval()  # type: ignore[arg-type]
    leaves = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(leaves, lr=config.lr_lora, weight_decay=config.weight_decay)
    images, targets = batch_of(options, device, 1)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            logits = model(images)
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()

    return Method(PEFT, step, sum(leaf.numel() for leaf in leaves))


def count_flop(step: Callable[[], None]) -> int:
    """Floating point operations of the matrix products in one step, attention by its plain formula."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def report(options: argparse.Namespace, methods: list[Method], load: tuple[float, float, float]) -> tuple[str, str]:
    """Title and Markdown text of a result."""
    device = "GPU" if options.device == "gpu" else "CPU"
    pack = f", {options.replicas} replicas in a pack" if options.replicas > 1 else ""
    title = (
        f"{device}: {options.backbone}, {options.size} px, patch {options.patch}, batch {options.batch}, "
        f"{options.precision}{pack}"
    )
    reference = next(method for method in methods if method.name == PEFT)
    lora = next((method for method in methods if method.name == "lora"), None)
    lines = [
        f"{circumstances(options.device, 'torch', 'timm', 'peft')}; {options.threads} thread(s); "
        f"{options.rounds} rounds; {options.clock} time; load average at the start {load[0]:.1f}.",
        "",
        "Ratios are taken within a round; in brackets the 5 % and 95 % quantiles over the rounds.",
        "",
        "| method | trainable | step, ms | step / PEFT's | step / our lora's | GFLOP | TFLOP/s | peak memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method in methods:
        median_s = statistics.median(method.seconds)
        peak = f"{method.held_mib + method.step_mib:,.0f}" if options.device == "gpu" else "-"
        lines.append(
            f"| {method.name} | {method.trainable:,} | {1e3 * median_s:.1f} | {ratio(method, reference)} | "
            f"{ratio(method, lora) if lora else '-'} | {method.flop / 1e9:.1f} | {method.flop / median_s / 1e12:.3g} | "
            f"{peak} |"
        )
    return title, "\n".join(lines)


def ratio(method: Method, reference: Method) -> str:
    """Median and 5-95 % of the ratio of step times within a round."""
    if method is reference:
        return "1"
    return with_spread([own / other for own, other in zip(method.seconds, reference.seconds, strict=True)])


if __name__ == "__main__":
    main()
