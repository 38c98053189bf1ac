"""`fgvc viz`: what a model looked at, as pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fgvc_cli.cli import options, viz_plots

viz = typer.Typer(
    help="Draw what a model looked at. Without --run the newest run under runs/ is taken that has the evidence.",
    no_args_is_help=True,
)

_WHAT, _LOOK, _OUT = "Which images", "How they are drawn", "Where they go"


def _flag(help: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


Paths = Annotated[
    list[str] | None, typer.Argument(help="Images, folders or patterns; - reads a list from stdin.", show_default=False)
]
Run = Annotated[Path | None, _flag("Run folder or model.safetensors.", _WHAT)]
Compare = Annotated[tuple[Path, Path] | None, _flag("Two runs on the same images.", _WHAT, metavar="RUN_A RUN_B")]
Dataset = Annotated[str | None, _flag("Take a split of a dataset instead of images.", _WHAT)]
Split = Annotated[str | None, _flag("train, val or test of the dataset. Default: test.", _WHAT)]
Sample = Annotated[
    int | None, _flag("So many images, of a split spread over the classes. Default: 24 of a split.", _WHAT)
]
Only = Annotated[str | None, _flag("Of a split: right or wrong, as the (first) run answers.", _WHAT)]
Truth = Annotated[bool, _flag("Add the true boxes.", _LOOK, "--truth")]
Alpha = Annotated[float, _flag("How much a heat map covers the image, 0 to 1. Default: 0.6.", _LOOK)]
Dpi = Annotated[int, _flag("Pixels an inch. Default: 150.", _LOOK)]
Class = Annotated[str | None, _flag("Speak for this class instead of the predicted one.", _LOOK, "--class")]
Against = Annotated[str | None, _flag("The class it is told from. Default: the likeliest other one.", _LOOK)]
Gallery = Annotated[bool, _flag("One sheet of all images instead of a file each.", _OUT, "--gallery")]
Out = Annotated[Path | None, _flag("Folder. Default: viz/ in the run's folder.", _OUT)]
Force = Annotated[bool, _flag("Replace files that are there already.", _OUT, "--force")]


def _draw(kind: str, given: dict[str, Any]) -> None:
    from rich.console import Console

    from fgvc_cli.cli.tables import say
    from fgvc_cli.engine.evaluate import EvalRequest
    from fgvc_cli.viz.draw import VizRequest, draw_pictures
    from fgvc_cli.viz.scene import Options
    from fgvc_cli.viz.selection import Selection

    words = tuple(given["paths"] or ())
    lines = sys.stdin if "-" in words else ()
    request = VizRequest(
        kind,
        Selection(words, lines, given["dataset"], given["split"], given["sample"], given["only"]),
        given["run"],
        given["compare"],
        given["out"],
        given["gallery"],
        given["force"],
        given["class_name"],
        given.get("against"),
        Options(given["alpha"], given["dpi"], given["truth"]),
        EvalRequest(device=given["device"], batch_size=given["batch_size"], root=given["data_dir"]),
    )
    drawn = draw_pictures(request, Console(stderr=True))
    for folder, count in drawn.folders.items():
        if count:
            say(f"{count} {'picture' if count == 1 else 'pictures'} in {folder}/")
    drawn.must_be_whole()


def _register(kind: str, help: str) -> None:
    """A command a kind: all take the same flags."""

    @viz.command(kind, help=help)
    def command(
        paths: Paths = None,
        run: Run = None,
        compare: Compare = None,
        dataset: Dataset = None,
        split: Split = None,
        sample: Sample = None,
        only: Only = None,
        truth: Truth = False,
        alpha: Alpha = 0.6,
        dpi: Dpi = 150,
        class_name: Class = None,
        gallery: Gallery = False,
        out: Out = None,
        force: Force = False,
        device: options.Device = None,
        batch_size: options.BatchSize = None,
        data_dir: options.DataDir = None,
    ) -> None:
        _draw(kind, locals())


_register("rois", "Boxes: AP-CNN's ROI pyramid (red high, blue middle, green low level), or any method's.")
_register("cam", "What speaks for the class, the attended box and what is in it.")
_register("grid", "The scored cells of a gate beside the class activation map.")
_register("parts", "The picked parts, by scale.")
_register("relations", "What parts take of one another.")
_register("channels", "A class's own channels, high level framed red, middle level green.")
_register("attention", "Gates, attention maps and the maps of branches.")
_register("sequence", "What each part of a sequence adds to the answer.")
_register("all", "Everything that the model has evidence of, a folder a kind.")


@viz.command("versus")
def versus(
    paths: Paths = None,
    run: Run = None,
    compare: Compare = None,
    dataset: Dataset = None,
    split: Split = None,
    sample: Sample = None,
    only: Only = None,
    truth: Truth = False,
    alpha: Alpha = 0.6,
    dpi: Dpi = 150,
    class_name: Class = None,
    against: Against = None,
    gallery: Gallery = False,
    out: Out = None,
    force: Force = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    data_dir: options.DataDir = None,
) -> None:
    """What speaks for one class rather than another: by default the two likeliest."""
    _draw("versus", locals())


viz.command("curves")(viz_plots.curves)
viz.command("confusion")(viz_plots.confusion)
viz.command("embedding")(viz_plots.embedding)
