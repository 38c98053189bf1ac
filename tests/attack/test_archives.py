"""Archives that are made to do harm. Nothing is written outside of the dataset's folder, and no bomb fills disk or
memory."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fgvc_cli.data.download import extract as extracting
from fgvc_cli.data.download.archives import BUNDLES
from fgvc_cli.data.download.extract import Limits
from fgvc_cli.data.download.install import limits_of
from fgvc_cli.data.download.unpack import unpack
from fgvc_cli.errors import FgvcError

CONTENTS = ("images.txt",)
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 4) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return info


def tar(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    """A tar of a sound list and these members."""
    with tarfile.open(path, mode) as archive:
        for info in (entry("SET/images.txt"), *members):
            archive.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return path


def zipped(path: Path, *names: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> Path:
    """A zip of a sound list and members of these names, each with these Unix mode bits."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SET/images.txt", b"list")
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, method
            archive.writestr(info, b"harm")
    return path


@contextmanager
def nothing_else_changes(tmp_path: Path, source: Path) -> Iterator[None]:
    """Only the archive and the dataset's empty folder are there afterwards, and no more memory than 40 MiB was used."""
    before = sorted(path for path in tmp_path.rglob("*") if path != tmp_path / "home")
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert sorted(path for path in tmp_path.rglob("*") if path != tmp_path / "home") == before
    assert source.exists()


def refused(tmp_path: Path, source: Path, match: str, limits: Limits = Limits()) -> None:  # noqa: B008
    with nothing_else_changes(tmp_path, source), pytest.raises(FgvcError, match=match) as caught:
        unpack(source, tmp_path / "home", CONTENTS, limits=limits)
    assert "\n" not in str(caught.value)


# ---- kinds of members

