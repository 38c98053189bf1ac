"""A long look at a dataset names all that is wrong with it, and says how a sound part differs from the whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fgvc_cli.data.download.lists import contradictions
from fgvc_cli.data.download.state import seal
from fgvc_cli.data.download.verify import Verdict, verify
from tests.data.download.official import counts
from tests.data.small_archives import write_aircraft, write_cars_devkit, write_cub, write_image, write_lines


@pytest.fixture
def cub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small CUB that is the full one."""
    counts(monkeypatch, "cub", 3, 6, 3)
    (write_cub(tmp_path) / "images" / "001.Black_footed_Albatross" / "stray_rgb.jpg").touch()
    shutil.rmtree(tmp_path / "CUB_200_2011")
    return write_cub(tmp_path)


def lose_line(path: Path, number: int) -> str:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:number] + lines[number + 1 :]))
    return lines[number]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def named(found: Verdict, *words: str) -> bool:
    wrong = found.problems + found.doubts
    return len(wrong) == len(words) and all(any(word in problem for problem in wrong) for word in words)


def test_a_whole_one(cub: Path) -> None:
    found = verify("cub", cub, hashes=False)
    assert (found.classes, found.train, found.test) == (3, 6, 3)
    assert found.full
    assert found.decoded == 10  # with the stray one, which is as official as the lists that leave it out
    assert not found.problems


IMAGE = "images/002.Laysan_Albatross/Laysan_Albatross_0003.jpg"


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("image_class_labels.txt", 4, "image 5 has no line in image_class_labels.txt"),
        ("train_test_split.txt", 8, "image 9 has no line in train_test_split.txt"),
        ("bounding_boxes.txt", 0, "image 1 has no line in bounding_boxes.txt"),
        ("classes.txt", 1, "class '2' is not in classes.txt"),
    ],
)
def test_a_cut_image_and_a_lost_line_are_both_named(cub: Path, file: str, line: int, words: str) -> None:
    truncate(cub / IMAGE)
    lose_line(cub / file, line)
    found = verify("cub", cub)
    assert named(found, f"{IMAGE}: is not a readable image", words), found.problems


def test_an_image_whose_line_is_lost(cub: Path) -> None:
    lose_line(cub / "images.txt", 4)
    found = verify("cub", cub)
    lists = ("image_class_labels.txt:5", "train_test_split.txt:5", "bounding_boxes.txt:5")
    words = [f"{line}: image 5 is not in images.txt" for line in lists]
    assert named(found, "Laysan_Albatross_0004.jpg: is in no list", *words), found.problems


