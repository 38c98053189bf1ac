"""Every kind of image file, made here and read back against known pixels."""

from __future__ import annotations

import contextlib
import importlib
import struct
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from fgvc_cli.data.images.headers import ends_whole, phone_format, plain_size
from fgvc_cli.data.images.names import has_image_ending
from fgvc_cli.data.images.read import ImageError, read_image

PIXELS = np.random.RandomState(1).randint(0, 256, (20, 30, 3)).astype(np.uint8)
ALPHA = np.random.RandomState(2).choice([0, 255], (20, 30)).astype(np.uint8)
ON_WHITE = np.where(ALPHA[..., None] == 255, PIXELS, 255).astype(np.uint8)

# Four flat quarters: what a lossy format keeps, apart from the seams.
QUARTERS = np.zeros((32, 48, 3), dtype=np.uint8)
QUARTERS[:16, :24], QUARTERS[:16, 24:] = (220, 30, 40), (30, 200, 60)
QUARTERS[16:, :24], QUARTERS[16:, 24:] = (40, 60, 210), (240, 220, 200)
CENTRES = [(8, 12), (8, 36), (24, 12), (24, 36)]

TURNS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),  # stored so that a quarter turn clockwise makes it upright
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def read(path: Path) -> np.ndarray:
    """(H, W, 3)."""
    return read_image(path).permute(1, 2, 0).numpy()


def png(path: Path, values: np.ndarray, colour: int, *, size: tuple[int, int] | None = None) -> Path:
    """A 16-bit PNG of values (H, W, channels), written by hand: Pillow writes no such colour images."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values.reshape(height, -1))
    header = struct.pack(">IIBBBBB", *(size or (width, height)), 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


# ---- colours


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "jp2"])
def test_grey(tmp_path: Path, suffix: str) -> None:
    grey = PIXELS[..., 0]
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(read(tmp_path / f"a.{suffix}"), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    inks = {"red": (0, 255, 255, 0), "green": (255, 0, 255, 0), "black": (0, 0, 0, 255), "white": (0, 0, 0, 0)}
    seen = {"red": (255, 0, 0), "green": (0, 255, 0), "black": (0, 0, 0), "white": (255, 255, 255)}
    for name, ink in inks.items():
        Image.new("CMYK", (16, 16), ink).save(tmp_path / f"a.{suffix}")
        assert np.abs(read(tmp_path / f"a.{suffix}").astype(int) - seen[name]).max() <= 2, name


def test_palette_with_the_exact_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (30, 20))
    colours = np.random.RandomState(3).randint(0, 256, (256, 3))
    palette.putpalette(colours.astype(np.uint8).tobytes())
    places = np.random.RandomState(4).randint(0, 256, (20, 30)).astype(np.uint8)
    palette.putdata(places.ravel().tolist())
    for suffix in ("png", "gif", "tif", "bmp"):
        palette.save(tmp_path / f"a.{suffix}")
        assert np.array_equal(read(tmp_path / f"a.{suffix}"), colours[places]), suffix


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_16_bit_png(tmp_path: Path, colour: int, channels: int) -> None:
    deep = PIXELS[..., :channels].astype(np.uint16) * 257
    expected = np.repeat(PIXELS[..., :1], 3, axis=2) if channels == 1 else PIXELS
    assert np.array_equal(read(png(tmp_path / "a.png", deep, colour)), expected)


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_16_bit_png_with_alpha(tmp_path: Path, colour: int, channels: int) -> None:
    layered = np.dstack([PIXELS[..., :channels], ALPHA]).astype(np.uint16) * 257
    expected = np.repeat(ON_WHITE[..., :1], 3, axis=2) if channels == 1 else ON_WHITE
    assert np.array_equal(read(png(tmp_path / "a.png", layered, colour)), expected)


def test_16_bit_tiff_of_either_byte_order(tmp_path: Path) -> None:
    for order in ("<u2", ">u2"):
        deep = (PIXELS[..., 0].astype(np.uint16) * 257).astype(order)
        mode = "I;16" if order == "<u2" else "I;16B"
        Image.frombytes(mode, (30, 20), deep.tobytes()).save(tmp_path / "a.tif")
        assert np.array_equal(read(tmp_path / "a.tif"), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_16_bit_colour_tiff(tmp_path: Path) -> None:
    import cv2  # Pillow writes no such images

    cv2.imwrite(str(tmp_path / "a.tif"), PIXELS[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read(tmp_path / "a.tif"), PIXELS)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"}), ("webp", {"lossless": True, "exact": True})],
)
def test_alpha_is_laid_on_white(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    Image.fromarray(np.dstack([PIXELS, ALPHA])).save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(read(tmp_path / f"a.{suffix}"), ON_WHITE)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(tmp_path: Path, compression: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.tiff", compression=compression)
    assert np.array_equal(read(tmp_path / "a.tiff"), PIXELS)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("jpg", {"quality": 95}),
        ("jpg", {"quality": 95, "progressive": True, "subsampling": 0}),
        ("webp", {"quality": 95}),
        ("avif", {"quality": 95}),
        ("jp2", {}),
    ],
)
def test_lossy_formats_keep_what_is_seen(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / f"a.{suffix}", **options)
    seen = read(tmp_path / f"a.{suffix}").astype(int)
    assert seen.shape == QUARTERS.shape
    for y, x in CENTRES:
        assert np.abs(seen[y, x] - QUARTERS[y, x]).max() <= 6


def test_what_a_file_is_its_content_says(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read(tmp_path / "a.jpg"), PIXELS)


def test_a_colour_profile_and_text_do_no_harm(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(read(tmp_path / "a.png"), PIXELS)
    Image.fromarray(QUARTERS).save(tmp_path / "a.jpg", icc_profile=profile * 300, comment=b"x" * 60000, quality=95)
    assert np.abs(read(tmp_path / "a.jpg")[8, 12].astype(int) - QUARTERS[8, 12]).max() <= 6


# ---- upright


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_upright_to_the_pixel(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](PIXELS))
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    assert np.array_equal(read(tmp_path / f"a.{suffix}"), PIXELS)


@pytest.mark.parametrize("orientation", TURNS)
def test_upright_jpeg(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](QUARTERS))
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    seen = read(tmp_path / "a.jpg").astype(int)
    assert seen.shape == QUARTERS.shape
    for y, x in CENTRES:
        assert np.abs(seen[y, x] - QUARTERS[y, x]).max() <= 6


# ---- formats of phones

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40


def test_phone_formats_are_known_by_content() -> None:
    assert phone_format(HEIC) == "HEIC"
    assert phone_format(HEIC.replace(b"heic", b"mif1", 1)) == "HEIC"
    assert phone_format(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf") == "AVIF"
    assert phone_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert phone_format(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42") is None
    assert phone_format(b"\xff\xd8\xff\xe0") is None
    assert phone_format(b"") is None
    assert all(map(has_image_ending, ("IMG_1.HEIC", "a.heif", "a.avif")))


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_names_what_reads_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(HEIC)
    with pytest.raises(ImageError, match="pip install pillow-heif") as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_real_heic_is_read(tmp_path: Path) -> None:
    """Flat colours survive HEIC's own compression to a few levels."""
    pillow_heif = importlib.import_module("pillow_heif")
    flat = np.full((48, 64, 3), (200, 60, 30), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(flat)).save(tmp_path / "a.heic", quality=95)
    pixels = read(tmp_path / "a.heic")
    assert pixels.shape == flat.shape
    assert np.abs(pixels.astype(int) - flat).max() <= 6


