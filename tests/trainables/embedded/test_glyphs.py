"""The embedded data set and the weights pretrained beside it."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

import trainables
from trainables.embedded.glyphs import GLYPHS100, PRETRAINING_GLYPHS, clean_mask, fonts_with, render

WEIGHTS = Path(trainables.__file__).parent / "embedded" / "weights" / "glyph_vit.safetensors"
METADATA = {
    *("timm", "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mean", "std", "pretrain", "seed", "steps"),
    *("val_acc", "linear_probe_glyphs100", "versions", "characters", "characters_sha256"),
}


def test_shape_dtype_and_order_of_the_classes():
    images, labels = render(GLYPHS100[:3], per_class=4, split="train", size=24)
    assert images.shape == (12, 3, 24, 24) and images.dtype == np.uint8
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and labels.dtype == np.int64


def test_same_arguments_same_pixels_and_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    first, second = (render(GLYPHS100[:5], 3, "train", seed=7)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(before, np.random.get_state()[1])


def test_an_image_depends_neither_on_per_class_nor_on_the_other_characters():
    few = render(GLYPHS100[:4], 3, "test")[0].reshape(4, 3, 3, 32, 32)
    many = render(GLYPHS100[:4], 11, "test")[0].reshape(4, 11, 3, 32, 32)
    alone = render(GLYPHS100[2], 3, "test")[0]
    assert np.array_equal(few, many[:, :3])
    assert np.array_equal(few[2], alone)


def test_splits_and_seeds_share_no_image():
    sets = [render(GLYPHS100, 2, split, seed=seed)[0] for split, seed in (("train", 0), ("test", 0), ("train", 1))]
    hashes = [{hashlib.sha256(image.tobytes()).digest() for image in images} for images in sets]
    assert all(len(images) == 2 * len(GLYPHS100) for images in hashes)
    assert all(a.isdisjoint(b) for a, b in combinations(hashes, 2))


def test_the_two_sets_of_characters_are_disjoint():
    assert len(GLYPHS100) == len(set(GLYPHS100)) == 100
    assert len(PRETRAINING_GLYPHS) == len(set(PRETRAINING_GLYPHS)) >= 150
    assert set(GLYPHS100).isdisjoint(PRETRAINING_GLYPHS)


def test_no_two_characters_have_the_same_shape_in_any_font():
    """Also what catches the box that a font draws for a character that it lacks."""
    seen: dict[tuple[str, bytes], str] = {}
    for character in GLYPHS100 + PRETRAINING_GLYPHS:
        for font in fonts_with(character):
            mask = clean_mask(character, font, 32)
            assert seen.setdefault((font, bytes(str(mask.size), "ascii") + mask.tobytes()), character) == character


@pytest.mark.parametrize("characters", [GLYPHS100, PRETRAINING_GLYPHS], ids=["glyphs100", "pretraining"])
def test_every_character_has_many_fonts_and_no_image_is_blank(characters):
    assert min(len(fonts_with(character)) for character in characters) >= 12
    images, _ = render(characters, 4, "train", jitter=0.0)
    # At full jitter noise alone would give an image some contrast; here what is left is the glyph.
    span = np.ptp(images.mean(axis=1), axis=(1, 2))
    assert span.min() > 0.25 * 255


def test_jitter_scales_the_disturbances():
    spread = [np.diff(render("E", 20, "train", jitter=j)[0].astype(int)).__abs__().mean() for j in (0.0, 0.5, 1.0)]
    assert spread == sorted(spread)


@pytest.mark.parametrize(("dark", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_dark_is_the_share_of_glyphs_darker_than_their_background(dark, share):
    images, _ = render("E", 200, "train", jitter=0.0, dark=dark)
    grey = images.mean(axis=1).reshape(200, -1)
    background = grey[:, 0]  # the corner, which an upright and centred glyph does not reach
    darker = (background - grey.min(axis=1)) > (grey.max(axis=1) - background)
    assert darker.mean() == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "val"}, "train, test"),
        ({"per_class": 0}, "per_class: 0"),
        ({"size": 8}, "at least 16"),
        ({"seed": -1}, "seed: -1"),
        ({"jitter": 1.5}, "jitter: 1.5"),
        ({"dark": -0.5}, "between 0 and 1"),
        ({"characters": ""}, "characters"),
        ({"characters": "AA"}, "each once"),
        ({"characters": ["ab"]}, "exactly 1"),
        ({"characters": "漢"}, "U\\+6F22"),
        ({"characters": " "}, "U\\+0020"),
    ],
)
def test_bad_arguments_are_named(change, named):
    arguments = {"characters": "A", "per_class": 1, "split": "train"} | change
    with pytest.raises(ValueError, match=named):
        render(**arguments)


def test_weights_are_small_fp16_documented_and_load_into_timm():
    assert WEIGHTS.stat().st_size <= 6e6
    with safe_open(WEIGHTS, framework="pt") as file:
        facts = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    assert set(facts) >= METADATA
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert facts["characters"] == "".join(PRETRAINING_GLYPHS), "the characters changed: pretrain again"
    sizes = {name: int(facts[name]) for name in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    model = timm.create_model(facts["timm"], pretrained=False, num_classes=100, **sizes)
    missing, unexpected = model.load_state_dict({name: x.float() for name, x in state.items()}, strict=False)
    assert set(missing) == {"head.weight", "head.bias"} and not unexpected
    assert len(facts["mean"].split(",")) == len(facts["std"].split(",")) == 3


def test_frozen_features_tell_new_characters_apart():
    """A tenth of the recorded probe, to stay quick: 10 classes, nearest class mean; chance is 0.1."""
    from trainables.embedded.pretrain_vision import build, features

    model = build(1, seed=0)
    with safe_open(WEIGHTS, framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()}, strict=False)  # noqa: SIM118
    train, test = (features(model, torch.from_numpy(render(GLYPHS100[10:20], 20, s)[0])) for s in ("train", "test"))
    means = train.view(10, 20, -1).mean(1)
    guessed = torch.cdist(test, means).argmin(1).view(10, 20)
    assert (guessed == torch.arange(10)[:, None]).float().mean() > 0.4
