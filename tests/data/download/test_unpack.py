"""Archives that are sound, cut, damaged or meant to do harm. Nothing is ever written outside of the given folder."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_cli.data.download.unpack import unpack
from fgvc_cli.errors import BadRequest, FgvcError
from tests.data.download.official import pack, pack_zip

CONTENTS = ("images.txt", "images", "setid.mat")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tree(folder: Path, wrapper: str = "SET") -> Path:
    """A dataset's folder, and a stray file beside it."""
    inner = folder / wrapper
    (inner / "images" / "a b").mkdir(parents=True)
    (inner / "images.txt").write_text("1 a b/1.jpg\n")
    (inner / "images" / "a b" / "1.jpg").write_bytes(os.urandom(100_000))
    (folder / "stray.txt").write_text("stray")
    return inner


def tar_with(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in (("SET/images.txt", b"1 x"), ("SET/images/1.jpg", b"x" * 5000)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for member in members:
            tar.addfile(member, io.BytesIO(b"harm") if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize("wrapper", ["SET", "download/deeper/SET", "."])
@pytest.mark.parametrize("kind", ["tgz", "tar", "zip", "folder"])
def test_the_datasets_own_folder_is_found_in_it(tmp_path: Path, wrapper: str, kind: str) -> None:
    inner = tree(tmp_path / "made", wrapper)
    source = tmp_path / f"x.{kind}"
    if kind == "tgz":
        source.write_bytes(pack(tmp_path / "made"))
    elif kind == "tar":
        source.write_bytes(gzip.decompress(pack(tmp_path / "made")))
    elif kind == "zip":
        pack_zip(tmp_path / "made", source)
    else:
        source = tmp_path / "made"
    home = tmp_path / "place" / "home"
    unpack(source, home, CONTENTS)
    assert everything(home) == everything(inner)
    assert list(home.parent.iterdir()) == [home]


def test_several_make_one(tmp_path: Path) -> None:
    one, two, home = tmp_path / "one", tmp_path / "two", tmp_path / "home"
    tree(one, ".")
    tree(two, ".")
    (two / "images.txt").unlink()
    (two / "images" / "a b" / "1.jpg").rename(two / "images" / "a b" / "2.jpg")
    (tmp_path / "setid.mat").write_bytes(b"MATLAB")
    for source in (one, two, tmp_path / "setid.mat"):
        unpack(source, home, CONTENTS)
    assert set(everything(home)) == {"images.txt", "images/a b/1.jpg", "images/a b/2.jpg", "setid.mat", "stray.txt"}
    (two / "images" / "a b" / "2.jpg").write_bytes(b"other")
    with pytest.raises(BadRequest, match=r"two: holds another 2\.jpg than an archive before it"):
        unpack(two, home, CONTENTS)


HARM = {
    "climbs": member("SET/../../harm"),
    "climbs at once": member("../harm"),
    "absolute": member("/tmp/fgvc-harm"),
    "of windows": member("C:\\harm"),
    "climbs in windows": member("SET\\..\\..\\harm"),
    "link outside": member("SET/link", tarfile.SYMTYPE, "../../harm"),
    "absolute link": member("SET/link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link outside": member("SET/link", tarfile.LNKTYPE, "../harm"),
    "device": member("SET/null", tarfile.CHRTYPE),
    "pipe": member("SET/pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_tar_that_would_write_outside(tmp_path: Path, harm: tarfile.TarInfo) -> None:
    source = tar_with(tmp_path / "x.tgz", harm)
    before = everything(tmp_path)
    with pytest.raises(FgvcError, match=r"x\.tgz: holds .* (outside of|no dataset needs) .*; nothing was unpacked"):
        unpack(source, tmp_path / "home", CONTENTS)
    assert everything(tmp_path) == before
    assert not Path("/tmp/fgvc-harm").exists()


@pytest.mark.parametrize("name", ["../harm", "/tmp/fgvc-harm", "SET/../../harm", "C:\\harm", "SET\\..\\..\\harm"])
def test_a_zip_that_would_write_outside(tmp_path: Path, name: str) -> None:
    source = pack_zip(tree(tmp_path / "made").parent, tmp_path / "x.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(name, b"harm")
    before = everything(tmp_path)
    with pytest.raises(FgvcError, match="outside of the dataset's folder"):
        unpack(source, tmp_path / "home", CONTENTS)
    assert everything(tmp_path) == before


def test_a_zip_with_a_link(tmp_path: Path) -> None:
    source = pack_zip(tree(tmp_path / "made").parent, tmp_path / "x.zip")
    link = zipfile.ZipInfo("SET/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FgvcError, match=r"holds 'SET/link'"):
        unpack(source, tmp_path / "home", CONTENTS)


def damage_tail(data: bytes) -> bytes:
    return data[:-6] + bytes(byte ^ 255 for byte in data[-6:-4]) + data[-4:]


def damage_middle(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes(byte ^ 255 for byte in data[half : half + 8]) + data[half + 8 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-20],
    "changed in the middle": damage_middle,
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("kind", ["tgz", "zip"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged(tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    made = tree(tmp_path / "made").parent
    source = tmp_path / f"x.{kind}"
    source.write_bytes(damage(pack(made) if kind == "tgz" else pack_zip(made, source).read_bytes()))
    with pytest.raises(FgvcError, match=r"x\.\w+: is damaged or cut off.*get it again"):
        unpack(source, tmp_path / "home", CONTENTS)
    assert not any((tmp_path / "home").iterdir())


def test_a_wrong_checksum_of_the_whole(tmp_path: Path) -> None:
    source = tmp_path / "x.tgz"
    source.write_bytes(damage_tail(pack(tree(tmp_path / "made").parent)))
    with pytest.raises(FgvcError, match="is damaged or cut off"):
        unpack(source, tmp_path / "home", CONTENTS)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"Rar!\x1a\x07", " but RAR"),
        (b"7z\xbc\xaf\x27\x1c", " but 7z"),
        (b"<!DOCTYPE html>", " but a web page"),
        (b"?", ""),
    ],
)
def test_what_is_no_archive(tmp_path: Path, head: bytes, what: str) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(head * 1000)
    with pytest.raises(BadRequest, match=f"is not a tar or zip archive{what}; unpack it yourself and pass the folder"):
        unpack(source, tmp_path / "home", CONTENTS)


def test_another_datasets_archive(tmp_path: Path) -> None:
    source = tmp_path / "x.tgz"
    source.write_bytes(pack(tree(tmp_path / "made").parent))
    with pytest.raises(BadRequest, match=r"holds none of cars_train, devkit; is it the right file"):
        unpack(source, tmp_path / "home", ("cars_train", "devkit"))
    assert not any((tmp_path / "home").iterdir())


def test_a_locked_zip(tmp_path: Path) -> None:
    source = pack_zip(tree(tmp_path / "made").parent, tmp_path / "x.zip")
    data = bytearray(source.read_bytes())
    for place in range(len(data) - 4):  # set the bit that says "encrypted" in all headers
        if data[place : place + 4] in (b"PK\x03\x04", b"PK\x01\x02"):
            data[place + (6 if data[place + 2] == 3 else 8)] |= 1
    source.write_bytes(data)
    with pytest.raises(FgvcError, match="password"):
        unpack(source, tmp_path / "home", CONTENTS)
