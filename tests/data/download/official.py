"""Archives as their makers packed them, of small datasets; and a catalog that fetches them from a test's server."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.download.archives import BUNDLES, Bundle, Way
from fgvc_cli.data.facts import CATALOG
from tests.data.download.server import Files
from tests.data.small_archives import spec_of, write_cars_devkit, write_cub, write_image


def pack(folder: Path, names: Iterable[str] | None = None) -> bytes:
    """A .tgz of what lies in a folder, or of some of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names or sorted(path.name for path in folder.iterdir()):
            tar.add(folder / name, name)
    return buffer.getvalue()


def pack_zip(folder: Path, target: Path, names: Iterable[str] | None = None) -> Path:
    """A .zip file of what lies in a folder, or of some of it."""
    with zipfile.ZipFile(target, "w") as archive:
        for name in names or sorted(path.name for path in folder.iterdir()):
            for path in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else [folder / name]:
                archive.write(path, path.relative_to(folder))
    return target


def counts(monkeypatch: pytest.MonkeyPatch, name: str, classes: int, train: int, test: int) -> None:
    """Let the small set be the full one."""
    monkeypatch.setitem(CATALOG, name, replace(CATALOG[name], classes=classes, train=train, test=test))


def serve_cub(server: Files, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Bundle:
    """CUB's two archives, with the stray files of the real ones: 3 classes, 6 training and 3 test images."""
    write_cub(folder)
    write_image(folder / "segmentations" / "001" / "one.png", mode="L")
    images = server.archive("CUB_200_2011.tgz", pack(folder, ["CUB_200_2011", "attributes.txt"]), holds="images.txt")
    masks = server.archive("segmentations.tgz", pack(folder, ["segmentations"]), holds="segmentations", optional=True)
    bundle = replace(BUNDLES["cub"], ways=(Way((images, masks)),))
    monkeypatch.setitem(BUNDLES, "cub", bundle)
    counts(monkeypatch, "cub", 3, 6, 3)
    return bundle


def serve_cars(server: Files, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Stanford Cars as it can be had today: only the devkit is served. Returns the unpacked set, images nested."""
    root = write_cars_devkit(folder / "cars", nested=True)
    kit = server.archive("car_devkit.tgz", pack(root, ["devkit"]), holds="devkit/cars_train_annos.mat")
    images = [archive for archive in BUNDLES["cars"].ways[0].archives if not archive.urls]
    bundle = replace(BUNDLES["cars"], ways=(Way((*images, kit)), BUNDLES["cars"].ways[1]))
    monkeypatch.setitem(BUNDLES, "cars", bundle)
    counts(monkeypatch, "cars", 3, 6, 3)
    return root


def serve_tree(server: Files, monkeypatch: pytest.MonkeyPatch, name: str, home: Path) -> list[Path]:
    """An unpacked small set as the full one, packed and named as its makers do. Returns files to be got by hand."""
    index = load_index(spec_of(name, home))
    counts(monkeypatch, name, len(index.classes), len(index.train), len(index.test))
    way, by_hand = BUNDLES[name].ways[0], []
    archives = []
    for archive in way.archives:
        if (home / archive.file).is_file():
            body = (home / archive.file).read_bytes()
        elif len(way.archives) == 1:
            body = pack(home.parent, [home.name])
        else:
            pattern = "*_list.mat" if archive.file == "lists.tar" else archive.holds[0].partition("/")[0]
            body = pack(home, [path.name for path in home.glob(pattern)])
        if archive.urls:
            archives.append(server.archive(archive.file, body, holds=archive.holds[0]))
        else:
            archives.append(replace(archive, bytes=None, md5="", sha256=""))
            by_hand.append(home.parent / f"{archive.file}.given.tgz")
            by_hand[-1].write_bytes(body)
    monkeypatch.setitem(BUNDLES, name, replace(BUNDLES[name], ways=(Way(tuple(archives)),)))
    return by_hand
