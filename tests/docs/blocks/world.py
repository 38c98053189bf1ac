"""The folder in which the pages' blocks are typed: every file and every run that they name, as small as can be."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

import fgvc_cli as fgvc
from tests.data.small_archives import write_cars_devkit, write_cub
from tests.docs.pages import ROOT

_GENERA = {
    "Empidonax": ("Tyrannidae", "Alder Flycatcher", "Least Flycatcher", "Willow Flycatcher"),
    "Sayornis": ("Tyrannidae", "Black Phoebe", "Eastern Phoebe", "Say Phoebe"),
    "Troglodytes": ("Troglodytidae", "House Wren", "Winter Wren", "Clarión Wren"),
    "Vireo": ("Vireonidae", "Bell Vireo", "Gray Vireo", "Hutton Vireo"),
    "Larus": ("Laridae", "Herring Gull", "Ring Gull", "Western Gull"),
    "Passer": ("Passeridae", "House Sparrow", "Saxaul Sparrow", "Spanish Sparrow"),
    "Corvus": ("Corvidae", "Carrion Crow", "Fish Crow", "Northwest Raven"),
    "Podiceps": ("Podicipedidae", "Eared Grebe", "Horned Grebe", "Hooded Grebe"),
}
CLASSES = [name for _, *names in _GENERA.values() for name in names]
SMALL = {
    "backbone": "tiny",
    "weights": "none",
    "image_size": 32,
    "workers": 0,
    "device": "cpu",
    "progress": False,
}
_STEPS = {"epochs": 1, "batch_size": 6}


def build(home: Path) -> Path:
    """Everything, below `home`."""
    photographs(home / "photos", CLASSES, 5)
    photographs(home / "trip", CLASSES[:6], 2, seed=1)
    photographs(home / "birds/train", CLASSES[:3], 6, seed=2)
    photographs(home / "birds/test", CLASSES[:3], 2, seed=3)
    photographs(home / "unlabelled", CLASSES[:2], 3, seed=4)
    photographs(home / "archive", CLASSES[3:5], 1, seed=5)
    for name in CLASSES[:3]:
        for seed, day in enumerate(("monday", "friday", "sunday")):
            several(home / "trips" / name / day, CLASSES.index(name), 3, seed + 10)
    shutil.copytree(home / "trip", home / "labelled")
    for folder in ("new-photos", "more", "photos-of-a-tar"):
        (home / folder).mkdir()
        for number, name in enumerate(CLASSES[:3]):
            photograph(home / folder / f"{number}.jpg", CLASSES.index(name), seed=number + 6)
    for name in ("bird.jpg", "photo.jpg"):
        shutil.copy(home / "new-photos/0.jpg", home / name)
    tables(home)
    shards(home / "shards", home / "photos-of-a-tar")
    datasets(home / "data")
    for folder in ("benchmarks", "assets"):
        (home / folder).symlink_to(ROOT / folder)
    trained(home)
    return home


def photographs(folder: Path, classes: list[str], count: int, seed: int = 0) -> None:
    """One folder per class."""
    for name in classes:
        several(folder / name, CLASSES.index(name), count, seed)


def several(folder: Path, label: int, count: int, seed: int) -> None:
    """Photographs of one class."""
    folder.mkdir(parents=True)
    for number in range(count):
        photograph(folder / f"{number}.jpg", label, seed=100 * seed + number)


def photograph(file: Path, label: int, seed: int) -> None:
    """A square of a class's own colour and place on noise, 44 × 40 pixels."""
    pixels = np.random.RandomState(seed).randint(0, 60, (40, 44, 3))
    colour = np.array([label % 3, label // 3 % 3, label // 9 % 3]) * 90 + 15
    pixels[8:32, 8:36] = pixels[8:32, 8:36] // 3 + colour
    Image.fromarray(pixels.astype(np.uint8)).save(file, quality=95)


def tables(home: Path) -> None:
    """The tree of the classes, and the labels of the trip."""
    rows = [f"{name},{genus},{family}" for genus, (family, *names) in _GENERA.items() for name in names]
    (home / "tree.csv").write_text("\n".join(["class,genus,family", *rows, ""]), encoding="utf-8")
    files = sorted((home / "trip").rglob("*.jpg"))
    named = [f"{file.relative_to(home)},{file.parent.name}" for file in files]
    (home / "walk.csv").write_text("\n".join(["path,label", *named, ""]), encoding="utf-8")


def shards(folder: Path, photos: Path) -> None:
    """A hundred tars of an image each."""
    folder.mkdir()
    for number in range(100):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as tar:
            tar.add(photos / f"{number % 3}.jpg", f"{number}.jpg")


def datasets(root: Path) -> None:
    """The smallest CUB and Stanford Cars in their official layouts."""
    write_cub(root)
    write_cars_devkit(root / "stanford_cars")


def trained(home: Path) -> None:
    """Runs under every name that a page has; the newest is a probe with a validation split."""
    photos, cub = {"dataset": "folder", "data_dir": home / "photos"}, {"dataset": "cub", "data_dir": home / "data"}
    for name, method, data, more in (
        ("apcnn-cub", "apcnn", cub, _STEPS),
        ("clan-cub-20260101-120000", "clan", cub, _STEPS),
        ("baseline-folder-20260101-120000", "baseline", photos, _STEPS | {"val_fraction": 0.2}),
        ("reaps-folder-20260101-120000", "reaps", photos, _STEPS | {"val_fraction": 0.2}),
        ("tdsa-cub", "tdsa", cub, _STEPS),
        ("reaps-cub-20260101-120000", "reaps", cub, _STEPS),
        ("probe-folder-20260101-120000", "probe", photos, {"val_fraction": 0.25}),
    ):
        sets = {"data.resize": 36, "backbone.plain_epochs": 0} if method != "probe" else {"data.resize": 36}
        fgvc.train(method=method, out=home / "runs" / name, set=sets, **data, **SMALL, **more)
    for checkpoints in home.glob("runs/*/checkpoints"):
        shutil.rmtree(checkpoints)
    for name, other in (
        ("reaps-cub", "reaps-cub-20260101-120000"),
        ("baseline", "baseline-folder-20260101-120000"),
        ("reaps", "reaps-folder-20260101-120000"),
    ):
        shutil.copytree(home / "runs" / other, home / "runs" / name)
    shutil.copy(home / "runs/reaps-folder-20260101-120000/model.safetensors", home / "finches.safetensors")
