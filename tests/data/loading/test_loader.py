from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.loading import samples as image_dataset
from fgvc_cli.data.loading.loader import Loader, default_workers, make_loader
from fgvc_cli.data.loading.order import epoch_order
from fgvc_cli.data.loading.samples import Names
from fgvc_cli.data.loading.to_device import normalise, to_device
from fgvc_cli.data.types import Batch, DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from tests.data.small_archives import spec_of, write_image

COUNT = 22


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    root = tmp_path_factory.mktemp("images")
    for i in range(COUNT):
        write_image(root / f"{i}.png", width=40 + i, height=35 + i % 5, seed=i)
    boxes = np.tile(np.array([5, 6, 30, 31], dtype=np.float32), (COUNT, 1))
    split = Split(tuple(f"{i}.png" for i in range(COUNT)), np.arange(COUNT) % 3, boxes)
    return DatasetIndex("folder", root, ("a", "b", "c"), split, split)


def loader_of(index: DatasetIndex, *, train: bool = True, workers: int = 0, batch_size: int = 4) -> Loader:
    spec = spec_of("folder", resize=36, padding=2, rotation=10.0, workers=workers)
    return make_loader(index, index.train, spec, batch_size=batch_size, train=train, seed=7)


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for name, value in vars(a).items():
            assert torch.equal(value, getattr(b, name)), name


def test_shapes_and_types(index: DatasetIndex) -> None:
    batch = next(loader_of(index).epoch(0))
    assert (batch.images.shape, batch.images.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.labels.shape, batch.labels.dtype) == ((4,), torch.int64)
    assert batch.index.dtype == torch.int64
    assert batch.labels.tolist() == [int(i) % 3 for i in batch.index]
    assert (batch.to_original.shape, batch.to_original.dtype) == ((4, 2, 3), torch.float32)
    assert batch.boxes is not None
    assert (batch.boxes.shape, batch.boxes.dtype) == ((4, 4), torch.float32)
    bare = replace(index, train=replace(index.train, boxes=None))
    assert next(loader_of(bare).epoch(0)).boxes is None


def test_training_drops_a_partial_batch_unless_it_is_the_only_one(index: DatasetIndex) -> None:
    loader = loader_of(index)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 5
    seen = torch.cat([batch.index for batch in batches]).tolist()
    assert len(set(seen)) == 20
    alone = loader_of(index, batch_size=64)
    assert [len(batch.labels) for batch in alone.epoch(0)] == [COUNT]
    assert len(alone) == 1


def test_evaluation_keeps_all_in_order_and_draws_nothing(index: DatasetIndex) -> None:
    loader = loader_of(index, train=False)
    first, second = list(loader.epoch(0)), list(loader.epoch(5))
    assert torch.cat([batch.index for batch in first]).tolist() == list(range(COUNT))
    assert len(loader) == 6
    assert_same(first, second)


def test_epochs_differ_and_repeat(index: DatasetIndex) -> None:
    loader = loader_of(index)
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    assert [batch.index.tolist() for batch in first] != [batch.index.tolist() for batch in second]
    assert_same(first, list(loader.epoch(0)))
    assert_same(second, list(loader_of(index).epoch(1)))


def test_draws_of_an_image_do_not_depend_on_its_batch(index: DatasetIndex) -> None:
    small = {int(b.index[i]): b.images[i] for b in loader_of(index).epoch(3) for i in range(4)}
    large = next(loader_of(index, batch_size=COUNT).epoch(3))
    for position, image in small.items():
        assert torch.equal(image, large.images[large.index.tolist().index(position)])


