"""timm models that can return feature maps, as backbones. timm is an optional dependency."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.backbones.packaged_weights import install_hint, load_packaged
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.spec.backbone import TIMM_PREFIX

# Transformers are built for one image size. Each of these options allows other sizes in some model families.
_ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


def _timm() -> Any:
    try:
        with quick_imports():
            return import_module("timm")
    except ModuleNotFoundError as error:
        raise BadRequest("timm: backbones need the package timm: pip install timm") from error


def _create(model: str, *, pretrained: bool) -> nn.Module:
    """timm's feature extractor. On TypeError the model family does not have the option, so the next one is tried."""
    timm = _timm()
    for options in _ANY_SIZE:
        try:
            created: nn.Module = timm.create_model(model, pretrained=pretrained, features_only=True, **options)
            return created
        except TypeError:
            if not options:
                raise
    raise AssertionError("the last options are none")


def _build(name: str) -> nn.Module:
    model = name.removeprefix(TIMM_PREFIX)
    timm = _timm()
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=4, cutoff=0.5)
        hint = f"; similar names: {', '.join(close)}" if close else ""
        raise BadRequest(f"timm has no model called {model!r}{hint}")
    try:
        return _create(model, pretrained=False)
    except Exception as error:  # timm raises many types
        raise BadRequest(f"timm's {model} cannot return feature maps: {_line(error)}") from error


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _segments(trunk: nn.Module) -> list[Segment]:
    """Named conv{n} if every map has a different stride 2^n, else map1, map2, ... in timm's order."""
    info: Any = trunk.feature_info
    channels, strides = info.channels(), info.reduction()
    powers = [stride.bit_length() - 1 for stride in strides]
    distinct = len(set(strides)) == len(strides) and all(1 << n == s for n, s in zip(powers, strides, strict=True))
    names = [f"conv{n}" for n in powers] if distinct else [f"map{i}" for i in range(1, len(strides) + 1)]
    runs = _sequence(trunk) or [()] * len(names)
    return [Segment(name, c, s, run) for name, c, s, run in zip(names, channels, strides, runs, strict=True)]


def _sequence(trunk: nn.Module) -> list[tuple[str, ...]]:
    """The modules that lead to each map, if timm's feature extractor runs its modules one after another; else empty.

    timm's other extractors use hooks or the model's own forward code, so there is no such list.
    """
    paths, returned = _row(trunk)
    runs, run = [], []
    for path in paths:
        run.append(path)
        if path in returned:
            runs.append(tuple(run))
            run = []
    return runs


def _row(trunk: nn.Module) -> tuple[list[str], Collection[str]]:
    """Paths of the modules that a trunk runs in a row, and those of them whose results are maps; else none."""
    models = _timm().models
    extractor: Any = trunk
    children = [name for name, _ in trunk.named_children()]
    if type(trunk) is models.FeatureListNet:
        return children, extractor.return_layers
    if type(trunk) not in (models.efficientnet.EfficientNetFeatures, models.mobilenetv3.MobileNetV3Features):
        return [], ()
    if extractor.feature_hooks is not None:
        return [], ()
    stem = [name for name in children if name != "blocks"]
    blocks = [f"blocks.{name}" for name, _ in trunk.get_submodule("blocks").named_children()]
    stages = [stem[-1], *blocks]  # as timm counts them, the stem being stage 0
    return stem + blocks, [stages[info["stage"]] for info in extractor.feature_info.get_dicts()]


