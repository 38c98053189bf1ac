"""The channels of a class (TDSA-Loss Fig. 6): high-level ones with a red border, those they attend with a green one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.methods.base import Evidence, Maps
from fgvc_cli.viz.colours import GREEN, RED, Colour
from fgvc_cli.viz.kinds.boxes import draw_truth, truth_keys
from fgvc_cli.viz.kinds.heat import heat_pixels, plain
from fgvc_cli.viz.pixels import bordered
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Key, Panel, Row, Strip

MOST_HIGH, MOST_MIDDLE = 3, 4


def class_channels(evidence: Evidence) -> list[tuple[str, Maps]]:
    """The levels with channels that belong to classes, the highest first."""
    return [(name, m) for name, m in evidence.maps.items() if m.kind == "channels" and m.classes is not None]


def has_channels(evidence: Evidence) -> bool:
    """Whether there are channels that belong to classes."""
    return bool(class_channels(evidence))


def channels(scene: Scene) -> Strip:
    """One row per high-level channel of the class: that channel, then the lower-level channels that it attends."""
    levels = class_channels(scene.evidence)
    label = int(scene.looked.classes[scene.position])
    (high_name, high), *lower = levels
    mine = _of_class(high, label)
    shown = _strongest(high.values[scene.position], mine)
    rows = []
    for number in shown:
        panels = [_channel(scene, high, mine[number], f"{high_name} {mine[number]}", RED)]
        for name, maps in lower[:1]:
            own = _of_class(maps, label)
            attended = [c for place, c in enumerate(own) if place * len(mine) // len(own) == number][:MOST_MIDDLE]
            panels += [_channel(scene, maps, c, f"{name} {c}", GREEN) for c in attended]
        rows.append(panels)
    first = plain(scene)
    blank = Panel(np.full_like(first.pixels, 255))
    laid = [Row((first if number == 0 else blank, *panels)) for number, panels in enumerate(rows)]
    if not lower and len(rows) > 1:  # one level only: side by side
        laid = [Row((first, *(panels[0] for panels in rows)))]
    count = f"{len(shown)} of {len(mine)}" if len(shown) < len(mine) else str(len(mine))
    keys = [Key(RED, f"{high_name}-level channels of {scene.named(label)} ({count})")]
    keys += [Key(GREEN, f"{name}-level channels that each attends") for name, _ in lower[:1]]
    facts = {"class": scene.looked.model.classes[label], "channels": {high_name: [mine[n] for n in shown]}}
    return Strip(tuple(laid), keys=(*keys, *truth_keys(scene)), facts=facts)


def _of_class(maps: Maps, label: int) -> list[int]:
    """Indices of the channels that belong to a class."""
    assert maps.classes is not None
    found: list[int] = torch.nonzero(maps.classes.cpu() == label).flatten().tolist()
    return found


def _strongest(values: Tensor, mine: list[int]) -> list[int]:
    """Positions in `mine` of the channels with the largest mean, in ascending order."""
    means = values[mine].detach().float().mean((1, 2)).cpu()
    best = means.argsort(descending=True, stable=True)[:MOST_HIGH]
    return sorted(int(place) for place in best)


def _channel(scene: Scene, maps: Maps, channel: int, title: str, colour: Colour) -> Panel:
    values = maps.values[scene.position, channel].detach().float().relu()
    largest = float(values.max())
    drawn = heat_pixels(scene, values / max(largest, 1e-6), maps.frame)
    draw_truth(drawn, scene)
    return Panel(bordered(drawn, colour, 2 * scene.line), title, f"peak {largest:.2g}", edge=colour)
