"""timm models without their classifier, as backbones. timm is an optional dependency."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

from torch import Tensor, nn

from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.backbones.timm.packaged_weights import install_hint, load_packaged
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.backbone import TIMM_PREFIX

# Transformers are built for one image size. Each of these options allows other sizes in some model families.
_ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})

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
    _known(model)
    try:
        trunk = create(model, pretrained=False, drop_path=drop_path)
        backbone = _backbone(name, trunk)
    except Exception as error:  # timm raises many types
        raise BadRequest(f"timm's {model} cannot return feature maps: {_line(error)}") from error
    if drop_path and not any(type(part).__name__ == "DropPath" for part in trunk.modules()):
        raise BadRequest(f"backbone.drop_path: timm's {model} has no stochastic depth")
    if not embedding:
        backbone.without_embedding()
    return backbone


def create(model: str, *, pretrained: bool, drop_path: float | None = None) -> nn.Module:
    """timm's network without its classifier, for images of any size where its family allows that."""
    timm = _timm()
    more = {} if drop_path is None else {"drop_path_rate": drop_path}
    for options in _ANY_SIZE:
        try:
            created: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0, **options, **more)
            return created
        except TypeError:  # the family does not have the option, so the next one is tried
            if not options:
                raise
    raise AssertionError("the last options are none")


def pretrained_config(model: str) -> Any:
    """timm's record of a model's default weights: mean, std, interpolation, input_size, crop_pct, and where they are.

    Raises:
        BadRequest: timm is not installed, or has no such model.
    """
    _known(model)
    return _timm().get_pretrained_cfg(model)


def _known(model: str) -> None:
    """BadRequest if timm has no model of that name."""
    timm = _timm()
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=4, cutoff=0.5)
        hint = f"; similar names: {', '.join(close)}" if close else ""
        raise BadRequest(f"timm has no model called {model!r}{hint}")
    try:
        timm.get_pretrained_cfg(model)
    except RuntimeError:  # the name goes on after a dot with weights that it does not have
        tagged = timm.list_pretrained(f"{model.partition('.')[0]}.*")
        raise BadRequest(f"timm has no model called {model!r}; there are {', '.join(tagged) or 'none'}") from None


def _timm() -> Any:
    try:
        with quick_imports():
            return import_module("timm")
    except ModuleNotFoundError as error:
        raise BadRequest("timm: backbones need the package timm: pip install timm") from error


def _backbone(name: str, trunk: nn.Module) -> TimmBackbone:
    from fgvc_cli.backbones.timm.others import WholeNetwork
    from fgvc_cli.backbones.timm.tokens import TokenNetwork

    children = next((row for kind, row in _ROWS.items() if _is(trunk, kind)), None)
    if children is not None:
        return RowNetwork(name, trunk, _expanded(trunk, children))
    if any(_is(trunk, kind) for kind in _TOKENS):
        return TokenNetwork(name, trunk)
    return WholeNetwork(name, trunk)


def _is(trunk: nn.Module, kind: tuple[str, str]) -> bool:
    """Whether it is of this very class of timm: a subclass may run its modules in another way."""
    return type(trunk) is getattr(getattr(_timm().models, kind[0], None), kind[1], None)


def _expanded(trunk: nn.Module, children: Sequence[str]) -> list[str]:
    """Paths of the modules in a row; what a network lacks is left out."""
    found = []
    for child in children:
        module = getattr(trunk, child, None)
        inner = list(module.named_children()) if child in _CONTAINERS and module is not None else []
        found += [f"{child}.{key}" for key, _ in inner] if inner else [child] if module is not None else []
    return found


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def names_of(strides: Sequence[int]) -> list[str]:
    """conv{n} for maps whose strides 2^n all differ, else map1, map2, ... from the image to the top."""
    powers = [stride.bit_length() - 1 for stride in strides]
    distinct = len(set(strides)) == len(strides) and all(1 << n == s for n, s in zip(powers, strides, strict=True))
    return [f"conv{n}" for n in powers] if distinct else [f"map{i}" for i in range(1, len(strides) + 1)]


def rising(segments: Sequence[Segment]) -> list[str]:
    """Names of the last three maps if each stride is twice the one below, else none."""
    top = [segment.stride for segment in segments[-3:]]
    doubles = len(top) == 3 and top == [top[0], 2 * top[0], 4 * top[0]]
    return [segment.name for segment in segments[-3:]] if doubles else []


class TimmBackbone(Backbone):
    """A timm model with the interface of `Backbone`. Widths and strides cannot be changed."""

    reshapes = False
    random = True  # drop path

    def __init__(self, name: str, trunk: nn.Module, segments: Sequence[Segment], pyramid: Sequence[str]) -> None:
        super().__init__(name, trunk, segments, pyramid)
        network: Any = trunk
        self.embedding_width = getattr(network, "head_hidden_size", None) or int(network.num_features)

    def canonical(self, key: str) -> str:
        """One form for timm's whole networks and its feature extractors (`stages_0` for `stages.0`): all `_` → `.`"""
        return key.removeprefix("model.").replace("_", ".")

    def converted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """By timm's own converter of this family: it knows the files of DINOv2, DINOv3, EVA and others as published.

        It also resamples positions that were trained for another number of patches.
        """
        convert = getattr(sys.modules[type(self.trunk).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return tensors
        try:
            with redirect_stdout(StringIO()):  # some of them print
                found: dict[str, Tensor] = convert(dict(tensors), self.trunk)
        except Exception:  # a file of another make; what does not fit is told by name
            return tensors
        return found

    def load_pretrained(self) -> list[str]:
        """Load the model's pretrained weights; returns notes for the user, one line each.

        They come from an installed package where one carries them, else timm downloads them.

        Raises:
            BadRequest: timm has no weights for this model.
            FgvcError: they could not be downloaded, or the package's are not this model's.
        """
        model = self.name.removeprefix(TIMM_PREFIX)
        config: Any = getattr(self.trunk, "pretrained_cfg", None) or {}
        notes = load_packaged(self.trunk, model)
        if notes is None:
            self._download(model, config)
        return notes or []

    def _download(self, model: str, config: Any) -> None:
        if not any(config.get(key) for key in ("url", "hf_hub_id", "file")):
            raise BadRequest(f"timm has no pretrained weights for {model}: use --weights FILE or --weights none")
        try:
            own, loaded = self.trunk.state_dict(), create(model, pretrained=True).state_dict()
            self.trunk.load_state_dict({key: loaded[key] for key in own})
        except Exception as error:  # each network library has its own error types
            package = install_hint(model)
            raise FgvcError(
                f"timm could not download the weights of {model} ({_line(error)}): check the connection and try again, "
                f"{f'{package}, ' if package else ''}or use --weights FILE or --weights none"
            ) from error


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
