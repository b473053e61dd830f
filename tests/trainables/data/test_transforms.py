"""Pictures become the backbone's input exactly as torchvision, timm and the notes' recipes make it."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torchvision import transforms as T

from trainables.configs import DataConfig, NestedConfig
from trainables.data.image_input import ImageInput, image_inputs
from trainables.data.images import ImageData
from trainables.data.pictures import Pictures
from trainables.data.transforms import Recipe, Scaling, evaluation_boxes, recipe, resample, training_boxes
from trainables.errors import InputError
from trainables.models.vision import load_backbone

EXPECTED = Scaling((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", 0.9, False)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture on which every error of resampling shows."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def pictures(*images: Image.Image) -> Pictures:
    arrays = [torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) for image in images]
    sizes = torch.tensor([array.shape[1:] for array in arrays])
    equal = len({tuple(size) for size in sizes.tolist()}) == 1
    pixels = torch.stack(arrays) if equal else torch.cat([array.flatten() for array in arrays])
    return Pictures(pixels, sizes, torch.zeros(len(arrays), dtype=torch.int64))


def evaluated(how: Recipe, *images: Image.Image) -> torch.Tensor:
    return ImageInput(pictures(*images), how, torch.device("cpu")).batch(torch.arange(len(images)))


def levels(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference in steps of 1 / 255, of inputs that were not scaled."""
    return float((ours - theirs).abs().max() * 255)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (32, 32), (300, 420)])
@pytest.mark.parametrize("size", [32, 56])
def test_notes_test_pictures_are_torchvisions(shape: tuple[int, int], size: int) -> None:
    theirs = T.Compose([T.Resize(int(256 / 224 * size), interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop(size),
                        T.ToTensor()])  # fmt: skip
    image = noise(*shape)
    how = recipe(DataConfig(transform="notes"), "imagenet-r", size, EXPECTED)
    ours = evaluated(how, image)[0]
    assert levels(ours, theirs(image)) <= 1.01  # Pillow's fixed-point weights round a few values the other way
    assert float((ours - theirs(image)).abs().mean()) < 0.05 / 255


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_clip_224.openai"])
def test_timm_test_pictures_are_timms(name: str) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=0)
    config = resolve_model_data_config(model)
    theirs = create_transform(**config, is_training=False)
    said = Scaling(config["mean"], config["std"], config["interpolation"], config["crop_pct"], False)
    image = noise(250, 380)
    how = recipe(DataConfig(transform="timm"), "imagenet-r", 224, said)
    ours, expected = evaluated(how, image)[0], theirs(image)
    std = torch.tensor(config["std"]).view(3, 1, 1)
    assert levels(ours * std, expected * std) <= 1.01
    assert float(((ours - expected) * std).abs().mean()) < 0.05 / 255


def test_a_backbone_says_its_scaling(tiny_backbone: str) -> None:
    said = load_backbone("vit_base_patch16_clip_224.openai", pretrained=False).scaling
    config = resolve_model_data_config(timm.create_model("vit_base_patch16_clip_224.openai", pretrained=False))
    assert (said.mean, said.std, said.interpolation, said.crop_pct) == tuple(
        config[key] for key in ("mean", "std", "interpolation", "crop_pct")
    )


