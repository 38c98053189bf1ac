"""Places and colours, pixel by pixel."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fgvc_cli.errors import FgvcError
from fgvc_cli.viz import pixels
from fgvc_cli.viz.colours import HEAT, SIGNED, heat_colours, signed_colours, table

WHITE, RED = (255, 255, 255), (255, 0, 0)


def test_a_cell_has_its_own_value_at_its_centre() -> None:
    """4 x 3 cells over a frame of 40 x 60 pixels at (10, 20): the centre of cell (0, 0) is pixel edge (20, 25)."""
    values = np.random.RandomState(0).rand(4, 3).astype(np.float32)
    laid, inside = pixels.spread(values, (10, 20, 71, 64), (100, 90))  # cells of odd sides: 61/3, 44/4 = 11
    assert inside.sum() == 61 * 44
    assert inside[20:64, 10:71].all()
    for row, column in np.ndindex(4, 3):
        x, y = 10 + (column + 0.5) * 61 / 3, 20 + (row + 0.5) * 11
        assert laid[int(y), int(x)] == pytest.approx(values[row, column], abs=0.03)
    assert laid[25, 40] == pytest.approx(values[0, 1], abs=1e-6)  # 10 + 1.5 * 61/3 = 40.5, 20 + 5.5 = 25.5


def test_between_two_cells_is_their_mean_and_beyond_the_centres_it_is_level() -> None:
    laid, _ = pixels.spread(np.array([[0.0, 1.0]], np.float32), (0, 0, 8, 2), (2, 8))
    assert laid[0].tolist() == pytest.approx([0, 0, *laid[0, 2:6], 1, 1])
    assert laid[0, 3] + laid[0, 4] == pytest.approx(1)
    assert laid[0, 2] + laid[0, 5] == pytest.approx(1)
    assert (np.diff(laid[0]) >= 0).all()


def test_cubic_as_pytorch_has_it_inside() -> None:
    """With a = -1/2; PyTorch takes -3/4, so its antialiased form, which takes -1/2, is the oracle."""
    values = np.random.RandomState(1).rand(6, 5).astype(np.float32)
    laid, _ = pixels.spread(values, (0, 0, 50, 60), (60, 50))
    expected = F.interpolate(torch.from_numpy(values)[None, None], (60, 50), mode="bicubic", antialias=True)[0, 0]
    assert laid[20:40, 20:30] == pytest.approx(
        expected.clamp(values.min(), values.max()).numpy()[20:40, 20:30], abs=1e-4
    )


def test_a_frame_may_reach_beyond_the_picture() -> None:
    values = np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)
    beyond, inside = pixels.spread(values, (-20, -10, 40, 30), (20, 30))
    whole, _ = pixels.spread(values, (0, 0, 60, 40), (40, 60))
    assert inside.all()
    assert beyond == pytest.approx(whole[10:30, 20:50], abs=1e-6)


def test_sharp_cells() -> None:
    laid, inside = pixels.blocks(np.array([[1.0, 2], [3, 4]], np.float32), (1, 1, 5, 4), (6, 6))
    assert laid[1:4, 1:5].tolist() == [
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]  # the middle row's centre is on the edge
    assert inside.sum() == 12


def test_a_box_outline_lies_on_its_edge() -> None:
    picture = np.full((40, 50, 3), 200, np.uint8)
    pixels.outline(picture, (10.2, 5.4, 30.4, 25.3), RED, 2)
    red = (picture == RED).all(2)
    expected = np.zeros((40, 50), bool)
    expected[5:25, 10:30] = True
    expected[7:23, 12:28] = False
    assert (red == expected).all()
    assert (picture[15, 20] == 200).all()
    assert (picture[4, 20] < 100).all()  # the dark line around it
    assert (picture[3, 20] == 200).all()


@pytest.mark.parametrize(
    "box", [(-5, -5, 100, 100), (0, 0, 0, 0), (49.9, 39.9, 50, 40), (7, 7, 7.2, 30), (60, 60, 70, 70)]
)
def test_any_box_can_be_drawn(box) -> None:
    picture = np.zeros((40, 50, 3), np.uint8)
    pixels.outline(picture, box, RED, 3)
    assert (picture == RED).all(2).any()


def test_dashes() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    pixels.outline(picture, (5, 5, 55, 55), WHITE, 2, dashed=True)
    top = (picture[5, 5:55] == 255).all(1)
    assert 0.3 < top.mean() < 0.7


def test_outside_a_map_the_picture_stays() -> None:
    picture = np.random.RandomState(2).randint(0, 255, (8, 8, 3)).astype(np.uint8)
    inside = np.zeros((8, 8), bool)
    inside[2:5, 2:5] = True
    ones = np.ones((8, 8), np.float32)
    drawn = pixels.heated(picture, ones, inside, 1.0)
    assert (drawn[2:5, 2:5] == table(HEAT)[255]).all()
    assert (drawn[~inside] == picture[~inside]).all()
    assert (pixels.heated(picture, ones, inside, 0.0) == picture).all()
    half = pixels.heated(picture, ones, inside, 0.5)[3, 3].astype(float)
    assert half == pytest.approx((picture[3, 3] + table(HEAT)[255].astype(float)) / 2, abs=0.5)


def test_two_sides_have_two_colours_and_nothing_between_has_none() -> None:
    picture = np.full((1, 3, 3), 120, np.uint8)
    values = np.array([[-1.0, 0.0, 1.0]], np.float32)
    below, middle, above = pixels.contrasted(picture, values, np.ones((1, 3), bool), 0.5)[0].astype(int)
    assert below[2] > below[0] + 60  # blue
    assert middle.tolist() == [120, 120, 120]
    assert above[0] > above[2] + 60  # orange
    assert signed_colours(np.array([-1.0, 1.0], np.float32)).tolist() == table(SIGNED)[[0, 255]].tolist()


def test_heat_grows_brighter() -> None:
    """So that it reads without colours, too."""
    light = heat_colours(np.linspace(0, 1, 50, dtype=np.float32)).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()


def test_sizes() -> None:
    picture = np.random.RandomState(3).randint(0, 255, (30, 20, 3)).astype(np.uint8)
    assert pixels.resized(picture, (30, 20)) is not picture
    assert pixels.resized(picture, (15, 10))[0, 0] == pytest.approx(picture[:2, :2].mean((0, 1)), abs=1)
    assert pixels.resized(picture[:1, :1], (9, 7)).shape == (9, 7, 3)
    assert pixels.cut(picture, (3, 4, 8.4, 9.6)).tolist() == picture[4:10, 3:8].tolist()


def test_without_opencv_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(FgvcError, match=r"libGL\.so\.1.*libgl1 libglib2\.0-0.*opencv-python-headless") as caught:
        pixels.opencv()
    assert "\n" not in str(caught.value)
