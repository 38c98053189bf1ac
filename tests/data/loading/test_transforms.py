from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from fgvc_cli.data.loading.transforms import Geometry, eval_geometry, generator_of, mix, train_geometry, transform
from fgvc_cli.spec.data import DataSpec
from tests.data.small_archives import spec_of

BOX = np.array([0, 0, 1, 1], dtype=np.float32)


def spec(**values: object) -> DataSpec:
    return spec_of("folder", flip=False, **values)


def blob(height: int, width: int, x: float, y: float, radius: float = 7.0) -> torch.Tensor:
    """A bright disc around (x, y), pixel centres at .5, on black: (3, H, W) uint8."""
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    distance = ((columns - x) ** 2 + (rows[:, None] - y) ** 2).sqrt()
    return ((radius - distance).clamp(0, 1) * 255).to(torch.uint8).expand(3, -1, -1).contiguous()


def centre(image: torch.Tensor) -> torch.Tensor:
    """Centre of mass, (x, y, 1)."""
    mass = image[0].double()
    rows, columns = torch.arange(mass.shape[0]) + 0.5, torch.arange(mass.shape[1]) + 0.5
    return torch.stack([(mass * columns).sum(), (mass * rows[:, None]).sum(), mass.sum()]) / mass.sum()


CASES = {
    "plain": {},
    "resize": {"resize": 80},
    "pad": {"resize": 64, "padding": 8},
    "flip": {"flip": True},
    "rotate": {"rotation": 30.0},
    "all": {"resize": 72, "padding": 5, "flip": True, "rotation": 180.0},
}


@pytest.mark.parametrize("size", [(101, 77), (64, 64), (50, 133)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("train", [False, True])
def test_blob_is_found_and_mapped_back(case: str, train: bool, size: tuple[int, int]) -> None:
    height, width = size
    data = spec_of("folder", image_size=64, **({"flip": False} | CASES[case]))
    x, y = width * 0.46, height * 0.55
    image = blob(height, width, x, y)
    box = np.array([x - 7, y - 7, x + 7, y + 7], dtype=np.float32)
    for index in range(6):
        generator = generator_of(0, 3, index) if train else None
        pixels, to_original, mapped = transform(image, data, box=box, generator=generator)
        assert (pixels.shape, pixels.dtype) == ((3, 64, 64), torch.uint8)
        assert (to_original.shape, to_original.dtype) == ((2, 3), torch.float32)
        assert mapped is not None
        found = centre(pixels)
        edge = mapped[:2] < 0.5, mapped[2:] > 63.5
        if not (edge[0].any() or edge[1].any()):  # else part of the blob is cropped away
            back = to_original.double() @ found
            scale = torch.tensor([width, height]) / data.resize_side
            assert ((back - torch.tensor([x, y])).abs() / scale.clamp(min=1)).max() < 0.6
            assert (found[:2] - (mapped[:2] + mapped[2:]) / 2).abs().max() < 0.6
        bright = (pixels[0] > 128).nonzero().flip(1)  # x, y
        assert (bright >= mapped[:2] - 1.5).all()
        assert (bright + 1 <= mapped[2:] + 1.5).all()


def test_nothing_to_do_is_identity() -> None:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    for generator in (None, generator_of(0, 0, 0)):
        box = np.array([3, 4, 20, 31], dtype=np.float32)
        pixels, to_original, mapped = transform(image, spec(), box=box, generator=generator)
        assert torch.equal(pixels, image)
        assert torch.equal(to_original, torch.eye(3)[:2])
        assert mapped is not None
        assert mapped.tolist() == box.tolist()


def test_flip_is_exact_for_half_open_boxes() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 5:9, 3:11] = 255
    data = spec_of("folder")
    seen = set()
    for index in range(20):
        pixels, to_original, box = transform(
            image, data, box=np.array([3, 5, 11, 9], np.float32), generator=generator_of(1, 1, index)
        )
        assert box is not None
        x1, y1, x2, y2 = (int(v) for v in box.tolist())
        assert box.tolist() == [x1, y1, x2, y2]
        assert (pixels[:, y1:y2, x1:x2] == 255).all()
        assert int((pixels[0] == 255).sum()) == (y2 - y1) * (x2 - x1)
        corners = torch.tensor([[x1, x2], [y1, y2], [1, 1]], dtype=torch.float32)
        assert sorted((to_original @ corners)[0].tolist()) == [3, 11]
        seen.add(x1)
    assert seen == {3, 21}


@pytest.mark.parametrize("flip", [False, True])
def test_padded_crop_moves_pixels_and_box_alike(flip: bool) -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 10:20, 12:18] = 255
    data = spec_of("folder", padding=6, flip=flip)
    corners = set()
    for index in range(30):
        pixels, _, box = transform(
            image, data, box=np.array([12, 10, 18, 20], np.float32), generator=generator_of(1, 1, index)
        )
        assert box is not None
        x1, y1, x2, y2 = (int(v) for v in box.tolist())
        assert (pixels[:, y1:y2, x1:x2] == 255).all()
        assert int((pixels[0] == 255).sum()) == 60
        corners.add((x1, y1))
    assert len(corners) > 20