class TimmBackbone(Backbone):
    """A timm model with the interface of `Backbone`.

    If timm's feature extractor runs its modules one after another, `forward` can start after any map; other models
    always run as a whole (`reenters` is false). Widths and strides cannot be changed.
    """

    reshapes = False
    random = True  # drop path

    def __init__(self, name: str) -> None:
        trunk = _build(name)
        segments = _segments(trunk)
        top = [segment.stride for segment in segments[-3:]]
        rising = len(top) == 3 and top == [top[0], 2 * top[0], 4 * top[0]]
        super().__init__(name, trunk, segments, [segment.name for segment in segments[-3:]] if rising else [])
        layout = getattr(trunk, "output_fmt", "NCHW")
        self.channels_last = getattr(layout, "value", layout) == "NHWC"
        self.reenters = all(segment.modules for segment in segments)

    def forward(self, x: Tensor, taps: Sequence[str], after: str | None = None) -> dict[str, Tensor]:
        """As `Backbone.forward`.

        Raises:
            BadRequest: `after` is given, but the model can only run as a whole.
        """
        if after is not None:
            return self._rest(x, taps, after)
        unknown = set(taps) - set(self.names)
        if unknown or not taps:
            raise ValueError(f"taps {list(taps)} are not all in {self.names}")
        maps = self._in_units(x) if self._recomputes and self.reenters else self.trunk(x)
        if self.channels_last:
            maps = [value.permute(0, 3, 1, 2) for value in maps]
        return {name: value for name, value in zip(self.names, maps, strict=True) if name in taps}

    def _in_units(self, x: Tensor) -> list[Tensor]:
        """The maps that the trunk returns, computed unit by unit up to the last map (gradient checkpointing)."""
        concat = getattr(self.trunk, "concat", False)

        def one(value: Any) -> Tensor:
            """The map; where a module returns several tensors, chosen or concatenated as timm does."""
            whole: Tensor = value if isinstance(value, Tensor) else torch.cat(value, 1) if concat else value[0]
            return whole

        return [one(value) for value in super().forward(x, self.names).values()]

    def checkpoint(self, on: bool) -> None:
        """As `Backbone.checkpoint`; a model that runs as a whole uses timm's own, exact if there is no BatchNorm.

        Raises:
            BadRequest: such a model has BatchNorm statistics, or does not support gradient checkpointing.
        """
        super().checkpoint(on)
        if self.reenters:
            return
        network: Any = getattr(self.trunk, "model", self.trunk)
        able = hasattr(network, "set_grad_checkpointing")
        if on and not (able and not any("running_" in name for name, _ in self.trunk.named_buffers())):
            reason = "would update its BatchNorm statistics twice" if able else "has no gradient checkpointing"
            raise BadRequest(
                f"train.gradient_checkpointing: backbone {self.name} runs as a whole and {reason}; "
                "switch it off, or use a torchvision backbone"
            )
        if able:
            network.set_grad_checkpointing(on)

    def _rest(self, x: Tensor, taps: Sequence[str], after: str) -> dict[str, Tensor]:
        """Run from the map called `after`, converted to the model's memory layout."""
        if not self.reenters:
            raise BadRequest(f"backbone {self.name} cannot start from map {after}: use a torchvision backbone")
        if not self.channels_last:
            return super().forward(x, taps, after)
        maps = super().forward(x.permute(0, 2, 3, 1), taps, after)
        return {name: value.permute(0, 3, 1, 2) for name, value in maps.items()}

    def canonical(self, key: str) -> str:
        """Undo the renaming by timm's feature extractors (`stages_0` for `stages.0`, prefix `model.`): all `_` → `.`"""
        return key.removeprefix("model.").replace("_", ".")

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
        mean, std = config.get("mean"), config.get("std")
        trained = f"the weights of {model} were trained with mean {mean} and std {std}: see data.mean, data.std"
        return [*(notes or []), *([trained] if mean else [])]

    def _download(self, model: str, config: Any) -> None:
        if not any(config.get(key) for key in ("url", "hf_hub_id", "file")):
            raise BadRequest(f"timm has no pretrained weights for {model}: use --weights FILE or --weights none")
        try:
            self.trunk.load_state_dict(_create(model, pretrained=True).state_dict())
        except Exception as error:  # each network library has its own error types
            package = install_hint(model)
            raise FgvcError(
                f"timm could not download the weights of {model} ({_line(error)}): check the connection and try again, "
                f"{f'{package}, ' if package else ''}or use --weights FILE or --weights none"
            ) from error
