"""The table of what can be drawn: name → what evidence it needs, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fgvc_cli.methods.base import Evidence
from fgvc_cli.viz.kinds.channels import channels, has_channels
from fgvc_cli.viz.kinds.grids import grid, has_grid, has_sequence, sequence
from fgvc_cli.viz.kinds.heat import attention, cam, has_attention, has_head, versus
from fgvc_cli.viz.kinds.regions import has_boxes, has_relations, parts, relations, rois
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Strip

ALL = "all"


@dataclass(frozen=True)
class Kind:
    """One kind of picture."""

    needs: str  # the evidence in words
    wanted: Callable[[Evidence], bool]
    draw: Callable[[Scene], Strip]
    scale: float = 1.0  # of the panels
    of_a_class: bool = False  # whether --class means something
    heats: bool = False  # whether it asks what speaks for a class


KINDS: dict[str, Kind] = {
    "rois": Kind("boxes", has_boxes, rois, scale=1.35),
    "cam": Kind("a classifier on a map", has_head, cam, of_a_class=True, heats=True),
    "grid": Kind("a grid of scored cells", has_grid, grid, of_a_class=True, heats=True),
    "parts": Kind("boxes", has_boxes, parts),
    "relations": Kind("relations among parts", has_relations, relations),
    "channels": Kind("channels that belong to classes", has_channels, channels, scale=0.75, of_a_class=True),
    "attention": Kind("gates or attention maps", has_attention, attention, scale=0.8),
    "sequence": Kind("a sequence of parts", has_sequence, sequence),
    "versus": Kind("a classifier on a map", has_head, versus, scale=0.9, of_a_class=True, heats=True),
}


def kinds_of(evidence: Evidence) -> list[str]:
    """Names of what can be drawn of such evidence."""
    return [name for name, kind in KINDS.items() if kind.wanted(evidence)]
