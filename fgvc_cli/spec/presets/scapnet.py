"""Presets of SCAPNet."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.optim import OptimSpec, Sgd, Step
from fgvc_cli.spec.presets.common import demo_recipe, folder_recipe
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def scapnet_cub() -> RunSpec:
    """SCAPNet on CUB-200-2011, two ResNet-50 at 448.

    Paper: SCAPNet, Table III (SCAPNet†: --set method.two_stage=20 --set method.heads=3).
    Command: fgvc train --method scapnet --dataset cub
    Published: 88.6 % top-1 (SCAPNet† 89.5, gate alone 86.3).
    """
    return _paper("cub")


def scapnet_cars() -> RunSpec:
    """SCAPNet on Stanford Cars, two ResNet-50 at 448.

    Paper: SCAPNet's recipe for its other datasets; it has no result on this one.
    Command: fgvc train --method scapnet --dataset cars
    Published: nothing on this dataset.
    """
    return _paper("cars")


def scapnet_aircraft() -> RunSpec:
    """SCAPNet on FGVC-Aircraft (variants), two ResNet-50 at 448.

    Paper: SCAPNet, Table III (SCAPNet†: --set method.two_stage=20 --set method.heads=3).
    Command: fgvc train --method scapnet --dataset aircraft
    Published: 92.5 % top-1 (SCAPNet† 93.6, gate alone 91.0).
    """
    return _paper("aircraft")


def scapnet_veg200() -> RunSpec:
    """SCAPNet on Veg200, two ResNet-50 at 448.

    Trained on the training list alone, as in the paper; the validation list chooses the epoch.
    Paper: SCAPNet, Table XI.
    Command: fgvc train --method scapnet --dataset veg200
    Published: 89.3 % top-1 (ResNet-50 alone 88.1).
    """
    return _paper("veg200")


def scapnet_fru92() -> RunSpec:
    """SCAPNet on Fru92, two ResNet-50 at 448.

    Trained on the training list alone, as in the paper; the validation list chooses the epoch.
    Paper: SCAPNet, Table XI.
    Command: fgvc train --method scapnet --dataset fru92
    Published: 91.0 % top-1 (ResNet-50 alone 89.7).
    """
    return _paper("fru92")


def scapnet_vegfru() -> RunSpec:
    """SCAPNet on VegFru (all 292 classes), two ResNet-50 at 448.

    Trained on the training lists alone, as in the paper; the validation lists choose the epoch.
    Paper: SCAPNet, Table XI.
    Command: fgvc train --method scapnet --dataset vegfru
    Published: 88.1 % top-1 (ResNet-50 alone 86.9).
    """
    return _paper("vegfru")


def scapnet_demo() -> RunSpec:
    """SCAPNet with two tiny networks on the built-in drawings.

    Without L_act and L_con, whose weights of 1 suit the paper's ImageNet weights: from scratch they outweigh L_cls, and
    on a validation split the gate then kept the background; without them it scored the bird's cells higher in
    every image. A part of one cell has 32 pixels here, too few to hold a bird: one part of scale 2 and one of scale 3,
    resized to 88. As in the paper both networks start trained, here from the plain one.
    Paper: none; docs/results.md compares its accuracy with the baseline's.
    Command: fgvc train --method scapnet --dataset demo
    Published: nothing, the dataset is built in.
    """
    method = ScapNetSpec(weight_act=0, weight_con=0, parts=(0, 1, 1), part_scale=0.6875)
    return demo_recipe(method, epochs=20, plain_epochs=20)


def scapnet_folder() -> RunSpec:
    """SCAPNet with two ResNet-50 at 448 on your own folder of photos.

    Paper: SCAPNet; a gate that begins open, a smaller learning rate, fewer epochs, a warm-up.
    Command: fgvc train --method scapnet --dataset folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return folder_recipe(ScapNetSpec(gate_bias=3.0))


def _paper(dataset: DatasetName) -> RunSpec:
    """Section IV-B; batch, weight decay, length and angle are not given there; they are decided in docs/scapnet.md."""
    return RunSpec(
        method=ScapNetSpec(),
        backbone=BackboneSpec(name="resnet50", weights="imagenet"),
        data=DataSpec(dataset=dataset, image_size=448, resize=600, rotation=15),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.01, weight_decay=1e-4, schedule=Step(every=10, gamma=0.3)),
        train=TrainSpec(epochs=60, batch_size=16),
    )
