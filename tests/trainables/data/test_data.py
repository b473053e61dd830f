"""Data sets on disk as users have them, class-incremental splits."""

import weakref
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from trainables.configs import DataConfig, NestedConfig
from trainables.data.decoding import parse_classes
from trainables.data.images import load_images
from trainables.data.pictures import within
from trainables.data.splits import ClassIncremental, class_order, padded_batches
from trainables.errors import InputError


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
    assert data.train.pixels.shape == (12, 3, 8, 10) and data.train.pixels.dtype == torch.uint8
    assert data.test.pixels.shape == (6, 3, 8, 10)
    assert data.train.labels.bincount().tolist() == [4, 4, 4]
    assert data.class_names == ("1", "3", "5")
    originals = torch.tensor([1, 3, 5])
    assert torch.equal(data.train.pixels[:, 0, 0, 0].long(), 20 * originals[data.train.labels])


def test_image_folder_and_unequal_sizes(tmp_path: Path) -> None:
    data = load_images(str(image_folder(tmp_path / "a")), DataConfig(), 16)
    assert (len(data.train), len(data.test)) == (12, 6)
    assert data.class_names == ("class0", "class1", "class2")
    ragged = load_images(str(parquet_folder(tmp_path / "b", {"train": 5, "test": 3}, sizes=True)), DataConfig(), 16)
    assert not ragged.train.equal and {tuple(size) for size in ragged.train.sizes.tolist()} == {
        (8, 10),
        (8, 12),
        (8, 14),
    }
    for index in range(len(ragged.train)):  # as they were, not cut to squares
        height, width = ragged.train.sizes[index].tolist()
        assert ragged.train[index].shape == (3, height, width)
        assert set(ragged.train[index].flatten().tolist()) == {20 * int(ragged.train.labels[index])}


def test_pictures_above_the_bound_are_shrunk_and_keep_their_shape(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path, {"train": 5, "test": 3}, sizes=True)
    data = load_images(str(folder), DataConfig(max_shorter_side=8), 16)
    assert data.train.sizes[:, 0].tolist() == [8] * 30
    (tmp_path / "big").mkdir()
    for split in ("train", "test"):
        for label in range(2):
            (tmp_path / "big" / split / str(label)).mkdir(parents=True)
            picture(label, (60, 30)).save(tmp_path / "big" / split / str(label) / "0.png")
    big = load_images(str(tmp_path / "big"), DataConfig(max_shorter_side=10), 16)
    assert big.train.sizes.tolist() == [[10, 20]] * 2


def test_decoding_streams_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time are more than a few decoded pictures alive."""
    alive, most = weakref.WeakSet(), 0

    class Tracked(np.ndarray):
        __hash__ = object.__hash__  # type: ignore[assignment]

    def tracked(picture: Image.Image, bound: int) -> np.ndarray:
        nonlocal most
        made = within(picture, bound).copy().view(Tracked)
        alive.add(made)
        most = max(most, len(alive))
        return made

    monkeypatch.setattr("trainables.data.decoding.within", tracked)
    load_images(str(parquet_folder(tmp_path, {"train": 20, "test": 3})), DataConfig(), 16)
    assert 1 <= most <= 3


def test_a_single_split_gives_a_fifth_of_every_class_to_the_test_set(tmp_path: Path) -> None:
    data = load_images(str(parquet_folder(tmp_path, {"train": 10})), DataConfig(), 16)
    assert data.train.labels.bincount().tolist() == [8] * 6
    assert data.test.labels.bincount().tolist() == [2] * 6


def test_the_second_load_maps_the_cache_and_decodes_nothing(tmp_path: Path, monkeypatch, own_cache: Path) -> None:
    folder = parquet_folder(tmp_path, {"train": 5, "test": 3})
    first = load_images(str(folder), DataConfig(), 16)
    monkeypatch.setattr("trainables.data.images.decode", lambda *a: pytest.fail("decoded again"))
    second = load_images(str(folder), DataConfig(), 16)
    assert first.content_hash == second.content_hash and torch.equal(first.train.pixels, second.train.pixels)


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
    assert not torch.equal(*incremental(class_order="replica").position)


def test_class_order_1993_is_the_fields(tmp_path: Path) -> None:
    order = class_order(NestedConfig(), 100, 0)
    assert order[:5].tolist() == [68, 56, 78, 8, 23]
    assert torch.equal(order, torch.from_numpy(np.random.RandomState(1993).permutation(100)))
    assert torch.equal(class_order(NestedConfig(class_order="replica"), 100, 1993), order)
    assert class_order(NestedConfig(class_order="labels"), 4, 7).tolist() == [0, 1, 2, 3]
    assert class_order(NestedConfig(class_order=[2, 0, 1]), 3, 7).tolist() == [2, 0, 1]
    assert NestedConfig(class_order_seed=5).class_order == 5  # the name of earlier versions


@pytest.mark.parametrize("order", [[0, 2], [0, 0, 1], -1, "random"])
def test_what_is_no_class_order_is_refused(order: object) -> None:
    with pytest.raises(ValidationError, match="class_order"):
        NestedConfig(class_order=order)


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
        orders.append(tasks.shown(1, epoch)[0])
        assert sorted(orders[-1].tolist()) == sorted(tasks.train[0][1].tolist())
    assert not torch.equal(*orders)


def test_padded_batches_are_masked() -> None:
    batches, valid = padded_batches([torch.arange(5), torch.arange(2)], 4)
    assert batches.shape == valid.shape == (2, 2, 4)
    assert valid.sum(2).tolist() == [[4, 2], [1, 0]]
    assert batches[0, 0].tolist() == [0, 1, 2, 3] and batches[1, 0, 0] == 4
    wide, _ = padded_batches([torch.ones(5, 2, 5), torch.ones(2, 2, 5)], 4)
    assert wide.shape == (2, 2, 4, 2, 5) and float(wide.sum()) == 70


def test_real_images(real_images: Path) -> None:
    data = load_images(str(real_images), DataConfig(classes="1::2", train_per_class=3, test_per_class=2), 32)
    assert data.train.pixels.shape == (300, 3, 32, 32) and data.test.pixels.shape == (200, 3, 32, 32)
    assert len(data.class_names) == 100 and 60 < float(data.train.pixels.float().mean()) < 180
