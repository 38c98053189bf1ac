"""What a user points at, found and read."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
import torch
from PIL import Image

from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.loaded import load_pictures
from fgvc_cli.inference.pictures import Picture, find_pictures, listed, split_pictures
from fgvc_cli.spec.data import DataSpec
from tests.making import mk, noise_jpeg


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("b.png", "a.jpg", "deep/c.png", "notes.txt")):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            file.write_text("no image")
        else:
            Image.new("RGB", (20 + number, 30), (number * 40, 0, 0)).save(file)
    return tmp_path


def names(pictures: list[Picture]) -> list[str]:
    return [picture.file.name for picture in pictures]


@pytest.mark.parametrize(
    "stream",
    [
        io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa.jpg\nb.png\n")),
        io.TextIOWrapper(io.BytesIO("\ufeffa.jpg\r\nb.png\r\n".encode("utf-16-le"))),
        io.TextIOWrapper(io.BytesIO("\ufeffa.jpg\nb.png".encode("utf-16-be"))),
        io.StringIO("\ufeffa.jpg\nb.png\n"),
    ],
    ids=["UTF-8", "UTF-16 little", "UTF-16 big", "decoded"],
)
def test_a_list_with_a_byte_order_mark(stream: TextIO) -> None:
    assert [line.strip() for line in listed(stream)] == ["a.jpg", "b.png"]


def test_a_list_without_one() -> None:
    assert list(listed(io.TextIOWrapper(io.BytesIO(b"caf\xe9.jpg\nb.png")))) == ["caf\udce9.jpg\n", "b.png"]
    assert [line for line in listed(io.StringIO("")) if line] == []


def test_files_folders_patterns_and_lines(folder: Path) -> None:
    assert names(find_pictures([str(folder)])) == ["a.jpg", "b.png", "c.png"]
    assert names(find_pictures([str(folder / "b.png"), str(folder)])) == ["b.png", "a.jpg", "c.png"]
    assert names(find_pictures([str(folder / "**" / "*.png")])) == ["b.png", "c.png"]
    assert names(find_pictures(["-"], lines=[f"{folder}/b.png\n", "\n", f"{folder}/deep\n"])) == ["b.png", "c.png"]


@pytest.mark.parametrize("word", ["nowhere.jpg", "nothing*.png", "-"])
def test_what_names_nothing_is_refused(folder: Path, word: str) -> None:
    with pytest.raises(BadRequest):
        find_pictures([word])
    (folder / "empty").mkdir()
    with pytest.raises(BadRequest, match="no image in this folder"):
        find_pictures([str(folder / "empty")])


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    """That it is no image its content says, when it is read."""
    pictures = find_pictures([str(folder / "notes.txt")])
    with pytest.raises(ImageError, match=r"notes\.txt"):
        list(load_pictures(pictures, DataSpec(image_size=32), 4))


def test_batches_are_those_of_evaluation(folder: Path) -> None:
    pictures, spec, bad = find_pictures([str(folder)]), DataSpec(image_size=32, resize=40), []
    (folder / "b.png").write_bytes(b"broken")
    loaded = list(load_pictures(pictures, spec, 2, originals=True, on_bad=lambda p, e: bad.append((p.file.name, e))))
    assert [names(list(part.pictures)) for part in loaded] == [["a.jpg"], ["c.png"]]
    assert [name for name, _ in bad] == ["b.png"]
    original = loaded[1].originals[0]
    assert original.shape == (3, 30, 22)
    pixels, affine, _ = transform(original, spec)
    torch.testing.assert_close(loaded[1].batch.images[0], pixels)
    torch.testing.assert_close(loaded[1].batch.to_original[0], affine)
    assert loaded[1].batch.labels.tolist() == [-1]


def test_where_nothing_can_be_read_there_is_no_batch(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"broken")
    bad: list[str] = []
    loaded = load_pictures(
        find_pictures([f"{folder}/b.png"]), DataSpec(image_size=32), 2, on_bad=lambda p, _: bad.append(p.name)
    )
    assert list(loaded) == []
    assert bad == [f"{folder}/b.png"]


def test_labels_of_a_split_are_the_models(tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    split = Split(("x/1.png", "y/2.png"), np.array([0, 1]), boxes)
    index = DatasetIndex("folder", tmp_path, ("wren", "finch"), split, split, cut_bottom=20)
    first, second = split_pictures(index, split, ("finch", "crow"))
    assert (first.label, second.label) == (None, 0)
    assert second.file == tmp_path / "y/2.png"
    assert second.cut_bottom == 20
    assert second.box is not None
    assert second.box.tolist() == [5, 6, 7, 8]


def test_what_a_folder_of_images_ignores_is_ignored_here(tmp_path: Path) -> None:
    """The same rule as of the dataset `folder`: one photo, among what the system and fgvc left."""
    mk(tmp_path, "robin=1")
    for name in ("._a.jpg", "robin/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/a.jpg", ".Trashes/a.jpg"):
        noise_jpeg(tmp_path / name)
    noise_jpeg(tmp_path / "runs" / "one" / "eval" / "test-confusion.jpg")
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    (tmp_path / "robin" / "Thumbs.db").write_bytes(b"x")
    assert names(find_pictures([str(tmp_path)])) == ["0.jpg"]
    assert names(find_pictures(["-"], lines=[str(tmp_path)])) == ["0.jpg"]
    assert names(find_pictures([str(tmp_path / "**" / "*.jpg")])) == ["0.jpg"]
    assert names(find_pictures([str(tmp_path / "._a.jpg")])) == ["._a.jpg"]  # it was named itself
    assert names(find_pictures([str(tmp_path / "runs" / "one" / "eval" / "*.jpg")])) == ["test-confusion.jpg"]


def test_linked_folders_are_said_and_read_on_request(tmp_path: Path) -> None:
    mk(tmp_path / "photos", "robin=1")
    mk(tmp_path / "store", "more=2")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "store" / "more")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    said: list[str] = []
    assert names(find_pictures([str(tmp_path / "photos")], note=said.append)) == ["0.jpg"]
    assert "2 linked folders are passed over" in said[0]
    found = find_pictures([str(tmp_path / "photos")], follow_links=True)
    assert names(found) == ["0.jpg", "1.jpg", "0.jpg"]


# ---- tars


def tar_of(path: Path, **files: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_images_in_tars(folder: Path, tmp_path: Path) -> None:
    one = (folder / "b.png").read_bytes()
    for number in range(3):
        tar_of(tmp_path / f"shards/{number:02d}.tar", a_png=one, a_json=b"{}", c_png=one[:-40] if number == 1 else one)
    every = [f"{tmp_path}/shards/{number:02d}.tar/{name}" for number in range(3) for name in ("a.png", "c.png")]
    for words in ([str(tmp_path / "shards")], [f"{tmp_path}/shards/{{00..02}}.tar"], [f"{tmp_path}/shards/*.tar"]):
        assert [picture.name for picture in find_pictures(words, tars=True)] == every
    bad: list[str] = []
    pictures = find_pictures([str(tmp_path / "shards")], tars=True)
    loaded = list(load_pictures(pictures, DataSpec(image_size=32), 4, on_bad=lambda p, _: bad.append(p.name)))
    assert bad == [every[3]]
    alone = next(load_pictures(find_pictures([str(folder / "b.png")]), DataSpec(image_size=32), 1))
    assert all(torch.equal(image, alone.batch.images[0]) for batch in loaded for image in batch.batch.images)


def test_words_that_name_tars(folder: Path, tmp_path: Path) -> None:
    one, said = (folder / "b.png").read_bytes(), list[str]()
    shard = tar_of(tmp_path / "shards/0.tar", a_png=one)
    with pytest.raises(BadRequest, match=r"1.tar: there is no such file"):
        find_pictures([f"{tmp_path}/shards/{{0..2}}.tar"], tars=True)
    with pytest.raises(BadRequest, match="must go up"):
        find_pictures([f"{tmp_path}/shards/{{5..2}}.tar"], tars=True)
    with pytest.raises(BadRequest, match="no image in this folder"):
        find_pictures([str(tmp_path / "shards")])  # a command that reads no tars
    empty = tar_of(tmp_path / "empty.tar", a_txt=b"")
    with pytest.raises(BadRequest, match="no image was named"):
        find_pictures([str(empty)], tars=True, note=said.append)
    assert said == [f"{empty}: no image in this tar"]
    noise_jpeg(tmp_path / "shards/photo.jpg")
    assert names(find_pictures([str(shard.parent)], tars=True, note=said.append)) == ["photo.jpg"]
    assert "1 tars between images are passed over (first: 0.tar)" in said[1]
    assert len(find_pictures(["-"], [f"{shard}\n", f"{shard}\n"], tars=True)) == 1
    shard.write_bytes(shard.read_bytes()[:560])
    (cut,) = find_pictures(["-"], [f"{shard}\n", f"{shard}\n"], tars=True)
    with pytest.raises(ImageError, match="is cut off"):
        read_image(cut.file, part=cut.part)
