"""Presets of a classifier on frozen features."""

from __future__ import annotations

from fgvc_cli.spec.backbone import AUTO_BACKBONE, BackboneSpec
from fgvc_cli.spec.data import AUTO, DataSpec
from fgvc_cli.spec.methods.probe import ProbeSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def probe_demo() -> RunSpec:
    """A tiny network without training on the built-in drawings: only to try the commands.

    Paper: none. Features of random weights tell little; with trained weights, use preset probe-folder.
    Command: fgvc train --method probe --dataset demo
    Published: nothing, the dataset is built in.
    """
    return RunSpec(
        method=ProbeSpec(),
        backbone=BackboneSpec(name="tiny", weights="none", freeze="all"),
        data=DataSpec(dataset="demo", image_size=128),
        train=TrainSpec(epochs=1, batch_size=32, eval_batch_size=64),
    )


def probe_folder() -> RunSpec:
    """The best trained network that this machine can fetch and run, frozen, and logistic regression on its features.

    Minutes on a CPU. The network is chosen when the run starts (docs/probe.md says how), and a line says which and why.
    Images: whole, at the size that the network was trained with.
    Paper: none.
    Command: fgvc train --method probe --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own; docs/probe.md has what was measured.
    """
    return RunSpec(
        method=ProbeSpec(),
        backbone=BackboneSpec(name=AUTO_BACKBONE, weights="imagenet", freeze="all"),
        data=DataSpec(dataset="folder", image_size=AUTO),
        train=TrainSpec(epochs=1, batch_size=32, eval_batch_size=32),
    )
