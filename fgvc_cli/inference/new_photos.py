"""New labelled photos to measure a finished run on: whether `--data-dir` names such, and their classes by name.

All of them are measured, also where they lie in folders or rows of several splits. They need neither all of the run's
classes nor a training split. Their results are kept under a name of their own.
"""

from __future__ import annotations

import csv
import filecmp
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_cli.data.alike import Alike, look
from fgvc_cli.data.catalog import require
from fgvc_cli.data.datasets import list_labelled
from fgvc_cli.data.formats.fitting import with_true_boxes
from fgvc_cli.data.images.check import bad_images, refusal
from fgvc_cli.data.labelled import Labelled
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded, read_text
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import progress_of
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.terminal import Console

OWN = ("folder", "csv")  # the datasets that are a user's own images
OWN_SPLIT = "test"  # of the run's own data, if no other is asked for
_RESERVED = ("train", "val", "test")
_COMPARED = 16  # files whose bytes tell a copy of the run's data from other photos
_SHOWN = 5  # unknown classes that a message names


@dataclass(frozen=True)
class NewPhotos:
    """The photos, their name, and the run's settings for reading them."""

    name: str
    place: Path  # resolved: what the user named
    data: DataSpec
    listed: Labelled
    ours: int = 0  # images of the run's own data among them

    @property
    def facts(self) -> dict[str, Any]:
        """What identifies them in their results."""
        return {"data": str(self.place), "listed": len(self.listed.files)}

    def index(
        self, classes: Sequence[str], request: EvalRequest, console: Console
    ) -> tuple[DatasetIndex, dict[str, int]]:
        """An index whose test split are the photos, with labels in `classes`, and the images left out by class name.

        Raises:
            BadRequest: a class is not among `classes` and shall not be left out, an image cannot be used, there is no
                such split, or no image.
        """
        photos, known = self.listed, Alike(classes)
        wanted = np.array([request.split in (None, split) for split in photos.splits])
        if not wanted.any():
            raise BadRequest(f"{photos.source}: has no {request.split} split; without --split all of it is measured")
        names = [name for name, taken in zip(photos.classes, wanted, strict=True) if taken]
        found = {name: known.find(name) for name in dict.fromkeys(names)}
        left_out = dict(Counter(name for name in names if found[name] is None))
        if left_out:
            self._unknown(left_out, len(found), known, skip=request.unknown_classes == "skip")
        label_of = {name: label for label, name in enumerate(classes)}
        labels = np.array([label_of.get(found.get(name) or "", -1) for name in photos.classes], dtype=np.int64)
        order = np.argsort(labels, kind="stable")
        whole = Split(photos.files, labels, photos.boxes).take(order[(labels >= 0)[order] & wanted[order]])
        nothing = Split((), np.zeros(0, dtype=np.int64))
        index = DatasetIndex(self.data.dataset, photos.root, tuple(classes), nothing, whole, notes=photos.notes)
        index = self._readable(with_true_boxes(index), console)
        notes = _notes(index, left_out, self.ours)
        return replace(index, notes=index.notes + notes), left_out

    def _unknown(self, left_out: Mapping[str, int], classes: int, known: Alike, *, skip: bool) -> None:
        """BadRequest that lists the unknown classes, unless they shall be left out and others remain."""
        listed = "; ".join(f"{name!r} ({images} images){known.hint(name)}" for name, images in left_out.items())
        if not skip:
            raise BadRequest(
                f"{self.listed.source}: the run does not know {len(left_out)} of {classes} classes: {listed}: "
                "rename them, or leave them out with --unknown-classes skip"
            )
        if len(left_out) == classes:
            raise BadRequest(f"{self.listed.source}: the run knows none of its {classes} classes: {listed}")

    def _readable(self, index: DatasetIndex, console: Console) -> DatasetIndex:
        """The index without bad images, if the run's settings leave them out. BadRequest if they do not."""
        bad = bad_images(index, self.data, progress_of(console))
        if not bad:
            return index
        if self.data.on_bad_image == "error" or len(bad) == len(index.test):
            raise BadRequest(refusal(bad, len(index.test), "replace or remove them"))
        kept = np.setdiff1d(np.arange(len(index.test)), [image.position for image in bad])
        note = f"{len(bad)} bad images are left out (first: {bad[0].error})"
        return replace(index, test=index.test.take(kept), notes=(*index.notes, note))


