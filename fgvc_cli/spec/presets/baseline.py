"""Presets of the plain backbone."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import Cosine, OptimSpec, Sgd
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def baseline_cub() -> RunSpec:
    """ResNet-50 at 448, fine-tuned on CUB-200-2011.

    Paper: AP-CNN, Table 2 and 6, row "Baseline".
    Command: fgvc train --method baseline --dataset cub
    Published: 84.1 % top-1.
    """
    return _paper("cub", resize=600)


def baseline_cars() -> RunSpec:
    """ResNet-50 at 448, fine-tuned on Stanford Cars.

    Paper: AP-CNN, Table 6, row "Baseline".
    Command: fgvc train --method baseline --dataset cars
    Published: 91.7 % top-1.
    """
    return _paper("cars")


def baseline_aircraft() -> RunSpec:
    """ResNet-50 at 448, fine-tuned on FGVC-Aircraft (variants).

    Paper: AP-CNN, Table 6, row "Baseline".
    Command: fgvc train --method baseline --dataset aircraft
    Published: 88.5 % top-1.
    """
    return _paper("aircraft")


def baseline_demo() -> RunSpec:
    """The tiny network on the built-in drawings.

    Paper: none; docs/results.md has its accuracy.
    Command: fgvc train --method baseline --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(BaselineSpec(pool="network"))


def baseline_folder() -> RunSpec:
    """ResNet-50 at 448 on your own folder of photos.

    Paper: none; AP-CNN's baseline recipe with fewer epochs and a warm-up.
    Command: fgvc train --method baseline --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(BaselineSpec(pool="network"))


def _paper(dataset: DatasetName, resize: int | None = None) -> RunSpec:
    """AP-CNN's recipe, under which its baseline row was trained."""
    return RunSpec(
        method=BaselineSpec(pool="network"),
        backbone=BackboneSpec(name="resnet50", weights="imagenet"),
        data=DataSpec(dataset=dataset, image_size=448, resize=resize),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.001, weight_decay=5e-4, schedule=Cosine()),
        train=TrainSpec(epochs=100, batch_size=16),
    )
