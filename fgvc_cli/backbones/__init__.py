"""Images → named maps, from torchvision's networks, our `tiny` one, or timm's."""

from fgvc_cli.backbones.build import build_backbone
from fgvc_cli.backbones.network import Backbone, Segment
from fgvc_cli.backbones.weights import RunWeights, find_run, load_backbone_weights

__all__ = ["Backbone", "RunWeights", "Segment", "build_backbone", "find_run", "load_backbone_weights"]
