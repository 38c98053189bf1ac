"""Plots of a whole run: curves, confusions, features in two dimensions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from fgvc_cli.api.place import RunLike, folder_of
from fgvc_cli.api.runs.evaluation import request_of
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.inference.new_photos import Named

_Path = str | os.PathLike[str]


class PlotFlags(TypedDict, total=False):
    """Of which images a plot is: the flags of `fgvc viz confusion` and `embedding`; None: not given."""

    split: str | None
    device: str | None
    batch_size: int | None
    data_dir: _Path | None
    name: str | None
    unknown_classes: str


def picture_file(home: Path, out: _Path | None, name: str, dpi: int, force: bool) -> Path:
    """The path of a plot, by default in the folder `home`; `out` is a .png file, or another folder.

    BadRequest if it exists (without `force`) or the resolution is out of range, before anything is computed.
    """
    if not 30 <= dpi <= 1200:
        raise BadRequest(f"--dpi {dpi}: give a number from 30 to 1200")
    to = None if out is None else expanded(out)
    file = to if to is not None and to.suffix.lower() == ".png" and not to.is_dir() else (to or home) / f"{name}.png"
    if file.exists() and not force:
        raise BadRequest(f"{file} exists: replace it with --force, or give another --out")
    return file


def draw_curves(
    runs: Sequence[RunLike], out: _Path | None = None, *, dpi: int = 150, force: bool = False, progress: bool = True
) -> Path:
    """See `Run.draw_curves`."""
    folders = [folder_of(run) for run in runs]
    many = f"curves-of-{len(folders)}-runs" if len(folders) > 1 else "curves"
    file = picture_file(folders[0].path / "viz", out, many, dpi, force)

    from fgvc_cli.viz.plots.curves import Curves
    from fgvc_cli.viz.plots.curves import draw_curves as draw

    console, read = Console(stderr=True, quiet=not progress), [Curves.read(folder) for folder in folders]
    for run in read:
        for problem in run.problems:
            console.print(f"{run.name}: {problem}")
    draw(file, read, dpi)
    return file


def draw_confusion(
    run: RunLike,
    flags: Mapping[str, Any],
    out: _Path | None = None,
    *,
    dpi: int = 150,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """See `Run.draw_confusion`."""
    from fgvc_cli.inference.new_photos import named, pictures_folder

    folder, request = folder_of(run), request_of(checked_flags(flags, PlotFlags.__annotations__, "draw_confusion"))
    images = named(folder, request)
    file = picture_file(pictures_folder(folder, images), out, f"confusion-{images.name}", dpi, force)

    from fgvc_cli.data.taxonomy import Taxonomy
    from fgvc_cli.evaluation.confusion import Confusion
    from fgvc_cli.evaluation.confusion_picture import draw_confusion as draw
    from fgvc_cli.evaluation.evaluate import evaluate_run

    measured = folder.evaluation_file(images.name).with_name(f"{images.name}-confusion.csv")
    if not (measured.exists() and _is_of_the_model(folder, images)):
        evaluate_run(folder, request, Console(stderr=True, quiet=not progress))
    kept, classes = folder.taxonomy(), folder.classes()
    tree = None if kept is None else Taxonomy.of_record(kept).for_classes(classes)
    draw(file, Confusion.read(measured, classes), tree, dpi=dpi)
    return file


def _is_of_the_model(folder: RunFolder, images: Named) -> bool:
    """Whether the saved result was measured with the current weights, on these images."""
    from fgvc_cli.evaluation.results import kept_result
    from fgvc_cli.runs.checkpoint import about_model

    try:
        return bool(kept_result(folder, about_model(folder.model_file), images))
    except FgvcError:
        return False


def draw_embedding(
    run: RunLike,
    flags: Mapping[str, Any],
    out: _Path | None = None,
    *,
    projection: str = "pca",
    sample: int = 2000,
    dpi: int = 150,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """See `Run.draw_embedding`."""
    from fgvc_cli.inference.new_photos import named, pictures_folder

    if sample < 3:
        raise BadRequest(f"--sample {sample}: give at least 3")
    folder, request = folder_of(run), request_of(checked_flags(flags, PlotFlags.__annotations__, "draw_embedding"))
    shown = named(folder, request)
    file = picture_file(pictures_folder(folder, shown), out, f"embedding-{shown.name}-{projection}", dpi, force)

    with quick_imports():
        from fgvc_cli.data.splits import limit
        from fgvc_cli.inference.look import open_model
        from fgvc_cli.inference.pictures import split_pictures
        from fgvc_cli.progress import Reporter
        from fgvc_cli.viz.plots.embedding import draw_embedding as draw
        from fgvc_cli.viz.plots.embedding import gather
        from fgvc_cli.viz.plots.projection import check_projection, project

    check_projection(projection)
    console = Console(stderr=True, quiet=not progress)
    model = open_model(folder.path, request)
    images = model.open_images(console)
    found = split_pictures(images.index, limit(images.split, sample), model.classes)
    pictures = [picture for picture in found if picture.label is not None]
    features = gather(model, pictures, Reporter(console))
    title = f"{model.name}\n{len(pictures)} {images.name} images of {len(model.classes)} classes"
    draw(file, project(features.values, projection), features, model.classes, title, dpi)
    return file
