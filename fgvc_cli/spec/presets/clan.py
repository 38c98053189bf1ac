"""Presets of CLAN."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.optim import OptimSpec, Sgd, Step
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def clan_cub() -> RunSpec:
    """CLAN of 2 scales on CUB-200-2011, ResNet-101 at 448.

    Paper: CLAN, Table 6 (ResNet-50: --backbone resnet50; VGG-16: --backbone vgg16_bn --set optim.schedule.every=30
    --set optim.schedule.gamma=0.1, and for 3 scales --set method.scales=3).
    Command: fgvc train --method clan --dataset cub
    Published: 88.7 % top-1 (ResNet-50 88.1, VGG-16 85.9, VGG-16 with 3 scales 86.8).
    """
    return _paper("cub")


def clan_cars() -> RunSpec:
    """CLAN of 2 scales on Stanford Cars, ResNet-101 at 448.

    Paper: CLAN, Table 6 (ResNet-50: --backbone resnet50; VGG-16: --backbone vgg16_bn --set optim.schedule.every=30
    --set optim.schedule.gamma=0.1, and for 3 scales --set method.scales=3).
    Command: fgvc train --method clan --dataset cars
    Published: 94.5 % top-1 (ResNet-50 94.2, VGG-16 92.9, VGG-16 with 3 scales 93.1).
    """
    return _paper("cars")


def clan_aircraft() -> RunSpec:
    """CLAN of 2 scales on FGVC-Aircraft (variants), ResNet-101 at 448.

    Paper: CLAN, Table 6 (ResNet-50: --backbone resnet50; VGG-16: --backbone vgg16_bn --set optim.schedule.every=30
    --set optim.schedule.gamma=0.1, and for 3 scales --set method.scales=3).
    Command: fgvc train --method clan --dataset aircraft
    Published: 93.3 % top-1, 93.2 in the text (ResNet-50 93.2, VGG-16 90.3, VGG-16 with 3 scales 91.0).
    """
    return _paper("aircraft")


def clan_demo() -> RunSpec:
    """CLAN with the tiny network on the built-in drawings.

    The dot product is cubic in activations: from scratch its residual was 3.6 times as large as the map it refines.
    The embedded Gaussian, as good in the paper's Table 1, is bounded, and did better on a validation split.
    CLSA's map goes through no sigmoid (Eq. 8 to the letter), which here was saturated. As in the paper it starts from a
    trained network, here the plain one: after 22 epochs from scratch it had learnt two thirds of its training images.
    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method clan --dataset demo
    Published: nothing, the dataset is built in.
    """
    return demo_recipe(ClanSpec(relation="embedded_gaussian", attention="none"), epochs=20, plain_epochs=20)


def clan_folder() -> RunSpec:
    """CLAN with ResNet-50 at 448 on your own folder of photos.

    The dot product is divided by the lengths of its factors, without which it is cubic in the maps: on networks whose
    maps are large, as EfficientNet's, training is not finite after a few steps.
    Paper: CLAN; ResNet-50 instead of ResNet-101 for speed, fewer epochs, a smaller learning rate with a warm-up.
    Command: fgvc train --method clan --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(ClanSpec(normalise=True))


def _paper(dataset: DatasetName) -> RunSpec:
    """Section 4.1; how images become 448 pixels is decided in docs/clan.md."""
    schedule = Step(name="exponential", every=2, gamma=0.9)
    return RunSpec(
        method=ClanSpec(),
        backbone=BackboneSpec(name="resnet101", weights="imagenet"),
        data=DataSpec(dataset=dataset, image_size=448, resize=600),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.01, weight_decay=1e-4, schedule=schedule),
        train=TrainSpec(epochs=120, batch_size=36),
    )
