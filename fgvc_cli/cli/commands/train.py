"""`fgvc train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.streams import keep_going, tell

_ALLOWED_ON_RESUME = ("resume", "device", "workers", "cache", "data_dir", "compile")


def train(
    method: options.Method = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue a stopped or killed run.", rich_help_panel="What to run")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New run folder. Default: runs/METHOD-DATASET-TIME.", rich_help_panel="What to run"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the spec, the data and the estimated memory and time of the run; train nothing.",
            rich_help_panel="What to run",
        ),
    ] = False,
    no_test: Annotated[
        bool,
        typer.Option(
            "--no-test",
            help="Evaluate on the validation split at the end, and leave the test split for the settings that win.",
            rich_help_panel="What to run",
        ),
    ] = False,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    image_size: options.ImageSize = None,
    fit: options.Fit = None,
    freeze: options.Freeze = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    seed: options.Seed = None,
    ema_decay: options.EmaDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    mixup: options.Mixup = None,
    cutmix: options.Cutmix = None,
    class_balance: options.ClassBalance = None,
    patience: options.Patience = None,
    augment: options.Augment = None,
    erasing: options.Erasing = None,
    data_dir: options.DataDir = None,
    train_dir: options.TrainDir = None,
    val_dir: options.ValDir = None,
    test_dir: options.TestDir = None,
    follow_links: options.FollowLinks = None,
    val_fraction: options.ValFraction = None,
    group_by: options.GroupBy = None,
    on_bad_image: options.OnBadImage = None,
    label_fixes: options.LabelFixes = None,
    taxonomy: options.TaxonomyFile = None,
    leave_out: options.LeaveOut = None,
    limit_train: options.LimitTrain = None,
    limit_test: options.LimitTest = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
) -> None:
    """Train a method on a dataset, then evaluate it on the test split.

    `fgvc train --method reaps --dataset demo` works without any other preparation.
    """
    flags = dict(locals())
    if flags.pop("dry_run"):
        del flags["no_test"]
        _dry_run(out, flags)
        return
    keep_going()
    split = "val" if flags.pop("no_test") else "test"
    result = _resume(resume, flags, split) if resume is not None else _start(out, flags, split)
    from fgvc_cli.cli.tables import print_evaluation
    from fgvc_cli.machine.distributed import launched

    if launched().main:
        print_evaluation(result)


def _note(line: str | None) -> None:
    if line:
        tell(f"note: {line}")


def _dry_run(out: Path | None, flags: dict[str, Any]) -> None:
    if flags["resume"] is not None:
        raise BadRequest("--dry-run estimates a run that has not started: leave --resume out")
    spec = options.resolved_spec_of(flags)

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.cli.advice import preset_note
        from fgvc_cli.cli.dryrun import print_estimate
        from fgvc_cli.runs.folder import default_path
        from fgvc_cli.training.estimate import estimate

    _note(preset_note(spec))
    print_estimate(spec, estimate(spec, out or default_path(spec), Console(stderr=True)))


def _start(out: Path | None, flags: dict[str, Any], split: str) -> dict[str, Any]:
    spec = options.spec_of(flags)

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.cli.advice import preset_note
        from fgvc_cli.machine.distributed import launched
        from fgvc_cli.runs.folder import default_path
        from fgvc_cli.training.train import train

    if launched().main:
        _note(preset_note(spec))
    return train(spec, out or default_path(spec), Console(stderr=True), split)


def _resume(path: Path, flags: dict[str, Any], split: str) -> dict[str, Any]:
    fixed = options.given({key: value for key, value in flags.items() if key not in _ALLOWED_ON_RESUME})
    if fixed:
        run = shlex.quote(str(path))
        raise BadRequest(
            f"a resumed run keeps its spec: leave {', '.join(fixed)} out; to train it further in another way, start a "
            f"new run from its weights, classifier and all: `fgvc train --config {run} --weights {run}` with "
            f"{', '.join(fixed)}"
        )

    from fgvc_cli.runs.folder import RunFolder

    RunFolder.open(path)  # reports a wrong path before PyTorch is loaded

    from fgvc_cli.terminal import Console

    with quick_imports():
        from fgvc_cli.training.train import Machine, resume

    machine = Machine(flags["device"], flags["workers"], flags["data_dir"], flags["cache"], flags["compile"])
    return resume(path, machine, Console(stderr=True), split)
