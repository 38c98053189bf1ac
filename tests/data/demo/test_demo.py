"""The demo data set: frozen pixels, true boxes and parts, species that differ in parts alone, whole folders."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.data.demo import image as demo
from fgvc_cli.data.demo.folder import generate
from fgvc_cli.data.demo.image import CLASSES, PARTS, SIZE, TRAITS, draw

FROZEN = "562aa7325930ab430f2a66913e0a313b6093a2ccc1982899b40bb8bae9169440"


def test_drawing_is_frozen() -> None:
    """Every comparison of methods stands on these pixels. Whoever changes them on purpose raises demo.VERSION, puts the
    digest that this test prints in place of FROZEN, and runs every comparison again."""
    digest = hashlib.sha256()
    for split, first in (("train", 0), ("train", 500), ("test", 100)):
        for index in range(first, first + 12):
            image = draw(0, split, index)
            digest.update(image.pixels.tobytes())
            digest.update(json.dumps([image.label, image.box, image.parts]).encode())
    digest.update(json.dumps([CLASSES, TRAITS]).encode())
    assert digest.hexdigest() == FROZEN


def same(a: demo.DemoImage, b: demo.DemoImage) -> bool:
    return np.array_equal(a.pixels, b.pixels) and (a.label, a.box, a.parts) == (b.label, b.box, b.parts)


def test_image_depends_on_its_own_place_alone() -> None:
    forwards = [draw(3, "train", index) for index in range(4)]
    np.random.seed(1)
    backwards = [draw(3, "train", index) for index in reversed(range(4))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_seed_split_and_index_each_change_the_image() -> None:
    images = [draw(0, "train", 0), draw(1, "train", 0), draw(0, "test", 0), draw(0, "train", 12)]
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in combinations(images, 2))


@pytest.mark.parametrize("size", [64, 128, 200])
def test_size_scales_the_scene(size: int) -> None:
    image, native = draw(0, "test", 5, size=size), draw(0, "test", 5)
    assert image.pixels.shape == (size, size, 3)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_allclose(np.array(image.box) / size, np.array(native.box) / SIZE, atol=2.5 / size)
    assert np.abs(image.pixels.mean((0, 1)) - native.pixels.mean((0, 1))).max() < 3


def test_box_is_tight_around_what_is_seen_of_the_bird() -> None:
    for index in range(24):
        image = draw(0, "train", index)
        mask = demo._compose(0, "train", index, SIZE, image.label).mask
        x1, y1, x2, y2 = (int(edge) for edge in image.box)
        assert 0 <= x1 < x2 <= SIZE
        assert 0 <= y1 < y2 <= SIZE
        assert mask[y1:y2, x1:x2].sum() == mask.sum()
        assert all(line.any() for line in (mask[y1], mask[y2 - 1], mask[:, x1], mask[:, x2 - 1]))


def test_visible_parts_lie_in_the_box_and_at_most_one_is_hidden() -> None:
    hidden: Counter[str] = Counter()
    for index in range(120):
        image = draw(0, "test", index, size=64)
        x1, y1, x2, y2 = image.box
        assert tuple(image.parts) == PARTS
        assert sum(not visible for _, _, visible in image.parts.values()) <= 1
        for part, (x, y, visible) in image.parts.items():
            hidden[part] += not visible
            assert not visible or (x1 - 1 <= x <= x2 + 1 and y1 - 1 <= y <= y2 + 1)
    assert 3 < sum(hidden.values()) < 60, hidden


def test_size_and_place_vary() -> None:
    boxes = np.array([draw(0, "train", index, size=64).box for index in range(120)]) / 64
    side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert side.min() > 0.3
    assert side.max() < 0.85
    assert side.std() > 0.08
    assert (centre.std(0) > 0.07).all()


def test_species_differ_in_two_parts_or_more_and_no_part_tells_one() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == len(TRAITS) == 12
    assert min(sum(a[part] != b[part] for part in PARTS) for a, b in combinations(TRAITS, 2)) == 2
    for part in PARTS:
        assert set(Counter(traits[part] for traits in TRAITS).values()) == {4}


def test_labels_are_balanced() -> None:
    assert Counter(draw(0, "train", index, size=32).label for index in range(24)) == dict.fromkeys(range(12), 2)


@pytest.mark.parametrize("index", range(6))
def test_species_differ_around_their_parts_alone(index: int) -> None:
    first, *others = (demo._compose(0, "train", index, SIZE, label) for label in range(len(CLASSES)))
    ys, xs = np.mgrid[:SIZE, :SIZE] + 0.5
    for label, other in enumerate(others, start=1):
        changed = (first.pixels != other.pixels).any(-1)
        for part in PARTS:
            x, y = (SIZE * place for place in first.bird.centre(part))
            if TRAITS[0][part] != TRAITS[label][part]:  # a window of a quarter of the bird's frame around the part
                changed &= np.hypot(xs - x, ys - y) > 0.3 * SIZE * first.bird.frame.unit
        assert not changed.any()


def small(root: Path, **options: object) -> Path:
    return generate(root, size=32, train_per_class=2, test_per_class=1, **options)  # type: ignore[arg-type]


def test_folder_holds_what_was_drawn(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = small(tmp_path / "new" / "root", seed=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 36) for done in range(1, 37)]
    facts = json.loads((folder / "annotations.json").read_text())
    assert (facts["version"], facts["seed"], facts["size"]) == (demo.VERSION, 4, 32)
    assert (facts["classes"], facts["parts"], facts["traits"]) == (list(CLASSES), list(PARTS), list(TRAITS))
    assert {split: len(rows) for split, rows in facts["images"].items()} == {"train": 24, "test": 12}
    for split, rows in facts["images"].items():
        for index, row in enumerate(rows):
            image = draw(4, split, index, size=32)
            assert np.array_equal(np.asarray(Image.open(folder / row["file"])), image.pixels)
            assert (row["label"], tuple(row["box"])) == (image.label, image.box)
            assert {part: tuple(place) for part, place in row["parts"].items()} == image.parts


def test_finished_folder_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small(tmp_path)
    monkeypatch.setattr(demo, "draw", lambda *_, **__: pytest.fail("drew again"))
    assert small(tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_name_tells_seed_and_unusual_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small(tmp_path).name != small(tmp_path, seed=1).name
    (tmp_path / "demo-v1-seed7").mkdir()
    assert generate(tmp_path, seed=7) == tmp_path / "demo-v1-seed7"


def test_failed_call_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert len(list(small(tmp_path).rglob("*.png"))) == 36


KILLED = """
import os, signal, sys
from pathlib import Path
from fgvc_cli.data.demo.folder import generate
def die(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
generate(Path(sys.argv[1]), size=32, train_per_class=2, test_per_class=1, progress=die)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and folder locks")
def test_killed_call_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    folder = small(tmp_path)
    assert list(tmp_path.iterdir()) == [folder]


def test_calls_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    """A second call runs from start to end in the midst of the first one."""

    def interrupt(done: int, total: int) -> None:
        if done == 10:
            assert len(list(small(tmp_path).rglob("*.png"))) == 36

    folder = small(tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list(folder.rglob("*.png"))) == 36
