"""The archives of every dataset: addresses, sizes, checksums, what they unpack to. Does not import PyTorch.

Sizes and checksums are those that public loaders agree on. An address may fail at any time; a download is
accepted only if its size and checksum are right.
"""

from __future__ import annotations

from dataclasses import dataclass

from fgvc_cli.spec.data import DatasetName


@dataclass(frozen=True)
class Archive:
    """One file of a dataset. Every file with an address has a checksum."""

    file: str
    holds: tuple[str, ...]  # paths in the dataset's folder; one of them exists once this is unpacked
    urls: tuple[str, ...] = ()  # in the order they are tried; empty: the user gets the file by hand
    bytes: int | None = None  # exact
    about: int = 0  # approximate bytes, if the exact number is not known
    md5: str = ""
    sha256: str = ""
    optional: bool = False  # masks: the dataset is complete without them

    @property
    def size(self) -> int:
        """Bytes, exact or approximate."""
        return self.bytes or self.about


@dataclass(frozen=True)
class Way:
    """A set of archives that make a complete dataset. `train`: number of training images, if not the official one."""

    archives: tuple[Archive, ...]
    train: int | None = None

    @property
    def size(self) -> int:
        """Bytes of all archives."""
        return sum(archive.size for archive in self.archives)


@dataclass(frozen=True)
class Bundle:
    """How to get a dataset. `contents`: names at the top of its folder, by which it is recognised in an archive."""

    contents: tuple[str, ...]
    ways: tuple[Way, ...]  # the first one is downloaded, the others are accepted if given
    mini: Way | None = None  # a smaller official set
    by_hand: tuple[str, ...] = ()  # steps for the user, if there is no address
    strays: tuple[str, int] = ("", 0)  # images in the archive that no list names: pattern and number
    covers: tuple[DatasetName, ...] = ()  # other datasets that are complete with this one
    folder: str = ""  # the folder's name, if not the first one in the catalog
    largest: int = 1 << 30  # bytes that no single file of it exceeds


_CALTECH = "https://data.caltech.edu/records"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_THOR = "https://thor.robots.ox.ac.uk/~vgg/data"
_DOGS_HOME = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_INAT = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021"

_CUB = Bundle(
    contents=("images.txt", "image_class_labels.txt", "segmentations"),
    ways=(
        Way(
            (
                Archive(
                    "CUB_200_2011.tgz",
                    holds=("images.txt",),
                    urls=(
                        f"{_CALTECH}/65de6-vp158/files/CUB_200_2011.tgz?download=1",
                        f"{_DRIVE}1hbzc_P1FuxMkcabkgn9ZKinBwW683j45",
                    ),
                    bytes=1_150_585_339,
                    md5="97eceeb196236b17998738112f37df78",
                    sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                ),
                Archive(
                    "segmentations.tgz",
                    holds=("segmentations",),
                    urls=(
                        f"{_CALTECH}/w9d68-gec53/files/segmentations.tgz?download=1",
                        f"{_DRIVE}1EamOKGLoTuZdtcVYbHMWNpkn3iAVj8TP",
                    ),
                    bytes=39_272_883,
                    md5="4d47ba1228eae64f2fa547c47bc65255",
                    sha256="dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f",
                    optional=True,
                ),
            )
        ),
    ),
    strays=("*_rgb.jpg", 8),
)

