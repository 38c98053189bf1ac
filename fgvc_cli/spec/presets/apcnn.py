"""Presets of AP-CNN."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.optim import Cosine, OptimSpec, Sgd
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def apcnn_cub() -> RunSpec:
    """AP-CNN on CUB-200-2011, ResNet-50 at 448.

    Paper: AP-CNN, Table 1, two stages (one stage: --set method.refine=false).
    Command: fgvc train --method apcnn --dataset cub
    Published: 88.4 % top-1 (one stage 87.2), best epoch on the test set.
    """
    return _paper("cub", ApCnnSpec(border=0.2, trunk_rate=0.1), resize=600)


def apcnn_cars() -> RunSpec:
    """AP-CNN on Stanford Cars, ResNet-50 at 448.

    Paper: AP-CNN, Table 1, two stages (one stage: --set method.refine=false).
    Command: fgvc train --method apcnn --dataset cars
    Published: 95.4 % top-1 (one stage 93.6), best epoch on the test set.
    """
    return _paper("cars", ApCnnSpec())


def apcnn_aircraft() -> RunSpec:
    """AP-CNN on FGVC-Aircraft (variants), ResNet-50 at 448.

    Paper: AP-CNN, Table 1, two stages (one stage: --set method.refine=false).
    Command: fgvc train --method apcnn --dataset aircraft
    Published: 94.1 % top-1 (one stage 92.2), best epoch on the test set.
    """
    return _paper("aircraft", ApCnnSpec())


def apcnn_demo() -> RunSpec:
    """AP-CNN with the tiny network on the built-in drawings.

    The pyramid has 64 channels instead of 256: the tiny network's own maps have 48 to 160. As in the paper it starts
    from a trained network, here the plain one: from scratch it learns too slowly for a few minutes.
    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method apcnn --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(ApCnnSpec(width=64, reduction=4), epochs=20, plain_epochs=20)


def apcnn_folder() -> RunSpec:
    """AP-CNN with ResNet-50 at 448 on your own folder of photos.

    Paper: AP-CNN; fewer epochs, a warm-up.
    Command: fgvc train --method apcnn --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(ApCnnSpec())


def _paper(dataset: DatasetName, method: ApCnnSpec, resize: int | None = None) -> RunSpec:
    """Section 4.1; weight decay is not given there; it is decided in docs/apcnn.md."""
    return RunSpec(
        method=method,
        backbone=BackboneSpec(name="resnet50", weights="imagenet"),
        data=DataSpec(dataset=dataset, image_size=448, resize=resize),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.001, weight_decay=5e-4, schedule=Cosine()),
        train=TrainSpec(epochs=100, batch_size=16),
    )