def test_heic_is_read_where_its_reader_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader registers itself with Pillow: here a stand-in, which opens any HEIC as a PNG."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    opened: list[str] = []
    real = Image.open
    stand_in = types.ModuleType("pillow_heif")
    stand_in.register_heif_opener = lambda: opened.append("registered")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    monkeypatch.setattr(Image, "open", lambda stream, formats: real(tmp_path / "a.png"))
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert np.array_equal(read(tmp_path / "a.heic"), PIXELS)
    assert opened == ["registered"]


def test_avif_names_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / "a.avif")
    monkeypatch.setattr(features, "get_supported", lambda: ["jpg"])
    with pytest.raises(ImageError, match="AVIF image; to read AVIF: pip install"):
        read_image(tmp_path / "a.avif")


# ---- headers


@pytest.mark.parametrize(
    ("suffix", "options", "plain"),
    [
        ("jpg", {}, True),
        ("jpg", {"progressive": True, "comment": b"\xff\xd9" * 1000}, True),
        ("png", {}, False),
        ("webp", {}, True),
        ("webp", {"lossless": True}, False),
        ("gif", {}, False),
    ],
)
def test_sizes_in_headers(tmp_path: Path, suffix: str, options: dict[str, object], plain: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(QUARTERS).save(path, **options)
    assert plain_size(np.fromfile(path, np.uint8)) == ((48, 32) if plain else None)
    encoded = np.fromfile(path, np.uint8)
    for length in range(0, min(len(encoded), 700)):  # cut anywhere: no size or the right one
        assert plain_size(encoded[:length]) in (None, (48, 32))


@pytest.mark.parametrize(("suffix", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("gif", "GIF")])
def test_ends(tmp_path: Path, suffix: str, format: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(QUARTERS).save(path)
    encoded = path.read_bytes()
    assert ends_whole(encoded[-64:], format)
    assert not ends_whole(encoded[:-20][-64:], format)
    assert not ends_whole(encoded[-64:], "TIFF")


# ---- the pixel limit


@pytest.mark.parametrize("colour", [2, 0, 6])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, colour: int) -> None:
    bomb = png(tmp_path / "bomb.png", np.zeros((1, 1, 3)), colour, size=(20000, 20000))
    with pytest.raises(ImageError, match=r"bomb.png: has 20000 x 20000 pixels, over the limit of 178956970"):
        read_image(bomb)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp", "avif"])
def test_the_limit_counts_in_every_format(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}", 32 * 48).shape == (3, 32, 48)
    with pytest.raises(ImageError, match="has 48 x 32 pixels, over the limit of 1535"):
        read_image(tmp_path / f"a.{suffix}", 32 * 48 - 1)


# ---- damage


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_damage_anywhere_gives_an_image_or_an_error(tmp_path: Path, format: str) -> None:
    """Never another exception, and never the end of the process: torchvision's PNG decoder would be that."""
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", format)
    sound = (tmp_path / "a.jpg").read_bytes()
    dice = np.random.RandomState(0)
    for _ in range(60):
        damaged = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            place, length = dice.randint(0, len(sound)), int(dice.choice([1, 8, 200]))
            damaged[place : place + length] = dice.bytes(length) if dice.randint(2) else bytes(length)
        (tmp_path / "a.jpg").write_bytes(damaged if dice.randint(3) else damaged[: dice.randint(1, len(damaged))])
        with contextlib.suppress(ImageError):
            assert read_image(tmp_path / "a.jpg", 10**6).dtype == torch.uint8
