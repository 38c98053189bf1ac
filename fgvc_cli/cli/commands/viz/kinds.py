"""`fgvc viz KIND`: pictures of what a model looked at; every kind takes the same flags."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say

_WHAT, _LOOK, _OUT = "Which images", "How they are drawn", "Where they go"


Paths = Annotated[
    list[str] | None, typer.Argument(help="Images, folders or patterns; - reads a list from stdin.", show_default=False)
]
Run = Annotated[Path | None, options.flag("Run folder, model.safetensors, or hf://OWNER/NAME.", _WHAT, **options.RUN)]
Compare = Annotated[
    tuple[Path, Path] | None, options.flag("Two runs on the same images.", _WHAT, metavar="RUN_A RUN_B")
]
Dataset = Annotated[str | None, options.flag("Take a split of a dataset instead of images.", _WHAT)]
Split = Annotated[
    str | None, options.flag("train, val or test of the dataset. Default: test, or all of new photos.", _WHAT)
]
Sample = Annotated[
    int | None, options.flag("Number of images, of a split spread over the classes. Default for a split: 24.", _WHAT)
]
Only = Annotated[
    str | None, options.flag("Only images of a split that the (first) run predicts right or wrong.", _WHAT)
]
Truth = Annotated[bool, options.flag("Also draw the true boxes.", _LOOK, "--truth")]
Alpha = Annotated[float, options.flag("Opacity of a heat map over the image, 0 to 1. Default: 0.6.", _LOOK)]
Dpi = Annotated[int, options.flag("Pixels per inch. Default: 150.", _LOOK)]
Class = Annotated[str | None, options.flag("Explain this class instead of the predicted one.", _LOOK, "--class")]
Against = Annotated[
    str | None, options.flag("The class to compare it with. Default: the most likely other one.", _LOOK)
]
Gallery = Annotated[bool, options.flag("One sheet of all images instead of one file per image.", _OUT, "--gallery")]
Out = Annotated[Path | None, options.flag("Folder. Default: viz/ in the run's folder.", _OUT)]
Force = Annotated[bool, options.flag("Replace existing files.", _OUT, "--force")]


def _draw(kind: str, given: dict[str, Any]) -> None:
    from fgvc_cli.api.models.drawing import draw

    words, run, compare = given.pop("paths") or (), given.pop("run"), given.pop("compare")
    drawn = draw(run, kind, words, given, lines=sys.stdin if "-" in words else (), compare=compare)
    for folder, count in drawn.folders.items():
        if count:
            say(f"{count} {'picture' if count == 1 else 'pictures'} in {folder}/")
    drawn.must_be_whole()


def command_of(kind: str) -> Callable[..., None]:
    """The command that draws one kind; all take the same flags."""

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
        name: options.NewName = None,
        unknown_classes: options.UnknownClasses = "error",
        follow_links: options.FollowLinks = None,
    ) -> None:
        given = dict(locals())
        given.pop("kind")
        _draw(kind, given)

    return command


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
    name: options.NewName = None,
    unknown_classes: options.UnknownClasses = "error",
    follow_links: options.FollowLinks = None,
) -> None:
    """What speaks for one class rather than another; by default, for the two most likely classes."""
    _draw("versus", dict(locals()))
