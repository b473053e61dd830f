"""Pretrains ``glyph_vit``, the backbone that comes with the project; only whoever changes that file runs this.

    python -m trainables.embedded.pretrain_vision --out trainables/weights/glyph_vit.safetensors

A timm ViT for 32 px learns to tell :data:`PRETRAINING_GLYPHS` apart and never sees a character of ``glyphs100``. The
file holds the fp16 weights without the classifier, and says in its metadata how it was made and how good it is.
"""

import argparse
import hashlib
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.embedded.glyphs import GLYPHS100, PRETRAINING_GLYPHS, render
from trainables.errors import InputError

TIMM_NAME = "vit_tiny_patch16_224"
ARCHITECTURE: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 12, "num_heads": 4}
MEAN = STD = (0.5, 0.5, 0.5)  # pixels scaled to [0, 1] are normalised to [-1, 1]

BATCH, WARM_UP, PEAK_LR, WEIGHT_DECAY, MAX_NORM = 64, 0.05, 1e-3, 0.05, 1.0
TRAIN_PER_CLASS, VAL_PER_CLASS = 200, 20
# (jitter of the renderings, share of the steps): easy images first, or the loss stays on its first plateau far longer.
CURRICULUM = ((0.15, 0.15), (0.35, 0.15), (0.65, 0.70))
DARK = 0.0  # share of dark glyphs; glyphs100 has half of them, which is what makes the frozen features fall short there
PROBE_TRAIN_PER_CLASS, PROBE_TEST_PER_CLASS, PROBE_L2 = 30, 20, 1e-3


def build(num_classes: int, seed: int) -> VisionTransformer:
    """The untrained backbone with a linear classifier; leaves the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(
            TIMM_NAME, pretrained=False, num_classes=num_classes, weight_init="jax", **ARCHITECTURE
        )
        # Patch embeddings start at a scale near 1; at timm's 0.02, positions would hardly count at first.
        nn.init.trunc_normal_(model.get_parameter("pos_embed"), std=0.3)
    assert isinstance(model, VisionTransformer)
    return model


def normalise(images: Tensor) -> Tensor:
    """uint8 or [0, 255] pixels (B, 3, H, W) -> normalised float32 of the same shape."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 px, permute the channels, add noise. Never flips: E is not Э.

    Args:
        images: normalised, (B, 3, H, W).
        generator: the only source of randomness.

    Returns:
        a new tensor of the same shape.
    """
    b, channels, height, width = images.shape
    dy, dx = torch.randint(0, 5, (2, b, 1), generator=generator)
    rows, columns = dy + torch.arange(height), dx + torch.arange(width)  # (B, H), (B, W)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")[:, torch.randperm(channels, generator=generator)]
    shifted = padded[torch.arange(b)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return shifted + 0.05 * torch.randn(images.shape, generator=generator)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up over the first ``WARM_UP`` of the steps, then a cosine to zero."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return PEAK_LR * (step + 1) / warm
    return PEAK_LR * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.inference_mode()
def features(model: VisionTransformer, images: Tensor, batch: int = 500) -> Tensor:
    """What the classifier sees, for images uint8 (N, 3, H, W): the normalised class token, (N, embed_dim)."""
    model.eval()
    parts = [model.forward_head(model.forward_features(normalise(x)), pre_logits=True) for x in images.split(batch)]
    return torch.cat(parts)


@torch.inference_mode()
def accuracy(model: VisionTransformer, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in [0, 1] of ``model``'s own classifier."""
    return (model.get_classifier()(features(model, images)).argmax(1) == labels).float().mean().item()


def linear_probe(model: VisionTransformer, seed: int = 0) -> float:
    """Top-1 accuracy in [0, 1] on glyphs100 of a linear classifier on the frozen features; chance is 0.01.

    Multinomial logistic regression with bias on standardised features (mean and deviation of the training images),
    penalty ``PROBE_L2``/2 times the squared weights, full-batch L-BFGS from zero; 30 training images and 20 test images
    a class, in eval mode and without augmentation.

    Args:
        model: a timm ViT for images of ``ARCHITECTURE["img_size"]`` pixels.
        seed: of the renderings.
    """
    size = ARCHITECTURE["img_size"]
    train, test = (
        [torch.from_numpy(array) for array in render(GLYPHS100, per_class, split, size, seed)]
        for split, per_class in (("train", PROBE_TRAIN_PER_CLASS), ("test", PROBE_TEST_PER_CLASS))
    )
    x, x_test = features(model, train[0]).clone(), features(model, test[0]).clone()
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, x_test = (x - mean) / std, (x_test - mean) / std
    weight = torch.zeros(len(GLYPHS100), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(GLYPHS100), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, train[1]) + PROBE_L2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return ((x_test @ weight.T + bias).argmax(1) == test[1]).float().mean().item()


