"""Embeddings: computed once, never mixed, sound after any accident."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.loading.to_device import normalise
from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.errors import FgvcError
from fgvc_cli.inference.features import embedder as reading
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.features.store import FeatureStore, digest
from fgvc_cli.inference.pictures import Picture, find_pictures
from fgvc_cli.methods import build_method
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console
from tests.conftest import STEPPED, small_spec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/fgvc/features"


def quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()))


def embedder(photos: Path, *sets: str, seed: int = 0, method: str = "baseline") -> Embedder:
    torch.manual_seed(seed)
    spec = small_spec(photos, method, *sets)
    built, _ = build_method(spec, 3)
    return Embedder.of(built.eval(), spec, CPU)


def pictures(photos: Path) -> list[Picture]:
    return find_pictures([str(photos / "train")])


def counted(monkeypatch) -> list[int]:
    """The number of images of each batch that is computed."""
    found: list[int] = []
    whole = Embedder._vectors

    def counting(self, batch):
        found.append(len(batch.images))
        return whole(self, batch)

    monkeypatch.setattr(Embedder, "_vectors", counting)
    return found


@pytest.mark.parametrize("method", ["baseline", "probe", "clan"])
def test_they_are_what_the_method_gives_for_each_image(photos, method) -> None:
    one = embedder(photos, method=method)
    found = one.embed(pictures(photos), quiet())
    for row, picture in list(enumerate(pictures(photos)))[::7]:
        pixels = transform(read_image(picture.file), one.spec.data)[0]
        with torch.no_grad():
            alone = one.method.embed(normalise(pixels[None], *one.spec.data.normalisation))[0]
        assert torch.allclose(found[row], alone, atol=1e-4)


@pytest.mark.parametrize("method", [*STEPPED, "probe"])
def test_batches_side_by_side_give_what_one_after_the_other_gives(photos, monkeypatch, method) -> None:
    found = embedder(photos, method=method)
    assert found._lanes == 1
    alone = found.embed(pictures(photos), quiet())
    monkeypatch.setattr(Embedder, "_lanes", 3)
    monkeypatch.setattr(Embedder, "_size", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos.parent / "other"))
    beside = embedder(photos, method=method).embed(pictures(photos), quiet())
    assert torch.allclose(alone, beside, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize(("threads", "side", "lanes", "size"), [(1, 224, 1, 32), (2, 224, 2, 32), (16, 448, 4, 8)])
def test_how_many_lanes_and_how_large(photos, threads, side, lanes, size) -> None:
    """More images, or a larger number of pixels, would only take memory."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = embedder(photos, f"data.image_size={side}", "data.resize=null", "train.batch_size=4")
        assert (found._lanes, found._size) == (lanes, size)
        assert embedder(photos, "train.eval_batch_size=5")._size == 5
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("fast", [0.0, 1e9])
def test_slow_and_fast_files_are_read_in_order(photos, monkeypatch, fast) -> None:
    monkeypatch.setattr(reading, "_FAST", fast)
    monkeypatch.setattr(reading, "_TRIED", 3)
    assert reading._each(lambda one: one.name, pictures(photos)) == [one.name for one in pictures(photos)]


def test_a_second_time_nothing_is_computed_not_even_by_another_process(photos, monkeypatch) -> None:
    first = embedder(photos).embed(pictures(photos), quiet())
    batches = counted(monkeypatch)
    assert torch.equal(embedder(photos).embed(pictures(photos), quiet()), first)
    assert batches == []
    assert torch.equal(embedder(photos).embed(pictures(photos)[::-1], quiet()), first.flip(0))
    assert batches == []


def test_the_baseline_and_the_probe_share_them(photos, monkeypatch) -> None:
    embedder(photos, "method.pool=network").embed(pictures(photos), quiet())
    batches = counted(monkeypatch)
    embedder(photos, method="probe").embed(pictures(photos), quiet())
    assert batches == []


def test_renamed_files_are_known_and_changed_ones_are_not(photos, tmp_path, monkeypatch) -> None:
    copies = Path(shutil.copytree(photos / "train", tmp_path / "copies"))
    embedder(photos).embed(pictures(photos), quiet())
    (copies / "red/0.png").rename(copies / "red/new.png")
    batches = counted(monkeypatch)
    found = find_pictures([str(copies)])
    embedder(photos).embed(found, quiet())
    assert batches == []
    shutil.copy(copies / "blue/0.png", copies / "red/1.png")  # known content under a known name
    moved = embedder(photos).embed(find_pictures([str(copies)]), quiet())
    assert batches == []
    names = [picture.file.relative_to(copies).as_posix() for picture in found]
    assert torch.equal(moved[names.index("red/1.png")], moved[names.index("blue/0.png")])