@pytest.mark.parametrize("train", [True, False])
def test_number_of_workers_changes_nothing(index: DatasetIndex, train: bool) -> None:
    plain = loader_of(index, train=train)
    expected = [list(plain.epoch(epoch)) for epoch in (0, 1)]
    for workers in (1, 3):
        loader = loader_of(index, train=train, workers=workers)
        for epoch in (0, 1):
            assert_same(list(loader.epoch(epoch)), expected[epoch])


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_reads_only_what_is_left(
    index: DatasetIndex, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(loader_of(index).epoch(2))
    read: list[str] = []
    original = image_dataset.read_image
    monkeypatch.setattr(image_dataset, "read_image", lambda path, *more: (read.append(path), original(path, *more))[1])
    assert_same(list(loader_of(index, workers=workers).epoch(2, start_batch=3)), whole[3:])
    if not workers:
        assert len(read) == 8
    assert list(loader_of(index).epoch(2, start_batch=5)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_may_be_left(index: DatasetIndex, workers: int) -> None:
    loader = loader_of(index, workers=workers)
    expected = list(loader_of(index).epoch(1))
    for _ in range(3):
        next(loader.epoch(0))
        assert_same(list(loader.epoch(1)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_and_threads_are_left_alone(index: DatasetIndex, workers: int) -> None:
    torch.manual_seed(3)
    state, numpys, pythons = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    threads = torch.get_num_threads()
    loader = loader_of(index, workers=workers)
    for epoch in range(2):
        for _ in loader.epoch(epoch):
            assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)
    assert random.getstate() == pythons


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_image_is_the_plain_error(tmp_path: Path, workers: int) -> None:
    for i in range(6):
        write_image(tmp_path / f"{i}.jpg", seed=i)
    (tmp_path / "4.jpg").write_bytes(b"no image")
    split = Split(tuple(f"{i}.jpg" for i in range(6)), np.zeros(6, dtype=np.int64))
    broken = DatasetIndex("folder", tmp_path, ("a", "b"), split, split)
    batches = loader_of(broken, train=False, workers=workers, batch_size=2).epoch(0)
    assert len(next(batches).labels) == len(next(batches).labels) == 2
    with pytest.raises(ImageError) as caught:
        next(batches)
    assert "4.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("train", [True, False])
def test_processes_share_each_batch(index: DatasetIndex, train: bool) -> None:
    """Three processes and batches of 4: each image of a batch is one process', as if there were one process."""
    spec = spec_of("folder", workers=0)

    def batches(shard: tuple[int, int]) -> list[list[int]]:
        loader = make_loader(index, index.train, spec, batch_size=4, train=train, seed=7, shard=shard)
        return [batch.index.tolist() for batch in loader.epoch(1)]

    whole, parts = batches((0, 1)), [batches((rank, 3)) for rank in range(3)]
    assert len(whole[-1]) == (4 if train else COUNT % 4)  # the last two images are two processes'
    assert len(parts[2]) == len(whole) - (not train)
    for number, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert (part[number] if number < len(part) else []) == batch[rank::3]


def test_more_processes_than_images_of_a_step_are_refused(index: DatasetIndex) -> None:
    with pytest.raises(BadRequest, match="1 images cannot be shared by 2 processes: start fewer processes, or raise"):
        make_loader(index, index.train, spec_of("folder", workers=0), batch_size=1, train=True, shard=(0, 2))


def test_empty_split_is_refused(index: DatasetIndex) -> None:
    empty = replace(index, train=index.train.take(np.empty(0, dtype=np.int64)))
    with pytest.raises(BadRequest, match="empty"):
        loader_of(empty)


def test_workers_ignore_interrupts(index: DatasetIndex) -> None:
    loader = loader_of(index, workers=1, batch_size=1)
    before = set(multiprocessing.active_children())
    batches = loader.epoch(0)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - before
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) == COUNT - 1


def test_dead_worker_is_told_in_one_line(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying() -> Iterator[Batch]:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        yield

    loader = loader_of(index)
    monkeypatch.setattr(loader, "_batches", dying())
    with pytest.raises(FgvcError, match="--workers"):
        next(loader.epoch(0))


def test_order_is_a_permutation_and_frozen() -> None:
    assert sorted(epoch_order(0, 0, 1000)) == list(range(1000))
    assert epoch_order(0, 1, 8).tolist() == ORDER_OF_SEED_0_EPOCH_1
    assert epoch_order(0, 2, 8).tolist() != epoch_order(0, 1, 8).tolist() != epoch_order(1, 1, 8).tolist()


ORDER_OF_SEED_0_EPOCH_1 = [7, 1, 3, 4, 2, 0, 6, 5]


def test_normalise() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    expected = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    result = normalise(images, mean, std)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (result.double() - expected).abs().max() < 1e-5
    assert normalise(images, mean, std, channels_last=False).is_contiguous()
    assert torch.equal(normalise(images, mean, std, channels_last=False), result)
    assert torch.equal(normalise(images.contiguous(memory_format=torch.channels_last), mean, std), result)
    floats = images.float().contiguous(memory_format=torch.channels_last)
    kept = floats.clone()
    normalise(floats, mean, std)
    assert torch.equal(floats, kept)


def test_to_device_keeps_the_rest(index: DatasetIndex) -> None:
    batch = next(loader_of(index).epoch(0))
    moved = to_device(batch, "cpu", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert (moved.images * 255 - batch.images).abs().max() < 1e-3
    for name in ("labels", "index", "to_original", "boxes"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))


def test_constants_made_in_inference_serve_training() -> None:
    mean, std = (0.11, 0.22, 0.33), (0.9, 0.8, 0.7)
    with torch.inference_mode():
        normalise(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), mean, std)
    images = normalise(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), mean, std).requires_grad_()
    images.sum().backward()
    assert images.grad is not None


def test_default_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_workers("cpu") == 0
    for cores, expected in ((1, 0), (2, 1), (8, 7), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert default_workers("cuda") == expected


def test_names_come_back() -> None:
    files = ["a/b.jpg", "", "Größe/é.png", "odd\udcff.jpg", "a/b.jpg"]
    names = Names(files)
    assert [names[i] for i in range(len(files))] == files


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells")
def test_workers_do_not_come_to_hold_copies_of_the_names() -> None:
    """A worker that reads 200,000 names grows by less than a tenth of what a list of them would cost it."""
    files = [f"train/{i % 500:03d}.class/{i:09d}.jpg" for i in range(200_000)]

    def growth(names: Names | list[str]) -> int:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        worker = context.Process(target=read_all, args=(names, len(files), theirs))
        worker.start()
        grown: int = ours.recv()
        worker.join()
        return grown

    as_list, packed = growth(files), growth(Names(files))
    assert as_list > 10 * 2**20
    assert packed < as_list / 10


def read_all(names: Names | list[str], count: int, pipe: Connection) -> None:
    before = private_bytes()
    for position in range(count):
        _ = names[position]
    pipe.send(private_bytes() - before)


def private_bytes() -> int:
    """Memory that this process shares with nobody."""
    table = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in table.splitlines() if line.startswith("Private_")) * 1024
