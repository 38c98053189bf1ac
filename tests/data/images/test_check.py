"""Bad images are found before a run starts, whatever is wrong with them."""

from __future__ import annotations

import io
import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.images.check import bad_images, examine
from fgvc_cli.data.images.read import ImageError
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.dataset import open_index
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from tests.data.small_archives import spec_of, write_cub, write_folder, write_image


def encoded(format: str, **options: object) -> bytes:
    """A picture with enough detail that its end can be cut off."""
    stream = io.BytesIO()
    pixels = np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def bomb(width: int = 20000, height: int = 20000) -> bytes:
    """The header of a huge PNG, and nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


BAD = {
    "zero.jpg": (b"", "the image file is empty"),
    "text.jpg": (b"<html>404 not found</html>", "is not a readable image"),
    "cut.jpg": (encoded("JPEG")[:-200], "is not a readable image"),
    "half.jpg": (encoded("JPEG", progressive=True)[:3000], "is not a readable image"),
    "head.jpg": (encoded("JPEG")[:20], "is not a readable image"),
    "cut.png": (encoded("PNG")[:-300], "is not a readable image"),
    "cut.webp": (encoded("WEBP")[:-300], "is not a readable image"),
    "cut.gif": (encoded("GIF")[:-300], "is not a readable image"),
    "cut.tif": (encoded("TIFF")[:-300], "is not a readable image"),
    "cut.bmp": (encoded("BMP")[:-300], "is not a readable image"),
    "cut.avif": (encoded("AVIF")[:-300], "is not a readable image"),
    "bomb.png": (bomb(), "has 20000 x 20000 pixels, over the limit of 178956970"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, "HEIC image"),
}
SOUND = {
    "trailer.jpg": encoded("JPEG") + b"\0" * 500,
    "appended.jpg": encoded("JPEG") + b"SEFT maker's own data",
    "plain.jpg": encoded("JPEG"),
    "progressive.jpg": encoded("JPEG", progressive=True),
    "a.png": encoded("PNG"),
    "text_behind.png": encoded("PNG") + b"\n" * 80,
    "a.webp": encoded("WEBP"),
    "lossless.webp": encoded("WEBP", lossless=True),
    "a.gif": encoded("GIF"),
    "a.tif": encoded("TIFF"),
    "a.bmp": encoded("BMP"),
    "a.avif": encoded("AVIF"),
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2})


def index_of(root: Path, **values: object) -> DatasetIndex:
    spec = spec_of("folder", root, **values)
    return examine(apply_spec(load_index(spec), spec), spec)


def refused(root: Path, **values: object) -> str:
    with pytest.raises(BadRequest) as caught:
        index_of(root, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["error", "skip"])
@pytest.mark.parametrize("name", BAD)
def test_each_kind_of_bad_image_is_named(photos: Path, name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content, words = BAD[name]
    (photos / "train" / "b" / name).write_bytes(content)
    spec = spec_of("folder", photos, on_bad_image=mode)
    (bad,) = bad_images(load_index(spec), spec)
    assert bad.split == "train"
    assert str(bad.error).startswith(f"{photos / 'train' / 'b' / name}: ")
    assert words in str(bad.error)


@pytest.mark.parametrize("mode", ["error", "skip"])
def test_sound_images_pass(photos: Path, mode: str) -> None:
    for name, content in SOUND.items():
        (photos / "train" / "b" / name).write_bytes(content)
    index = index_of(photos, on_bad_image=mode)
    assert len(index.train) == 8 + len(SOUND)
    assert index.drawn == (mode == "skip")


def test_error_names_three_and_says_what_to_do(photos: Path) -> None:
    for i in range(3):
        (photos / "train" / "a" / f"{i}.png").write_bytes(b"")
    (photos / "test" / "b" / "0.png").unlink()
    (photos / "test" / "b" / "0.png").symlink_to("nowhere")
    (photos / "test" / "b" / "1.png").write_bytes(b"text")
    message = refused(photos)
    assert message.startswith("5 of 12 images cannot be used: ")
    assert message.count("the image file is empty") == 3
    assert "; and 2 more: replace them, or leave them out with --on-bad-image skip" in message
    (photos / "train" / "a" / "1.png").unlink()
    (photos / "train" / "a" / "2.png").unlink()
    message = refused(photos)
    assert "0.png: cannot be read (No such file or directory)" in message
    assert "more" not in message


def test_only_images_that_the_run_uses_are_looked_at(photos: Path) -> None:
    index = index_of(photos, limit_train=2)
    unused = next(path for path in sorted((photos / "train").rglob("*.png")) if not _used(path, photos, index))
    unused.write_bytes(b"")
    assert index_of(photos, limit_train=2).train.files == index.train.files
    assert "the image file is empty" in refused(photos)


def _used(path: Path, root: Path, index: DatasetIndex) -> bool:
    return path.relative_to(root).as_posix() in index.train.files


def test_the_limit_of_pixels_may_be_set(photos: Path) -> None:
    write_image(photos / "train" / "a" / "large.png", 100, 90)
    message = refused(photos, max_pixels=8999)
    assert "large.png: has 100 x 90 pixels, over the limit of 8999; make it smaller" in message
    assert "--set data.max_pixels=9000" in message
    assert len(index_of(photos, max_pixels=9000).train) == 9


def test_skip_leaves_bad_images_out_and_the_run_keeps_its_splits(photos: Path) -> None:
    whole = index_of(photos)
    lost = photos / "train" / "b" / "2.png"
    content = lost.read_bytes()
    lost.write_bytes(content[:100])
    index = index_of(photos, on_bad_image="skip")
    assert set(whole.train.files) - set(index.train.files) == {"train/b/2.png"}
    assert index.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert index.test.files == whole.test.files
    assert index.classes == whole.classes
    (note,) = [note for note in index.notes if "left out" in note]
    assert note.startswith("1 bad image is left out of train (first: ")
    record = split_record(index)
    lost.write_bytes(content)  # repaired: the run goes on without it
    spec = spec_of("folder", photos, on_bad_image="skip")
    again = examine(apply_record(load_index(spec), record), spec, recorded=True)
    assert again.train.files == index.train.files


def test_a_run_whose_images_went_bad_is_told_so(photos: Path) -> None:
    spec = spec_of("folder", photos, on_bad_image="skip")
    record = split_record(index_of(photos, on_bad_image="skip"))
    (photos / "train" / "b" / "2.png").write_bytes(b"")
    with pytest.raises(BadRequest, match=r"1 of 12 images .* the run was made with them: restore readable files"):
        examine(apply_record(load_index(spec), record), spec, recorded=True)


def test_skip_refuses_to_lose_a_class_or_a_split(photos: Path) -> None:
    for file in (photos / "train" / "b").iterdir():
        file.write_bytes(b"")
    message = refused(photos, on_bad_image="skip")
    assert "no readable training image is left in 1 of 2 classes ('b'): add images to them or remove them" in message
    for file in (photos / "test").rglob("*.png"):
        file.write_bytes(b"")
    assert "no readable test image is left" in refused(photos, on_bad_image="skip")


def damaged_within(path: Path) -> None:
    """A PNG whose header and end are sound and whose pixels are not."""
    content = bytearray(encoded("PNG"))
    content[200:400] = bytes(200)
    path.write_bytes(content)


def test_what_only_decoding_shows_is_one_line_in_training(photos: Path) -> None:
    damaged_within(photos / "train" / "a" / "0.png")
    index = index_of(photos)  # passes the quick look
    spec = spec_of("folder", photos)
    with pytest.raises(ImageError) as caught:
        list(make_loader(index, index.train, spec, batch_size=4, train=True).epoch(0))
    message = str(caught.value)
    assert message.startswith(f"{photos / 'train/a/0.png'}: is not a readable image")
    assert "--resume" in message
    assert "--on-bad-image skip" in message
    assert "\n" not in message
    assert len(index_of(photos, on_bad_image="skip").train) == 7


def test_a_new_run_and_its_groups_through_opening_a_run(tmp_path: Path, photos: Path) -> None:
    """What a run opens: bad images stop it, and a recorded run needs no table of groups any more."""
    photos = write_folder(tmp_path / "all", {"a/b0": 4, "a/b1": 4, "b/c0": 3, "b/c1": 5})
    table = tmp_path / "groups.csv"
    files = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    table.write_text("path,burst\n" + "".join(f"{file},{file.rpartition('/')[0]}\n" for file in files))
    spec = spec_of("folder", photos, group_by=f"csv:{table}:burst", duplicates="off")
    run, console = RunFolder(tmp_path / "run"), Console(file=io.StringIO(), width=300)
    index = open_index(run, spec, console)
    assert not {file[:4] for file in index.train.files} & {file[:4] for file in index.test.files}
    run.path.mkdir()
    (run.path / "splits.json").write_text(json.dumps(split_record(index)))
    table.unlink()
    assert open_index(run, spec, console).test.files == index.test.files
    (photos / "a/b0/0.png").write_bytes(b"")
    with pytest.raises(BadRequest, match="cannot be used"):
        open_index(run, spec, console)


# ---- classes and splits without images


def test_classes_without_images_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 2, "train/b": 2, "train/c": 2, "test/b": 1})
    notes = load_index(spec_of("folder", tmp_path)).notes
    assert "no test image in 2 of 3 classes (first: a): they are not measured" in notes
    assert "limit_train 2 leaves 1 of 3 classes without a training image" in index_of(tmp_path, limit_train=2).notes
    assert not any("limit_train" in note for note in index_of(tmp_path, limit_train=3).notes)


def test_official_classes_without_training_images_are_told(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    for i in (0, 2):
        next((root / "images").rglob(f"*_{i:04d}.jpg")).unlink()
    notes = load_index(spec_of("cub", tmp_path)).notes
    assert "no train image in 1 of 3 classes (first: Black footed Albatross): they cannot be learnt" in notes


@pytest.mark.realdata
def test_a_cut_photograph_is_named(realdata: Path, tmp_path: Path) -> None:
    images = sorted((realdata / "CUB_200_2011" / "images").rglob("*.jpg"))
    for number, file in enumerate(images[::300]):
        folder = tmp_path / ("train" if number % 3 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)
    assert len(index_of(tmp_path).train) > 5
    cut = sorted((tmp_path / "train" / "b").iterdir())[0]
    cut.write_bytes(cut.read_bytes()[:-1500])
    message = refused(tmp_path)
    assert message.startswith("1 of 20 images cannot be used: ")
    assert f"{cut}: is not a readable image (" in message
    assert len(index_of(tmp_path, on_bad_image="skip").train) + len(index_of(tmp_path, on_bad_image="skip").test) == 19
