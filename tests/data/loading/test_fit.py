"""Images that are no squares: squashed, cropped or padded, and mapped back exactly; the cache gives the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loading.cache import open_squares
from fgvc_cli.data.loading.samples import ImageDataset, Sample
from fgvc_cli.data.loading.transforms import Geometry, canvas_of, eval_geometry, generator_of, train_geometry, transform
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.data import DataSpec

FITS = ("squash", "crop", "pad")


def spec_of(fit: str, **values: object) -> DataSpec:
    return DataSpec.model_validate({"image_size": 80, "resize": 100, "fit": fit, "workers": 0} | values)


def mapped(geometry: Geometry, x: float, y: float) -> tuple[float, float]:
    found = geometry.forward() @ np.array([x, y, 1.0])
    return float(found[0]), float(found[1])


def test_a_wide_image_by_hand() -> None:
    """300 × 200 pixels, resized to 100, centre crop of 80."""
    squash, crop, pad = (eval_geometry(200, 300, spec_of(fit)) for fit in FITS)
    for geometry in (squash, crop, pad):
        assert mapped(geometry, 150, 100) == pytest.approx((40, 40), abs=0.5)
    assert mapped(squash, 0, 0) == (-10, -10)
    assert (crop.canvas.wide, crop.canvas.high, crop.left, crop.top) == (150, 100, 35, 10)
    assert mapped(crop, 0, 0) == (-35, -10)
    assert (pad.canvas.wide, pad.canvas.high, pad.canvas.x, pad.canvas.y) == (100, 67, 0, 16)
    assert mapped(pad, 0, 0) == pytest.approx((-10, 6))
    assert mapped(pad, 300, 200) == pytest.approx((90, 73))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 200), (1, 4000), (4000, 1), (64, 64)])
@pytest.mark.parametrize("training", [False, True])
def test_a_point_of_the_input_is_where_the_map_says(fit: str, height: int, width: int, training: bool) -> None:
    """A white image: what is not black in the input maps into the image, and all black outside."""
    spec = spec_of(fit, padding=6, rotation=0)
    image = torch.full((3, height, width), 255, dtype=torch.uint8)
    generator = generator_of(0, 1, 2) if training else None
    pixels, to_original, box = transform(
        image, spec, box=np.array([0, 0, width, height], np.float32), generator=generator
    )
    assert pixels.shape == (3, 80, 80)
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    there = torch.einsum("ij,jyx->iyx", to_original.double(), torch.stack([x, y, torch.ones(80, 80)]).double())
    tolerance = 1.0  # image pixels; the resized sides are whole numbers
    inside = (there[0] > -tolerance) & (there[0] < width + tolerance)
    inside &= (there[1] > -tolerance) & (there[1] < height + tolerance)
    assert not (pixels.sum(0) > 0)[~inside].any()
    deep = (there[0] > tolerance) & (there[0] < width - tolerance)
    deep &= (there[1] > tolerance) & (there[1] < height - tolerance)
    assert (pixels.sum(0) > 0)[deep].all()
    assert box is not None
    assert (box[2:] >= box[:2]).all()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_the_shape_is_kept(fit: str) -> None:
    matrix = eval_geometry(200, 300, spec_of(fit)).forward()
    assert matrix[0, 0] == pytest.approx(matrix[1, 1], rel=0.01)


@pytest.mark.parametrize("fit", FITS)
def test_random_crops_stay_on_the_canvas_and_reach_its_ends(fit: str) -> None:
    spec = spec_of(fit)
    found = [train_geometry(200, 300, spec, generator_of(0, 0, i)) for i in range(400)]
    canvas = canvas_of(200, 300, spec)
    for values, length in (([g.left for g in found], canvas.width), ([g.top for g in found], canvas.height)):
        assert min(values) == 0
        assert max(values) == length - 80


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    dice = np.random.RandomState(0)
    for name, sizes in {"a": ((40, 90), (90, 40)), "b": ((33, 64), (200, 61))}.items():
        (tmp_path / name).mkdir()
        for i, size in enumerate(sizes * 3):
            Image.fromarray(dice.randint(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_cache_gives_the_same_pixels(shapes: Path, fit: str, interpolation: str) -> None:
    values = {"dataset": "folder", "root": shapes, "interpolation": interpolation, "image_size": 48, "resize": 56}
    spec = spec_of(fit, **values)
    index = load_index(spec)
    squares = open_squares(index, spec_of(fit, **values, cache="ram"), torch.device("cpu"))
    plain = ImageDataset(index.root, index.train, spec, train=True, seed=3)
    cached = ImageDataset(index.root, index.train, spec, train=True, seed=3, squares=squares)
    for position in range(len(index.train)):
        one, other = plain[(1, position)], cached[(1, position)]
        assert isinstance(one, Sample)
        assert isinstance(other, Sample)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.to_original, other.to_original)


def test_a_cache_of_any_shape_is_refused() -> None:
    with pytest.raises(Exception, match="data: cache holds squares, and with fit crop images have any shape"):
        build_spec(method="baseline", dataset="folder", flags={"data.fit": "crop", "data.cache": "ram"})


def test_bars_are_black_and_centred() -> None:
    image = torch.full((3, 50, 100), 200, dtype=torch.uint8)
    pixels: Tensor = transform(image, spec_of("pad", image_size=100))[0]
    assert (pixels[:, :25] == 0).all()
    assert (pixels[:, 75:] == 0).all()
    assert (pixels[:, 25:75] == 200).all()
