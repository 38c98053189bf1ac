"""What is read when a folder is named: the user's images, and nothing that fgvc or the system wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgvc_cli.data.images.listing import list_images, passed_over_notes
from fgvc_cli.errors import BadRequest
from tests.making import mk, noise_jpeg


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    mk(folder, "robin=1", "wren/2021=1")
    return folder


IMAGES = ["robin/0.jpg", "wren/2021/0.jpg"]


def test_hidden_and_system_files_are_passed_over(photos: Path) -> None:
    for name in ("robin/._0.jpg", "robin/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/robin/0.jpg", ".Trashes/a.jpg"):
        noise_jpeg(photos / name)
    (photos / "robin" / "Thumbs.db").write_bytes(b"x")
    (photos / "robin" / "notes.txt").write_text("x")
    found = list_images(photos)
    assert found.images == IMAGES
    assert found.others == ["robin/notes.txt"]


@pytest.mark.parametrize("place", ["runs/baseline-1", "mine", "robin/try", "runs/deep/er/run"])
def test_run_folders_are_passed_over(photos: Path, place: str) -> None:
    noise_jpeg(photos / place / "eval" / "test-confusion.png")
    (photos / place / "run.json").write_text("{}")
    found = list_images(photos)
    assert (found.images, found.own) == (IMAGES, [place])
    assert list_images(photos / place).images == ["eval/test-confusion.png"]  # it was named itself


def test_a_run_that_just_begins_is_passed_over(photos: Path) -> None:
    (photos / "runs" / "new").mkdir(parents=True)
    (photos / "runs" / "new" / ".lock").touch()
    assert list_images(photos).own == ["runs/new"]


def test_caches_and_the_demo_are_passed_over(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / "store"))
    noise_jpeg(photos / "store" / "fgvc" / "resized" / "a.jpg")
    noise_jpeg(photos / "demo-v1-seed0" / "train" / "00000.png")
    (photos / "demo-v1-seed0" / "annotations.json").write_text("{}")
    found = list_images(photos)
    assert (found.images, found.own) == (IMAGES, ["demo-v1-seed0", "store/fgvc"])


def test_pictures_of_viz_are_passed_over_and_photos_beside_them_are_not(photos: Path) -> None:
    noise_jpeg(photos / "robin" / "0-cam.png")
    (photos / "robin" / "manifest.json").write_text(json.dumps({"pictures": [{"file": "0-cam.png"}]}))
    (photos / "wren" / "manifest.json").write_text(json.dumps([1, 2]))  # another program's
    found = list_images(photos)
    assert (found.images, found.own) == (IMAGES, ["robin/0-cam.png", "robin/manifest.json"])
    assert found.others == ["wren/manifest.json"]


def test_links_are_named_and_followed_on_request(photos: Path, tmp_path: Path) -> None:
    mk(tmp_path / "store", "more=1")
    (photos / "robin" / "linked").symlink_to(tmp_path / "store" / "more")
    (photos / "robin" / "1.jpg").symlink_to(photos / "robin" / "0.jpg")  # a linked file is a file
    there = ["robin/0.jpg", "robin/1.jpg"]
    found = list_images(photos, "robin")
    assert (found.images, found.links, found.others) == (there, ["robin/linked"], [])
    [note] = passed_over_notes(photos, found, follow_links=False)
    assert note == (
        f"a linked folder is passed over (first: robin/linked -> {tmp_path}/store/more); "
        "--follow-links reads such folders"
    )
    assert list_images(photos, "robin", follow_links=True).images == [*there, "robin/linked/0.jpg"]


def test_loops_of_links_end(photos: Path, tmp_path: Path) -> None:
    mk(tmp_path / "store", "a=1", "b=1")
    (tmp_path / "store" / "a" / "to-b").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "store" / "b" / "to-a").symlink_to(tmp_path / "store" / "a")
    (photos / "robin" / "in").symlink_to(tmp_path / "store" / "a")
    (photos / "robin" / "again").symlink_to(tmp_path / "store" / "a")
    (photos / "robin" / "up").symlink_to(photos)
    (photos / "robin" / "self").symlink_to(photos / "robin")
    (photos / "robin" / "nowhere").symlink_to(photos / "gone")
    (photos / "robin" / "knot").symlink_to(photos / "robin" / "knot")
    found = list_images(photos, "robin", follow_links=True)
    assert found.images == ["robin/0.jpg", "robin/again/0.jpg", "robin/again/to-b/0.jpg"]
    assert found.links == ["robin/again/to-b/to-a", "robin/in", "robin/self", "robin/up"]
    [note] = passed_over_notes(photos, found, follow_links=True)
    assert "4 linked folders" in note
    assert "read already" in note
    assert list_images(photos, "robin").images == ["robin/0.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(photos: Path) -> None:
    with pytest.raises(BadRequest, match=r"gone: cannot be listed"):
        list_images(photos, "gone")
