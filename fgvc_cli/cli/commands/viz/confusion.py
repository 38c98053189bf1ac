"""`fgvc viz confusion`: which classes are confused with which."""

from __future__ import annotations

from fgvc_cli.cli import options
from fgvc_cli.cli.commands.viz.whole_run import IMAGES, Dpi, Force, Out, Run, open_run
from fgvc_cli.streams import say


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
    flags = {key: value for key, value in locals().items() if key in IMAGES}

    from fgvc_cli.api.runs.plots import draw_confusion

    say(str(draw_confusion(open_run(run).path, flags, out, dpi=dpi, force=force)))
