"""The images that others are compared with: a split of a run's data, or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import OnBad, Picture, find_pictures, split_pictures
from fgvc_cli.ops.vectors.neighbours import nearest
from fgvc_cli.progress import Reporter

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Neighbour:
    """An image of the gallery, and how much another is like it."""

    picture: Picture
    name: str | None  # its class, if that is known
    cosine: float  # of the two embeddings, -1 to 1

    @property
    def distance(self) -> float:
        """1 - cosine: 0 to 2."""
        return 1 - self.cosine


@dataclass(frozen=True)
class Gallery:
    """N images and their embeddings."""

    pictures: tuple[Picture, ...]
    names: tuple[str | None, ...]  # class of each
    embeddings: Tensor  # (N, D) of length 1

    @cached_property
    def _place(self) -> dict[Path, int]:
        """File → row. Resolving thousands of paths takes longer than one answer."""
        return {picture.file.resolve(): row for row, picture in enumerate(self.pictures)}

    def nearest(self, queries: Tensor, k: int, files: Sequence[Path] | None = None) -> list[list[Neighbour]]:
        """For each query (Q, D) its k nearest images, nearest first; fewer if there are fewer.

        `files`: of the queries; the gallery's image of the same file is not its own neighbour.
        """
        own = [self._place.get(file.resolve(), -1) for file in files or ()] or [-1] * len(queries)
        wanted = min(k, len(self.pictures))
        cosine, rows = nearest(F.normalize(queries.float(), dim=1), self.embeddings, wanted, torch.tensor(own))
        return [
            [
                Neighbour(self.pictures[row], self.names[row], value)
                for value, row in zip(values, places, strict=True)
                if value != float("-inf")
            ]
            for values, places in zip(cosine.tolist(), rows.tolist(), strict=True)
        ]


def open_gallery(model: Model, among: str, reporter: Reporter, on_bad: OnBad | None = None) -> Gallery:
    """The embeddings of a split of the model's own data (train, val or test), or of the images in a folder.

    Images of a folder have the class of their sub-folder.

    Raises:
        BadRequest: there is no such split or folder, or no image in it that can be read.
    """
    pictures, names = _of_split(model, among, reporter) if among in SPLITS else _of_folder(among, reporter)
    found = Embedder.of_model(model).embed(pictures, reporter, on_bad=on_bad)
    once = {picture.file.resolve(): row for row, picture in reversed(list(enumerate(pictures)))}  # links: the first
    readable = found.isfinite().all(1).tolist()
    sound = [row for row in sorted(once.values()) if readable[row]]
    if not sound:
        raise BadRequest(f"{among}: no image that can be read")
    return Gallery(
        tuple(pictures[row] for row in sound), tuple(names[row] for row in sound), F.normalize(found[sound], dim=1)
    )


def compare(
    model: Model, pictures: Sequence[Picture], among: str, count: int, reporter: Reporter
) -> list[list[Neighbour]]:
    """For each picture the images of a gallery (`open_gallery`) that are most like it.

    ImageError for a picture that cannot be read.
    """
    gallery = open_gallery(model, among, reporter, lambda picture, error: reporter.line(str(error)))
    queries = Embedder.of_model(model).vectors(pictures, reporter)
    return gallery.nearest(queries, count, [picture.file for picture in pictures])


def _of_split(model: Model, split: str, reporter: Reporter) -> tuple[list[Picture], list[str | None]]:
    if model.run is None:
        raise BadRequest(f"{model.file} is in no run folder, so its {split} split is not known: give --among FOLDER")
    asked = replace(model, request=replace(model.request, split=split, root=model.request.root))
    images = asked.open_images(reporter.console)
    pictures = split_pictures(images.index, images.split, images.index.classes)
    return pictures, [images.index.classes[label] for label in images.split.labels]


def _of_folder(folder: str, reporter: Reporter) -> tuple[list[Picture], list[str | None]]:
    pictures = find_pictures([folder], note=lambda text: reporter.line(f"note: {text}"))
    root = expanded(folder)
    names = [picture.file.parent.name if picture.file.parent != root else None for picture in pictures]
    return pictures, list(names)
