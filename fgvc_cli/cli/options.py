"""Flags that several commands share, and how they become a spec."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.streams import tell
from fgvc_cli.values import LEAST_ROLLUP, MOST_COVERAGE

if TYPE_CHECKING:
    from fgvc_cli.inference.pictures import Picture

_RECIPE, _COMMON, _REGULAR, _DATA = "What to run", "Common settings", "Regularisation", "Data"


def flag(help: str, panel: str = _COMMON, *names: str, **more: Any) -> Any:
    """A flag in a panel of the help, which does not show its default."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


def run_path(text: str) -> Path:
    """The path of a run or a model; hf://OWNER/NAME is fetched."""
    from fgvc_cli.hub.names import is_hub_name

    if not is_hub_name(text):
        return Path(text)
    from fgvc_cli.share.pull import local

    return local(text, lambda note: tell(f"note: {note}"))


def pictures(paths: Sequence[str], *, follow_links: bool | None = None, tars: bool = False) -> list[Picture]:
    """The images that a command's arguments name, `-` for a list on stdin. A line tells what is passed over."""
    from fgvc_cli.inference.pictures import find_pictures, listed

    lines, note = listed(sys.stdin), lambda text: tell(f"note: {text}")
    return find_pictures(paths, lines, follow_links=bool(follow_links), tars=tars, note=note)


RUN: dict[str, Any] = {"metavar": "RUN", "parser": run_path}  # of a flag or argument that names a run or a model
Method = Annotated[str | None, flag("Method; `fgvc methods` lists them. Default: baseline.", _RECIPE)]
Dataset = Annotated[str | None, flag("Dataset; `fgvc datasets` lists them. Default: demo.", _RECIPE)]
Preset = Annotated[str | None, flag("Name of a preset to use instead of the one for the method and dataset.", _RECIPE)]
Config = Annotated[Path | None, flag("Repeat a run: path of its run.json or its folder.", _RECIPE)]
Sets = Annotated[
    list[str] | None,
    flag(
        "Set any field of the spec, for example method.tau=0.2; may be repeated.",
        _RECIPE,
        "--set",
        metavar="FIELD=VALUE",
    ),
]

