"""An epoch in which every class comes equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from fgvc_cli.data.loading.loader import Loader, make_loader
from fgvc_cli.data.loading.order import balanced_order
from fgvc_cli.data.types import DatasetIndex, Split
from tests.data.small_archives import spec_of, write_image

TEN_TO_ONE = np.repeat(np.arange(4), [100, 10, 1, 33])


@pytest.mark.parametrize("labels", [TEN_TO_ONE, np.array([0, 0, 3, 3, 3, 5]), np.zeros(5, dtype=np.int64)])
def test_classes_and_the_images_of_a_class_come_equally_often(labels) -> None:
    for epoch in range(5):
        order, repeats = balanced_order(7, epoch, labels)
        assert order.shape == repeats.shape == labels.shape
        classes = Counter(labels[order].tolist())
        assert set(classes) == set(labels.tolist())
        assert max(classes.values()) - min(classes.values()) <= 1
        images = Counter(order.tolist())
        for label in set(labels.tolist()):
            shown = [images[position] for position in np.flatnonzero(labels == label)]
            assert max(shown) - min(shown) <= 1
        assert len(set(zip(order.tolist(), repeats.tolist(), strict=True))) == len(order)


def test_balanced_data_are_each_shown_once() -> None:
    order, repeats = balanced_order(0, 0, np.arange(12) % 3)
    assert sorted(order.tolist()) == list(range(12))
    assert not repeats.any()


def test_an_order_depends_on_seed_and_epoch_alone_and_all_images_come_in_time() -> None:
    first, again = balanced_order(1, 2, TEN_TO_ONE), balanced_order(1, 2, TEN_TO_ONE)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], balanced_order(1, 3, TEN_TO_ONE)[0])
    assert not np.array_equal(first[0], balanced_order(2, 2, TEN_TO_ONE)[0])
    seen = {position for epoch in range(30) for position in balanced_order(1, epoch, TEN_TO_ONE)[0].tolist()}
    assert len(seen) == len(TEN_TO_ONE)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """Ten images of one class, one of another."""
    root = tmp_path_factory.mktemp("uneven")
    for i in range(11):
        write_image(root / f"{i}.png", width=40, height=40, seed=i)
    split = Split(tuple(f"{i}.png" for i in range(11)), np.repeat([0, 1], [10, 1]))
    return DatasetIndex("folder", root, ("a", "b"), split, split)


def loader_of(index: DatasetIndex, workers: int = 0) -> Loader:
    spec = spec_of("folder", resize=36, padding=2, rotation=10.0, workers=workers)
    return make_loader(index, index.train, spec, batch_size=4, train=True, seed=7, balanced=True)


def test_the_loader_balances_and_repeats_are_augmented_anew(index) -> None:
    batches = list(loader_of(index).epoch(0))
    labels = torch.cat([batch.labels for batch in batches])
    assert len(labels) == 8
    assert 3 <= labels.sum() <= 5
    images = torch.cat([batch.images for batch in batches])[labels == 1]
    assert len({image.numpy().tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_resuming_change_nothing(index, workers) -> None:
    whole = list(loader_of(index).epoch(3))
    rest = list(loader_of(index, workers).epoch(3, start_batch=1))
    for a, b in zip(whole[1:], rest, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.images, b.images)


def test_evaluation_is_never_balanced(index) -> None:
    loader = make_loader(index, index.test, spec_of("folder", workers=0), batch_size=4, train=False)
    assert torch.cat([batch.index for batch in loader.epoch(0)]).tolist() == list(range(11))
