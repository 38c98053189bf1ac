"""Backbones (images → named maps): torchvision's networks, timm's, and the built-in `tiny`."""

from fgvc_cli.backbones.build import build_backbone
from fgvc_cli.backbones.choice import with_backbone
from fgvc_cli.backbones.depth import distances, undecayed
from fgvc_cli.backbones.network import EMBEDDING, Backbone, Segment, freeze, set_checkpointing
from fgvc_cli.backbones.preprocessing import contradiction, resolved
from fgvc_cli.backbones.weights import RunWeights, find_run, load_backbone_weights
from fgvc_cli.backbones.widen import has_stride, set_stride, widen

__all__ = [
    "EMBEDDING",
    "Backbone",
    "RunWeights",
    "Segment",
    "build_backbone",
    "contradiction",
    "distances",
    "find_run",
    "freeze",
    "has_stride",
    "load_backbone_weights",
    "resolved",
    "set_checkpointing",
    "set_stride",
    "undecayed",
    "widen",
    "with_backbone",
]
