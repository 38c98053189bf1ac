"""Change the widths and strides of a built trunk's named maps. State-dict keys stay the same, shapes change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fgvc_cli.backbones.build import initialise
from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.errors import BadRequest


def widen(backbone: Backbone, widths: Mapping[str, int]) -> list[str]:
    """Change the number of channels of named maps, in place.

    Every layer of a map's segment that has the map's old width gets the new one: both convolutions of a basic block,
    the last of a bottleneck. The inputs of the layers that read the map change too. All these layers are randomly
    initialised; the others keep their weights.

    Args:
        backbone: a torchvision network, or `tiny`.
        widths: new number of channels per map name.

    Returns:
        Paths inside the trunk of the layers that were randomly initialised.

    Raises:
        BadRequest: the trunk cannot be widened there.
    """
    fresh: dict[str, None] = {}  # an ordered set
    for name, width in widths.items():
        if name not in backbone.channels or not _convolutions(backbone, _segment(backbone, name)):
            raise BadRequest(f"backbone {backbone.name} has no map {name} that can be widened")
        if width != backbone.channels[name]:
            fresh |= dict.fromkeys(_widen_map(backbone, name, width))
    try:
        backbone.map_sizes(64, 64)  # runs the trunk on the meta device
    except RuntimeError as error:  # e.g. ResNet-18's first stage, whose shortcut adds the input unchanged
        wanted = ", ".join(widths)
        raise BadRequest(f"backbone {backbone.name} cannot be widened at {wanted}: {str(error)[:80]}") from error
    backbone.fresh = tuple(dict.fromkeys((*backbone.fresh, *fresh)))
    return list(fresh)


def has_stride(backbone: Backbone, name: str) -> bool:
    """Whether the map's segment has strided convolutions, as the stages of a residual network do."""
    return bool(_strided(backbone, _segment(backbone, name)))


def set_stride(backbone: Backbone, name: str, stride: int) -> None:
    """Set the stride of the strided convolutions in a map's segment, in place. Weights do not change.

    Raises:
        BadRequest: the segment has no strided convolution.
    """
    convolutions = _strided(backbone, _segment(backbone, name))
    if not convolutions:
        raise BadRequest(f"backbone {backbone.name} has no stride at {name} that can be changed")
    before = convolutions[0].stride[0]
    if before == stride:
        return
    for convolution in convolutions:
        convolution.stride = (stride, stride)
    above = backbone.names[backbone.names.index(name) :]
    for segment in backbone.segments:
        if segment.name in above:
            _replace(backbone, segment._replace(stride=segment.stride * stride // before))
    backbone.without_pyramid()


def _widen_map(backbone: Backbone, name: str, width: int) -> list[str]:
    readers, old = _readers(backbone), backbone.channels[name]
    fresh: list[str] = []
    for path, module in _layers(backbone, _segment(backbone, name)):
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels if path in readers[name] or module.in_channels != old else width
            outputs = width if module.out_channels == old else module.out_channels
            fresh += _renew(backbone, path, _convolution(module, inputs, outputs))
        elif isinstance(module, nn.BatchNorm2d) and module.num_features == old:
            fresh += _renew(backbone, path, _normalisation(module, width))
    _replace(backbone, _segment(backbone, name)._replace(channels=width))
    for segment in backbone.segments[backbone.names.index(name) + 1 :]:
        if _convolutions(backbone, segment):
            for path in readers[segment.name]:
                module = backbone.trunk.get_submodule(path)
                assert isinstance(module, nn.Conv2d)
                fresh += _renew(backbone, path, _convolution(module, width, module.out_channels))
            break
        _replace(backbone, segment._replace(channels=width))  # a segment of pooling layers keeps the width
    return fresh


def _readers(backbone: Backbone) -> dict[str, set[str]]:
    """Per segment the paths of the convolutions that read the input of its first module with a convolution."""
    found: dict[str, set[str]] = {name: set() for name in backbone.names}
    given: dict[str, Tensor] = {}
    handles: list[Any] = []

    def remember(name: str) -> Any:
        return lambda _, args: given.__setitem__(name, args[0])

    def compare(name: str, path: str) -> Any:
        return lambda _, args: found[name].add(path) if args[0] is given[name] else None

    for segment in backbone.segments:
        inside = _convolutions(backbone, segment)
        first = next((path for path in segment.modules if any(f"{c}.".startswith(f"{path}.") for c in inside)), None)
        if first is not None:
            handles.append(backbone.trunk.get_submodule(first).register_forward_pre_hook(remember(segment.name)))
        handles += [m.register_forward_pre_hook(compare(segment.name, path)) for path, m in inside.items()]
    try:
        backbone.map_sizes(64, 64)  # runs the trunk on the meta device
    finally:
        for handle in handles:
            handle.remove()
    return found


def _renew(backbone: Backbone, path: str, module: nn.Module) -> list[str]:
    """Replace a module and initialise the new one, unless all shapes are the same; returns the replaced path."""
    old = backbone.trunk.get_submodule(path)
    if {k: v.shape for k, v in old.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}:
        return []
    initialise(module)
    parent, _, leaf = path.rpartition(".")
    setattr(backbone.trunk.get_submodule(parent), leaf, module)
    return [path]


def _convolution(like: nn.Conv2d, inputs: int, outputs: int) -> nn.Conv2d:
    shape: dict[str, Any] = {"kernel_size": like.kernel_size, "stride": like.stride, "padding": like.padding}
    shape |= {"dilation": like.dilation, "groups": like.groups, "bias": like.bias is not None}
    return nn.Conv2d(inputs, outputs, **shape, device=like.weight.device, dtype=like.weight.dtype)


def _normalisation(like: nn.BatchNorm2d, width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, like.eps, like.momentum, device=like.weight.device, dtype=like.weight.dtype)


def _segment(backbone: Backbone, name: str) -> Segment:
    return backbone.segments[backbone.names.index(name)]


def _replace(backbone: Backbone, segment: Segment) -> None:
    place = backbone.names.index(segment.name)
    backbone.segments = (*backbone.segments[:place], segment, *backbone.segments[place + 1 :])
    backbone.channels[segment.name], backbone.strides[segment.name] = segment.channels, segment.stride


def _layers(backbone: Backbone, segment: Segment) -> list[tuple[str, nn.Module]]:
    """Every module of a segment with its path inside the trunk; empty if the trunk's shapes cannot be changed."""
    return [
        (f"{path}.{inner}" if inner else path, module)
        for path in (segment.modules if backbone.reshapes else ())
        for inner, module in backbone.trunk.get_submodule(path).named_modules()
    ]


def _convolutions(backbone: Backbone, segment: Segment) -> dict[str, nn.Conv2d]:
    return {path: module for path, module in _layers(backbone, segment) if isinstance(module, nn.Conv2d)}


def _strided(backbone: Backbone, segment: Segment) -> list[nn.Conv2d]:
    return [module for module in _convolutions(backbone, segment).values() if module.stride != (1, 1)]
