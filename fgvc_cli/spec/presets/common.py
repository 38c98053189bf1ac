"""Recipes that the presets of several methods share, so that methods are compared under the same recipe."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.methods import AnyMethodSpec
from fgvc_cli.spec.optim import AdamW, Cosine, OptimSpec, Sgd
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def demo_recipe(method: AnyMethodSpec, epochs: int = 22, plain_epochs: int = 0) -> RunSpec:
    """The built-in drawings at 128 pixels, tiny network from scratch; minutes on two cores.

    Optimizer and learning rate were chosen with the baseline on a validation split (docs/results.md): SGD at 0.05, at
    0.02 and with smaller batches had learnt less in as many epochs. `epochs` is more where a method learns more slowly;
    one whose paper starts from trained weights may start from the plain network after `plain_epochs`.
    """
    return RunSpec(
        method=method,
        backbone=BackboneSpec(name="tiny", weights="none", plain_epochs=plain_epochs),
        data=DataSpec(dataset="demo", image_size=128),
        optim=OptimSpec(optimizer=AdamW(), lr=0.002, weight_decay=0.05, schedule=Cosine(), warmup_epochs=1),
        train=TrainSpec(epochs=epochs, batch_size=32, eval_batch_size=64),
    )


def folder_recipe(method: AnyMethodSpec) -> RunSpec:
    """A user's own photos: ImageNet weights, 448 pixels, a crop from 512, cosine with a warm-up."""
    return RunSpec(
        method=method,
        backbone=BackboneSpec(name="resnet50", weights="imagenet"),
        data=DataSpec(dataset="folder", image_size=448, resize=512),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.001, weight_decay=5e-4, schedule=Cosine(), warmup_epochs=1),
        train=TrainSpec(epochs=40, batch_size=16),
    )
