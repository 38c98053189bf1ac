"""The table of picture kinds: name → the evidence that a kind needs, and its drawing function."""

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

    needs: str  # name of the evidence, for messages
    wanted: Callable[[Evidence], bool]
    draw: Callable[[Scene], Strip]
    scale: float = 1.0  # size of the panels, relative to PANEL
    of_a_class: bool = False  # whether it depends on --class
    heats: bool = False  # whether it draws a class's heat map, which may need gradients


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
    """Names of the kinds that can be drawn from this evidence."""
    return [name for name, kind in KINDS.items() if kind.wanted(evidence)]
