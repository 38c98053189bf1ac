"""The images in a tar: each from its place, and whatever is damaged costs no other."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

from fgvc_cli.data.images.read import ImageError, read_bytes
from fgvc_cli.data.images.tars import is_tar, list_tar
from fgvc_cli.errors import BadRequest

BLOCK = 512


def tar(path: Path, *names: str, size: int = 700, format: int = tarfile.PAX_FORMAT, close: bool = True) -> Path:
    """A tar whose member number N holds `size` bytes N."""
    with path.open("wb") as raw:
        archive = tarfile.TarFile(fileobj=raw, mode="w", format=format)
        for place, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes([place]) * size))
        if close:
            archive.close()
    return path


def found(path: Path) -> list[tuple[str, object]]:
    """(name, its content's byte or what is wrong) of every entry."""
    entries: list[tuple[str, object]] = []
    for entry in list_tar(path):
        content = [] if entry.part.wrong else sorted({*read_bytes(path, entry.part).tolist()})
        entries.append((entry.name, content[0] if len(content) == 1 else content or entry.part.wrong))
    return entries


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_images_in_their_order_and_nothing_else(tmp_path: Path, format: int) -> None:
    long = "a" * 200 + "/" + "鳥" * 50 + ".png"
    names = ["b.jpg", "b.cls", "b.json", "./a.JPG", "._a.jpg", "__MACOSX/a.jpg", ".x/a.jpg", long, "b.jpg"]
    path = tar(tmp_path / "x.tar", *names, format=format)
    assert found(path) == [("b.jpg", 0), ("a.JPG", 3), (long, 7), ("b.jpg", 8)]
    assert all(entry.part.within == path and entry.part.size == 700 for entry in list_tar(path))


def test_names_that_lead_elsewhere_are_names(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", "../../etc/a.jpg", "/root/b.jpg")
    assert found(path) == [("../../etc/a.jpg", 0), ("/root/b.jpg", 1)]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("d.jpg", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE), ("p.jpg", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert [name for name, wrong in found(path) if "not a file" in str(wrong)] == ["l.jpg", "p.jpg"]


def test_cut_off(tmp_path: Path) -> None:
    whole = tar(tmp_path / "x.tar", "0.jpg", "1.jpg", "2.jpg", format=tarfile.USTAR_FORMAT).read_bytes()
    path, one = tmp_path / "y.tar", BLOCK + 1024

    def cut(at: int) -> list[tuple[str, object]]:
        path.write_bytes(whole[:at])
        return found(path)

    assert [name for name, _ in cut(3 * one)] == ["0.jpg", "1.jpg", "2.jpg", ""]  # no end mark: who knows what followed
    assert f"cut off after {3 * one} bytes" in str(cut(3 * one)[3][1])
    assert cut(3 * one - 400)[2] == ("2.jpg", "is cut off: the tar ends before it does, or its header is damaged")
    assert cut(2 * one + 100)[:2] == [("0.jpg", 0), ("1.jpg", 1)]
    assert "cut off" in str(cut(2 * one + 100)[2][1])
    assert [name for name, _ in cut(10)] == [""]
    assert [name for name, _ in cut(0)] == [""]
    (tmp_path / "z.tar").write_bytes(b"<html>not found</html>" * 100)
    assert [name for name, _ in found(tmp_path / "z.tar")] == [""]


def test_a_tar_without_images_has_none(tmp_path: Path) -> None:
    assert found(tar(tmp_path / "x.tar", "a.txt")) == []
    assert found(tar(tmp_path / "y.tar")) == []


@pytest.mark.parametrize("what", ["noise", "zeros", "size", "huge size of another file", "negative size", "long name"])
def test_damage_costs_no_other_image(tmp_path: Path, what: str) -> None:
    names = ["0.jpg", "1.txt" if "another" in what else "1.jpg", "2.jpg", "3.jpg"]
    path = tar(tmp_path / "x.tar", *names, format=tarfile.USTAR_FORMAT)
    content, header = bytearray(path.read_bytes()), BLOCK + 1024
    block = {"noise": random.Random(0).randbytes(BLOCK), "zeros": bytes(BLOCK)}.get(what)
    if block is None:
        member = tarfile.TarInfo(names[1])
        member.size = 1 << 40
        if what == "negative size":
            member.size = -(1 << 20)
        if what == "long name":
            member.type = tarfile.GNUTYPE_LONGNAME
        block = member.tobuf(tarfile.GNU_FORMAT)
    content[header : header + BLOCK] = block
    path.write_bytes(content)
    entries = found(path)
    assert [entry for entry in entries if isinstance(entry[1], int)] == [("0.jpg", 0), ("2.jpg", 2), ("3.jpg", 3)]
    assert len(entries) == 4
    assert entries[1][0] == ("1.jpg" if what in ("size", "negative size") else "")


def test_a_member_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", "0.jpg")
    member = tarfile.TarInfo("huge.jpg")
    member.size = 1 << 33
    with path.open("r+b") as raw:  # of zeros that take no room on the disk
        raw.seek(BLOCK + 1024)
        raw.write(member.tobuf(tarfile.GNU_FORMAT))
        raw.truncate(3 * BLOCK + 1024 + member.size)
    small, huge = list_tar(path)
    assert read_bytes(path, small.part).size == 700
    with pytest.raises(ImageError, match="has 8589934592 bytes, more than any image"):
        read_bytes(path / "huge.jpg", huge.part)
    with pytest.raises(ImageError, match="more than any image"):
        read_bytes(path)


def test_tars_one_after_the_other_are_all_read(tmp_path: Path) -> None:
    both = b"".join(tar(tmp_path / f"{name}.tar", f"{name}.jpg").read_bytes() for name in "ab")
    (tmp_path / "ab.tar").write_bytes(both)
    assert [name for name, _ in found(tmp_path / "ab.tar")] == ["a.jpg", "b.jpg"]


def test_nothing_that_is_damaged_takes_long_or_raises(tmp_path: Path) -> None:
    whole = tar(tmp_path / "x.tar", *(f"{i}.jpg" for i in range(12)), size=100).read_bytes()
    path, dice = tmp_path / "y.tar", random.Random(1)
    for _ in range(300):
        content = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randrange(1, 30)):
            if content:
                content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        assert len(found(path)) <= 40


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar"])
def test_a_compressed_tar_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(BadRequest, match="decompress it first"):
        is_tar(tmp_path / name)
    assert is_tar(tar(tmp_path / "good.tar", "a.jpg"))
    assert not is_tar(tmp_path / "a.jpg")
