"""`fgvc viz curves`, `viz confusion` and `viz embedding`: plots of a run as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest

if TYPE_CHECKING:
    from fgvc_cli.engine.runfolder import RunFolder

Run = Annotated[Path | None, typer.Argument(help="Run folder. Default: the newest under runs/.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="A .png file, or a folder. Default: viz/ in the run's folder.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a picture that is there already.")]
Dpi = Annotated[int, typer.Option(min=30, max=1200, help="Pixels an inch.")]
Split = Annotated[str, typer.Option(help="train, val or test.")]


def curves(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders. Default: the newest under runs/.", show_default=False)
    ] = None,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
) -> None:
    """Draw loss and accuracy by epoch, of one run or of several beside one another."""
    from fgvc_cli.engine.runfolder import RunFolder

    folders = [RunFolder.open(run) for run in runs] if runs else [_newest()]
    many = len(folders) > 1
    file = _file(folders[0], out, f"curves-of-{len(folders)}-runs" if many else "curves", force)

    from fgvc_cli.viz.plots.curves import Curves, draw_curves

    read = [Curves.read(folder) for folder in folders]
    for run in read:
        for problem in run.problems:
            typer.echo(f"{run.name}: {problem}", err=True)
    draw_curves(file, read, dpi)
    typer.echo(file)


def confusion(
    run: Run = None,
    split: Split = "test",
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
) -> None:
    """Draw which classes are taken for which, as `fgvc eval` measured it; what is not measured yet is now."""
    folder = _open(run)
    file = _file(folder, out, f"confusion-{split}", force)

    from fgvc_cli.engine.confusion import Confusion
    from fgvc_cli.engine.confusion_picture import draw_confusion

    measured = folder.evaluation_file(split).with_name(f"{split}-confusion.csv")
    if not (measured.exists() and _is_of_the_model(folder, split)):
        _evaluate(folder, split, device, batch_size, data_dir)
    draw_confusion(file, Confusion.read(measured, folder.classes()), dpi)
    typer.echo(file)


def embedding(
    run: Run = None,
    projection: Annotated[str, typer.Option(metavar="pca|tsne", help="How features come on a plane.")] = "pca",
    split: Split = "test",
    sample: Annotated[int, typer.Option(min=3, help="At most so many images, spread over the classes.")] = 2000,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
) -> None:
    """Draw how the features of a split's images lie: look-alike classes overlap. Hollow points are answered wrongly."""
    folder = _open(run)
    file = _file(folder, out, f"embedding-{split}-{projection}", force)

    from rich.console import Console

    from fgvc_cli.data.splits import limit
    from fgvc_cli.engine.evaluate import EvalRequest, split_of
    from fgvc_cli.engine.inference import open_model
    from fgvc_cli.engine.log import Reporter
    from fgvc_cli.engine.pictures import split_pictures
    from fgvc_cli.viz.plots.embedding import draw_embedding, gather
    from fgvc_cli.viz.plots.projection import check_projection, project

    check_projection(projection)
    console = Console(stderr=True)
    model = open_model(folder.path, EvalRequest(split, device, batch_size=batch_size, root=data_dir))
    index = model.open_index(console)
    chosen = limit(split_of(folder, index, split), sample)
    pictures = [picture for picture in split_pictures(index, chosen, model.classes) if picture.label is not None]
    features = gather(model, pictures, Reporter(console))
    title = f"{model.name}\n{len(pictures)} {split} images of {len(model.classes)} classes"
    draw_embedding(file, project(features.values, projection), features, model.classes, title, dpi)
    typer.echo(file)


def _is_of_the_model(folder: RunFolder, split: str) -> bool:
    """Whether what is kept of a split was measured with the weights that are there now."""
    from fgvc_cli.engine.checkpoint import about_model
    from fgvc_cli.engine.evaluate import kept_result
    from fgvc_cli.errors import FgvcError

    try:
        return bool(kept_result(folder, about_model(folder.model_file), split))
    except FgvcError:
        return False


def _evaluate(folder: RunFolder, split: str, device: str | None, batch_size: int | None, data_dir: Path | None) -> None:
    from rich.console import Console

    from fgvc_cli.engine.evaluate import EvalRequest, evaluate_run

    request = EvalRequest(split, device, batch_size=batch_size, root=data_dir)
    evaluate_run(folder, request, Console(stderr=True))


def _open(run: Path | None) -> RunFolder:
    from fgvc_cli.engine.runfolder import RunFolder

    return RunFolder.open(run) if run else _newest()


def _newest() -> RunFolder:
    from fgvc_cli.engine.runfolder import RunFolder

    folder = RunFolder.newest()
    _say(f"newest run: {folder.path}")
    return folder


def _file(folder: RunFolder, out: Path | None, name: str, force: bool) -> Path:
    """Where the picture goes. BadRequest where one is there already, before anything is computed."""
    if out is not None and out.suffix.lower() == ".png" and not out.is_dir():
        file = out
    else:
        file = (out or folder.path / "viz") / f"{name}.png"
    if file.exists() and not force:
        raise BadRequest(f"{file} exists: replace it with --force, or give another --out")
    return file


def _say(line: str) -> None:
    typer.echo(line, err=True)
