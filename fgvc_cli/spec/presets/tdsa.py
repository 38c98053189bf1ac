"""Presets of TDSA-Loss and of the mutual-channel loss."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec
from fgvc_cli.spec.optim import MultiStep, OptimSpec, Sgd
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def tdsa_cub() -> RunSpec:
    """TDSA-Loss on CUB-200-2011, VGG-16-BN at 224 from scratch, ξ = 3.

    Paper: TDSA-Loss, Table II and V (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method tdsa --dataset cub
    Published: 72.77 % top-1 (without attention 69.95; ResNet-18 69.24), best epoch on the test set.
    """
    return _paper(TdsaSpec(xi=3), "cub")


def tdsa_cars() -> RunSpec:
    """TDSA-Loss on Stanford Cars, VGG-16-BN at 224 from scratch, ξ = 2.

    Paper: TDSA-Loss, Table II and V (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method tdsa --dataset cars
    Published: 92.29 % top-1 (without attention 90.61; ResNet-18 90.38), best epoch on the test set.
    """
    return _paper(TdsaSpec(xi=2), "cars")


def tdsa_aircraft() -> RunSpec:
    """TDSA-Loss on FGVC-Aircraft (variants), VGG-16-BN at 224 from scratch, ξ = 2.

    Paper: TDSA-Loss, Table II and V (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method tdsa --dataset aircraft
    Published: 89.57 % top-1 (without attention 88.89; ResNet-18 86.18), best epoch on the test set.
    """
    return _paper(TdsaSpec(xi=2), "aircraft")


def tdsa_flowers() -> RunSpec:
    """TDSA-Loss on Oxford Flowers-102, VGG-16-BN at 224 from scratch, ξ = 3.

    Paper: TDSA-Loss, Table II and V (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method tdsa --dataset flowers
    Published: 88.74 % top-1 (without attention 85.81; ResNet-18 85.34), best epoch on the test set.
    """
    return _paper(TdsaSpec(xi=3), "flowers")


def tdsa_demo() -> RunSpec:
    """TDSA-Loss with the tiny network on the built-in drawings.

    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method tdsa --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(TdsaSpec(), epochs=40)


def tdsa_folder() -> RunSpec:
    """TDSA-Loss with ResNet-50 at 448 on your own folder of photos.

    A class has more than the published 9 middle-level channels at ξ = 1 already, and each one more costs memory.
    Paper: TDSA-Loss; ResNet-50 with ImageNet weights instead of a network from scratch, fewer epochs, a warm-up.
    Command: fgvc train --method tdsa --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(TdsaSpec(xi=1))


def mc_cub() -> RunSpec:
    """Mutual-channel loss on CUB-200-2011, VGG-16-BN at 224 from scratch.

    Paper: TDSA-Loss, Table II, row "MC-Loss" (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method mc --dataset cub
    Published: 65.98 % top-1 (ResNet-18 59.41), best epoch on the test set.
    """
    return _paper(McSpec(), "cub")


def mc_cars() -> RunSpec:
    """Mutual-channel loss on Stanford Cars, VGG-16-BN at 224 from scratch.

    Paper: TDSA-Loss, Table II, row "MC-Loss" (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method mc --dataset cars
    Published: 90.85 % top-1 (ResNet-18 87.47), best epoch on the test set.
    """
    return _paper(McSpec(), "cars")


def mc_aircraft() -> RunSpec:
    """Mutual-channel loss on FGVC-Aircraft (variants), VGG-16-BN at 224 from scratch.

    Paper: TDSA-Loss, Table II, row "MC-Loss" (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method mc --dataset aircraft
    Published: 89.20 % top-1 (ResNet-18 85.57), best epoch on the test set.
    """
    return _paper(McSpec(), "aircraft")


def mc_flowers() -> RunSpec:
    """Mutual-channel loss on Oxford Flowers-102, VGG-16-BN at 224 from scratch.

    Paper: TDSA-Loss, Table II, row "MC-Loss" (ResNet-18, Table III: --backbone resnet18).
    Command: fgvc train --method mc --dataset flowers
    Published: 83.23 % top-1 (ResNet-18 79.54), best epoch on the test set.
    """
    return _paper(McSpec(), "flowers")


def mc_demo() -> RunSpec:
    """Mutual-channel loss with the tiny network on the built-in drawings.

    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method mc --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(McSpec())


def mc_folder() -> RunSpec:
    """Mutual-channel loss with ResNet-50 at 448 on your own folder of photos.

    The last stage keeps its stride: without it a forward pass would take 1.6 times the multiply-adds.
    Paper: TDSA-Loss' row "MC-Loss"; ResNet-50 with ImageNet weights, fewer epochs, a warm-up.
    Command: fgvc train --method mc --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(McSpec(high_stride=2))


def _paper(method: TdsaSpec | McSpec, dataset: DatasetName) -> RunSpec:
    """Section IV-B; momentum, batch and transforms are those of the authors' code (docs/tdsa.md)."""
    schedule = MultiStep(milestones=(150, 225), gamma=0.1)
    half = (0.5, 0.5, 0.5)
    return RunSpec(
        method=method,
        backbone=BackboneSpec(name="vgg16_bn", weights="none"),
        data=DataSpec(dataset=dataset, image_size=224, padding=4, mean=half, std=half),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.1, weight_decay=5e-4, schedule=schedule),
        train=TrainSpec(epochs=300, batch_size=32),
    )
