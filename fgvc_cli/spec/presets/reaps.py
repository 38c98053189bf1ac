"""Presets of REAPS."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from fgvc_cli.spec.optim import OptimSpec, Sgd, Step
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def reaps_cub() -> RunSpec:
    """REAPS on CUB-200-2011, VGG-19 at 448.

    Paper: REAPS, Table 3 (REAPS+: --set method.stages=2).
    Command: fgvc train --method reaps --dataset cub
    Published: 86.0 % top-1 (REAPS+ 86.8, without PSN 81.3).
    """
    return _paper("cub")


def reaps_cars() -> RunSpec:
    """REAPS on Stanford Cars, VGG-19 at 448.

    Paper: REAPS, Table 3 (REAPS+: --set method.stages=2).
    Command: fgvc train --method reaps --dataset cars
    Published: 93.1 % top-1 (REAPS+ 93.5, without PSN 92.0).
    """
    return _paper("cars")


def reaps_aircraft() -> RunSpec:
    """REAPS on FGVC-Aircraft (variants), VGG-19 at 448.

    Paper: REAPS, Table 3 (REAPS+: --set method.stages=2).
    Command: fgvc train --method reaps --dataset aircraft
    Published: 91.8 % top-1 (REAPS+ 92.6, without PSN 89.8).
    """
    return _paper("aircraft")


def reaps_demo() -> RunSpec:
    """REAPS with two tiny networks on the built-in drawings.

    The map of the tiny network has 8×8 cells, and at the paper's τ = 0.1 its box is twice the bird's area; 0.3 and the
    largest component gave the best box on a validation split (docs/results.md).
    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method reaps --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(ReapsSpec(tau=0.3, box="largest_component", units=128))


def reaps_folder() -> RunSpec:
    """REAPS with two ResNet-50 at 448 on your own folder of photos.

    Paper: REAPS; ResNet-50 instead of VGG-19 for speed, fewer epochs, a warm-up.
    Command: fgvc train --method reaps --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(ReapsSpec())


def _paper(dataset: DatasetName) -> RunSpec:
    """Section 4.1; batch, weight decay and length are not given there; they are decided in docs/reaps.md."""
    return RunSpec(
        method=ReapsSpec(),
        backbone=BackboneSpec(name="vgg19", weights="imagenet"),
        data=DataSpec(dataset=dataset, image_size=448),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.001, weight_decay=5e-4, schedule=Step(every=60, gamma=0.1)),
        train=TrainSpec(epochs=180, batch_size=16),
    )
