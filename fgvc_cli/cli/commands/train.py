"""`fgvc train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import keep_going, tell


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
    track: options.Track = None,
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

    from fgvc_cli.api.training import estimated, trained
    from fgvc_cli.terminal import Console

    if flags.pop("dry_run"):
        spec, found = estimated(flags, _note, Console(stderr=True))
        from fgvc_cli.cli.dryrun import print_estimate

        print_estimate(spec, found)
        return
    keep_going()
    result = trained(flags, _note, Console(stderr=True))
    from fgvc_cli.cli.tables import print_evaluation
    from fgvc_cli.machine.distributed import launched

    if launched().main:
        print_evaluation(result)


def _note(line: str) -> None:
    tell(f"note: {line}")
