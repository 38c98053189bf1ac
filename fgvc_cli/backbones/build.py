"""Build a randomly initialised backbone by name."""

from __future__ import annotations

import torch
from torch import nn

from fgvc_cli.backbones import tiny
from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.backbone import BACKBONE_NAMES, TIMM_PREFIX, TORCHVISION_NAMES

PYRAMID = ("conv3", "conv4", "conv5")  # of residual networks


def build_backbone(name: str) -> Backbone:
    """Build a randomly initialised backbone.

    Args:
        name: `tiny`, a torchvision resnet or vgg, or `timm:NAME`.

    Raises:
        BadRequest: there is no such backbone, or timm is not installed.
    """
    if name == "tiny":
        return _tiny()
    if name.startswith(TIMM_PREFIX):
        from fgvc_cli.backbones.timm_models import TimmBackbone

        return TimmBackbone(name)
    if name not in TORCHVISION_NAMES:
        raise BadRequest(f"no backbone is called {name!r}; there are {', '.join(BACKBONE_NAMES)} and timm:NAME")
    return _torchvision(name)


def initialise(module: nn.Module) -> None:
    """Initialise convolutions as torchvision's resnet and vgg do (He, fan out), and reset BatchNorm layers."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()


def _tiny() -> Backbone:
    trunk = tiny.TinyNet()
    initialise(trunk)
    stages = zip(tiny.WIDTHS, tiny.STRIDES, strict=True)
    segments = [Segment(f"conv{i}", width, stride, (f"conv{i}",)) for i, (width, stride) in enumerate(stages, 1)]
    return Backbone("tiny", trunk, segments, PYRAMID)


def _torchvision(name: str) -> Backbone:
    from torchvision.models import get_model

    # On the meta device vgg's classifier (120 M parameters), which is deleted below, costs no time or memory.
    with torch.device("meta"):
        trunk = get_model(name, weights=None)
    for head in ("avgpool", "fc", "classifier"):
        if hasattr(trunk, head):
            delattr(trunk, head)
    trunk.to_empty(device=torch.get_default_device())
    initialise(trunk)
    if name.startswith("resnet"):
        return Backbone(name, trunk, _resnet_segments(trunk), PYRAMID)
    return Backbone(name, trunk, _vgg_segments(trunk.get_submodule("features")), ("pool3", "pool4", "pool5"))


def _resnet_segments(trunk: nn.Module) -> list[Segment]:
    """conv1 (the stem) and conv2..conv5 (conv2_x..conv5_x in the papers); conv4 is torchvision's layer3."""
    segments = [Segment("conv1", 64, 2, ("conv1", "bn1", "relu"))]
    for stage in range(1, 5):
        layer = f"layer{stage}"
        convolutions = [m for m in trunk.get_submodule(layer).modules() if isinstance(m, nn.Conv2d)]
        width = convolutions[-1].out_channels if stage == 1 else 2 * segments[-1].channels
        paths = ("maxpool", layer) if stage == 1 else (layer,)
        segments.append(Segment(f"conv{stage + 1}", width, 2 ** (stage + 1), paths))
    return segments


def _vgg_segments(features: nn.Module) -> list[Segment]:
    """conv{block}_{i} after its ReLU, and pool{block}; the last is pool5, 14×14 for 448-pixel images."""
    segments: list[Segment] = []
    paths: list[str] = []
    block, i, channels = 1, 0, 0
    for key, module in features.named_children():
        paths.append(f"features.{key}")
        if isinstance(module, nn.Conv2d):
            channels, i = module.out_channels, i + 1
        elif isinstance(module, nn.ReLU):
            segments.append(Segment(f"conv{block}_{i}", channels, 2 ** (block - 1), tuple(paths)))
            paths = []
        elif isinstance(module, nn.MaxPool2d):
            segments.append(Segment(f"pool{block}", channels, 2**block, tuple(paths)))
            paths, block, i = [], block + 1, 0
    return segments
