"""The selection of images: named files, or a sample of a split, optionally only right or only wrong predictions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_spec, spread_order
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.dataset import Images
from fgvc_cli.inference.look import Model, look
from fgvc_cli.inference.new_photos import OWN_SPLIT, Named
from fgvc_cli.inference.pictures import OnBad, Picture, find_pictures, split_pictures
from fgvc_cli.spec.data import DATASET_NAMES
from fgvc_cli.terminal import Console

SAMPLE = 24  # images of a split by default


@dataclass(frozen=True)
class Selection:
    """The user's selection of images."""

    words: tuple[str, ...] = ()  # files, folders, patterns, or - for `lines`
    lines: Iterable[str] = ()
    dataset: str | None = None
    split: str | None = None
    sample: int | None = None
    only: str | None = None  # right or wrong
    follow_links: bool = False  # read linked folders inside named folders
    labelled: bool = False  # a folder of labelled images is named

    @property
    def of_split(self) -> bool:
        """Whether the images come from a split of a dataset or are new photos."""
        return self.dataset is not None or self.split is not None or (self.labelled and not self.words)

    def check(self) -> None:
        """BadRequest if a value is not allowed or the flags contradict each other."""
        if self.only not in (None, "right", "wrong"):
            raise BadRequest(f"--only {self.only}: give right or wrong")
        if self.dataset is not None and self.dataset not in DATASET_NAMES:
            raise BadRequest(f"--dataset {self.dataset}: choose one of {', '.join(DATASET_NAMES)}")
        if self.sample is not None and self.sample < 1:
            raise BadRequest("--sample: give a number of at least 1")
        if self.words and self.of_split:
            raise BadRequest("give either images or --dataset and --split, not both")
        if not self.words and not self.of_split:
            raise BadRequest(
                "no images given: name files, folders or patterns, a split, for example --dataset demo --split test, "
                "or new labelled photos with --data-dir"
            )
        if self.only is not None and not self.of_split:
            raise BadRequest("--only needs the true classes: give --dataset and --split, or --data-dir")


@dataclass(frozen=True)
class Chosen:
    """The images to draw, in order."""

    pictures: list[Picture]
    of: Named | None = None  # their split, or the new photos; None: named files


def choose(model: Model, selection: Selection, console: Console, on_bad: OnBad) -> Chosen:
    """The images to draw.

    Of a split, `sample` images are taken, spread evenly over the classes; the choice is deterministic. With `only`,
    they are taken from the images that the model predicts right, or wrong.

    Raises:
        BadRequest: there is no such image.
    """
    if not selection.of_split:
        found = find_pictures(
            selection.words, selection.lines, follow_links=selection.follow_links, note=partial(_tell, console)
        )
        return Chosen(_sampled(found, selection.sample))
    images = _images(model, selection, console)
    pictures = split_pictures(images.index, images.split, model.classes)
    order = [pictures[place] for place in spread_order(images.split.labels)]
    count = selection.sample or SAMPLE
    chosen = order[:count] if selection.only is None else _predicted(model, order, selection.only, count, on_bad)
    if not chosen:
        raise BadRequest(f"no image of {images.name} is {selection.only}: nothing to draw")
    return Chosen(sorted(chosen, key=lambda picture: picture.position or 0), images.named)


def _tell(console: Console, note: str) -> None:
    console.note(note)


def _images(model: Model, selection: Selection, console: Console) -> Images:
    """The run's own images, new photos, or a split of another dataset; classes are matched to the run's by name."""
    data = model.spec.data
    if selection.dataset in (None, data.dataset):
        return model.open_images(console)
    given = data.root != model.trained.spec.data.root
    own = not given and {"folder", "csv"} & {selection.dataset, data.dataset}  # that root holds another dataset
    more = {"dataset": selection.dataset, "group_by": None, "level": None, "root": None if own else data.root}
    other = data.model_copy(update=more)
    index, name = apply_spec(load_index(other), other), selection.split or OWN_SPLIT
    if name not in index.splits():
        raise BadRequest(f"--split {name}: the {index.name} data have {', '.join(index.splits())}")
    return Images(Named(name), index, index.split(name))


def _sampled(pictures: list[Picture], count: int | None) -> list[Picture]:
    """`count` pictures, evenly spaced; all of them if count is None."""
    if count is None or count >= len(pictures):
        return pictures
    return [pictures[place] for place in np.linspace(0, len(pictures) - 1, count).round().astype(int)]


def _predicted(model: Model, order: Sequence[Picture], only: str, count: int, on_bad: OnBad) -> list[Picture]:
    """The first `count` images, in that order, that the model predicts right, or wrong."""
    found: list[Picture] = []
    known = [picture for picture in order if picture.label is not None]
    for seen in look(model, known, on_bad=on_bad):
        guesses = seen.probabilities.argmax(1).tolist()
        pairs = zip(seen.pictures, guesses, strict=True)
        found += [picture for picture, guess in pairs if (guess == picture.label) == (only == "right")]
        if len(found) >= count:
            break
    return found[:count]


def class_number(name: str, classes: Sequence[str], flag: str) -> int:
    """The number of the class with a name. Case does not matter, and `_` equals a space.

    Raises:
        BadRequest: no class has that name; the message names the most similar ones.
    """
    plain = {_plain(known): number for number, known in enumerate(classes)}
    if name in classes:
        return list(classes).index(name)
    if _plain(name) in plain:
        return plain[_plain(name)]
    near = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.4)
    hint = ", ".join(repr(classes[plain[one]]) for one in near) or f"the first are {', '.join(classes[:3])}"
    raise BadRequest(f"{flag} {name}: no such class; near: {hint}" if near else f"{flag} {name}: no such class; {hint}")


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def file_names(pictures: Sequence[Picture], split: str | None) -> list[str]:
    """A file name for the PNG of each image. The names sort in the images' order.

    They start with the position in the split, or with the number among several files; a single file keeps its stem.
    """
    stems = [_stem(picture) for picture in pictures]
    if split is not None:
        return [
            f"{split}-{picture.position or 0:05d}-{stem}.png" for picture, stem in zip(pictures, stems, strict=True)
        ]
    if len(pictures) == 1:
        return [f"{stems[0]}.png"]
    digits = max(3, len(str(len(pictures))))
    return [f"{number:0{digits}d}-{stem}.png" for number, stem in enumerate(stems, 1)]


def _stem(picture: Picture) -> str:
    """The file's stem, shortened, with characters that are special in shells replaced by `_`."""
    stem = Path(picture.file).stem.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isalnum() or letter in "-_.+ " else "_" for letter in stem).strip()[:80] or "image"
