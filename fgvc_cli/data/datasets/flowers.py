"""Oxford Flowers-102: train is the official training and validation images together, as in the literature.

There are no official boxes. If the segmentations are unpacked beside the images, the true box encloses the flower.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgvc_cli.data.catalog import require
from fgvc_cli.data.formats.index import checked
from fgvc_cli.data.formats.matlab import numbers
from fgvc_cli.data.formats.surveyed import box_of_mask, with_surveyed_boxes
from fgvc_cli.data.images.survey import Progress
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec

# The files only number the classes; these are the names in common use, in ascending order.
_NAMES = (
    "pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon "
    "orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow "
    "iris, globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, "
    "pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless "
    "gentian, artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, "
    "ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword "
    "lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, "
    "wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow "
    "dahlia, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum, "
    "spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning "
    "glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree "
    "mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, "
    "camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily"
)
NAMES = tuple(_NAMES.split(", "))
_PARTS = {"train": ("trnid", "valid"), "test": ("tstid",)}
_BLUE, _OTHER = 200, 60  # the segmentations' background is pure blue, apart from JPEG artefacts


def load(spec: DataSpec, progress: Progress | None = None) -> DatasetIndex:
    """The index of Flowers-102; boxes if segmim/ exists. BadRequest if the lists contradict each other."""
    root = require("flowers", spec.root)
    labels = numbers(root / "imagelabels.mat", "labels") - 1
    if labels.min() < 0 or labels.max() >= len(NAMES):
        raise BadRequest(f"{root / 'imagelabels.mat'}: holds labels that are not from 1 to {len(NAMES)}")
    train, test = (_split(root / "setid.mat", _PARTS[name], labels) for name in ("train", "test"))
    both = sorted(set(train.files) & set(test.files))
    if both:
        raise BadRequest(f"{root / 'setid.mat'}: has {both[0]} in two splits")
    index = DatasetIndex(name="flowers", root=root, classes=NAMES, train=train, test=test)
    if (root / "segmim").is_dir():
        index = with_surveyed_boxes(
            index, "boxes of segmentations", _segmentation, partial(box_of_mask, is_object=_flower), progress
        )
    return checked(index, "setid.mat")


def _split(path: Path, parts: tuple[str, ...], labels: NDArray[np.int64]) -> Split:
    """The images whose numbers are in these variables, in that order."""
    ids = np.concatenate([numbers(path, part) for part in parts])
    outside = ids[(ids < 1) | (ids > len(labels))]
    if len(outside):
        raise BadRequest(f"{path}: names image {outside[0]}, but imagelabels.mat has {len(labels)} images")
    return Split(tuple(f"jpg/image_{number:05d}.jpg" for number in ids), labels[ids - 1])


def _segmentation(image: str) -> str:
    return f"segmim/{PurePosixPath(image).name.replace('image', 'segmim')}"


def _flower(image: Image.Image) -> NDArray[np.bool_]:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)
    mask: NDArray[np.bool_] = (red > _OTHER) | (green > _OTHER) | (blue < _BLUE)
    return mask
