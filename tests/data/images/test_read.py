from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgvc_cli.data.images import read as reading
from fgvc_cli.data.images.read import ImageError, image_size, read_image
from fgvc_cli.errors import FgvcError

PIXELS = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)
RGB = Image.fromarray(PIXELS)


def written(path: Path, image: Image.Image, **options: object) -> np.ndarray:
    """The picture as read back, (H, W, 3)."""
    image.save(path, **options)
    read = read_image(path)
    assert read.dtype == torch.uint8
    assert read.shape[0] == 3
    return read.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_formats_are_exact(tmp_path: Path, suffix: str) -> None:
    assert np.array_equal(written(tmp_path / f"a.{suffix}", RGB), PIXELS)


def test_lossless_webp_is_exact(tmp_path: Path) -> None:
    assert np.array_equal(written(tmp_path / "a.webp", RGB, lossless=True), PIXELS)


@pytest.mark.parametrize(("suffix", "mode"), [("jpg", "RGB"), ("jpg", "L"), ("jpg", "CMYK"), ("webp", "RGB")])
def test_lossy_formats_are_what_pillow_reads(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"a.{suffix}"
    read = written(path, RGB.convert(mode))
    with Image.open(path) as image:
        assert np.array_equal(read, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grey_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    grey = RGB.convert("L")
    assert np.array_equal(written(tmp_path / f"a.{suffix}", grey), np.asarray(grey.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "gif", "tif"])
def test_palette(tmp_path: Path, suffix: str) -> None:
    palette = RGB.quantize(16)
    assert np.array_equal(written(tmp_path / f"a.{suffix}", palette), np.asarray(palette.convert("RGB")))


def test_one_bit(tmp_path: Path) -> None:
    assert set(np.unique(written(tmp_path / "a.png", RGB.convert("1")))) == {0, 255}


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled(tmp_path: Path, suffix: str) -> None:
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    assert np.array_equal(written(tmp_path / f"a.{suffix}", deep), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_floating_point_is_scaled(tmp_path: Path) -> None:
    floats = Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255)
    assert np.array_equal(written(tmp_path / "a.tif", floats), np.repeat(PIXELS[..., :1], 3, axis=2))


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("webp", {"lossless": True, "exact": True})])
def test_transparent_is_laid_on_white(tmp_path: Path, suffix: str, options: dict[str, bool]) -> None:
    alpha = np.zeros((20, 30), dtype=np.uint8)
    alpha[:, :15] = 255
    layered = Image.fromarray(np.dstack([PIXELS, alpha]))
    read = written(tmp_path / f"a.{suffix}", layered, **options)
    assert np.array_equal(read[:, :15], PIXELS[:, :15])
    assert (read[:, 15:] == 255).all()


def test_transparent_colour_and_palette_entry(tmp_path: Path) -> None:
    black_left = PIXELS.copy()
    black_left[:, :15] = 0
    read = written(tmp_path / "colour.png", Image.fromarray(black_left), transparency=(0, 0, 0))
    assert (read[:, :15] == 255).all()
    entry = Image.fromarray(black_left).quantize(8)
    background = entry.getpixel((0, 0))
    assert (written(tmp_path / "palette.png", entry, transparency=background)[:, :15] == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_upright_as_exif_says(tmp_path: Path, suffix: str) -> None:
    tall = Image.fromarray(np.full((20, 30, 3), 200, dtype=np.uint8))
    tall.paste((0, 0, 0), (0, 0, 30, 6))  # a dark band on top, which belongs to the right
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    read = written(tmp_path / f"a.{suffix}", tall, exif=exif)
    assert read.shape == (30, 20, 3)
    assert read[:, -4:].mean() < 20
    assert read[:, :10].mean() > 180
    assert image_size(tmp_path / f"a.{suffix}") == (30, 20)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    read = written(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read == [255, 0, 0]).all()


def jpeg_bytes() -> bytes:
    stream = io.BytesIO()
    RGB.save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jpg", b""),
        ("cut.jpg", jpeg_bytes()[:-150]),
        ("text.png", b"<html>404 not found</html>"),
        ("head.png", b"\x89PNG\r\n\x1a\n"),
        ("riff.webp", b"RIFF\x00\x00\x00\x00WEBPVP8 "),
    ],
)
def test_unreadable_is_named_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, FgvcError)


def test_missing_and_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(ImageError, match=str(path)):
            read_image(path)


def test_the_size_is_known_from_the_header_or_else_from_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_image", None)
        assert image_size(tmp_path / "a.png") == (20, 30)
        patch.setattr(reading, "open_image", None)
        patch.setattr(reading, "read_image", lambda *_: torch.zeros(3, 7, 9))
        assert image_size(tmp_path / "a.png") == (7, 9)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"b\.png: is not a readable image"):
        image_size(tmp_path / "b.png")
    with pytest.raises(ImageError, match="over the limit of 500"):
        image_size(tmp_path / "a.png", 500)
