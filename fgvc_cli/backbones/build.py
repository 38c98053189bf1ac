"""Build a randomly initialised backbone by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fgvc_cli.backbones import tiny
from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.backbone import BACKBONE_NAMES, TIMM_PREFIX, TORCHVISION_NAMES

PYRAMID = ("conv3", "conv4", "conv5")  # of residual networks
_FC7 = 4096  # width of a VGG's last layer but one


def build_backbone(name: str, *, embedding: bool = False, drop_path: float | None = None) -> Backbone:
    """Build a randomly initialised backbone.

    Args:
        name: `tiny`, a torchvision resnet or vgg, or `timm:NAME`.
        embedding: keep layers that only the network's own classifier reads (a VGG's fc6 and fc7, for example), so that
            the tap `EMBEDDING` can be asked for. Networks without such layers have it in any case.
        drop_path: rate of stochastic depth (Huang et al., https://arxiv.org/abs/1603.09382); None: the network's own.

    Raises:
        BadRequest: there is no such backbone, it has no stochastic depth, or timm is not installed.
    """
    if name.startswith(TIMM_PREFIX):
        from fgvc_cli.backbones.timm.models import build_timm

        return build_timm(name, embedding=embedding, drop_path=drop_path)
    if drop_path:
        raise BadRequest(f"backbone.drop_path: {name} has no stochastic depth; some of timm's networks have")
    if name == "tiny":
        return _tiny()
    if name not in TORCHVISION_NAMES:
        raise BadRequest(f"no backbone is called {name!r}; there are {', '.join(BACKBONE_NAMES)} and timm:NAME")
    return _torchvision(name, embedding)


def initialise(module: nn.Module) -> None:
    """Initialise convolutions as torchvision's resnet and vgg do (He, fan out), and reset BatchNorm layers."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Linear):  # of a VGG
            nn.init.normal_(part.weight, 0, 0.01)
            nn.init.zeros_(part.bias)


def _tiny() -> Backbone:
    trunk = tiny.TinyNet()
    initialise(trunk)
    stages = zip(tiny.WIDTHS, tiny.STRIDES, strict=True)
    segments = [Segment(f"conv{i}", width, stride, (f"conv{i}",)) for i, (width, stride) in enumerate(stages, 1)]
    return Backbone("tiny", trunk, segments, PYRAMID)


class Vgg(Backbone):
    """torchvision's VGG. Its classifier reads the top map through two fully connected layers, fc6 and fc7."""

    def __init__(self, name: str, trunk: nn.Module) -> None:
        super().__init__(name, trunk, _vgg_segments(trunk.get_submodule("features")), ("pool3", "pool4", "pool5"))
        self.embedding_width = _FC7 if hasattr(trunk, "classifier") else None

    def embed(self, top: Tensor) -> Tensor:
        """(B, 512, h, w) → (B, 4096): average pooling to 7×7, fc6 and fc7, each with ReLU and dropout."""
        pooled = nn.functional.adaptive_avg_pool2d(top, 7).flatten(1)
        read: Tensor = self.trunk.get_submodule("classifier")(pooled)
        return read.float()

    def positions(self, top: Tensor) -> None:
        """None: fc6 reads all positions of the map at once."""


def _torchvision(name: str, embedding: bool) -> Backbone:
    from torchvision.models import get_model

    # On the meta device vgg's classifier (120 M parameters), which is deleted below, costs no time or memory.
    with torch.device("meta"):
        trunk = get_model(name, weights=None)
    vgg = name.startswith("vgg")
    if vgg and embedding:
        trunk.classifier = trunk.classifier[:-1]
    for head in ("avgpool", "fc", *([] if vgg and embedding else ["classifier"])):
        if hasattr(trunk, head):
            delattr(trunk, head)
    trunk.to_empty(device=torch.get_default_device())
    initialise(trunk)
    return Vgg(name, trunk) if vgg else Backbone(name, trunk, _resnet_segments(trunk), PYRAMID)


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
