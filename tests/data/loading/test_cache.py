"""Images that are kept are the images that are read: bit for bit, and whole or not there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.loading import cache as caching
from fgvc_cli.data.loading import cache_files
from fgvc_cli.data.loading.cache import Cache, Wanted, cache_in_file, cache_on_device, decode_to, open_cache
from fgvc_cli.data.loading.cached_batches import CopiedBatches, DeviceBatches
from fgvc_cli.data.loading.loader import Loader, make_loader
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from tests.data.loading.test_loader import assert_same
from tests.data.small_archives import spec_of, write_image

COUNT = 14
CPU = torch.device("cpu")


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    root = tmp_path / "images"
    for i in range(COUNT):
        write_image(root / f"{i}.png", width=40 + i, height=35 + i % 5, seed=i)
    boxes = np.tile(np.array([5, 6, 30, 25], dtype=np.float32), (COUNT, 1))
    every = Split(tuple(f"{i}.png" for i in range(COUNT)), np.arange(COUNT) % 3, boxes)
    train, val = every.take(np.arange(10)[::-1]), every.take(np.arange(10, 13))
    return DatasetIndex("folder", root, ("a", "b", "c"), train, every.take(np.array([13])), val)


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_files, "_SHARED_MEMORY", tmp_path / "shm")


KINDS = {
    "copies": {"resize": 36, "padding": 5},
    "centre": {"resize": 40},
    "no crop": {"resize": 32, "flip": False},
    "more": {"resize": 36, "padding": 2, "rotation": 20.0, "augment": "trivialaugment", "erasing": 0.5},
}


def loader_of(index: DatasetIndex, kind: str, cache: Cache | None, *, train: bool, workers: int = 0) -> Loader:
    spec = spec_of("folder", workers=workers, **KINDS[kind])
    split = index.train if train else index.split("val")
    return make_loader(index, split, spec, batch_size=3, train=train, seed=7, cache=cache)


def kept(index: DatasetIndex, place: str, **values: object) -> Cache:
    if place == "gpu":
        return decode_to(Wanted.of(index, spec_of("folder", **values)), CPU, lambda *_: None)
    found = open_cache(index, spec_of("folder", cache=place, **values), CPU)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "place"),
    [(kind, place) for kind in KINDS for place in ("ram", "disk", "gpu") if (kind, place) != ("more", "gpu")],
)
def test_the_same_images_come_out(index: DatasetIndex, kind: str, place: str) -> None:
    index = replace(index, cut_bottom=7)
    cache = kept(index, place, **KINDS[kind])
    for train in (True, False):
        plain = loader_of(index, kind, None, train=train)
        for workers in (0, 2):
            cached = loader_of(index, kind, cache, train=train, workers=workers)
            for epoch in (0, 1, 0):
                assert_same(list(cached.epoch(epoch)), list(plain.epoch(epoch)))
            assert_same(list(cached.epoch(1, start_batch=2)), list(plain.epoch(1, start_batch=2)))
            next(cached.epoch(0))  # an epoch that is left
            assert_same(list(cached.epoch(1)), list(plain.epoch(1)))


def test_batches_are_the_callers_own(index: DatasetIndex) -> None:
    loader = loader_of(index, "copies", kept(index, "disk", **KINDS["copies"]), train=True)
    batches = list(loader.epoch(0))
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in batches)
    for batch in batches:
        batch.images.fill_(0)
    assert all(int(batch.images.max()) > 0 for batch in loader.epoch(0))


def test_draws_of_a_batch_are_independent(tmp_path: Path) -> None:
    """The same picture 300 times: windows and mirrors differ, and neighbours know nothing of each other."""
    write_image(tmp_path / "one.png", width=48, height=48)
    split = Split(("one.png",) * 300, np.zeros(300, dtype=np.int64))
    same = DatasetIndex("folder", tmp_path, ("a", "b"), split, split)
    spec = spec_of("folder", resize=48)
    cache = open_cache(same, spec_of("folder", resize=48, cache="disk"), CPU)
    for source in (None, cache, decode_to(Wanted.of(same, spec), CPU, lambda *_: None)):
        batch = next(make_loader(same, split, spec, batch_size=300, train=True, cache=source).epoch(0))
        facts = batch.to_original[:, :, 2].numpy()
        assert len({image.numpy().tobytes() for image in batch.images}) > 190  # of 17 * 17 * 2, each as likely
        flips = (batch.to_original[:, 0, 0] < 0).double().numpy()
        assert 0.4 < flips.mean() < 0.6
        for values in (flips, facts[:, 0], facts[:, 1]):
            assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.2


def test_who_makes_the_batches(index: DatasetIndex) -> None:
    """Else the comparison above compares a way with itself."""
    for kind, place, maker in (
        ("copies", "gpu", DeviceBatches),
        ("copies", "ram", CopiedBatches),
        ("more", "disk", DataLoader),
    ):
        assert type(loader_of(index, kind, kept(index, place, **KINDS[kind]), train=True)._batches) is maker


def fill_counted(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, **values: object) -> list[str]:
    """The files that opening a disk cache reads."""
    read: list[str] = []
    original = Wanted.read
    with monkeypatch.context() as patch:
        patch.setattr(Wanted, "read", lambda self, file: (read.append(file), original(self, file))[1])
        kept(index, "disk", **values)
    return sorted(read)


def test_a_cache_is_found_again_by_what_decides_its_pixels(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = sorted((*index.train.files, *index.split("val").files))
    assert fill_counted(index, monkeypatch, resize=40) == every
    assert fill_counted(index, monkeypatch, resize=40, flip=False, padding=3) == []
    moved = replace(index, train=index.split("val"), val=index.train)  # another line between train and val
    assert fill_counted(moved, monkeypatch, resize=40) == []
    assert fill_counted(index, monkeypatch, resize=41) == every
    assert fill_counted(replace(index, cut_bottom=1), monkeypatch, resize=40) == every
    assert len(fill_counted(replace(index, val=None), monkeypatch, resize=40)) == 10
    monkeypatch.setattr(caching, "_VERSION", 99)
    assert fill_counted(index, monkeypatch, resize=40) == every


def test_changed_images_are_read_again(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    old = kept(index, "disk")
    write_image(index.root / "3.png", width=43, height=38, seed=99)
    assert len(fill_counted(index, monkeypatch)) == COUNT - 1
    new = kept(index, "disk")
    alone = Split(("3.png",), np.zeros(1, np.int64))
    assert not np.array_equal(
        *(found.of(alone).image(0) for found in (new, old))
    )  # who has the old ones open keeps them
    for loader in (loader_of(index, "no crop", None, train=True), loader_of(index, "no crop", new, train=True)):
        assert_same(list(loader.epoch(0)), list(loader_of(index, "no crop", None, train=True).epoch(0)))


def test_an_image_that_changes_meanwhile_is_named(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Wanted.read

    def touching(self: Wanted, file: str) -> object:
        if file == "5.png":
            os.utime(index.root / "2.png", (1, 1))
        return original(self, file)

    monkeypatch.setattr(Wanted, "read", touching)
    with pytest.raises(FgvcError, match=r"2\.png changed while it was being cached"):
        kept(index, "disk")
    assert not [path for path in (caching.cache_home() / "resized").iterdir() if path.is_dir()]


def damage_half(folder: Path) -> None:
    file = folder / "pixels.npy"
    os.truncate(file, file.stat().st_size // 2)


DAMAGES = {
    "half of the pixels": damage_half,
    "no sizes": lambda folder: (folder / "sizes.npy").unlink(),
    "empty facts": lambda folder: (folder / "about.json").write_text(""),
    "other facts": lambda folder: (folder / "about.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_is_made_anew(index: DatasetIndex, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept(index, "disk")
    expected = cache.kept.pixels.copy()
    folder = cache.kept.path.parent
    DAMAGES[damage](folder)
    assert len(fill_counted(index, monkeypatch)) == COUNT - 1
    assert np.array_equal(kept(index, "disk").kept.pixels, expected)


def test_one_fills_and_the_other_waits(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Wanted.read

    def slow(self: Wanted, file: str) -> object:
        read.append(file)
        time.sleep(0.02)
        return original(self, file)

    monkeypatch.setattr(Wanted, "read", slow)
    found: list[Cache] = []
    told: list[str] = []
    wanted, folder = Wanted.of(index, spec_of("folder")), caching.cache_home() / "resized/key"

    def fill() -> None:
        found.append(cache_in_file(wanted, folder, lambda what, *_: told.append(what)))

    threads = [threading.Thread(target=fill) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(read) == COUNT - 1
    assert sum("waiting" in what for what in told) == 2


def fill_in_a_process(wanted: Wanted, folder: Path, pause: float, told: Connection) -> None:
    original = Wanted.read

    def slow(self: Wanted, file: str) -> object:
        time.sleep(pause)
        return original(self, file)

    Wanted.read = slow
    cache_in_file(wanted, folder, lambda what, *_: told.send(what))
    told.send("done")


def test_killed_while_it_fills_and_another_waits(index: DatasetIndex, tmp_path: Path) -> None:
    context, folder = multiprocessing.get_context("fork"), tmp_path / "home/key"
    wanted = Wanted.of(index, spec_of("folder"))

    def start(pause: float) -> tuple[BaseProcess, Connection]:
        ours, theirs = context.Pipe()
        process = context.Process(target=fill_in_a_process, args=(wanted, folder, pause, theirs))
        process.start()
        return process, ours

    first, of_first = start(300)
    assert "caching 13 images" in of_first.recv()
    second, of_second = start(0)
    assert "waiting" in of_second.recv()
    assert (tmp_path / "home/key.part").is_dir()
    assert not folder.exists()
    first.kill()
    first.join()
    assert "caching 13 images" in of_second.recv()
    while of_second.recv() != "done":
        pass
    second.join()
    assert not (tmp_path / "home/key.part").exists()
    assert np.load(folder / "pixels.npy").reshape(13, -1).max(1).min() > 0


def test_full_disk_is_one_line_and_leaves_nothing(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching, "reserve", full)
    with pytest.raises(FgvcError, match=r"cannot cache images in .*resized: no room for .* MiB; free") as caught:
        kept(index, "disk")
    assert "\n" not in str(caught.value)
    assert not [path for path in (caching.cache_home() / "resized").iterdir() if path.is_dir()]


@pytest.mark.parametrize(("place", "advice"), [("disk", "XDG_CACHE_HOME"), ("ram", "--shm-size")])
def test_too_little_room_is_told_before(
    index: DatasetIndex, monkeypatch: pytest.MonkeyPatch, place: str, advice: str
) -> None:
    usage = caching.shutil.disk_usage("/")
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(BadRequest, match=f"--cache {place}: 13 images of 32 x 32 pixels take .*{advice}"):
        kept(index, place)
    monkeypatch.setattr(caching, "available_memory", lambda: 1000)
    with pytest.raises(BadRequest, match=r"in memory; use --cache disk|XDG_CACHE_HOME"):
        kept(index, place)


def test_a_gpu_is_needed_and_must_have_room(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted.of(index, spec_of("folder"))
    with pytest.raises(BadRequest, match="--cache gpu: this run computes on the CPU"):
        open_cache(index, spec_of("folder", cache="gpu"), CPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    with pytest.raises(BadRequest, match=r"--cache gpu: 13 images .* on the GPU"):
        cache_on_device(wanted, torch.device("cuda:0"), lambda *_: None)


def test_an_unreadable_image_is_named(index: DatasetIndex) -> None:
    (index.root / "4.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"4\.png: .*--on-bad-image skip"):
        kept(index, "disk")
    (index.root / "4.png").unlink()
    with pytest.raises(ImageError, match=r"4\.png: cannot be read"):
        kept(index, "disk")


def shared(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / f"shm/fgvc-{os.getuid()}").iterdir() if path.is_dir()]


def test_memory_is_given_back_by_the_last_who_uses_it(index: DatasetIndex, tmp_path: Path) -> None:
    first, second = kept(index, "ram"), kept(index, "ram")
    assert first.claim is not None
    assert second.claim is not None
    assert len(shared(tmp_path)) == 1
    first.claim.release()
    assert len(shared(tmp_path)) == 1
    loader = loader_of(index, "no crop", second, train=True)
    expected = list(loader.epoch(0))
    second.claim.release()
    assert shared(tmp_path) == []
    assert_same(list(loader.epoch(0)), expected)  # what is mapped stays


def test_what_a_killed_process_left_in_memory_goes(index: DatasetIndex, tmp_path: Path) -> None:
    claimed = kept(index, "ram", resize=33)
    home = tmp_path / f"shm/fgvc-{os.getuid()}"
    for name in ("left", "half.part"):
        (home / name).mkdir()
        (home / name / "pixels.npy").write_bytes(bytes(10))
    found = kept(index, "ram", resize=34)
    assert sorted(shared(tmp_path)) == sorted(found.kept.path.parent.name for found in (claimed, found))


def test_somebody_elses_memory_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"shm/fgvc-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadRequest, match="belongs to another user"):
        cache_files.shared_memory()
    (tmp_path / f"shm/fgvc-{os.getuid()}").unlink()
    (tmp_path / f"shm/fgvc-{os.getuid()}").write_text("")
    with pytest.raises(BadRequest, match=r"--cache ram: cannot use .*; use --cache disk"):
        cache_files.shared_memory()


def test_a_cache_folder_that_is_none_is_one_line(
    index: DatasetIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FgvcError, match=r"cannot cache images in .*: Not a directory; .*use another --cache"):
        kept(index, "disk")


def test_a_worker_gets_the_path_not_the_pixels(index: DatasetIndex) -> None:
    """Where workers are not forked they are sent the dataset."""
    cache = kept(index, "ram", resize=300)
    loader = loader_of(index, "more", cache, train=True)
    sent = pickle.dumps(loader.dataset)
    assert len(sent) < 20_000
    again = pickle.loads(sent)
    assert torch.equal(again[0, 3].image, loader.dataset[0, 3].image)
