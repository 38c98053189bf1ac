"""Image files that are made to do harm: none starts a program, and none is decoded before its size is known to fit."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fgvc_cli
from fgvc_cli.data.formats.surveyed import box_of_mask
from fgvc_cli.data.images.check import bad_images
from fgvc_cli.data.images.duplicates import difference_hash
from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.types import DatasetIndex, Split
from tests.attack import hostile_images as hostile
from tests.data.small_archives import spec_of

LITTLE = 100  # MiB: Pillow itself allows 64 for texts
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the peak of a process's memory")

Found = dict[str, dict[str, tuple[str, float]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What became of each file: way to open it → name → the error or "read", and MiB."""
    folder = tmp_path_factory.mktemp("hostile")
    phone = {"avif": hostile.saved("AVIF"), "heic": hostile.heic((64, 64))}
    large = {f"{name}-large": hostile.resized_boxes(data, 60_000, 60_000) for name, data in phone.items()}
    lying = {"heic-lying": hostile.resized_boxes(hostile.heic((2000, 2000)), 64, 64)}
    for name, data in (hostile.TOO_LARGE | hostile.UNREADABLE | hostile.SMALL | large | lying).items():
        (folder / name).write_bytes(data)
    sound = folder.parent / "sound.jpg"
    sound.write_bytes(hostile.saved("JPEG"))
    names = sorted(path.name for path in folder.iterdir())
    command = [sys.executable, "-m", "tests.attack.peak", str(sound), *(str(folder / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return {
        way: {Path(path).name: (told, peak) for path, (told, peak) in files.items()}
        for way, files in json.loads(done.stdout).items()
    }


@linux
@pytest.mark.parametrize("way", ["read", "hash"])
@pytest.mark.parametrize("name", [*hostile.TOO_LARGE, "heic-large"])
def test_the_limit_is_asked_before_anything_is_allocated(found: Found, way: str, name: str) -> None:
    told, peak = found[way][name]
    assert "over the limit of 178956970" in told
    assert "\n" not in told
    assert peak < 10


@linux
@pytest.mark.parametrize("way", ["read", "hash"])
@pytest.mark.parametrize("name", [*hostile.UNREADABLE, "avif-large", "heic-lying"])
def test_what_no_decoder_should_see(found: Found, way: str, name: str) -> None:
    told, peak = found[way][name]
    assert told != "read"
    assert "\n" not in told
    assert peak < 10


@linux
@pytest.mark.parametrize("way", ["read", "hash"])
@pytest.mark.parametrize("name", hostile.SMALL)
def test_frames_texts_and_thumbnails_take_little_memory(found: Found, way: str, name: str) -> None:
    assert found[way][name][1] < LITTLE


@linux
@pytest.mark.parametrize("name", ["jpeg-thumbnail", "png-pixels", "png-frames", "tiff-later", "tiff-rows"])
def test_a_small_image_is_read_beside_what_is_huge(found: Found, name: str) -> None:
    assert found["read"][name][0] == "read"


def test_a_small_tiff_in_a_common_tile_is_read_under_a_low_limit(tmp_path: Path) -> None:
    """The limit for tiles has a floor: a whole tile is stored, however small the image is."""
    (tmp_path / "a.tif").write_bytes(hostile.tiff(8, 8, (322, 4, 64), (323, 4, 64)))
    assert read_image(tmp_path / "a.tif", 64).shape == (3, 8, 8)


def test_a_jpeg_with_bytes_between_its_segments_is_still_read(tmp_path: Path) -> None:
    sound = hostile.saved("JPEG")
    (tmp_path / "a.jpg").write_bytes(sound[:2] + b"\xff\xe5\0\2no marker" + sound[2:])
    assert read_image(tmp_path / "a.jpg").shape == (3, 64, 64)


# ---- Ghostscript


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a program named `gs` makes when it is started."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # searched for again
    return mark


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.eps", "a.tif"])
def test_ghostscript_is_never_started(tmp_path: Path, mark: Path, name: str) -> None:
    (tmp_path / name).write_bytes(hostile.EPS)
    index = _index(tmp_path, name)
    mask = partial(box_of_mask, is_object=lambda image: np.asarray(image) > 0)
    for look in (read_image, difference_hash, mask):
        with pytest.raises(Exception, match=r"not a readable image|cannot identify"):
            look(tmp_path / name)
    for on_bad_image in ("error", "skip"):
        assert len(bad_images(index, spec_of("folder", on_bad_image=on_bad_image))) == 2
    assert not mark.exists()


def test_the_program_would_have_been_started(tmp_path: Path, mark: Path) -> None:
    """Else the test above shows nothing."""
    from PIL import Image

    (tmp_path / "a.jpg").write_bytes(hostile.EPS)
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(Exception):  # noqa: B017, PT011
        image.load()
    assert mark.exists()


def _index(root: Path, name: str) -> DatasetIndex:
    split = Split((name,), np.zeros(1, dtype=np.int64))
    return DatasetIndex("folder", root, ("a",), split, split)


# ---- one door


def test_images_are_opened_in_one_place() -> None:
    """`Image.open` without `formats` tries every plugin of Pillow, so all code goes through `open_image`."""
    package = Path(fgvc_cli.__file__).parent
    doors = {str(path.relative_to(package)) for path in package.rglob("*.py") for _ in _opens(path)}
    assert doors == {"data/images/read.py"}


def _opens(path: Path) -> list[ast.Attribute]:
    """Where a file's code decodes images with Pillow, OpenCV or matplotlib."""
    names = {("Image", "open"), ("cv2", "imread"), ("cv2", "imdecode"), ("plt", "imread"), ("image", "imread")}
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        node
        for node in tree
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in names
    ]


def test_errors_of_a_hostile_file_are_image_errors(tmp_path: Path) -> None:
    for name, data in hostile.UNREADABLE.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError):
            read_image(tmp_path / name)


def test_damaged_metadata_is_no_warning_of_pillow(tmp_path: Path) -> None:
    file = tmp_path / "torn.tiff"
    file.write_bytes(hostile.tiff(8, 8)[:-6])
    code = "from fgvc_cli.data.images.read import ImageError, read_image\n"
    code += f"try: read_image({str(file)!r})\nexcept ImageError: pass"
    command = [sys.executable, "-W", "default", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Warning" not in done.stderr  # libtiff prints a line of its own
