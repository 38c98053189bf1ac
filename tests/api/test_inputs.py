"""Images as programs have them become the same pixels."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgvc_cli.api.inputs import images, is_one, pictures_of, read, several
from fgvc_cli.data.images.read import read_image
from fgvc_cli.errors import BadRequest

PIXELS = np.random.RandomState(0).randint(0, 256, (6, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS[:, ::-1].copy()[:, ::-1],  # with a negative stride
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).requires_grad_(),
        Image.fromarray(PIXELS),
        np.dstack([PIXELS, np.full((6, 5), 255, np.uint8)]),
    ],
    ids=["array", "strided", "double", "float", "tensor", "float tensor", "pillow", "opaque"],
)
def test_every_form_is_the_same_image(image: object) -> None:
    name, file, pixels = read(image, "image 3")  # type: ignore[arg-type]
    assert (name, file) == ("image 3", None)
    assert pixels is not None
    assert np.array_equal(pixels, PIXELS)


def test_a_path_stays_a_path() -> None:
    assert read("a/b.png", "x") == ("a/b.png", Path("a/b.png"), None)
    assert read(Path("b.png"), "x") == ("b.png", Path("b.png"), None)


def test_grey_images() -> None:
    grey = PIXELS[..., 0]
    for image in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None], Image.fromarray(grey)):
        assert np.array_equal(read(image, "x")[2], np.dstack([grey] * 3))  # type: ignore[arg-type]
    assert set(np.unique(read(grey > 100, "x")[2])) == {0, 255}  # type: ignore[arg-type]


def test_a_pillow_image_is_read_as_its_file_would_be(tmp_path: Path) -> None:
    turned = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]), "RGBA")
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned
    turned.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        name, _, pixels = read(image, "x")
    assert name == str(tmp_path / "a.png")
    assert np.array_equal(pixels, read_image(tmp_path / "a.png").permute(1, 2, 0).numpy())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (PIXELS.transpose(2, 0, 1), r"image 0: shape \(3, 6, 5\) is no image: give \(H, W, 3\)"),
        (torch.from_numpy(PIXELS), r"is no image: give \(3, H, W\)"),
        (np.zeros((0, 4, 3), np.uint8), "is no image"),
        (np.zeros(3, np.uint8), "is no image"),
        (PIXELS * 2.0, "floating-point values must be in 0..1, before any normalisation"),
        (np.full((4, 4, 3), np.nan), r"must be in 0\.\.1"),
        (PIXELS.astype(np.int32), "values of type int32: give uint8"),
        (None, "cannot take NoneType as an image: give a path, a Pillow image"),
        (b"x", "cannot take bytes as an image"),
    ],
    ids=str,
)
def test_what_is_no_image(image: object, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        read(image, "image 0")  # type: ignore[arg-type]


def test_one_and_several() -> None:
    assert all(map(is_one, ("a", Path("a"), PIXELS, PIXELS[..., 0], torch.zeros(3, 4, 4), Image.fromarray(PIXELS))))
    batch = np.stack([PIXELS, PIXELS])
    assert not any(map(is_one, (["a"], batch, torch.zeros(2, 3, 4, 4), iter(["a"]), None)))
    assert len(several(batch)) == len(several(["a", "b"])) == 2  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="cannot take int as an image"):
        several(3)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="cannot take dict as an image"):
        several({"a": 1})


def test_images_of_folders_and_patterns(photos: Path) -> None:
    assert len(images(photos / "test")) == 9
    assert images(str(photos / "test/red/*.png"), photos / "test/red/0.png") == [
        photos / f"test/red/{number}.png" for number in range(3)
    ]
    with pytest.raises(BadRequest, match="there is no such file or folder"):
        images("nowhere")


def test_images_in_a_tar(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(2):
            tar.add(photos / f"test/red/{number}.png", f"red/{number}.png")
    found = images(tmp_path / "a.tar", tars=True)
    assert [picture.name for picture in found] == [str(tmp_path / f"a.tar/red/{number}.png") for number in range(2)]
    assert is_one(found[0])
    assert pictures_of([found[0], photos / "test/red/0.png"])[0] is found[0]