@pytest.mark.parametrize("shape", [(40, 60), (33, 21), (200, 30)])
@pytest.mark.parametrize(("interpolation", "mode"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
def test_training_crops_are_torchvisions(shape: tuple[int, int], interpolation: str, mode: str) -> None:
    """The same box cut by torchvision; also where it minifies, which needs antialiasing."""
    how = Recipe(16, "resized", interpolation, "bicubic", None, False, (0.05, 1.0), True, (0.0,) * 3, (1.0,) * 3)  # type: ignore[arg-type]
    images = [noise(*shape, seed) for seed in range(20)]
    source = ImageInput(pictures(*images), how, torch.device("cpu"))
    boxes = source.draw(torch.arange(20), torch.Generator().manual_seed(0))
    ours = source.augmented(torch.arange(20), boxes)
    for image, box, own in zip(images, boxes.tolist(), ours, strict=True):
        (top, height, *_), (left, width, *_, mirrored) = box
        cut = image.crop((left, top, left + width, top + height))
        by_axis = cut.resize((16, height), Image.Resampling[mode]).resize((16, 16), Image.Resampling[mode])
        theirs = T.functional.resized_crop(image, top, left, height, width, [16, 16], T.InterpolationMode[mode])
        exact, close = (
            T.functional.to_tensor(T.functional.hflip(one) if mirrored else one) for one in (by_axis, theirs)
        )
        assert levels(own, exact) <= 1.01
        assert float((own - close).abs().mean()) < 0.5 / 255  # Pillow may begin with the other axis


def test_minified_noise_loses_its_contrast_in_training_as_in_evaluation() -> None:
    """Without antialiasing a training crop of noise keeps a standard deviation of about 47, a test picture has 18."""
    image = noise(128, 128)
    how = recipe(DataConfig(transform="notes", crop_scale=(1.0, 1.0), flip=False), "x", 32, EXPECTED)
    source = ImageInput(pictures(image), how, torch.device("cpu"))
    one = torch.zeros(1, dtype=torch.int64)
    trained = source.augmented(one, source.draw(one, torch.Generator().manual_seed(0))) * 255
    assert float(trained.std()) < 25


def test_crops_have_the_law_of_torchvision() -> None:
    scale, shape, n = (0.2, 1.0), (40, 60), 4000
    how = Recipe(16, "resized", "bilinear", "bicubic", None, False, scale, True, (0.0,) * 3, (1.0,) * 3)
    sizes = torch.tensor(shape).expand(n, 2)
    boxes = training_boxes(sizes, how, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    image = torch.zeros(3, *shape)
    theirs = torch.tensor([T.RandomResizedCrop.get_params(image, scale, [3 / 4, 4 / 3]) for _ in range(n)])
    ours = torch.stack([boxes[:, 0, 0], boxes[:, 1, 0], boxes[:, 0, 1], boxes[:, 1, 1]], 1)
    for column in range(4):
        error = theirs[:, column].double().std() * (2 / n) ** 0.5
        assert abs(float(ours[:, column].double().mean() - theirs[:, column].double().mean())) < 4 * float(error)
    assert bool((ours[:, :2] >= 0).all()) and bool((ours[:, :2] + ours[:, 2:] <= sizes).all())
    assert float(boxes[:, 1, 4].double().mean()) == pytest.approx(0.5, abs=0.03)
    assert not bool(boxes[:, 0, 4].any())  # never upside down


def test_where_no_crop_fits_the_largest_allowed_one_in_the_middle_is_taken() -> None:
    how = Recipe(16, "resized", "bilinear", "bicubic", None, False, (1.0, 1.0), False, (0.0,) * 3, (1.0,) * 3)
    boxes = training_boxes(torch.tensor([[30, 300]]), how, torch.Generator().manual_seed(0))
    assert boxes[0, :, :2].tolist() == [[0, 30], [130, 40]]


def test_week_3_is_a_shifted_picture_on_black_that_is_not_scaled() -> None:
    how = recipe(DataConfig(transform="cifar_week3", flip=False), "cifar100", 32, EXPECTED)
    image = noise(32, 32)
    source = ImageInput(pictures(image), how, torch.device("cpu"))
    indices = torch.zeros(300, dtype=torch.int64)
    boxes = source.draw(indices, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in boxes[:, :, 3].tolist()} <= {(a, b) for a in range(-4, 5) for b in range(-4, 5)}
    assert set(boxes[:, :, 3].flatten().tolist()) == set(range(-4, 5))
    padded = torch.nn.functional.pad(T.functional.to_tensor(image), (4, 4, 4, 4))
    for box, own in zip(boxes[:20], source.augmented(indices[:20], boxes[:20]), strict=True):
        top, left = (box[:, 3] + 4).tolist()
        assert torch.equal(own, padded[:, top : top + 32, left : left + 32])
    assert torch.equal(evaluated(how, image)[0], T.functional.to_tensor(image))


def test_cifar_squeezes_the_whole_picture_and_scales_it() -> None:
    image = noise(40, 60)
    for name, mean, std in (("cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
                            ("glyphs100", (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))):  # fmt: skip
        theirs = T.Compose([T.Resize((32, 32)), T.ToTensor(), T.Normalize(mean, std)])(image)
        ours = evaluated(recipe(DataConfig(transform="cifar"), name, 32, EXPECTED), image)[0]
        assert levels((ours - theirs) * torch.tensor(std).view(3, 1, 1), torch.zeros(1)) <= 1.01


def test_pictures_of_unequal_sizes_give_what_each_gives_alone() -> None:
    images = [noise(40, 60), noise(33, 21, 1), noise(64, 64, 2)]
    how = recipe(DataConfig(transform="notes"), "x", 32, EXPECTED)
    together = evaluated(how, *images)
    assert all(torch.equal(own, evaluated(how, image)[0]) for own, image in zip(together, images, strict=True))


def test_boxes_do_not_depend_on_other_pictures() -> None:
    how = recipe(DataConfig(transform="notes"), "x", 32, EXPECTED)
    sizes = torch.tensor([[40, 60], [33, 21], [64, 64]])
    one = training_boxes(sizes, how, torch.Generator().manual_seed(3))
    other = training_boxes(torch.tensor([[99, 60], [33, 21], [12, 64]]), how, torch.Generator().manual_seed(3))
    assert torch.equal(one[1], other[1])


def test_a_picture_of_the_inputs_size_is_left_alone() -> None:
    image = noise(32, 32)
    boxes = torch.tensor([[[0, 32, 32, 0, 0], [0, 32, 32, 0, 0]]])
    original = pictures(image).pixels
    assert torch.equal(resample(original, boxes, 32, "bicubic"), original.float())
    mirrored = torch.tensor([[[0, 32, 32, 0, 0], [0, 32, 32, 0, 1]]])
    assert torch.equal(resample(original, mirrored, 32, "bilinear"), original.float().flip(-1))


def test_own_mean_and_deviation_win() -> None:
    how = recipe(DataConfig(transform="notes", mean=(0.1, 0.2, 0.3), std=(2.0, 2.0, 2.0)), "x", 32, EXPECTED)
    assert (how.mean, how.std) == ((0.1, 0.2, 0.3), (2.0, 2.0, 2.0))
    assert recipe(DataConfig(transform="timm"), "x", 32, EXPECTED).mean == EXPECTED.mean


def test_crops_need_the_original_pictures(tiny_backbone: str) -> None:
    backbone = load_backbone(tiny_backbone)
    data = ImageData(pictures(noise(40, 60)), pictures(noise(40, 60)), ("a",), "")
    config = NestedConfig(backbone=tiny_backbone, data=DataConfig(max_shorter_side=17))
    with pytest.raises(InputError, match="data.max_shorter_side=17: data.transform=notes .* allowed: 18 or more"):
        image_inputs(data, backbone, config, torch.device("cpu"))


def test_squashed_test_pictures() -> None:
    how = recipe(DataConfig(transform="timm"), "x", 32, Scaling((0.0,) * 3, (1.0,) * 3, "bilinear", 0.8, True))
    image = noise(50, 90)
    theirs = T.Compose([T.Resize((40, 40)), T.CenterCrop(32), T.ToTensor()])(image)
    assert levels(evaluated(how, image)[0], theirs) <= 1.01
    assert evaluation_boxes(torch.tensor([[50, 90]]), how)[0, :, 2:4].tolist() == [[40, 4], [40, 4]]


def test_real_pictures_through_the_notes_recipe(real_images: Path) -> None:
    from trainables.data.images import load_images

    data = load_images(str(real_images), DataConfig(classes="1::40", train_per_class=3, test_per_class=2), 32)
    how = recipe(DataConfig(), str(real_images), 32, EXPECTED)
    ours = ImageInput(data.test, how, torch.device("cpu")).batch(torch.arange(4))
    theirs = T.Compose([T.Resize(36, interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop(32), T.ToTensor()])
    for own, pixels in zip(ours, data.test.pixels[:4], strict=True):
        assert levels(own, theirs(Image.fromarray(pixels.permute(1, 2, 0).numpy()))) <= 1.01
