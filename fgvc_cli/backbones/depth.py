"""How deep in its backbone a parameter lies, and which parameters weight decay leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn

from fgvc_cli.backbones.network import Backbone

_ABOVE = "above the trunk"  # stands for a classifier


def distances(backbone: Backbone) -> dict[str, int]:
    """Distance from the top of each parameter of the trunk, in layers: 1 for the last layer, as a classifier has 0.

    A layer is a block of a stage, or a stem. For timm's networks the layers are timm's own, by which its
    `param_groups_layer_decay` decays (Bao et al., BEiT, https://arxiv.org/abs/2106.08254): so what lies beside the
    blocks, like an attention pooling, may have distance 0.

    Returns:
        Name inside the trunk → distance.
    """
    matcher = getattr(backbone.trunk, "group_matcher", None)
    layers = _by_units(backbone) if matcher is None else _by_timm(backbone.trunk, matcher(coarse=False))
    top = layers.pop(_ABOVE)
    return {name: top - layer for name, layer in layers.items()}


def _by_timm(trunk: nn.Module, matcher: Any) -> dict[str, int]:
    """Layer by name; timm puts what no rule names, like a classifier, into the last layer."""
    from timm.models import group_parameters

    named = [*trunk.named_parameters(), (_ABOVE, nn.Parameter())]
    with_classifier: Any = SimpleNamespace(named_parameters=lambda: iter(named))
    found: dict[str, int] = group_parameters(with_classifier, matcher, reverse=True)
    return found


def _by_units(backbone: Backbone) -> dict[str, int]:
    """Layer by name: the units of gradient checkpointing from the image to the top, then what is behind them."""
    units = backbone.units()
    of = {id(value): number for number, unit in enumerate(units) for part in unit for value in part.parameters()}
    layers = {name: of.get(id(value), len(units)) for name, value in backbone.trunk.named_parameters()}
    return {**layers, _ABOVE: max([len(units), *(layer + 1 for layer in layers.values())])}


def undecayed(backbone: Backbone) -> set[str]:
    """Names inside the trunk of positions and tokens that the network's authors exempt from weight decay."""
    exempt = getattr(backbone.trunk, "no_weight_decay", set)
    return set(exempt())
