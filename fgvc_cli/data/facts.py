"""Facts about each dataset: counts, licence, home page, how its folder is recognised. Does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DatasetName
from fgvc_cli.spec.run import RunSpec


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
    get: str = ""  # how to get it, if not with `fgvc download-data`
    folders: tuple[str, ...] = ()  # names that the dataset's folder may have
    markers: tuple[str, ...] = ()  # files or folders; a folder with one of them holds the dataset
    boxes: bool = False
    free: bool = False  # anyone may publish the images
    levels: dict[str, int] = field(default_factory=dict)  # other label levels → number of classes

    def classes_at(self, level: str | None) -> int | None:
        """The number of classes of the full set at this label level; None: the default level."""
        return self.classes if level is None else self.levels.get(level, self.classes)


_DEMO = DatasetFacts(
    name="demo",
    title="Demo finches, drawn by fgvc",
    classes=12,
    train=960,
    test=480,
    licence="Apache-2.0, like fgvc itself",
    home="",
    get="drawn on first use, nothing to download",
    boxes=True,
    free=True,
)
_CUB = DatasetFacts(
    name="cub",
    title="CUB-200-2011 birds",
    classes=200,
    train=5994,
    test=5794,
    licence="images belong to their photographers; non-commercial research and education only",
    home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
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
    folders=("stanford_cars", "stanford-cars", "StanfordCars", "stanford-cars-dataset", "cars"),
    markers=("cars_annos.mat", "cars_train", "devkit/cars_train_annos.mat"),
    boxes=True,
)
_AIRCRAFT = DatasetFacts(
    name="aircraft",
    title="FGVC-Aircraft 2013b",
    classes=100,
    train=6667,
    test=3333,
    licence="non-commercial research only",
    home="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    folders=("fgvc-aircraft-2013b", "fgvc_aircraft_2013b", "aircraft"),
    markers=("data/variants.txt", "variants.txt"),
    boxes=True,
    levels={"family": 70, "manufacturer": 30},
)
_FLOWERS = DatasetFacts(
    name="flowers",
    title="Oxford Flowers-102",
    classes=102,
    train=2040,
    test=6149,
    licence="images belong to their photographers; research only",
    home="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    folders=("flowers-102", "flowers102", "102flowers", "oxford_flowers102", "flowers"),
    markers=("setid.mat", "imagelabels.mat"),
    boxes=True,
)
_VEGFRU_HOME = "https://vim.ustc.edu.cn/2021/0704/c27137a515707/page.htm"
_VEGFRU_LICENCE = "non-commercial research only"
_VEGFRU_FOLDERS = ("VegFru", "vegfru", "vegfru-dataset", "VegFru-dataset")
_VEGFRU = DatasetFacts(
    name="vegfru",
    title="VegFru vegetables and fruits",
    classes=292,
    train=29200,
    test=116931,
    licence=_VEGFRU_LICENCE,
    home=_VEGFRU_HOME,
    folders=_VEGFRU_FOLDERS,
    markers=("veg200_lists", "fru92_lists"),
)
_VEG200 = DatasetFacts(
    name="veg200",
    title="Veg200, the vegetables of VegFru",
    classes=200,
    train=20000,
    test=61117,
    licence=_VEGFRU_LICENCE,
    home=_VEGFRU_HOME,
    folders=(*_VEGFRU_FOLDERS, "veg200", "Veg200"),
    markers=("veg200_lists",),
)
_FRU92 = DatasetFacts(
    name="fru92",
    title="Fru92, the fruits of VegFru",
    classes=92,
    train=9200,
    test=55814,
    licence=_VEGFRU_LICENCE,
    home=_VEGFRU_HOME,
    folders=(*_VEGFRU_FOLDERS, "fru92", "Fru92"),
    markers=("fru92_lists",),
)
_DOGS = DatasetFacts(
    name="dogs",
    title="Stanford Dogs",
    classes=120,
    train=12000,
    test=8580,
    licence="images are from ImageNet: non-commercial research and education only",
    home="http://vision.stanford.edu/aditya86/ImageNetDogs/",
    folders=("stanford_dogs", "stanford-dogs", "StanfordDogs", "stanford-dogs-dataset", "dogs"),
    markers=("train_list.mat", "lists/train_list.mat"),
    boxes=True,
)
_PETS = DatasetFacts(
    name="pets",
    title="Oxford-IIIT Pets",
    classes=37,
    train=3680,
    test=3669,
    licence="CC BY-SA 4.0; images belong to their owners",
    home="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    folders=("oxford-iiit-pet", "oxford_iiit_pet", "oxford-iiit-pets", "oxford_pets", "pets"),
    markers=("annotations/trainval.txt",),
    boxes=True,
)
_FOOD101 = DatasetFacts(
    name="food101",
    title="Food-101 dishes",
    classes=101,
    train=75750,
    test=25250,
    licence="images are from Foodspotting; research only",
    home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    folders=("food-101", "food101", "food_101", "Food-101"),
    markers=("meta/train.txt",),
)
_INAT2021 = DatasetFacts(
    name="inat2021",
    title="iNaturalist 2021 species",
    classes=10000,
    train=2686843,
    test=100000,
    licence="images belong to their photographers; non-commercial research and education only",
    home="https://github.com/visipedia/inat_comp/tree/master/2021",
    folders=("inat2021", "inat_2021", "iNat2021", "inaturalist2021", "2021"),
    markers=("val.json",),
)
_NABIRDS = DatasetFacts(
    name="nabirds",
    title="NABirds, North American birds",
    classes=555,
    train=23929,
    test=24633,
    licence="images belong to their photographers; non-commercial research and education, after signing up",
    home="https://dl.allaboutbirds.org/nabirds",
    folders=("nabirds", "NABirds", "nabirds_v1"),
    markers=("hierarchy.txt",),
    boxes=True,
)
_FOLDER = DatasetFacts(
    name="folder",
    title="Your own images, one folder per class",
    classes=None,
    train=None,
    test=None,
    licence="yours",
    home="",
    get="put the images of each class into a folder of its own",
)
_CSV = DatasetFacts(
    name="csv",
    title="Your own images, listed in a CSV file",
    classes=None,
    train=None,
    test=None,
    licence="yours",
    home="",
    get="write a CSV file with the columns path and label",
)

CATALOG: dict[str, DatasetFacts] = {
    facts.name: facts
    for facts in (
        _DEMO,
        _CUB,
        _CARS,
        _AIRCRAFT,
        _FLOWERS,
        _VEGFRU,
        _VEG200,
        _FRU92,
        _DOGS,
        _PETS,
        _FOOD101,
        _INAT2021,
        _NABIRDS,
        _FOLDER,
        _CSV,
    )
}

_MOST_CLASSES = 1_000_000  # the weights of a classifier of more fill the memory of any machine


def classes_of(spec: RunSpec, classes: int | None = None) -> int:
    """The given number of classes, else the dataset's. BadRequest if neither is known."""
    found = classes or CATALOG[spec.data.dataset].classes_at(spec.data.level)
    if not found or not 2 <= found <= _MOST_CLASSES:
        raise BadRequest(f"give the number of classes with --classes (2 to {_MOST_CLASSES:,})")
    return found
