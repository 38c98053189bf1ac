"""Facts of every dataset: what it is, where it may lie, how to get it. Nothing here needs PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DatasetName

DATA_DIR_VARIABLE = "FGVC_DATA_DIR"


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset. Counts are those of the full, official set; None where they depend on the user's images."""

    name: DatasetName
    title: str
    classes: int | None
    train: int | None
    test: int | None
    licence: str
    home: str
    get: str  # how to get it, one line
    folders: tuple[str, ...] = ()  # names the dataset's own folder goes by
    markers: tuple[str, ...] = ()  # files or folders, any of which tells that a folder holds the dataset
    boxes: bool = False


_DEMO = DatasetFacts(
    name="demo",
    title="Demo finches, drawn by fgvc",
    classes=12,
    train=960,
    test=480,
    licence="Apache-2.0, as fgvc itself",
    home="",
    get="drawn on first use, nothing to download",
    boxes=True,
)
_CUB = DatasetFacts(
    name="cub",
    title="CUB-200-2011 birds",
    classes=200,
    train=5994,
    test=5794,
    licence="images belong to their photographers; non-commercial research and education only",
    home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    get="download CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack it",
    folders=("CUB_200_2011", "cub_200_2011", "CUB-200-2011", "cub"),
    markers=("images.txt",),
    boxes=True,
)
_CARS = DatasetFacts(
    name="cars",
    title="Stanford Cars",
    classes=196,
    train=8144,
    test=8041,
    licence="images belong to their owners; non-commercial research only",
    home="https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset",
    get=(
        "download the images from https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset, "
        "https://github.com/pytorch/vision/files/11644847/car_devkit.tgz and cars_test_annos_withlabels.mat"
    ),
    folders=("stanford_cars", "stanford-cars", "StanfordCars", "stanford-cars-dataset", "cars"),
    markers=("cars_annos.mat", "cars_train", "devkit/cars_train_annos.mat"),
    boxes=True,
)
_AIRCRAFT = DatasetFacts(
    name="aircraft",
    title="FGVC-Aircraft 2013b, variants",
    classes=100,
    train=6667,
    test=3333,
    licence="non-commercial research only",
    home="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    get=(
        "download https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz and unpack it"
    ),
    folders=("fgvc-aircraft-2013b", "fgvc_aircraft_2013b", "aircraft"),
    markers=("data/variants.txt", "variants.txt"),
    boxes=True,
)
_FOLDER = DatasetFacts(
    name="folder",
    title="Your own images, one folder a class",
    classes=None,
    train=None,
    test=None,
    licence="yours",
    home="",
    get="put the images of each class into a folder of its own",
)

CATALOG: dict[str, DatasetFacts] = {facts.name: facts for facts in (_DEMO, _CUB, _CARS, _AIRCRAFT, _FOLDER)}


def data_roots(root: Path | None) -> tuple[Path, ...]:
    """Where datasets are looked for, in order: `root` alone if given, else $FGVC_DATA_DIR, then ./data."""
    if root is not None:
        return (root.expanduser(),)
    variable = os.environ.get(DATA_DIR_VARIABLE)
    return (*((Path(variable).expanduser(),) if variable else ()), Path("data"))


def cache_home() -> Path:
    """Where fgvc keeps what it can make again: $XDG_CACHE_HOME/fgvc or ~/.cache/fgvc."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "fgvc"


def locate(name: str, root: Path | None) -> Path | None:
    """The dataset's own folder: one of `data_roots` itself or a known folder in it. None if it is in none of them."""
    facts = CATALOG[name]
    for place in data_roots(root):
        for folder in (place, *(place / name for name in facts.folders)):
            if any((folder / marker).exists() for marker in facts.markers):
                return folder
    return None


def require(name: str, root: Path | None) -> Path:
    """Like `locate`, but BadRequest, which tells how to get the dataset, if it is nowhere."""
    found = locate(name, root)
    if found is not None:
        return found
    facts = CATALOG[name]
    raise BadRequest(
        f"{facts.title} not found: no {facts.folders[0]} in {_listed(data_roots(root))}; "
        f"{facts.get}, then pass --data-dir FOLDER or set {DATA_DIR_VARIABLE}"
    )


def _listed(places: Sequence[Path]) -> str:
    return " or ".join(str(place) for place in places)