Epochs = Annotated[int | None, flag("Number of epochs.")]
BatchSize = Annotated[int | None, flag("Images per batch.")]
Lr = Annotated[float | None, flag("Learning rate at this batch size.")]
Backbone = Annotated[str | None, flag("tiny, resnet18/34/50/101, vgg16/19[_bn], or timm:NAME.")]
Weights = Annotated[
    str | None,
    flag("imagenet, none, a .pth or .safetensors file, a run, a folder as on the hub, or hf-hub:OWNER/NAME."),
]
ImageSize = Annotated[str | None, flag("Side of the network's input, in pixels, or auto: that of the weights.")]
Fit = Annotated[str | None, flag("Images that are no squares: squash, crop or pad.")]
Freeze = Annotated[str | None, flag("Train nothing of the backbone up to this many maps from the image; all; none.")]
Device = Annotated[str | None, flag("auto, cpu, mps, cuda or cuda:N.")]
Precision = Annotated[str | None, flag("fp32, bf16 or fp16.")]
Compile = Annotated[
    bool | None,
    flag(
        "Compile the network first: this takes a minute or more, then steps are faster.",
        _COMMON,
        "--compile/--no-compile",
    ),
]
Seed = Annotated[int | None, flag("Seed of the initial weights, the order of images and the augmentation.")]
EmaDecay = Annotated[
    float | None,
    flag("Evaluate and save a moving average of the weights with this decay, for example 0.999.", _REGULAR),
]
LabelSmoothing = Annotated[float | None, flag("Share of a label spread over all classes, for example 0.1.", _REGULAR)]
Mixup = Annotated[float | None, flag("Blend images and their labels: α of Beta(α, α), for example 0.2.", _REGULAR)]
Cutmix = Annotated[float | None, flag("Paste boxes of other images: α of Beta(α, α), for example 1.", _REGULAR)]
ClassBalance = Annotated[
    bool | None, flag("Sample every class equally often, whatever its number of images.", _REGULAR)
]
Patience = Annotated[
    int | None, flag("Stop after this many epochs without a better result on the validation split.", _REGULAR)
]
Track = Annotated[
    str | None, flag("Also record the run in an experiment tracker: wandb, mlflow, trackio or none.", metavar="TRACKER")
]
Augment = Annotated[
    str | None, flag("randaugment or trivialaugment (torchvision's, sampled for each image), or off.", _REGULAR)
]
Erasing = Annotated[
    float | None, flag("Share of training images in which a random rectangle is erased, for example 0.25.", _REGULAR)
]
Workers = Annotated[
    int | None, flag("Worker processes that load images; their number does not change the results.", _DATA)
]
Cache = Annotated[
    str | None, flag("Cache decoded images in ram, on disk or on the gpu, or off; the results are the same.", _DATA)
]
DataDir = Annotated[
    Path | None, flag("Folder that contains the datasets, or your own image folder or CSV file.", _DATA)
]
Split = Annotated[str | None, flag("train, val or test. Default: test, or all of new photos.", _DATA)]
NewName = Annotated[
    str | None,
    flag(
        "Take all of --data-dir as new labelled photos and keep their results under this name in eval/.",
        _DATA,
        "--name",
    ),
]
UnknownClasses = Annotated[
    str, flag("Classes of new photos that the run does not know: error (default) or skip them.", _DATA)
]
TrainDir = Annotated[
    Path | None,
    flag("Folder of the training images below --data-dir, if its name does not say so. For --dataset folder.", _DATA),
]
ValDir = Annotated[Path | None, flag("The same for the validation images; needs --train-dir.", _DATA)]
TestDir = Annotated[Path | None, flag("The same for the test images; needs --train-dir.", _DATA)]
FollowLinks = Annotated[
    bool | None,
    flag("Also read linked folders inside folders of images; loops do no harm.", _DATA, "--follow-links"),
]
ValFraction = Annotated[
    float | None, flag("Share of the training images used as validation split to select the best epoch.", _DATA)
]
GroupBy = Annotated[
    str | None,
    flag(
        "Keep each group of images in one split when fgvc makes splits: folder, regex:PATTERN or csv:FILE:COLUMN.",
        _DATA,
    ),
]
OnBadImage = Annotated[
    str | None,
    flag("error: name bad images and do not start. skip: decode all images once and leave bad ones out.", _DATA),
]
LimitTrain = Annotated[int | None, flag("Use only this many training images, spread over the classes.", _DATA)]
LimitTest = Annotated[int | None, flag("Use only this many test images, spread over the classes.", _DATA)]
TargetPrecision = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Share of answers that shall be right: the validation split says which are 'unsure' then."
    ),
]
SetCoverage = Annotated[
    float | None,
    typer.Option(
        min=0, max=MOST_COVERAGE, help="Sets of classes that hold the true one in this share of cases, such as 0.95."
    ),
]
RollupShare = Annotated[
    float | None,
    typer.Option(
        "--rollup",
        min=LEAST_ROLLUP,
        max=1,
        help="Answer with the most specific taxon of this probability, such as 0.9.",
    ),
]
Taxonomy = Annotated[
    Path | None, typer.Option("--taxonomy", help="CSV file of a tree of the classes, in the place of the run's own.")
]
TaxonomyFile = Annotated[
    Path | None,
    flag("CSV file of the taxa above each class: class,genus,family, or child,parent.", _DATA, "--taxonomy"),
]
LabelFixes = Annotated[
    Path | None,
    flag("CSV file of corrected labels, image,label, as `fgvc check-labels` writes it and you fill it in.", _DATA),
]
LeaveOut = Annotated[
    str | None,
    flag(
        "Classes to leave out, as unknown ones for `fgvc eval --unknown left-out`: how many, names or a file of names.",
        _DATA,
    ),
]
Classes = Annotated[int | None, flag("Number of classes. Default: the dataset's.", _RECIPE)]
