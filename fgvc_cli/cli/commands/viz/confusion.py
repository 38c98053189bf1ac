"""`fgvc viz confusion`: which classes are confused with which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fgvc_cli.cli import options

if TYPE_CHECKING:
    from fgvc_cli.runs.folder import RunFolder

from fgvc_cli.cli.commands.viz.whole_run import Dpi, Force, Out, Run, Split, open_run, picture_file


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
    """Draw the confusion matrix that `fgvc eval` saved; a split that is not evaluated yet is evaluated first."""
    folder = open_run(run)
    file = picture_file(folder, out, f"confusion-{split}", force)

    from fgvc_cli.evaluation.confusion import Confusion
    from fgvc_cli.evaluation.confusion_picture import draw_confusion

    measured = folder.evaluation_file(split).with_name(f"{split}-confusion.csv")
    if not (measured.exists() and _is_of_the_model(folder, split)):
        _evaluate(folder, split, device, batch_size, data_dir)
    draw_confusion(file, Confusion.read(measured, folder.classes()), dpi)
    typer.echo(file)


def _is_of_the_model(folder: RunFolder, split: str) -> bool:
    """Whether the saved result of a split was measured with the current weights."""
    from fgvc_cli.errors import FgvcError
    from fgvc_cli.evaluation.results import kept_result
    from fgvc_cli.runs.checkpoint import about_model

    try:
        return bool(kept_result(folder, about_model(folder.model_file), split))
    except FgvcError:
        return False


def _evaluate(folder: RunFolder, split: str, device: str | None, batch_size: int | None, data_dir: Path | None) -> None:
    from rich.console import Console

    from fgvc_cli.evaluation.evaluate import evaluate_run
    from fgvc_cli.inference.trained import EvalRequest

    request = EvalRequest(split, device, batch_size=batch_size, root=data_dir)
    evaluate_run(folder, request, Console(stderr=True))