def _notes(index: DatasetIndex, left_out: Mapping[str, int], ours: int) -> tuple[str, ...]:
    """Which classes the run does not know, which have no photo, and whether the run has seen some."""
    notes = []
    if ours:
        notes.append(f"{ours} of the run's own images are among these photos: results on training images are too good")
    if left_out:
        named = ", ".join(map(repr, list(left_out)[:_SHOWN])) + (", ..." if len(left_out) > _SHOWN else "")
        notes.append(f"{sum(left_out.values())} images of unknown classes are left out ({named})")
    absent = np.setdiff1d(np.arange(len(index.classes)), index.test.labels)
    if len(absent):
        share = f"{len(absent)} of the run's {len(index.classes)} classes"
        notes.append(f"no photo of {share} (first: {index.classes[absent[0]]}): they are not measured")
    return tuple(notes)


def find_new(run: RunFolder, data: DataSpec, classes: Sequence[str], request: EvalRequest) -> NewPhotos | None:
    """The new photos that a request names; None: it is about the run's own data.

    `--name` says that they are new. Without it, another place than that of the run's data holds new photos unless it
    holds all of these data: by name and, where they are still in their place, by content.

    Args:
        run: the run.
        data: the spec of its own data.
        classes: its classes.
        request: `root`, `name` and `split` count.

    Raises:
        BadRequest: there are no photos, or the name is reserved.
    """
    place = _asked(run, data, request)
    if place is None:
        return None
    spec = _data_at(place, data)
    try:
        listed = list_labelled(spec, Alike(classes))
    except BadRequest:
        if request.name is None and data.dataset not in OWN:  # the dataset's own reader tells how to get it
            return None
        raise
    ours = _Ours.among(listed, run, data)
    if request.name is None and _is_own(data, listed, spec.dataset, Alike(classes), ours):
        return None
    return NewPhotos(_checked_name(request.name, place), place.resolve(), spec, listed, len(ours.shared))


def photos_at(place: Path, data: DataSpec, classes: Sequence[str], name: str | None = None) -> NewPhotos:
    """The labelled photos in a folder or a CSV file, for a model without its run.

    Args:
        place: the folder or file.
        data: how the model reads images.
        classes: its classes.
        name: of the results; None: that of the place.

    Raises:
        BadRequest: there are no photos, or the name is reserved.
    """
    place = expanded(place)
    spec = _data_at(place, data)
    return NewPhotos(_checked_name(name, place), place.resolve(), spec, list_labelled(spec, Alike(classes)))


def _data_at(place: Path, data: DataSpec) -> DataSpec:
    """A run's settings for reading images, for a user's own ones in another place."""
    update = {"dataset": "csv" if place.is_file() else "folder", "root": place, "level": None, "group_by": None}
    return data.model_copy(update=update | {f"{split}_dir": None for split in _RESERVED})


def _asked(run: RunFolder, data: DataSpec, request: EvalRequest) -> Path | None:
    """The place that a request names, if it is another than that of the run's data."""
    if request.unknown_classes not in ("error", "skip"):
        raise BadRequest(f"--unknown-classes {request.unknown_classes}: give error or skip")
    place = request.root
    if place is None and request.name is not None:
        place = _place_of(run, request.name)
    if place is None or (request.name is None and not expanded(place).exists()):
        return None
    place = expanded(place)
    if data.root is None or place.resolve() != expanded(data.root).resolve():
        return place
    if request.name is None:
        return None
    raise BadRequest(f"--name {request.name}: {place} holds the run's own data: name a split of it with --split")


def _is_own(data: DataSpec, listed: Labelled, dataset: str, known: Alike, ours: _Ours) -> bool:
    """Whether listed images are the run's own data in another place."""
    if data.dataset not in OWN:
        return dataset == "folder" and (_found(data, listed.source) or not any(map(known.find, set(listed.classes))))
    whole = ours.known == len(ours.shared) and (ours.drawn or "train" in listed.splits)
    return data.dataset == dataset and whole