def pretrain(steps: int, seed: int) -> tuple[VisionTransformer, float]:
    """Train on renderings of :data:`PRETRAINING_GLYPHS` whose jitter grows along ``CURRICULUM``.

    Returns:
        the model, and its top-1 accuracy in [0, 1] on other renderings of the same characters, at the last jitter.
    """
    size = ARCHITECTURE["img_size"]
    held_out = render(PRETRAINING_GLYPHS, VAL_PER_CLASS, "test", size, seed, CURRICULUM[-1][0], DARK)
    val_images, val_labels = map(torch.from_numpy, held_out)
    starts = np.cumsum([0.0] + [share for _, share in CURRICULUM[:-1]])
    phases = {int(start * steps): jitter for start, (jitter, _) in zip(starts, CURRICULUM, strict=True)}
    streams = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(3)]
    model = build(len(PRETRAINING_GLYPHS), streams[0])
    order, augmentation = (torch.Generator().manual_seed(stream) for stream in streams[1:])
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR)
    started, running = time.perf_counter(), 0.0
    for step in range(steps):
        if step in phases:
            rendered = render(PRETRAINING_GLYPHS, TRAIN_PER_CLASS, "train", size, seed, phases[step], DARK)
            images, labels = map(torch.from_numpy, rendered)
            queue = torch.empty(0, dtype=torch.int64)
        if len(queue) < BATCH:
            queue = torch.randperm(len(images), generator=order)
        chosen, queue = queue[:BATCH], queue[BATCH:]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        model.train()
        logits = model(augment(normalise(images[chosen]), augmentation))
        loss = F.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        running += loss.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            seconds = time.perf_counter() - started
            print(f"step {step + 1}/{steps}  loss {running / (step % 100 + 1):.3f}  {seconds:.0f} s", flush=True)
            running = 0.0
    return model, accuracy(model, val_images, val_labels)


def save(model: VisionTransformer, path: Path, facts: dict[str, object]) -> None:
    """Write timm's own keys, without the classifier, as fp16 safetensors whose metadata are ``facts`` as strings."""
    state = {k: v.detach().half().contiguous() for k, v in model.state_dict().items() if not k.startswith("head.")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={name: str(value) for name, value in facts.items()})


def main(argv: list[str] | None = None) -> None:
    """Pretrain, measure, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--steps", type=int, default=6000, help=f"updates of {BATCH} images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the images, weights and order (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    options = parser.parse_args(argv)
    for name in ("steps", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name}: {getattr(options, name)}, must be at least 1")
    torch.set_num_threads(options.threads)
    model, val_acc = pretrain(options.steps, options.seed)
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})  # measure what the file holds
    probe = linear_probe(model)
    characters = "".join(PRETRAINING_GLYPHS)
    text = (
        f"supervised, {len(PRETRAINING_GLYPHS)} characters disjoint from glyphs100, {TRAIN_PER_CLASS} images each, "
        f"AdamW, batch {BATCH}, peak learning rate {PEAK_LR}, warm-up and cosine, "
        f"jitter {' then '.join(f'{jitter:g} ({share:.0%} of the steps)' for jitter, share in CURRICULUM)}, "
        f"share of dark glyphs {DARK:g}"
    )
    facts = {
        "timm": TIMM_NAME,
        **ARCHITECTURE,
        "mean": ",".join(map(str, MEAN)),
        "std": ",".join(map(str, STD)),
        "crop_pct": "1.0",
        "interpolation": "bilinear",
        "pretrain": text,
        "seed": options.seed,
        "steps": options.steps,
        "val_acc": f"{val_acc:.4f}",
        "linear_probe_glyphs100": f"{probe:.4f}",
        "versions": f"torch {torch.__version__}, timm {timm.__version__}",
        "characters": characters,
        "characters_sha256": hashlib.sha256(characters.encode()).hexdigest(),
    }
    save(model, options.out, facts)
    print(f"{options.out}: val_acc {val_acc:.4f}, linear_probe_glyphs100 {probe:.4f}")


if __name__ == "__main__":
    main()
