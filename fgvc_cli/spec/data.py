"""The dataset, its splits and its transforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from fgvc_cli.spec.base import Spec

DatasetName = Literal[
    "demo",
    "cub",
    "cars",
    "aircraft",
    "flowers",
    "vegfru",
    "veg200",
    "fru92",
    "dogs",
    "pets",
    "food101",
    "inat2021",
    "nabirds",
    "folder",
    "csv",
]
DATASET_NAMES: tuple[str, ...] = get_args(DatasetName)

OWN_LEVELS = {"aircraft": ("variant", "family", "manufacturer")}  # datasets with lists of labels for each level
WITH_TREES = ("aircraft", "cars", "inat2021", "nabirds", "vegfru")  # datasets that come with a tree of their classes
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AUTO: Literal["auto"] = "auto"  # as the starting weights were trained
Auto = Literal["auto"]
OF_WEIGHTS = ("mean", "std", "interpolation", "image_size", "resize")  # the fields that may be so
Fit = Literal["squash", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Triple = tuple[float, float, float]
LEAST_SIZE, MOST_SIZE = 32, 4096  # of the network's input, in pixels
MAX_PIXELS = 178_956_970  # Pillow's limit for decompression bombs: half a gigabyte decoded


class DataSpec(Spec):
    """A dataset, its splits and its transforms.

    Images are resized to `resize` pixels by `fit`, then cropped to `image_size`: a random crop in training (after
    adding `padding` black pixels on each side), a centre crop in evaluation. Sizes are in pixels, angles in degrees.

    What is `auto` becomes what the starting weights were trained with before anything is read
    (`fgvc_cli.backbones.preprocessing`); a run's record holds the values.
    """

    dataset: DatasetName = Field("demo", description="name of the dataset")
    root: Path | None = Field(
        None, description="folder of the datasets; for `folder` the image folder itself, for `csv` the CSV file"
    )
    train_dir: Path | None = Field(
        None, description="only `folder`: the training images' folder, below root, if its name does not say so"
    )
    val_dir: Path | None = Field(None, description="only `folder`: the same for the validation images")
    test_dir: Path | None = Field(None, description="only `folder`: the same for the test images")
    follow_links: bool = Field(False, description="only `folder`: also read linked folders inside class folders")
    taxonomy: Path | None = Field(
        None, description="CSV file of the taxa above each class: class,genus,family, or child,parent"
    )
    level: str | None = Field(
        None, min_length=1, description="level of the tree of classes to classify, such as genus; none: the classes"
    )
    image_size: Annotated[int, Field(ge=LEAST_SIZE, le=MOST_SIZE)] | Auto = Field(
        448, description="side S of the network's input, in pixels; auto: that of the weights"
    )
    resize: Annotated[int, Field(ge=32, le=8192)] | Auto | None = Field(
        None, description="side in pixels before the crop; none: image_size; auto: by the weights' crop"
    )
    interpolation: Interpolation | Auto = Field("bilinear", description="of the resize; auto: that of the weights")
    fit: Fit = Field(
        "squash",
        description="resize of images that are no squares. squash: to a square, as in the papers; crop: the short "
        "side, so that the crop cuts the long one; pad: the long side, with black bars",
    )
    padding: int = Field(0, ge=0, le=512, description="black border before the random crop, in pixels")
    flip: bool = Field(True, description="flip training images horizontally with probability 0.5")
    rotation: float = Field(0.0, ge=0, le=180, description="rotate training images by up to this many degrees")
    augment: Literal["off", "randaugment", "trivialaugment"] = Field(
        "off", description="torchvision's RandAugment or TrivialAugmentWide, after crop, flip and rotation"
    )
    augment_operations: int = Field(2, ge=1, le=16, description="RandAugment: operations per image")
    augment_magnitude: int = Field(9, ge=0, le=30, description="RandAugment: magnitude of the operations")
    erasing: float = Field(0.0, ge=0, le=1, description="probability of random erasing per training image")
    mean: Triple | Auto = Field(IMAGENET_MEAN, description="subtracted from RGB values in 0..1; auto: of the weights")
    std: Triple | Auto = Field(IMAGENET_STD, description="divides RGB values minus mean; auto: of the weights")
    val_fraction: float = Field(
        0.0, ge=0, lt=1, description="fraction of train for the validation split (stratified), which selects the model"
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="fraction of the images for the test split of a folder that has none"
    )
    split_seed: int = Field(0, ge=0, description="seed of the random splits that fgvc makes")
    group_by: str | None = Field(
        None, description="images kept in one split when fgvc makes it: folder, regex:PATTERN or csv:FILE:COLUMN"
    )
    limit_train: int | None = Field(None, ge=1, description="use this many training images, spread over the classes")
    limit_test: int | None = Field(None, ge=1, description="use this many test images, spread over the classes")
    label_fixes: Path | None = Field(
        None, description="CSV file of corrected labels: image,label; `-` as a label leaves an image out"
    )
    leave_out: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="classes to leave out of training, whose images `fgvc eval --unknown left-out` takes as unknown: "
        "how many (drawn by split_seed), names between commas, or a file with one name in each line",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="error: a quick check before the run; skip: decode all images once, leave out bad ones"
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, description="an image with more pixels counts as bad; only its header is read"
    )
    duplicates: Literal["auto", "off", "exact", "near"] = Field(
        "auto", description="report images that are in two splits; auto: near up to 20,000 images, then exact, then off"
    )
    workers: int | None = Field(
        None, ge=0, le=256, description="worker processes of the data loader; none: chosen from the number of CPU cores"
    )
    cache: Literal["off", "ram", "disk", "gpu"] = Field(
        "off", description="where decoded and resized images are cached; the results are the same"
    )

    @field_validator("group_by")
    @classmethod
    def _group_by_is_known(cls, value: str | None) -> str | None:
        if value is None or value == "folder":
            return value
        kind, _, rest = value.partition(":")
        if kind == "regex" and rest:
            try:
                re.compile(rest)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{rest!r} is not a regular expression: {error}") from None
        elif not (kind == "csv" and all(rest.rpartition(":"))):
            raise ValueError(f"must be folder, regex:PATTERN or csv:FILE:COLUMN (got {value!r})")
        return value

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        known = isinstance(self.resize, int) and isinstance(self.image_size, int)
        if known and self.resize_side + 2 * self.padding < self.side:
            raise ValueError(
                f"resize {self.resize} with padding {self.padding} is too small for a crop of image_size "
                f"{self.image_size}"
            )
        if self.std != AUTO and min(self.std) <= 0:
            raise ValueError("std must be above 0 in every channel")
        return self

    @model_validator(mode="after")
    def _level_needs_a_tree(self) -> Self:
        if self.level is not None and self.taxonomy is None and self.dataset not in WITH_TREES:
            raise ValueError(
                f"level {self.level}: {self.dataset} has no levels; --taxonomy FILE names a tree of its classes"
            )
        if self.dataset in OWN_LEVELS and self.level is not None and self.level not in OWN_LEVELS[self.dataset]:
            raise ValueError(f"level must be one of {', '.join(OWN_LEVELS[self.dataset])} (got {self.level!r})")
        return self

    @model_validator(mode="after")
    def _split_folders_begin_with_training(self) -> Self:
        if self.split_dirs and self.dataset != "folder":
            name = next(iter(self.split_dirs))
            raise ValueError(f"{name}_dir is only for the dataset folder: leave it out")
        if self.split_dirs and self.train_dir is None:
            name = next(iter(self.split_dirs))
            raise ValueError(f"{name}_dir needs train_dir too: name the folder of the training images")
        return self

    @model_validator(mode="after")
    def _gpu_only_copies(self) -> Self:
        if self.cache == "gpu" and not self.only_copies:
            raise ValueError(
                "cache gpu supports crop and flip only; rotation, augment and erasing need cache ram or disk"
            )
        return self

    @property
    def split_dirs(self) -> dict[str, Path]:
        """Split → the folder that the user named for it, relative to `root` or absolute."""
        named = {"train": self.train_dir, "val": self.val_dir, "test": self.test_dir}
        return {split: folder for split, folder in named.items() if folder is not None}

    @property
    def only_copies(self) -> bool:
        """Whether the training transforms are crop and flip only."""
        return self.rotation == 0 and self.augment == "off" and self.erasing == 0

    @property
    def unresolved(self) -> list[str]:
        """The fields that are `auto` as the weights: none in a run's record. (`duplicates` has an auto of its own.)"""
        return [name for name in OF_WEIGHTS if getattr(self, name) == AUTO]

    @property
    def side(self) -> int:
        """S, the side of the network's input in pixels. ValueError while it is `auto`."""
        if self.image_size == AUTO:
            raise ValueError("image_size is auto: resolve the spec first")
        return self.image_size

    @property
    def resize_side(self) -> int:
        """Side of the resized square before the crop, in pixels. ValueError while it is `auto`."""
        if self.resize == AUTO:
            raise ValueError("resize is auto: resolve the spec first")
        return self.side if self.resize is None else self.resize

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Mean and standard deviation. ValueError while one is `auto`."""
        if self.mean == AUTO or self.std == AUTO:
            raise ValueError("mean or std is auto: resolve the spec first")
        return self.mean, self.std