_LABELLED = "cars_test_annos_withlabels.mat"
_KITS = ("devkit", "car_devkit", "cars_devkit", "car_devkit/devkit")
_CARS_KAGGLE = "https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset"
_CARS = Bundle(
    contents=("cars_train", "cars_test", "car_ims", *_KITS[:3], "cars_annos.mat", "cars_meta.mat", _LABELLED),
    ways=(
        Way(
            (
                Archive(
                    "cars_train.tgz",
                    holds=("cars_train",),
                    bytes=979_269_282,
                    md5="065e5b463ae28d29e77c1b4b166cfe61",
                    sha256="512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                ),
                Archive(
                    "cars_test.tgz",
                    holds=("cars_test",),
                    bytes=977_350_468,
                    md5="4ce7ebf6a94d07f1952d94dd34c4d501",
                    sha256="bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                ),
                Archive(
                    _LABELLED,
                    holds=(_LABELLED, *(f"{kit}/{_LABELLED}" for kit in _KITS)),
                    bytes=185_758,
                    md5="b0a2b23655a3edd16d84508592a98d10",
                    sha256="790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                ),
                Archive(
                    "car_devkit.tgz",
                    holds=(*_KITS, "cars_train_annos.mat"),
                    urls=("https://github.com/pytorch/vision/files/11644847/car_devkit.tgz",),
                    bytes=330_960,
                    md5="c3b158d763b6e2245038c8ad08e45376",
                    sha256="b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                ),
            )
        ),
        Way(
            (
                Archive(
                    "car_ims.tgz",
                    holds=("car_ims",),
                    bytes=1_956_628_579,
                    md5="d5c8f0aa497503f355e17dc7886c3f14",
                ),
                Archive(
                    "cars_annos.mat",
                    holds=("cars_annos.mat",),
                    bytes=394_471,
                    md5="b407c6086d669747186bd1d764ff9dbc",
                ),
            )
        ),
    ),
    by_hand=(
        f"the images: sign in (free) at {_CARS_KAGGLE}, press Download; you get archive.zip (about 2 GB)",
        f"the labels of the test images: {_LABELLED} (185,758 bytes); the discussion at "
        "https://github.com/pytorch/vision/issues/7545 links to it. fgvc downloads the rest (car_devkit.tgz) itself",
        f"then: fgvc download-data cars --from-archive archive.zip --from-archive {_LABELLED}",
        "also accepted: cars_train.tgz and cars_test.tgz with the labels; car_ims.tgz with cars_annos.mat; or a folder "
        "that holds any of this unpacked",
    ),
)

_AIRCRAFT = Bundle(
    contents=("data", "variants.txt"),
    ways=(
        Way(
            (
                Archive(
                    "fgvc-aircraft-2013b.tar.gz",
                    holds=("data/variants.txt", "variants.txt"),
                    urls=(f"{_OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",),
                    bytes=2_753_340_328,
                    md5="d4acdd33327262359767eeaa97a4f732",
                ),
            )
        ),
    ),
)

_FLOWERS = Bundle(
    contents=("jpg", "segmim", "imagelabels.mat", "setid.mat"),
    ways=(
        Way(
            (
                Archive(
                    "102flowers.tgz",
                    holds=("jpg",),
                    urls=(f"{_OXFORD}/flowers/102/102flowers.tgz",),
                    bytes=344_862_509,
                    md5="52808999861908f626f3c1f4e79d11fa",
                    sha256="2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                ),
                Archive(
                    "imagelabels.mat",
                    holds=("imagelabels.mat",),
                    urls=(f"{_OXFORD}/flowers/102/imagelabels.mat",),
                    bytes=502,
                    md5="e0620be6f572b9609742df49c70aed4d",
                    sha256="4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
                ),
                Archive(
                    "setid.mat",
                    holds=("setid.mat",),
                    urls=(f"{_OXFORD}/flowers/102/setid.mat",),
                    bytes=14_989,
                    md5="a5357ecc9cb78c4bef273ce3793fc85c",
                    sha256="46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
                ),
                Archive(
                    "102segmentations.tgz",
                    holds=("segmim",),
                    urls=(f"{_OXFORD}/flowers/102/102segmentations.tgz",),
                    bytes=203_577_493,
                    md5="51375996b6c4f367a4b9f4492d7ecef5",
                    optional=True,
                ),
            )
        ),
    ),
)


def _vegfru(name: str, *kinds: str, covers: tuple[DatasetName, ...] = ()) -> Bundle:
    """VegFru's archives have no official names: every archive with these folders is accepted."""
    folders = tuple(f"{kind}_{what}" for kind in kinds for what in ("images", "lists"))
    return Bundle(
        contents=folders,
        ways=(Way(tuple(Archive(folder, holds=(folder,)) for folder in folders)),),
        by_hand=(
            "open https://vim.ustc.edu.cn/2021/0704/c27137a515707/page.htm and follow its link to a file-sharing site "
            "(there is no other official address, and no checksum was published)",
            f"get all files that hold {', '.join(f'{folder}/' for folder in folders)}",
            f"then: fgvc download-data {name} --from-archive FILE, with one --from-archive for each file, or for a "
            "folder in which you have unpacked them. Join and unpack split archives (.001, .part1) first, with 7z",
        ),
        covers=covers,
        folder=name,
    )


_DOGS = Bundle(
    contents=("Images", "Annotation", "train_list.mat", "lists"),
    ways=(
        Way(
            (
                Archive(
                    "images.tar",
                    holds=("Images",),
                    urls=(f"{_DOGS_HOME}/images.tar",),
                    bytes=793_579_520,
                    sha256="a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
                ),
                Archive(
                    "annotation.tar",
                    holds=("Annotation",),
                    urls=(f"{_DOGS_HOME}/annotation.tar",),
                    bytes=21_852_160,
                    sha256="662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd",
                ),
                Archive(
                    "lists.tar",
                    holds=("train_list.mat", "lists/train_list.mat"),
                    urls=(f"{_DOGS_HOME}/lists.tar",),
                    bytes=481_280,
                    sha256="34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
                ),
            )
        ),
    ),
)

_PETS = Bundle(
    contents=("images", "annotations"),
    ways=(
        Way(
            (
                Archive(
                    "images.tar.gz",
                    holds=("images",),
                    urls=(f"{_THOR}/pets/images.tar.gz", f"{_OXFORD}/pets/data/images.tar.gz"),
                    bytes=791_918_971,
                    md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
                    sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                ),
                Archive(
                    "annotations.tar.gz",
                    holds=("annotations",),
                    urls=(f"{_THOR}/pets/annotations.tar.gz", f"{_OXFORD}/pets/data/annotations.tar.gz"),
                    bytes=19_173_078,
                    md5="95a8c909bbe2e81eed6a22bccdf3f68f",
                    sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                ),
            )
        ),
    ),
    strays=("*.jpg", 41),  # 7,390 images, of which the lists name 7,349
)

_FOOD101 = Bundle(
    contents=("images", "meta"),
    ways=(
        Way(
            (
                Archive(
                    "food-101.tar.gz",
                    holds=("meta/train.txt",),
                    urls=("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",),
                    bytes=4_996_278_331,
                    md5="85eeb15f3717b99a5da872d97d918f87",
                    sha256="d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
                ),
            )
        ),
    ),
)


def _inat(file: str, holds: str, about: int, md5: str) -> Archive:
    return Archive(file, holds=(holds,), urls=(f"{_INAT}/{file}",), about=about, md5=md5)


_INAT_VAL = (
    _inat("val.tar.gz", "val", 8_400_000_000, "f6f6e0e242e3d4c9569ba56400938afc"),
    _inat("val.json.tar.gz", "val.json", 9_400_000, "4d761e0f6a86cc63e8f7afc91f6a8f0b"),
)
_INAT2021 = Bundle(
    contents=("train", "train_mini", "val", "train.json", "train_mini.json", "val.json"),
    largest=4 << 30,  # train.json
    ways=(
        Way(
            (
                _inat("train.tar.gz", "train", 224_000_000_000, "e0526d53c7f7b2e3167b2b43bb2690ed"),
                _inat("train.json.tar.gz", "train.json", 221_000_000, "38a7bb733f7a09214d44293460ec0021"),
                *_INAT_VAL,
            )
        ),
    ),
    mini=Way(
        (
            _inat("train_mini.tar.gz", "train_mini", 42_000_000_000, "db6ed8330e634445efc8fec83ae81442"),
            _inat("train_mini.json.tar.gz", "train_mini.json", 45_000_000, "395a35be3651d86dc3b0d365b8ea5f92"),
            *_INAT_VAL,
        ),
        train=500_000,
    ),
)

_NABIRDS = Bundle(
    contents=("images.txt", "hierarchy.txt", "bounding_boxes.txt"),
    ways=(
        Way(
            (
                Archive(
                    "nabirds.tar.gz",
                    holds=("hierarchy.txt",),
                    about=9_880_000_000,
                    md5="df21a9e4db349a14e2b08adfd45873bd",
                ),
            )
        ),
    ),
    by_hand=(
        "fill in the form at https://dl.allaboutbirds.org/nabirds and accept its terms; you get a link to "
        "nabirds.tar.gz (about 9.9 GB)",
        "then: fgvc download-data nabirds --from-archive nabirds.tar.gz",
    ),
)

BUNDLES: dict[str, Bundle] = {
    "cub": _CUB,
    "cars": _CARS,
    "aircraft": _AIRCRAFT,
    "flowers": _FLOWERS,
    "vegfru": _vegfru("vegfru", "veg200", "fru92", covers=("veg200", "fru92")),
    "veg200": _vegfru("veg200", "veg200"),
    "fru92": _vegfru("fru92", "fru92"),
    "dogs": _DOGS,
    "pets": _PETS,
    "food101": _FOOD101,
    "inat2021": _INAT2021,
    "nabirds": _NABIRDS,
}