@dataclass(frozen=True)
class _Ours:
    """The run's own images among listed ones, by name and, where the run's data are in their place, by content."""

    known: int  # images of the run's own data whose names are recorded
    drawn: bool  # they are those of all splits
    shared: list[str]

    @classmethod
    def among(cls, listed: Labelled, run: RunFolder, data: DataSpec) -> _Ours:
        drawn = run.splits_file.exists()
        files = _recorded(run, drawn)
        there = {look(file): file for file in listed.files}
        shared = [file for file in files if look(file) in there]
        home = _home(data, listed)
        if home is not None and shared:
            few = min(_COMPARED, len(shared))
            some = [shared[place] for place in np.linspace(0, len(shared) - 1, few).astype(int)]
            same = sum(_same_bytes(home / file, listed.root / there[look(file)]) for file in some)
            shared = shared if 2 * same > few else []
        return cls(len(files), drawn, shared)


def _found(data: DataSpec, place: Path) -> bool:
    try:
        return bool(require(data.dataset, place))
    except BadRequest:
        return False


def _recorded(run: RunFolder, drawn: bool) -> list[str]:
    """Images of the run's own data: of all splits if fgvc drew them, else of the test split; empty if not known."""
    try:
        if drawn:
            return [file for files in run.splits()["splits"].values() for file in files]
        table = run.evaluation_file("test").with_name("test-predictions.csv")
        rows = io.StringIO(read_text(table, errors="surrogateescape", newline=""), newline="")
        return [row["image"] for row in csv.DictReader(rows)]
    except (FgvcError, OSError, ValueError, csv.Error, KeyError, TypeError, AttributeError):
        return []


def _home(data: DataSpec, listed: Labelled) -> Path | None:
    """The folder that the paths of the run's own data are relative to; None if it is gone."""
    if data.root is None:
        return None
    place = expanded(data.root).absolute()
    if listed.root == Path(listed.root.anchor):  # the table has absolute paths
        return listed.root
    home = place.parent if data.dataset == "csv" else place
    return home if place.exists() else None


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


# ---- the name


def _checked_name(given: str | None, place: Path) -> str:
    """The name of the results: the given one, else that of the folder or table."""
    if given is None:
        place = place.resolve()
        own = _plain(place.stem if place.is_file() else place.name) or "photos"
        return own if own.casefold() not in _RESERVED else f"{_plain(place.parent.name) or 'new'}-{own}"
    if not given or given != _plain(given) or given.casefold() in _RESERVED:
        raise BadRequest(
            f"--name {given}: give a name of letters, digits, `-`, `_`, `+` and `.` other than {', '.join(_RESERVED)}"
        )
    return given


def _plain(name: str) -> str:
    """A name for files, with characters that are special in shells replaced by `-`."""
    name = name.encode("utf-8", "replace").decode()
    kept = "".join(letter if letter.isalnum() or letter in "-_.+" else "-" for letter in name)
    return kept.strip("-.")[:60]


def kept_place(run: RunFolder, name: str) -> Path | None:
    """The place of the photos whose results are kept under a name."""
    file = run.evaluation_file(name)
    try:
        return Path(run.evaluation(name)["data"]) if file.exists() else None
    except (FgvcError, KeyError, TypeError):
        return None


def _place_of(run: RunFolder, name: str) -> Path:
    place = kept_place(run, name)
    if place is None:
        raise BadRequest(f"--name {name}: {run.path} has no results of that name: give --data-dir")
    return place


# ---- where results go


@dataclass(frozen=True)
class Named:
    """The images that a request names, before they are read: a split of the run's own data, or new photos."""

    name: str
    new: Mapping[str, Any] | None = None  # what identifies new photos in their results


def named(run: RunFolder, request: EvalRequest) -> Named:
    """What a request names. BadRequest as `find_new`."""
    new = find_new(run, run.spec().data, run.classes(), request)
    return Named(request.split or OWN_SPLIT) if new is None else Named(new.name, new.facts)


def pictures_folder(run: RunFolder, images: Named) -> Path:
    """The folder of a run's pictures: viz/, or eval/NAME-viz for new photos."""
    return run.path / "viz" if images.new is None else run.evaluation_file(images.name).with_name(f"{images.name}-viz")