@pytest.mark.parametrize("change", ["data.image_size=34", "data.resize=44", "data.mean=[0.1,0.2,0.3]", "data.fit=crop"])
def test_another_transform_has_its_own(photos, monkeypatch, change) -> None:
    embedder(photos).embed(pictures(photos), quiet())
    batches = counted(monkeypatch)
    embedder(photos, change).embed(pictures(photos), quiet())
    assert sum(batches) == len(pictures(photos))


def test_other_weights_have_their_own(photos, monkeypatch) -> None:
    first = embedder(photos).embed(pictures(photos), quiet())
    batches = counted(monkeypatch)
    assert not torch.equal(embedder(photos, seed=1).embed(pictures(photos), quiet()), first)
    assert sum(batches) == len(pictures(photos))


def test_augmented_views_differ_and_come_again(photos, monkeypatch) -> None:
    one = embedder(photos)
    plain, first, second = (one.embed(pictures(photos), quiet(), view=view) for view in range(3))
    assert not torch.equal(first, plain)
    assert not torch.equal(first, second)
    batches = counted(monkeypatch)
    assert torch.equal(embedder(photos).embed(pictures(photos), quiet(), view=1), first)
    assert batches == []
    embedder(photos, "train.seed=5").embed(pictures(photos), quiet(), view=1)
    assert sum(batches) == len(pictures(photos))


def test_a_killed_process_leaves_what_is_whole(photos, home, monkeypatch) -> None:
    whole = embedder(photos).embed(pictures(photos), quiet())
    (file,) = home.glob("*/*.rows")
    content = file.read_bytes()
    record = len(content) // len(whole)
    file.write_bytes(content[: record * 5 + record // 2])  # in the middle of the sixth record
    batches = counted(monkeypatch)
    assert torch.allclose(embedder(photos).embed(pictures(photos), quiet()), whole, atol=1e-5)
    assert sum(batches) == len(whole) - 5


@pytest.mark.parametrize("place", [3, 20, 40, -2])
def test_a_damaged_record_is_computed_again(photos, home, monkeypatch, place) -> None:
    whole = embedder(photos).embed(pictures(photos), quiet())
    (file,) = home.glob("*/*.rows")
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)
    batches = counted(monkeypatch)
    assert torch.allclose(embedder(photos).embed(pictures(photos), quiet()), whole, atol=1e-5)
    assert sum(batches) == (0 if place == 20 else 1)  # four bytes of a record mean nothing


def test_an_unreadable_image_is_an_error_or_a_row_of_nan(photos, tmp_path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    named = [*pictures(photos)[:2], Picture("bad.png", tmp_path / "bad.png"), Picture("no.png", tmp_path / "no.png")]
    with pytest.raises(ImageError):
        embedder(photos).embed(named, quiet())
    bad: list[str] = []
    found = embedder(photos).embed(named, quiet(), on_bad=lambda picture, error: bad.append(picture.name))
    assert found.isnan().all(1).tolist() == [False, False, True, True]
    assert sorted(bad) == ["bad.png", "no.png"]


def test_features_that_are_not_finite_are_refused(photos, home) -> None:
    one = embedder(photos)
    with torch.no_grad():
        next(one.method.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(FgvcError, match=r"the features of .*png are not finite: use --precision fp32"):
        one.embed(pictures(photos), quiet())
    assert not list(home.glob("*/*.rows"))


def test_the_store_alone(tmp_path) -> None:
    store = FeatureStore(digest(b"k"), 3, {"who": "test"}, tmp_path)
    keys = [digest(bytes([number])) for number in range(4)]
    assert store.missing(keys) == [0, 1, 2, 3]
    store.append(keys[:2], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert store.missing([keys[0], keys[2], keys[2], keys[1]]) == [1]
    other = FeatureStore(digest(b"k"), 3, {}, tmp_path)
    assert other.vectors([keys[1], keys[0]]).tolist() == [[3, 4, 5], [0, 1, 2]]
    with pytest.raises(KeyError):
        other.vectors([keys[3]])
    store.append(keys[2:], np.ones((2, 3), np.float32))
    other.refresh()
    assert len(other) == 4
    assert len(FeatureStore(digest(b"other"), 3, {}, tmp_path)) == 0


def test_a_store_that_cannot_be_written_is_one_line(photos, home, monkeypatch) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("a file in its place")
    with pytest.raises(FgvcError, match="features"):
        embedder(photos).embed(pictures(photos), quiet())