def test_banner_is_cut_and_coordinates_stay() -> None:
    image = torch.full((3, 60, 40), 255, dtype=torch.uint8)
    image[:, :40] = blob(40, 40, 20, 30)
    pixels, to_original, box = transform(image, spec(), box=np.array([0, 0, 40, 40], np.float32), cut_bottom=20)
    assert (to_original.double() @ centre(pixels) - torch.tensor([20.0, 30.0])).abs().max() < 0.5
    assert box is not None
    assert box.tolist() == [0, 0, 32, 32]
    assert pixels[0, -1].max() == 0
    low = torch.zeros(3, 10, 40, dtype=torch.uint8)
    assert transform(low, spec(), cut_bottom=20)[0].shape == (3, 32, 32)


@pytest.mark.parametrize("box", [(0, 0, 20, 3), (97, 40, 100, 60), (200, 200, 300, 300), (50, 50, 50, 60)])
def test_box_that_is_cropped_away_is_empty(box: tuple[int, int, int, int]) -> None:
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    _, _, mapped = transform(image, spec(resize=64), box=np.array(box, np.float32))
    assert mapped is not None
    assert mapped[0] == mapped[2]
    assert mapped[1] == mapped[3]
    assert mapped.min() >= 0
    assert mapped.max() <= 32


def test_box_is_clipped_to_the_input() -> None:
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    _, _, box = transform(image, spec(resize=64), box=np.array([-5, 0, 70, 40], np.float32))
    assert box is not None
    assert box.tolist() == [0, 0, 32, 24]


def test_turning_is_counter_clockwise_and_black_outside() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0], image[1, :, 16:] = 255, 255  # green at the right
    data = spec(rotation=90.0)
    geometry = eval_geometry(32, 32, data)
    quarter = replace(geometry, angle=90.0).apply(image)
    assert (quarter[1, :15] > 250).all()
    assert (quarter[1, 17:] < 5).all()
    eighth = replace(geometry, angle=45.0).apply(image)
    assert eighth[0, 0, 0] == eighth[0, -1, -1] == 0


def test_centre_crop_is_torchvisions() -> None:
    image = torch.randint(0, 256, (3, 37, 37), dtype=torch.uint8)
    for side in (33, 35, 36, 37):
        pixels, _, _ = transform(image, spec(resize=side))
        resized = F.resize(image, [side, side], antialias=True)
        assert torch.equal(pixels, F.center_crop(resized, [32, 32]))


def test_evaluation_of_a_small_resize_keeps_a_black_border() -> None:
    image = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    pixels, to_original, _ = transform(image, spec_of("folder", image_size=48, resize=40, padding=4))
    assert int((pixels[0] == 255).sum()) == 1600
    assert torch.equal(to_original, torch.tensor([[1.0, 0, -4], [0, 1, -4]]))


def test_draws_depend_on_seed_epoch_and_index_alone() -> None:
    data = spec_of("folder", resize=40, padding=10, rotation=20.0)
    state = torch.get_rng_state()

    def drawn(*key: int) -> Geometry:
        return train_geometry(50, 60, data, generator_of(*key))

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    keys = [(seed, epoch, index) for seed in range(3) for epoch in range(3) for index in range(20)]
    assert len({(g.left, g.top, g.flip, g.angle) for g in (drawn(*key) for key in keys)}) == len(keys)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_fill_their_range_evenly() -> None:
    data = spec_of("folder", resize=34, padding=1, rotation=10.0)
    drawn = [train_geometry(50, 60, data, generator_of(0, 0, i)) for i in range(2000)]
    counts = np.bincount([g.left + 1 for g in drawn])
    assert len(counts) == 5
    assert counts.min() > 320
    assert 0.45 < np.mean([g.flip for g in drawn]) < 0.55
    angles = [g.angle for g in drawn]
    assert -10 <= min(angles) < -9.9
    assert 9.9 < max(angles) <= 10
    assert abs(np.corrcoef([g.left for g in drawn], [g.top for g in drawn])[0, 1]) < 0.08


def test_mix_is_stable() -> None:
    assert mix(0, 1, 2) == MIX_OF_0_1_2
    assert mix(0, 1, 2) != mix(0, 2, 1)
    assert 0 <= mix(2**64 - 1, 0) < 2**63


MIX_OF_0_1_2 = 4450782424123420391
