"""Flags that several commands share, and how they become a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.files import expanded
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import tell

if TYPE_CHECKING:
    from fgvc_cli.spec.run import RunSpec

_RECIPE, _COMMON, _REGULAR, _DATA = "What to run", "Common settings", "Regularisation", "Data"


def flag(help: str, panel: str = _COMMON, *names: str, **more: Any) -> Any:
    """A flag in a panel of the help, which does not show its default."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


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
        min=0, max=0.9999, help="Sets of classes that hold the true one in this share of cases, such as 0.95."
    ),
]
RollupShare = Annotated[
    float | None,
    typer.Option(
        "--rollup", min=0.0001, max=1, help="Answer with the most specific taxon of this probability, such as 0.9."
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

_FIELDS = {
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "optim.lr",
    "backbone": "backbone.name",
    "weights": "backbone.weights",
    "image_size": "data.image_size",
    "fit": "data.fit",
    "freeze": "backbone.freeze",
    "device": "train.device",
    "precision": "train.precision",
    "compile": "train.compile",
    "seed": "train.seed",
    "ema_decay": "train.ema_decay",
    "label_smoothing": "regularise.label_smoothing",
    "mixup": "regularise.mixup_alpha",
    "cutmix": "regularise.cutmix_alpha",
    "class_balance": "train.class_balance",
    "patience": "train.patience",
    "augment": "data.augment",
    "erasing": "data.erasing",
    "workers": "data.workers",
    "cache": "data.cache",
    "data_dir": "data.root",
    "train_dir": "data.train_dir",
    "val_dir": "data.val_dir",
    "test_dir": "data.test_dir",
    "follow_links": "data.follow_links",
    "val_fraction": "data.val_fraction",
    "group_by": "data.group_by",
    "on_bad_image": "data.on_bad_image",
    "leave_out": "data.leave_out",
    "taxonomy": "data.taxonomy",
    "label_fixes": "data.label_fixes",
    "limit_train": "data.limit_train",
    "limit_test": "data.limit_test",
}
_RECIPE_KEYS = ("method", "dataset", "preset", "config")


def spec_of(flags: dict[str, Any]) -> RunSpec:
    """The validated spec that a command's flags ask for."""
    from fgvc_cli.spec.build import build_spec, recipe_note

    recipe = {key: flags[key] for key in _RECIPE_KEYS if flags.get(key) is not None}
    fields = {field: _absolute(flags.get(key)) for key, field in _FIELDS.items()}
    for key in ("image_size", "freeze", "leave_out"):  # a number or a word
        fields[_FIELDS[key]] = _number(flags.get(key))
    for key in ("train_dir", "val_dir", "test_dir"):  # relative to --data-dir, or to the working directory without it
        fields[_FIELDS[key]] = str(expanded(flags[key])) if flags.get(key) else None
    if flags.get("train_dir") and not (flags.get("data_dir") or flags.get("config")):
        fields["data.root"] = str(Path.cwd())
    apart = fields["data.leave_out"]
    if isinstance(apart, str) and expanded(apart).is_file():
        fields["data.leave_out"] = _absolute(Path(apart))
    weights = fields["backbone.weights"]
    if weights not in (None, "", "imagenet", "none") and not str(weights).startswith("hf-hub:"):
        fields["backbone.weights"] = _absolute(Path(fields["backbone.weights"]))
    if str(fields["data.group_by"]).startswith("csv:"):
        file, colon, column = str(fields["data.group_by"]).removeprefix("csv:").rpartition(":")
        fields["data.group_by"] = f"csv:{_absolute(Path(file))}{colon}{column}" if file else fields["data.group_by"]
    spec = build_spec(**recipe, flags=fields, sets=flags.get("sets") or ())
    note = recipe_note(spec)
    if note:
        tell(f"note: {note}")
    return spec


_PATHS = ("config", "data_dir", "train_dir", "val_dir", "test_dir", "taxonomy", "label_fixes")


def spec_of_row(row: dict[str, Any]) -> RunSpec:
    """The spec of a suite's row: flags by their names with underscores, and `set`. BadRequest for another name."""
    from fgvc_cli.errors import BadRequest

    known = {*_RECIPE_KEYS, *_FIELDS, "set"}
    odd = next((key for key in row if key not in known), None)
    if odd is not None:
        raise BadRequest(f"{odd} is no flag of a suite's rows: {', '.join(sorted(known))}")
    flags = {key: Path(value) if key in _PATHS else value for key, value in row.items() if key != "set"}
    return spec_of(flags | {"sets": row.get("set", [])})


def resolved_spec_of(flags: dict[str, Any]) -> RunSpec:
    """As `spec_of`, with the preprocessing of the starting weights in place of `auto`."""
    spec = spec_of(flags)

    with quick_imports():
        from fgvc_cli.backbones import resolved

    return resolved(spec)


_MOST_CLASSES = 1_000_000  # the weights of a classifier of more fill the memory of any machine


def classes_of(spec: RunSpec, classes: int | None) -> int:
    """The given number of classes, else the dataset's. BadRequest if neither is known."""
    from fgvc_cli.data.facts import CATALOG
    from fgvc_cli.errors import BadRequest

    found = classes or CATALOG[spec.data.dataset].classes_at(spec.data.level)
    if not found or not 2 <= found <= _MOST_CLASSES:
        raise BadRequest(f"give the number of classes with --classes (2 to {_MOST_CLASSES:,})")
    return found


def given(flags: dict[str, Any]) -> list[str]:
    """The flags that were given, as the user wrote them."""
    names = [key for key, value in flags.items() if value is not None and value != []]
    return ["--set" if key == "sets" else "--" + key.replace("_", "-") for key in names]


def _number(text: Any) -> Any:
    """The whole number that a flag's text says, else the text, which the spec judges."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else text


def _absolute(value: Any) -> Any:
    """Make a path absolute, since a run may be read from another working directory."""
    return str(expanded(value).absolute()) if isinstance(value, Path) else value
