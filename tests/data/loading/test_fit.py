"""Images of any shape: how each fit resizes and crops them, and that coordinates map back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from fgvc_cli.bench.plain import PlainImages
from fgvc_cli.data.loading import cache as caching
from fgvc_cli.data.loading.cache import Cache, Wanted, decode_to, open_cache
from fgvc_cli.data.loading.fit import MOST_STRETCHED, fitted
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.loading.transforms import eval_geometry, generator_of, train_geometry, transform
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.loaded import load_pictures
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.data import DataSpec
from tests.data.loading.test_loader import assert_same
from tests.data.loading.test_transforms import blob, centre
from tests.data.small_archives import spec_of, write_image

FITS = ("squash", "crop", "pad")
BOX = np.array([30, 40, 150, 120], np.float32)
CPU = torch.device("cpu")


def spec(fit: str, **values: object) -> DataSpec:
    return spec_of("folder", fit=fit, **({"flip": False} | values))


@pytest.mark.parametrize(
    ("fit", "box", "to_original"),
    [
        # 300 x 200 → 100 x 100 by 1/3 and 1/2; the window starts at (10, 10)
        ("squash", [0, 10, 40, 50], [[3, 0, 30], [0, 2, 20]]),
        # → 150 x 100 by 1/2; the window starts at (35, 10)
        ("crop", [0, 10, 40, 50], [[2, 0, 70], [0, 2, 20]]),
        # → 100 x 67 by 1/3 and 67/200, 16 black rows above; the window starts at (10, 10), row -6 of the image
        ("pad", [0, 19.4, 40, 46.2], [[3, 0, 30], [0, 200 / 67, -6 * 200 / 67]]),
    ],
)
def test_an_image_of_300_by_200_by_hand(fit: str, box: list[float], to_original: list[list[float]]) -> None:
    image = torch.full((3, 200, 300), 255, dtype=torch.uint8)
    pixels, back, mapped = transform(image, spec(fit, image_size=80, resize=100), box=BOX)
    assert mapped is not None
    assert mapped.tolist() == pytest.approx(box, abs=1e-4)
    assert back.numpy() == pytest.approx(np.array(to_original), abs=1e-4)
    bright = (pixels[0] == 255).nonzero()
    rows = (6, 72) if fit == "pad" else (0, 79)  # 67 rows from row 16 of 100, cropped by 10
    assert (int(bright[:, 0].min()), int(bright[:, 0].max())) == rows
    assert (int(bright[:, 1].min()), int(bright[:, 1].max())) == (0, 79)
    assert pixels.shape == (3, 80, 80)


@pytest.mark.parametrize(("height", "width"), [(200, 300), (301, 199), (64, 64), (97, 411)])
def test_crop_is_torchvisions_resize_and_centre_crop(height: int, width: int) -> None:
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    pixels, _, _ = transform(image, spec("crop", resize=37))
    assert torch.equal(pixels, F.center_crop(F.resize(image, [37], antialias=True), [32, 32]))


def test_pad_keeps_all_of_the_image() -> None:
    image = torch.randint(1, 256, (3, 200, 300), dtype=torch.uint8)
    pixels, _, _ = transform(image, spec("pad"))
    expected = F.pad(F.resize(image, [21, 32], antialias=True), [0, 5, 0, 6])
    assert torch.equal(pixels, expected)


def test_a_square_image_is_the_same_under_every_fit() -> None:
    image = torch.randint(0, 256, (3, 50, 50), dtype=torch.uint8)
    for generator in (lambda: None, lambda: generator_of(0, 1, 2)):
        seen = [
            transform(image, spec(fit, resize=40, padding=3, rotation=20.0, flip=True), box=BOX, generator=generator())
            for fit in FITS
        ]
        for other in seen[1:]:
            assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


SHAPES = [(200, 300), (300, 200), (90, 400), (64, 64)]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("case", [{}, {"padding": 9}, {"rotation": 35.0}, {"flip": True, "padding": 4, "resize": 70}])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_blob_and_its_box_are_found_and_mapped_back(fit: str, case: dict, height: int, width: int) -> None:
    data, seen = spec(fit, **({"image_size": 64, "resize": 64} | case)), 0
    x, y, r = width * 0.5, height * 0.45, 20.0
    image, box = blob(height, width, x, y, r), np.array([x - r, y - r, x + r, y + r], np.float32)
    for index in range(8):
        generator = generator_of(0, 3, index) if index else None
        pixels, back, mapped = transform(image, data, box=box, generator=generator)
        assert mapped is not None
        if mapped.min() < 0.5 or mapped.max() > 63.5:
            continue  # partly outside
        seen += 1
        found = centre(pixels)
        scale = torch.tensor([back[0].norm(), back[1].norm()])
        assert ((back.double() @ found - torch.tensor([x, y])).abs() / scale.clamp(min=1)).max() < 0.6
        assert (found[:2] - (mapped[:2] + mapped[2:]) / 2).abs().max() < 0.6
    assert seen or (fit, height, width) == ("crop", 90, 400)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [*SHAPES, (1, 4000), (4000, 1)])
def test_boxes_go_there_and_back(fit: str, height: int, width: int) -> None:
    geometry = eval_geometry(height, width, spec(fit, image_size=64, resize=72))
    box = np.array([width * 0.48, height * 0.48, width * 0.52, height * 0.52], np.float32)
    mapped = geometry.map_box(box)
    inside = mapped.clone()
    corners = geometry.to_original() @ torch.cat([inside.view(2, 2).T, torch.ones(1, 2)])
    if mapped.min() > 0 and mapped.max() < 64:
        assert corners.T.reshape(4).numpy() == pytest.approx(box, rel=1e-3, abs=1e-2)
    else:
        assert (fit, max(height, width)) == ("crop", 4000)


@pytest.mark.parametrize(
    ("fit", "height", "width", "shape"),
    [
        ("squash", 1, 4000, (40, 40)),
        ("pad", 1, 4000, (1, 40)),
        ("pad", 4000, 1, (40, 1)),
        ("crop", 1, 4000, (40, 40 * MOST_STRETCHED)),
        ("crop", 4000, 1, (40 * MOST_STRETCHED, 40)),
        ("crop", 100, 250, (40, 100)),
        ("crop", 250, 100, (100, 40)),
    ],
)
def test_extreme_shapes_stay_small_and_work(fit: str, height: int, width: int, shape: tuple[int, int]) -> None:
    data = spec(fit, resize=40, padding=2)
    found = fitted(height, width, data)
    assert (found.rows, found.columns) == shape
    image = torch.full((3, height, width), 255, dtype=torch.uint8)
    for generator in (None, *(generator_of(0, 0, i) for i in range(5))):
        pixels, back, _ = transform(image, data, generator=generator)
        assert pixels.shape == (3, 32, 32)
        assert back.isfinite().all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 200), (1, 4000), (4000, 1), (64, 64)])
@pytest.mark.parametrize("training", [False, True])
def test_a_point_of_the_input_is_where_the_map_says(fit: str, height: int, width: int, training: bool) -> None:
    """A white image: what is not black in the input maps into the image, and what is black maps outside."""
    data = spec(fit, image_size=80, resize=100, padding=6)
    image, generator = torch.full((3, height, width), 255, dtype=torch.uint8), generator_of(0, 1, 2)
    pixels, back, _ = transform(image, data, generator=generator if training else None)
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    there = torch.einsum("ij,jyx->iyx", back.double(), torch.stack([x, y, torch.ones(80, 80)]).double())
    short = min(height, width)
    most = (
        (min(width, MOST_STRETCHED * short), min(height, MOST_STRETCHED * short)) if fit == "crop" else (width, height)
    )
    bright = pixels.sum(0) > 0
    for tolerance, holds in ((1.0, ~bright), (-1.0, bright)):
        ends = [
            ((length - part) / 2 - tolerance, (length + part) / 2 + tolerance)
            for length, part in zip((width, height), most, strict=True)
        ]
        inside = torch.stack(
            [(place > low) & (place < high) for place, (low, high) in zip(there, ends, strict=True)]
        ).all(0)
        assert holds[~inside if tolerance > 0 else inside].all()


def test_an_image_longer_than_the_limit_is_cropped_from_its_middle() -> None:
    image = torch.zeros(3, 10, 400, dtype=torch.uint8)
    image[:, :, 198:202] = 255
    pixels, back, box = transform(image, spec("crop", resize=32), box=np.array([198, 0, 202, 10], np.float32))
    assert box is not None
    assert box.tolist() == pytest.approx([16 - 6.4, 0, 16 + 6.4, 32], abs=1e-3)
    assert (back @ torch.tensor([16.0, 16.0, 1.0])).tolist() == pytest.approx([200, 5])
    assert int(pixels[0, 16].argmax()) in range(9, 12)


def test_random_crops_reach_both_ends_of_a_long_image() -> None:
    data = spec("crop", resize=32)
    drawn = [train_geometry(32, 96, data, generator_of(0, 0, i)) for i in range(800)]
    lefts = [geometry.left for geometry in drawn]
    assert (min(lefts), max(lefts)) == (0, 64)
    assert {geometry.top for geometry in drawn} == {0}
    padded = [train_geometry(20, 60, spec("pad", resize=36, padding=1), generator_of(0, 0, i)) for i in range(400)]
    assert {geometry.top for geometry in padded} == set(range(-13, -6))  # 12 rows in 36: 12 black rows above


# ---------------------------------------------------------------- every way to load

KINDS = {
    "copies": {"resize": 40, "padding": 5, "flip": True},
    "small windows": {"resize": 120, "interpolation": "bicubic"},  # some miss a padded image altogether
    "more": {"resize": 36, "padding": 2, "rotation": 20.0, "augment": "trivialaugment", "erasing": 0.5},
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    root = tmp_path_factory.mktemp("fit") / "images"
    shapes = [(60, 40), (40, 60), (1, 400), (400, 1), (33, 97), (50, 50), (41, 39), (200, 64)]
    for i, (height, width) in enumerate(shapes):
        write_image(root / f"{i}.png", width=width, height=height, seed=i)
    boxes = np.array([[w * 0.2, h * 0.3, w * 0.7, h * 0.9] for h, w in shapes], np.float32)
    every = Split(tuple(f"{i}.png" for i in range(8)), np.arange(8) % 2, boxes)
    return DatasetIndex("folder", root, ("a", "b"), every.take(np.arange(8)[::-1]), every, cut_bottom=7)


def cached(index: DatasetIndex, place: str, data: DataSpec) -> Cache | None:
    if place == "gpu":
        return decode_to(Wanted.of(index, data), CPU, lambda *_: None)
    return open_cache(index, data.model_copy(update={"cache": place}), CPU)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("kind", "place"), [(k, p) for k in KINDS for p in ("ram", "disk", "gpu") if (k, p) != ("more", "gpu")]
)
def test_every_way_gives_the_same_pixels(
    index: DatasetIndex, fit: str, kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = spec(fit, **KINDS[kind])
    cache = cached(index, place, data)
    for train in (True, False):
        plain, kept = (
            make_loader(index, index.train, data, batch_size=3, train=train, seed=7, cache=source)
            for source in (None, cache)
        )
        for epoch in (0, 1):
            assert_same(list(kept.epoch(epoch)), list(plain.epoch(epoch)))


@pytest.mark.parametrize("fit", FITS)
def test_predict_sees_what_evaluation_sees(index: DatasetIndex, fit: str) -> None:
    data = spec(fit, resize=40)
    batch = next(make_loader(index, index.train, data, batch_size=8, train=False).epoch(0))
    pictures = [Picture(file, index.root / file, cut_bottom=index.cut_bottom) for file in index.train.files]
    loaded = next(iter(load_pictures(pictures, data, 8)))
    assert torch.equal(loaded.batch.images, batch.images)
    assert torch.equal(loaded.batch.to_original, batch.to_original)


def test_a_cache_stores_no_bars_and_nothing_that_no_crop_reaches(index: DatasetIndex) -> None:
    sizes = {"squash": 8 * 40 * 40, "pad": 0, "crop": 0}
    for file in index.train.files:
        height, width = {0: (53, 40), 1: (33, 60), 2: (1, 400), 3: (393, 1), 4: (26, 97), 5: (43, 50), 6: (34, 39)}.get(
            int(file[0]), (193, 64)
        )
        for fit in ("pad", "crop"):
            found = fitted(height, width, spec(fit, resize=40))
            sizes[fit] += found.rows * found.columns
    for fit in FITS:
        wanted = Wanted.of(index, spec(fit, resize=40))
        cache = decode_to(wanted, CPU, lambda *_: None)
        assert cache.kept.shape == (sizes[fit], 3)
        assert wanted.bytes == 3 * sizes[fit]
    assert sizes["pad"] < sizes["squash"]


def test_fits_do_not_share_a_cache(index: DatasetIndex) -> None:
    assert len({Wanted.of(index, spec(fit, resize=40)).name() for fit in FITS}) == 3


def test_a_header_that_gives_another_size_spoils_no_file(
    index: DatasetIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data, plain = (
        spec("pad", resize=40),
        make_loader(index, index.train, spec("pad", resize=40), batch_size=8, train=False),
    )
    for wrong in ((10, 300), (300, 310)):
        monkeypatch.setattr(caching, "image_size", lambda *_, wrong=wrong: wrong)
        with pytest.raises(
            FgvcError, match=r"--cache gpu: an image's header gives another size .* --cache ram or disk"
        ):
            cached(index, "gpu", data)
        found = [make_loader(index, index.train, data, batch_size=8, train=False, cache=cached(index, "disk", data))]
        found += [make_loader(index, index.train, data, batch_size=8, train=False, cache=cached(index, "disk", data))]
        for loader in found:
            assert_same(list(loader.epoch(0)), list(plain.epoch(0)))
        shutil.rmtree(tmp_path / "fgvc")


def test_too_little_room_is_told_before_for_every_fit(index: DatasetIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
    for fit, words in (("crop", "at least 40 x 40"), ("pad", "at most 40 x 40")):
        with pytest.raises(BadRequest, match=f"--cache disk: 8 images of {words} pixels take .*XDG_CACHE_HOME"):
            cached(index, "disk", spec(fit, resize=40))


def test_a_fit_that_there_is_not_is_one_line() -> None:
    with pytest.raises(BadRequest, match=r"^data\.fit: must be 'squash', 'crop' or 'pad' \(got 'stretch'\)$"):
        build_spec(flags={"data.fit": "stretch"})
    assert build_spec(flags={"data.fit": "crop"}).data.fit == "crop"
    assert build_spec().data.fit == "squash"


@pytest.mark.parametrize("fit", FITS)
def test_the_usual_loader_that_is_compared_fits_alike(index: DatasetIndex, fit: str) -> None:
    data = spec(fit, resize=32)
    usual = PlainImages(index.root, index.train, data)[0][0]  # 64 x 200
    own = next(make_loader(index, index.train, data, batch_size=8, train=True).epoch(0)).images[0]
    assert usual.shape == own.shape
    black = usual[:, 16, 0] < torch.tensor([-2.0, -1.9, -1.7])
    assert black.all() == (fit == "pad")
