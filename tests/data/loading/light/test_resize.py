"""Resizing in numpy beside torchvision's: equal in every value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fgvc_cli.data.loading.light.resize import resize

SHAPES = [(60, 80, 32, 32), (61, 47, 96, 96), (33, 200, 40, 17), (1, 1, 5, 3), (300, 7, 20, 64), (64, 64, 64, 31)]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_value_is_torchvisions(interpolation: str, shape: tuple[int, int, int, int]) -> None:
    height, width, rows, columns = shape
    pixels = np.random.RandomState(sum(shape)).randint(0, 256, (height, width, 3)).astype(np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for image in (tensor, tensor.contiguous()):
        expected = F.resize(image, [rows, columns], InterpolationMode(interpolation), antialias=True)
        np.testing.assert_array_equal(resize(pixels, rows, columns, interpolation), expected.permute(1, 2, 0).numpy())


def test_a_large_photo_is_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (500, 333, 3)).astype(np.uint8)
    whole = resize(pixels, 100, 90, "bicubic")
    monkeypatch.setattr("fgvc_cli.data.loading.light.resize._CHUNK", 1000)
    np.testing.assert_array_equal(resize(pixels, 100, 90, "bicubic"), whole)
