"""Data sets on disk as users have them, class-incremental splits, augmentation."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from trainables.augmentation import crop, draw_crops, normalise, resize
from trainables.configs import DataConfig, NestedConfig
from trainables.data import load_images
from trainables.decoding import parse_classes
from trainables.errors import InputError
from trainables.tasks import ClassIncremental, padded_batches


def picture(label: int, size: tuple[int, int] = (10, 8)) -> Image.Image:
    """One colour per class, so that a decoded image tells its label."""
    return Image.fromarray(np.full((size[1], size[0], 3), 20 * label, np.uint8))


def parquet_folder(path: Path, splits: dict[str, int], classes: int = 6, sizes: bool = False) -> Path:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=classes)})
    for split, per_class in splits.items():
        labels = [label for _ in range(per_class) for label in range(classes)]
        images = [picture(label, (10 + 2 * (i % 3), 8) if sizes else (10, 8)) for i, label in enumerate(labels)]
        data = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        (path / "data").mkdir(parents=True, exist_ok=True)
        data.to_parquet(path / "data" / f"{split}-00000-of-00001.parquet")
    return path


def image_folder(path: Path) -> Path:
    for split, count in (("train", 4), ("test", 2)):
        for label in range(3):
            folder = path / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                picture(label).save(folder / f"{i}.png")
    return path


def test_parquet_folder_with_selection(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path, {"train": 5, "validation": 3})
    data = load_images(str(folder), DataConfig(classes="1::2", train_per_class=4, test_per_class=2), 16)
    assert data.train_images.shape == (12, 3, 8, 10) and data.train_images.dtype == torch.uint8
    assert data.test_images.shape == (6, 3, 8, 10)
    assert data.train_labels.bincount().tolist() == [4, 4, 4]
    assert data.class_names == ("1", "3", "5")
    originals = torch.tensor([1, 3, 5])
    assert torch.equal(data.train_images[:, 0, 0, 0].long(), 20 * originals[data.train_labels])


def test_image_folder_and_unequal_sizes(tmp_path: Path) -> None:
    data = load_images(str(image_folder(tmp_path / "a")), DataConfig(), 16)
    assert (len(data.train_images), len(data.test_images)) == (12, 6)
    assert data.class_names == ("class0", "class1", "class2")
    ragged = load_images(str(parquet_folder(tmp_path / "b", {"train": 5, "test": 3}, sizes=True)), DataConfig(), 16)
    assert ragged.train_images.shape[-2:] == (16, 16)


def test_a_single_split_gives_a_fifth_of_every_class_to_the_test_set(tmp_path: Path) -> None:
    data = load_images(str(parquet_folder(tmp_path, {"train": 10})), DataConfig(), 16)
    assert data.train_labels.bincount().tolist() == [8] * 6
    assert data.test_labels.bincount().tolist() == [2] * 6


def test_the_second_load_maps_the_cache_and_decodes_nothing(tmp_path: Path, monkeypatch, own_cache: Path) -> None:
    folder = parquet_folder(tmp_path, {"train": 5, "test": 3})
    first = load_images(str(folder), DataConfig(), 16)
    monkeypatch.setattr("trainables.data.decode", lambda *a: pytest.fail("decoded again"))
    second = load_images(str(folder), DataConfig(), 16)
    assert first.content_hash == second.content_hash and torch.equal(first.train_images, second.train_images)


def test_changed_content_is_another_data_set(tmp_path: Path) -> None:
    one = load_images(str(parquet_folder(tmp_path / "d", {"train": 5, "test": 3})), DataConfig(), 16)
    two = load_images(str(parquet_folder(tmp_path / "d", {"train": 6, "test": 3})), DataConfig(), 16)
    assert one.content_hash != two.content_hash


@pytest.mark.parametrize("text", ["a:b", "3", "1:2:3:4", "::0", "50:"])
def test_class_slices_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="data.classes"):
        parse_classes(text, 20)


def test_a_folder_without_images_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(InputError) as refused:
        load_images(str(tmp_path), DataConfig(), 16)
    assert "\n" not in str(refused.value)


def incremental(seeds: tuple[int, ...] = (0, 1), **settings: object) -> ClassIncremental:
    labels = torch.arange(20).repeat(6)
    defaults = {"init_cls": 10, "increment": 5}
    return ClassIncremental(NestedConfig(**(defaults | settings)), seeds, labels, labels[:40])


def test_tasks_partition_classes_and_images() -> None:
    tasks = incremental()
    assert tasks.bounds == [0, 10, 15, 20]
    assert torch.equal(tasks.position[0], tasks.position[1])  # one class order for all seeds by default
    assert sorted(torch.cat(tasks.train[0]).tolist()) == list(range(120))
    assert not torch.equal(*incremental(class_order_seed="replica").position)


def test_validation_is_carved_out_of_training_by_seed() -> None:
    tasks = incremental(data=DataConfig(val_fraction=0.34))
    for replica in range(2):
        train, held_out = torch.cat(tasks.train[replica]), torch.cat(tasks.validation[replica])
        assert len(held_out) == 40 and sorted(torch.cat([train, held_out]).tolist()) == list(range(120))
    assert not torch.equal(torch.cat(tasks.validation[0]).sort().values, torch.cat(tasks.validation[1]).sort().values)


def test_an_epoch_shows_every_image_once_in_another_order() -> None:
    tasks = incremental()
    orders = []
    for epoch in (0, 1):
        shown = [indices[0][valid[0]] for indices, valid in tasks.epoch(1, epoch, 7)]
        orders.append(torch.cat(shown))
        assert sorted(orders[-1].tolist()) == sorted(tasks.train[0][1].tolist())
    assert not torch.equal(*orders)


def test_padded_batches_are_masked() -> None:
    batches = list(padded_batches([torch.arange(5), torch.arange(2)], 4))
    assert [valid.sum(1).tolist() for _, valid in batches] == [[4, 2], [1, 0]]


def test_the_whole_image_is_a_crop_that_changes_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    identity = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(2, 2, 3)
    assert torch.allclose(crop(images, identity, 8), images, atol=1e-5)
    mirrored = identity * torch.tensor([[-1.0], [1.0]])
    assert torch.allclose(crop(images, mirrored, 8), images.flip(-1), atol=1e-5)


def test_crops_have_the_distribution_of_torchvision() -> None:
    from torchvision.transforms import RandomResizedCrop

    scale, shape = (0.2, 1.0), (40, 60)
    ours = draw_crops(4000, torch.Generator().manual_seed(0), shape, scale, flip=True)
    widths, heights = ours[:, 0, 0].abs() * shape[1], ours[:, 1, 1] * shape[0]
    torch.manual_seed(0)
    image = torch.zeros(3, *shape)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, scale, [3 / 4, 4 / 3]) for _ in range(4000)]).float()
    assert float(widths.mean()) == pytest.approx(float(theirs[:, 3].mean()), rel=0.02)
    assert float(heights.mean()) == pytest.approx(float(theirs[:, 2].mean()), rel=0.02)
    assert float((ours[:, 0, 0] < 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    inside = ours[:, :, 2].abs() + torch.stack([ours[:, 0, 0].abs(), ours[:, 1, 1]], 1)
    assert float(inside.max()) <= 1 + 1e-6


def test_normalise_and_resize() -> None:
    images = torch.full((1, 3, 4, 4), 255.0)
    out = normalise(resize(images, 8), torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.25, 1.0]))
    assert out.shape == (1, 3, 8, 8)
    assert out[0, :, 0, 0].tolist() == pytest.approx([1.0, 2.0, 1.0], abs=1e-5)


def test_real_images(real_images: Path) -> None:
    data = load_images(str(real_images), DataConfig(classes="1::2", train_per_class=3, test_per_class=2), 32)
    assert data.train_images.shape == (300, 3, 32, 32) and data.test_images.shape == (200, 3, 32, 32)
    assert len(data.class_names) == 100 and 60 < float(data.train_images.float().mean()) < 180
