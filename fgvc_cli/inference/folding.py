"""BatchNorm folded into the preceding convolution: the same outputs, one pass over memory less per layer."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fgvc_cli.backbones import Backbone

Pair = tuple[str, str]  # paths of a convolution and of the BatchNorm that is the only reader of its output


def fold_batch_norm(method: nn.Module) -> int:
    """Fold each BatchNorm into the convolution before it, in place, if it is the only reader of its output.

    Only for a method that is neither trained nor saved again, because its state dict changes. A pair is folded only if
    the traced code of a module's `forward` shows it; everything else computes as before.

    Args:
        method: in evaluation mode, on any device, in any memory format.

    Returns:
        The number of folded BatchNorm layers.

    Raises:
        ValueError: the method is in training mode.
    """
    if method.training:
        raise ValueError("BatchNorm in training mode cannot be folded: its statistics are those of each batch")
    shared = _shared(method)
    pairs = [pair for pair in _find_pairs(method) if not any(shared & _identities(method, path) for path in pair)]
    pairs = [pair for pair in pairs if _fits(*(method.get_submodule(path) for path in pair))]
    for convolution, norm in pairs:
        _fold(method, convolution, norm)
    return len(pairs)


def _find_pairs(method: nn.Module) -> list[Pair]:
    """The pairs in the largest modules whose forward pass can be traced.

    A copy that shares the tensors is traced, because traced code may store its proxy values in a module.
    """
    tensors = [*method.parameters(), *method.buffers()]
    twin = copy.deepcopy(method, {id(tensor): tensor for tensor in tensors})
    backbones = {path: part for path, part in twin.named_modules() if isinstance(part, Backbone)}
    found = _visit("", twin)
    for path, backbone in backbones.items():
        whole = _traced(path, _EveryMap(backbone))
        found += _below(_join(path, "trunk"), backbone.trunk) if whole is None else whole
    return found


def _visit(path: str, module: nn.Module) -> list[Pair]:
    """The pairs inside a module, without backbones; if it cannot be traced, those inside each of its children."""
    if isinstance(module, Backbone):
        return []
    found = _traced(path, module)
    return _below(path, module) if found is None else found


def _below(path: str, module: nn.Module) -> list[Pair]:
    return [pair for name, child in module.named_children() for pair in _visit(_join(path, name), child)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _EveryMap(nn.Module):
    """A backbone that returns all its maps: any of them may be read by a method, so all count as read."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.trunk = backbone.trunk
        self.backbone = backbone

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) → every map by name."""
        return self.backbone.forward(x, self.backbone.names)


class _Tracer(fx.Tracer):
    """Records convolutions and BatchNorm of any kind as one call, and a backbone too, which is traced on its own.

    The code of some of them cannot be traced: timm's Conv2dSame computes its padding from the size of its input.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | _BatchNorm | Backbone) or super().is_leaf_module(m, module_qualified_name)


def _traced(path: str, module: nn.Module) -> list[Pair] | None:
    """The pairs in a module's forward pass, as paths that begin with `path`; None if it cannot be traced."""
    try:
        graph = _Tracer().trace(module)
    except Exception:  # a forward pass may raise anything when it gets a proxy value
        return None
    return [(_join(path, convolution), _join(path, norm)) for convolution, norm in _pairs(graph)]


def _pairs(graph: fx.Graph) -> Iterator[Pair]:
    """Pairs of modules, each called once, where the second is the only reader of the first one's output."""
    called = Counter(node.target for node in graph.nodes if node.op == "call_module")
    looked_into = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in graph.nodes:
        reader = next(iter(node.users), None)
        if reader is None or len(node.users) > 1 or reader.args != (node,) or reader.kwargs:
            continue
        pair = (node, reader)
        if all(n.op == "call_module" and called[n.target] == 1 and n.target not in looked_into for n in pair):
            yield str(node.target), str(reader.target)


def _fits(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both types can be folded, the BatchNorm has running statistics, and neither module has hooks."""
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (convolution, norm))
    known = _convolves(convolution) and (type(norm) is nn.BatchNorm2d or _activates(norm))
    return known and not hooked and not norm.training and getattr(norm, "running_mean", None) is not None


def _convolves(module: nn.Module) -> bool:
    """Whether it is a plain convolution, or timm's that pads as TensorFlow does."""
    return type(module) is nn.Conv2d or _is_timm(module, "Conv2dSame")


def _activates(norm: nn.Module) -> bool:
    """Whether it is timm's BatchNorm that includes an activation."""
    return _is_timm(norm, "BatchNormAct2d")


def _is_timm(module: nn.Module, name: str) -> bool:
    """Whether it is timm's layer of that name; false if timm is not imported."""
    layers: Any = sys.modules.get("timm.layers")
    return layers is not None and type(module) is getattr(layers, name)


@torch.no_grad()
def _fold(method: nn.Module, path: str, norm_path: str) -> None:
    convolution: Any = method.get_submodule(path)
    norm: Any = method.get_submodule(norm_path)
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
    rest = nn.Sequential(norm.drop, norm.act) if _activates(norm) else nn.Identity()
    method.set_submodule(norm_path, rest.eval())


def _shared(method: nn.Module) -> set[int]:
    """The `id` of each module and parameter that occurs in more than one place."""
    modules = [module for _, module in method.named_modules(remove_duplicate=False)]
    parameters = [value for module in set(modules) for value in module._parameters.values() if value is not None]
    return {identity for identity, count in Counter(map(id, modules + parameters)).items() if count > 1}


def _identities(method: nn.Module, path: str) -> set[int]:
    module = method.get_submodule(path)
    return {id(module), *map(id, module.parameters())}