def test_decoding_is_not_remembered(cub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fgvc_cli.data.images.survey.KEPT_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not verify("cub", cub).problems
    before = (cub / IMAGE).stat()
    data = (cub / IMAGE).read_bytes()
    (cub / IMAGE).write_bytes(data[:300] + bytes(len(data) - 300))
    os.utime(cub / IMAGE, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert named(verify("cub", cub), IMAGE)


def test_how_a_part_differs(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, "cub", 4, 8, 4)
    (cub / IMAGE).unlink()
    found = verify("cub", cub)
    assert not found.problems
    assert not found.full
    assert any("1 images listed in images.txt are not on disk and left out" in note for note in found.notes)
    assert any("3 of 4 classes, 5 of 8 training and 3 of 4 test images" in note for note in found.notes)


def test_what_changed_since_it_was_put_there(cub: Path) -> None:
    seal(cub, "cub", True, ())
    assert not verify("cub", cub, hashes=True).problems
    (cub / "bounding_boxes.txt").write_text((cub / "bounding_boxes.txt").read_text().replace("2.0", "3.0"))
    (cub / IMAGE).unlink()
    assert named(verify("cub", cub), f"{IMAGE}: is missing")
    assert named(verify("cub", cub, hashes=True), f"{IMAGE}: is missing", "bounding_boxes.txt: was changed")


def test_nothing_to_compare_with(cub: Path) -> None:
    assert named(verify("cub", cub, hashes=True), "has no recorded checksums, since fgvc did not install it")


def test_images_beside_the_lists(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        write_image(cub / "images" / "002.Laysan_Albatross" / f"{number}_rgb.jpg")
    found = verify("cub", cub)  # all that should be listed is: these are none of it
    assert named(found)
    assert "9 images are in no list and are not used" in found.notes[-1]
    counts(monkeypatch, "cub", 3, 7, 3)
    assert len(verify("cub", cub).doubts) == 9
    (cub / "images" / "002.Laysan_Albatross" / "0_rgb.jpg").unlink()
    assert named(verify("cub", cub))  # as many as the official archive has


def test_a_lost_entry_of_a_mat_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import scipy.io

    root = write_cars_devkit(tmp_path / "stanford_cars")
    counts(monkeypatch, "cars", 3, 6, 3)
    assert not verify("cars", root).problems
    path = root / "devkit" / "cars_train_annos.mat"
    scipy.io.savemat(path, {"annotations": scipy.io.loadmat(path)["annotations"][:, 1:]})
    assert named(verify("cars", root), "cars_train/00001.jpg: is in no list")


def test_every_level_of_aircraft(tmp_path: Path) -> None:
    data = write_aircraft(tmp_path)
    assert named(verify("aircraft", data.parent))
    image = lose_line(data / "images_family_test.txt", 0).split()[0]
    found = verify("aircraft", data.parent)
    assert named(found, f"images_family_test.txt: lacks {image!r}, which is in images_variant_test.txt")
    (data / "manufacturers.txt").write_text("Nobody\n")
    assert named(verify("aircraft", data.parent), "images_family_test.txt", "images_manufacturer_trainval.txt:1: ")


def test_halves_that_are_not_the_whole(tmp_path: Path) -> None:
    data = write_aircraft(tmp_path)
    lines = (data / "images_variant_trainval.txt").read_text().splitlines()
    write_lines(data / "images_variant_train.txt", *lines[:3])
    write_lines(data / "images_variant_val.txt", *lines[3:])
    assert contradictions("aircraft", data.parent) == []
    lost = lose_line(data / "images_variant_val.txt", 1).strip()
    (found,) = contradictions("aircraft", data.parent)
    assert found == f"{data / 'images_variant_trainval.txt'}: has {lost!r}, which is not in its two halves"
    write_lines(data / "images_variant_val.txt", *(f"{number} 707-320" for number in range(20)))
    assert "15 more of this kind" in contradictions("aircraft", data.parent)[5]


def real_part(realdata: Path, name: str, target: Path, images: int) -> Path:
    """Copies of the lists, links to so many images of each folder beside them."""
    for place, folders, files in os.walk(realdata / name):
        folders.sort()
        folder = target / Path(place).relative_to(realdata / name)
        folder.mkdir(parents=True)
        for file in [file for file in files if not file.endswith(".jpg")]:
            shutil.copyfile(Path(place) / file, folder / file)
        for file in sorted(file for file in files if file.endswith(".jpg"))[:images]:
            (folder / file).symlink_to(Path(place) / file)
    return target


def cut_link(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.realdata
def test_real_birds(realdata: Path, tmp_path: Path) -> None:
    found = verify("cub", realdata / "CUB_200_2011", decode=False)
    assert (found.classes, found.train, found.test) == (100, 2999, 2903)
    assert not found.problems
    assert any("a part of CUB-200-2011 birds: 100 of 200 classes" in note for note in found.notes)
    root = real_part(realdata, "CUB_200_2011", tmp_path / "CUB_200_2011", 5)
    lost = lose_line(root / "image_class_labels.txt", 2000).split()[0]
    image = sorted(root.rglob("*.jpg"))[17]
    cut_link(image)
    found = verify("cub", root)
    assert found.decoded == 500
    assert named(found, image.name, f"image {lost} has no line in image_class_labels.txt")


@pytest.mark.realdata
def test_real_cars(realdata: Path, tmp_path: Path) -> None:
    import scipy.io

    found = verify("cars", realdata / "stanford_cars", decode=False)
    assert (found.classes, found.train, found.test, found.problems) == (98, 2868, 1240, ())
    root = real_part(realdata, "stanford_cars", tmp_path / "stanford_cars", 300)
    path = root / "devkit" / "cars_train_annos.mat"
    scipy.io.savemat(path, {"annotations": scipy.io.loadmat(path)["annotations"][:, 1:]})
    cut_link(root / "cars_test" / "00007.jpg")
    found = verify("cars", root)
    assert (found.train, found.test, found.decoded) == (299, 300, 600)
    assert named(found, "cars_test/00007.jpg: is not a readable image", "cars_train/00001.jpg: is in no list")
