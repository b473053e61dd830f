"""What is measured at a task boundary, against closed forms and other people's code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from training import trained, values

from trainables.configs import DataConfig, NestedConfig
from trainables.methods.nested import NestedRun, train
from trainables.metrics.boundary import accuracies
from trainables.metrics.references import class_means, nearest_class_mean

DATA = DataConfig(classes="0:12", train_per_class=6, test_per_class=4, flip=False)


def config(backbone: str, **settings: object) -> NestedConfig:
    defaults = {"init_cls": 4, "increment": 4, "epochs": 1, "batch_size": 8, "rank": 4, "data": DATA}
    return NestedConfig(backbone=backbone, **(defaults | settings))


def test_accuracies_in_closed_form() -> None:
    target = torch.tensor([0, 1, 2, 3, 4, 5])
    predicted = torch.tensor([0, 4, 2, 5, 4, 4])
    found = accuracies(predicted, target, [0, 2, 4, 6])
    by_task = {"accuracy/task_0": 1 / 2, "accuracy/task_1": 1 / 2, "accuracy/task_2": 1 / 2}
    overall = {"accuracy": 3 / 6, "recency": 4 / 6, "accuracy_new": 1 / 2, "accuracy_old": 2 / 4}
    assert found == pytest.approx(overall | by_task)
    assert "accuracy_old" not in accuracies(predicted[:1], target[:1], [0, 2])


def test_nearest_class_mean_is_the_largest_cosine() -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(60, 8)).astype(np.float32), draw.integers(0, 5, 60)
    means = np.stack([features[labels == label].mean(0) for label in range(5)])
    ours = class_means(torch.from_numpy(features), torch.from_numpy(labels), 5)
    assert np.allclose(ours.numpy(), means, atol=1e-6)
    for allowed in ([0, 1, 2, 3, 4], [1, 4]):
        expected = np.array(allowed)[cosine_similarity(features, means[allowed]).argmax(1)]
        assert nearest_class_mean(torch.from_numpy(features), ours, allowed).tolist() == expected.tolist()


def test_a_run_reports_its_reference_lines_and_transfer(tiny_backbone: str, tmp_path: Path) -> None:
    rows = trained(train, config(tiny_backbone, class_order="replica"), (3,), tmp_path)[3]
    assert values(rows, "reference", "chance") == pytest.approx([1 / 4, 1 / 8, 1 / 12])
    assert len(values(rows, "reference", "ncm")) == 3 and len(values(rows, "reference", "joint")) == 1
    assert len(values(rows, "transfer", "initial/task_1")) == len(values(rows, "transfer", "before/task_2")) == 1
    assert [row["task"] for row in rows if row["name"] == "before/task_2"] == [1]
    for task in range(3):
        own = [row for row in rows if row["task"] == task]
        (total,), new = values(own, "eval", "accuracy"), values(own, "eval", "accuracy_new")
        old = values(own, "eval", "accuracy_old") or [0.0]
        assert total == pytest.approx((task * old[0] + new[0]) / (task + 1))  # every task has as many test images
    bottleneck = 2 * (2 * 16 * 4 + 4 + 16)
    assert values(rows, "boundary", "params/fast") == values(rows, "boundary", "params/slow") == [bottleneck] * 3
    assert values(rows, "boundary", "params/head") == [16 * 12 + 12] * 3


def test_references_by_hand(tiny_backbone: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    run = NestedRun(config(tiny_backbone), (0,))
    frozen, train_labels, test_labels = run.tests.frozen, run.train_labels, run.tests.test.pictures.labels
    with torch.inference_mode():
        plain = run.pack.backbone.model(run.tests.test.batch(torch.arange(5)))  # adapters are silent at the start
    assert torch.allclose(frozen.test[:5], plain, atol=1e-5)
    scaler = StandardScaler().fit(frozen.train)
    head = LogisticRegression(max_iter=1000).fit(scaler.transform(frozen.train), train_labels)
    expected = head.score(scaler.transform(frozen.test), test_labels)
    assert frozen.joint_accuracy(torch.arange(len(train_labels)), train_labels, test_labels) == pytest.approx(expected)


def test_features_are_computed_once_per_node(tiny_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = NestedRun(config(tiny_backbone), (0,)).tests.frozen
    monkeypatch.setattr("trainables.metrics.references.frozen_features", lambda *a: pytest.fail("computed again"))
    assert torch.equal(NestedRun(config(tiny_backbone), (7,)).tests.frozen.test, first.test)
    with pytest.raises(BaseException, match="computed again"):  # other pixels are other features
        _ = NestedRun(config(tiny_backbone, data=DATA.model_copy(update={"transform": "timm"})), (0,)).tests.frozen


def test_held_out_images_teach_no_reference(tiny_backbone: str, tmp_path: Path) -> None:
    data = DATA.model_copy(update={"val_fraction": 0.34})
    run = NestedRun(config(tiny_backbone, data=data), (0,))
    learned = torch.cat(run.tasks.train[0])
    means = class_means(run.tests.frozen.train[learned], run.train_labels[learned], 12)
    assert torch.equal(run.tests._means[0], means) and len(learned) == 48
