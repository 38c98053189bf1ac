"""`fgvc viz confusion`: which classes are confused with which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgvc_cli.cli import options
from fgvc_cli.streams import say

if TYPE_CHECKING:
    from fgvc_cli.inference.new_photos import Named
    from fgvc_cli.inference.request import EvalRequest
    from fgvc_cli.runs.folder import RunFolder

from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, Run, open_run, picture_file


def confusion(
    run: Run = None,
    split: options.Split = None,
    out: Out = None,
    dpi: Dpi = 150,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
    name: options.NewName = None,
    unknown_classes: options.UnknownClasses = "error",
) -> None:
    """Draw the confusion matrix that `fgvc eval` saved; what is not evaluated yet is evaluated first."""
    from fgvc_cli.inference.new_photos import named, pictures_folder
    from fgvc_cli.inference.request import EvalRequest

    folder = open_run(run)
    request = EvalRequest(
        split, device, batch_size=batch_size, root=data_dir, name=name, unknown_classes=unknown_classes
    )
    images = named(folder, request)
    file = picture_file(pictures_folder(folder, images), out, f"confusion-{images.name}", force)

    from fgvc_cli.data.taxonomy import Taxonomy
    from fgvc_cli.evaluation.confusion import Confusion
    from fgvc_cli.evaluation.confusion_picture import draw_confusion

    measured = folder.evaluation_file(images.name).with_name(f"{images.name}-confusion.csv")
    if not (measured.exists() and _is_of_the_model(folder, images)):
        _evaluate(folder, request)
    kept, classes = folder.taxonomy(), folder.classes()
    tree = None if kept is None else Taxonomy.of_record(kept).for_classes(classes)
    draw_confusion(file, Confusion.read(measured, classes), tree, dpi=dpi)
    say(str(file))


def _is_of_the_model(folder: RunFolder, images: Named) -> bool:
    """Whether the saved result was measured with the current weights, on these images."""
    from fgvc_cli.errors import FgvcError
    from fgvc_cli.evaluation.results import kept_result
    from fgvc_cli.runs.checkpoint import about_model

    try:
        return bool(kept_result(folder, about_model(folder.model_file), images))
    except FgvcError:
        return False


def _evaluate(folder: RunFolder, request: EvalRequest) -> None:
    from fgvc_cli.evaluation.evaluate import evaluate_run
    from fgvc_cli.terminal import Console

    evaluate_run(folder, request, Console(stderr=True))
