"""The network's input as an array beside that of the loader, for every fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.data.images.read import read_image, read_pixels
from fgvc_cli.data.loading.light.window import prepared
from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.spec.data import DataSpec


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize(("resize", "interpolation"), [(None, "bilinear"), (73, "bicubic")])
@pytest.mark.parametrize("size", [(80, 60), (37, 200), (500, 50), (64, 64)])
def test_the_input_is_the_loaders(
    tmp_path: Path, fit: str, resize: int | None, interpolation: str, size: tuple[int, int]
) -> None:
    pixels = np.random.RandomState(1).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    spec = DataSpec(image_size=64, resize=resize, fit=fit, interpolation=interpolation)
    expected, to_original, _ = transform(read_image(tmp_path / "a.jpg"), spec)
    found, window = prepared(read_pixels(tmp_path / "a.jpg"), spec)
    np.testing.assert_array_equal(found, expected.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(window.backward(), to_original.numpy())