KINDS = {
    "symlink": entry("SET/a", tarfile.SYMTYPE, "images.txt"),
    "hard link": entry("SET/a", tarfile.LNKTYPE, "SET/images.txt"),
    "character device": entry("SET/a", tarfile.CHRTYPE),
    "block device": entry("SET/a", tarfile.BLKTYPE),
    "pipe": entry("SET/a", tarfile.FIFOTYPE),
    "sparse": entry("SET/a", tarfile.GNUTYPE_SPARSE),
    "contiguous": entry("SET/a", tarfile.CONTTYPE),
    "unknown": entry("SET/a", b"Z"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_only_files_and_folders_of_a_tar(tmp_path: Path, kind: tarfile.TarInfo) -> None:
    """Links are refused also where they stay inside: no dataset needs one."""
    refused(tmp_path, tar(tmp_path / "x.tar", kind), r"holds 'SET/a', which is a link, device or pipe")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_only_files_and_folders_of_a_zip(tmp_path: Path, kind: int) -> None:
    refused(tmp_path, zipped(tmp_path / "x.zip", "SET/a", mode=kind | 0o644), r"holds 'SET/a', which is a link, device")


def test_a_chain_of_links_as_long_as_a_path_may_be(tmp_path: Path) -> None:
    """CVE-2025-4517: realpath gives up on such a chain, and tarfile's data filter lets the hard link through."""
    part, members, path = "d" * 247, [], ""
    for letter in "abcdefghijklmnop":
        members.append(entry(f"{path}{part}", tarfile.DIRTYPE))
        members.append(entry(f"{path}{letter}", tarfile.SYMTYPE, part))
        path += f"{letter}/"
    members.append(entry(f"{path}{'l' * 254}", tarfile.SYMTYPE, "../" * 16))
    members.append(entry("escape", tarfile.SYMTYPE, f"{path}{'l' * 254}/../victim"))
    members.append(entry("flaglink", tarfile.LNKTYPE, "escape"))
    members.append(entry("flaglink"))
    (tmp_path / "victim").write_text("mine")
    refused(tmp_path, tar(tmp_path / "CUB_200_2011.tar", *members), "which is a link, device or pipe")
    assert (tmp_path / "victim").read_text() == "mine"


# ---- names

OUTSIDE = [
    "/tmp/harm",
    "../harm",
    "SET/../../harm",
    "SET/a/..",
    "C:\\harm",
    "c:harm",
    "\\harm",
    "SET\\..\\..\\harm",
    "//h/s",
]


@pytest.mark.parametrize("make", [lambda path, name: tar(path, entry(name)), zipped], ids=["tar", "zip"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside(tmp_path: Path, make: Callable[[Path, str], Path], name: str) -> None:
    refused(tmp_path, make(tmp_path / "x.bin", name), "outside of the dataset's folder")


@pytest.mark.parametrize("make", [lambda path, name: tar(path, entry(name)), zipped], ids=["tar", "zip"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "which is no file's name"),
        ("././.", "which is no file's name"),
        ("SET/" + "n" * 256, "too long or too deep"),
        ("SET/" + "é" * 128, "too long or too deep"),
        ("p" * 250 + ("/" + "p" * 250) * 5, "too long or too deep"),
        ("d/" * 40 + "x", "too long or too deep"),
        ("SET/images.txt", "which is there twice"),
        ("SET//./images.txt", "which is there twice"),
        ("SET/images.txt/x", "which is there twice"),
        ("SET", "which is there twice"),
    ],
)
def test_names_that_no_dataset_has(tmp_path: Path, make: Callable[[Path, str], Path], name: str, why: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # zipfile's, about the second name
        source = make(tmp_path / "x.bin", name)
    refused(tmp_path, source, why)


def test_a_nul_in_a_name(tmp_path: Path) -> None:
    info = entry("SET/a")
    info.pax_headers = {"path": "SET/a\0.jpg"}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(bytes(4)))
    refused(tmp_path, tmp_path / "x.tar", "which is no file's name|damaged")


@pytest.mark.parametrize("name", ["SET/IMAGES.txt", "set/other.txt"])
def test_names_that_differ_in_case_where_the_disk_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A disk that does not tell upper from lower case: two classes would become one folder, one photo another."""
    made: set[str] = set()

    def once(make: Callable[..., object]) -> Callable[..., object]:
        def guarded(path: Path, *values: object, **options: object) -> object:
            if "unpacking-" in str(path) and values[:1] in ((), ("xb",)):
                if str(path).lower() in made:
                    raise FileExistsError
                made.add(str(path).lower())
            return make(path, *values, **options)

        return guarded

    monkeypatch.setattr(Path, "open", once(Path.open))
    monkeypatch.setattr(Path, "mkdir", once(Path.mkdir))
    refused(tmp_path, tar(tmp_path / "x.tar", entry(name)), f"holds '{name}', which is there twice")


# ---- limits

LOW = Limits(members=5, total=10_000, single=5_000)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([entry(f"SET/{i}") for i in range(5)], "holds more files than this dataset has"),
        ([entry(f"SET/{i}", tarfile.DIRTYPE) for i in range(5)], "holds more files than this dataset has"),
        ([entry("SET/a", size=5_001)], "holds 'SET/a', a larger file than this dataset has"),
        ([entry(f"SET/{i}", size=4_000) for i in range(3)], "holds more bytes than this dataset has"),
    ],
)
def test_more_than_a_dataset_holds(tmp_path: Path, members: list[tarfile.TarInfo], why: str) -> None:
    refused(tmp_path, tar(tmp_path / "x.tgz", *members, mode="w:gz"), why, LOW)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for info in members:
            archive.writestr(info.name + "/" * info.isdir(), bytes(info.size))
        archive.writestr("SET/images.txt", b"list")
    refused(tmp_path, tmp_path / "x.zip", why, LOW)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_dataset_has_room_for_itself(name: str) -> None:
    limits, bundle = limits_of(name), BUNDLES[name]
    assert limits.total > 3 * max(way.size for way in bundle.ways)
    assert limits.members > 20_000
    assert limits.total < 1 << 40


def zeros(path: Path, opened: Callable[..., object], size: int = 300 << 20) -> Path:
    """A compressed tar of one file of zeros."""
    with opened(path, "wb") as file:  # type: ignore[attr-defined]
        file.write(entry("SET/images.txt", size=size).tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("opened", [gzip.open, bz2.open], ids=["gzip", "bzip2"])
def test_a_bomb_in_a_tar(tmp_path: Path, opened: Callable[..., object]) -> None:
    """300 MiB in a few hundred kilobytes: photographs hardly compress."""
    refused(tmp_path, zeros(tmp_path / "x.tar.z", opened, 150 << 20), "holds more bytes than this dataset has")


def test_a_bomb_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.txt", bytes(150 << 20))
    refused(tmp_path, tmp_path / "x.zip", "holds more bytes than this dataset has")


def test_a_zip_whose_members_share_their_bytes(tmp_path: Path) -> None:
    """Each name in the directory leads to the same bytes."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.txt", bytes(2 << 20))
        first = archive.filelist[0]
        for i in range(60):
            again = zipfile.ZipInfo(f"{i:06d}.txt")
            for field in ("header_offset", "compress_type", "CRC", "compress_size", "file_size"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
    refused(tmp_path, tmp_path / "x.zip", "holds more bytes|is damaged")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_compressions_of_a_zip(tmp_path: Path, method: int) -> None:
    """zipfile unpacks these without a bound: a megabyte becomes gigabytes in memory."""
    refused(
        tmp_path, zipped(tmp_path / "x.zip", "SET/a", method=method), "compressed in a way that fgvc does not unpack"
    )


def test_a_header_of_gigabytes(tmp_path: Path) -> None:
    """The long name of a member is read into memory, in one piece."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        with gzip.open(tmp_path / "x.tgz", "wb") as file:
            head = tarfile.TarInfo("SET/images.txt")
            head.type, head.size = kind, 100 << 20
            file.write(head.tobuf(tarfile.GNU_FORMAT))
            for _ in range(100):
                file.write(bytes(1 << 20))
        refused(tmp_path, tmp_path / "x.tgz", "is damaged")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_negative_size(tmp_path: Path, kind: bytes) -> None:
    """CVE-2025-8194: tarfile goes back by it, for ever."""
    head = tarfile.TarInfo("SET/a")
    head.type = kind
    data = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    data[124:136] = b"\xff" * 10 + struct.pack(">h", -512)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    (tmp_path / "x.tar").write_bytes(entry("SET/images.txt", size=0).tobuf() + bytes(data) + bytes(2048))
    refused(tmp_path, tmp_path / "x.tar", "is damaged|is not a tar")


def test_a_zip_with_a_huge_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile reads the whole directory before it says how many members there are."""
    monkeypatch.setattr(extracting, "LARGEST_READ", 1 << 10)
    source = zipped(tmp_path / "x.zip", *(f"SET/{'n' * 50}{i}" for i in range(40)))
    refused(tmp_path, source, "is damaged", Limits(members=3))


# ---- modes


@posix
@pytest.mark.parametrize("umask", [0o002, 0o027, 0o077])
@pytest.mark.parametrize("kind", ["tar", "zip", "folder"])
def test_modes_follow_the_umask(tmp_path: Path, kind: str, umask: int) -> None:
    """Neither set-user-ID bits nor a folder that nobody may enter come out of an archive."""
    folder, file = entry("SET/images", tarfile.DIRTYPE), entry("SET/images/1.jpg")
    folder.mode, file.mode = 0o1111, 0o6777
    source = tmp_path / f"x.{kind}"
    if kind == "tar":
        tar(source, folder, file)
    elif kind == "zip":
        zipped(source, "SET/images/1.jpg", mode=stat.S_IFREG | 0o6777)
    else:
        (source / "SET" / "images").mkdir(parents=True)
        for name in ("images.txt", "images/1.jpg"):
            (source / "SET" / name).write_text("x")
            (source / "SET" / name).chmod(0o700)
    before = os.umask(umask)
    try:
        unpack(source, tmp_path / "home", CONTENTS)
    finally:
        os.umask(before)
    for path in (tmp_path / "home").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask
