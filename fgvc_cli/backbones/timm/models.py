"""timm models without their classifier, as backbones. timm is an optional dependency."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn

from fgvc_cli.backbones.network import Segment
from fgvc_cli.backbones.timm import library
from fgvc_cli.backbones.timm.network import TimmBackbone, names_of, rising
from fgvc_cli.backbones.timm.others import WholeNetwork
from fgvc_cli.backbones.timm.tokens import TokenNetwork
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.backbone import TIMM_PREFIX

# Networks that run modules one after another: module and class in timm → these modules, up to the network's pooling.
_STAGED = ("stem", "stages")
_ROWS: dict[tuple[str, str], tuple[str, ...]] = {
    ("byobnet", "ByobNet"): (*_STAGED, "final_conv"),
    ("convnext", "ConvNeXt"): (*_STAGED, "norm_pre"),
    ("cspnet", "CspNet"): _STAGED,
    ("davit", "DaVit"): (*_STAGED, "norm_pre"),
    ("edgenext", "EdgeNeXt"): (*_STAGED, "norm_pre"),
    ("efficientnet", "EfficientNet"): ("conv_stem", "bn1", "blocks", "conv_head", "bn2"),
    ("efficientvit_mit", "EfficientVit"): _STAGED,
    ("fastvit", "FastVit"): (*_STAGED, "final_conv"),
    ("ghostnet", "GhostNet"): ("conv_stem", "bn1", "act1", "blocks"),
    ("hgnet", "HighPerfGpuNet"): _STAGED,
    ("inception_next", "MetaNeXt"): _STAGED,
    ("maxxvit", "MaxxVit"): (*_STAGED, "norm"),
    ("metaformer", "MetaFormer"): _STAGED,
    ("mobilenetv3", "MobileNetV3"): ("conv_stem", "bn1", "blocks"),
    ("nfnet", "NormFreeNet"): (*_STAGED, "final_conv", "final_act"),
    ("regnet", "RegNet"): ("stem", "s1", "s2", "s3", "s4", "final_conv"),
    ("resnet", "ResNet"): ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    ("resnetv2", "ResNetV2"): (*_STAGED, "norm"),
    ("starnet", "StarNet"): (*_STAGED, "norm"),
    ("swin_transformer", "SwinTransformer"): ("patch_embed", "layers", "norm"),
    ("swin_transformer_v2", "SwinTransformerV2"): ("patch_embed", "layers", "norm"),
    ("tiny_vit", "TinyVit"): ("patch_embed", "stages"),
}
_TOKENS = (("vision_transformer", "VisionTransformer"), ("eva", "Eva"))
_CONTAINERS = ("blocks", "layers", "stages")  # run child by child


def build_timm(name: str, *, embedding: bool = False, drop_path: float | None = None) -> TimmBackbone:
    """Build `timm:NAME`, randomly initialised. `embedding`, `drop_path`: as for `build_backbone`.

    Raises:
        BadRequest: timm is not installed, has no such model, or the model gives no feature maps.
    """
    model = name.removeprefix(TIMM_PREFIX)
    library.must_know(model)
    try:
        trunk = library.create(model, pretrained=False, drop_path=drop_path)
        backbone = _backbone(name, trunk)
    except Exception as error:  # timm raises many types
        raise BadRequest(f"timm's {model} cannot return feature maps: {library.first_line(error)}") from error
    if drop_path and not any(type(part).__name__ == "DropPath" for part in trunk.modules()):
        raise BadRequest(f"backbone.drop_path: timm's {model} has no stochastic depth")
    if not embedding:
        backbone.without_embedding()
    return backbone


def _backbone(name: str, trunk: nn.Module) -> TimmBackbone:
    children = next((row for kind, row in _ROWS.items() if _is(trunk, kind)), None)
    if children is not None:
        return RowNetwork(name, trunk, _expanded(trunk, children))
    if any(_is(trunk, kind) for kind in _TOKENS):
        return TokenNetwork(name, trunk)
    return WholeNetwork(name, trunk)


def _is(trunk: nn.Module, kind: tuple[str, str]) -> bool:
    """Whether it is of this very class of timm: a subclass may run its modules in another way."""
    return type(trunk) is getattr(getattr(library.package().models, kind[0], None), kind[1], None)


def _expanded(trunk: nn.Module, children: Sequence[str]) -> list[str]:
    """Paths of the modules in a row; what a network lacks is left out."""
    found = []
    for child in children:
        module = getattr(trunk, child, None)
        inner = list(module.named_children()) if child in _CONTAINERS and module is not None else []
        found += [f"{child}.{key}" for key, _ in inner] if inner else [child] if module is not None else []
    return found


class RowNetwork(TimmBackbone):
    """A network that runs its modules one after another, so that `forward` can start after any map.

    The maps are those that timm names; the last is what the network's pooling reads, after its final norm or
    convolution, if it has them.
    """

    def __init__(self, name: str, trunk: nn.Module, row: Sequence[str]) -> None:
        segments = _segments(trunk, row)
        super().__init__(name, trunk, segments, rising(segments))
        layout: Any = getattr(trunk, "output_fmt", "NCHW")
        self.channels_last = getattr(layout, "value", layout) == "NHWC"
        self._row = tuple(row)

    def embed(self, top: Tensor) -> Tensor:
        """(B, C, h, w) → (B, D), by the network's own pooling and what follows it."""
        network: Any = self.trunk
        found: Tensor = network.forward_head(self._native(top), pre_logits=True)
        return found.float()

    def positions(self, top: Tensor) -> Tensor:
        """Each position of the top map as a map of its own, through the network's pooling and what follows it."""
        batch, channels, height, width = top.shape
        alone = top.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        return self.embed(alone).reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def without_embedding(self) -> None:
        """As `Backbone.without_embedding`."""
        if _replaced_with_nothing(self.trunk, {path.split(".")[0] for path in self._row}):
            self.embedding_width = None

    def _native(self, x: Tensor) -> Tensor:
        """(B, C, h, w) in the model's memory layout."""
        return x.permute(0, 2, 3, 1) if self.channels_last else x

    def _maps(self, x: Tensor, taps: Sequence[str], after: str | None) -> dict[str, Tensor]:
        maps = super()._maps(x if after is None else self._native(x), taps, after)
        return {name: value.permute(0, 3, 1, 2) for name, value in maps.items()} if self.channels_last else maps


def _replaced_with_nothing(trunk: nn.Module, kept: Collection[str]) -> bool:
    """Delete the children of a trunk that have parameters and are not kept. Whether there were any."""
    heads = [
        name for name, child in trunk.named_children() if name not in kept and any(True for _ in child.parameters())
    ]
    for name in heads:
        setattr(trunk, name, nn.Identity())
    return bool(heads)


def _segments(trunk: nn.Module, row: Sequence[str]) -> list[Segment]:
    """The row, cut after the modules whose outputs timm lists as feature maps; the rest of it belongs to the last."""
    network: Any = trunk
    listed = network.feature_info if isinstance(network.feature_info, list) else network.feature_info.info
    info = [entry for entry in listed if entry["module"] in row]  # some lie inside a module
    names = names_of([entry["reduction"] for entry in info])
    ends = [row.index(entry["module"]) + 1 for entry in info]
    ends[-1] = len(row)
    widths = [*(entry["num_chs"] for entry in info[:-1]), int(network.num_features)]
    begins = [0, *ends[:-1]]
    return [
        Segment(name, width, entry["reduction"], tuple(row[begin:end]))
        for name, width, entry, begin, end in zip(names, widths, info, begins, ends, strict=True)
    ]
