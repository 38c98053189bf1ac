"""Heat maps: of a class (REAPS Fig. 4), of gates and branches (CLAN Fig. 5, 6), of one class against another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.cells import cell_len
from torch import Tensor

from fgvc_cli.methods.base import Evidence, Maps
from fgvc_cli.ops.boxes import box_of_mask
from fgvc_cli.ops.cam import says_where
from fgvc_cli.viz.colours import HEAT, SIGNED, YELLOW, table
from fgvc_cli.viz.kinds.boxes import draw_truth, truth_keys
from fgvc_cli.viz.kinds.saliency import Saliency
from fgvc_cli.viz.pixels import Pixels, Values, contrasted, dimmed, heated, outline, spread
from fgvc_cli.viz.scene import Scene
from fgvc_cli.viz.sheet import Panel, Plot, Row, Strip, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF = 0.5  # of the peak: if the method has no region of its own, the box encloses the values above it
NOTHING = "nothing here speaks for"
MOST_MAPS = 5  # side by side


def has_head(evidence: Evidence) -> bool:
    """Whether there is a feature map with a classification head."""
    return bool(evidence.heads)


def has_attention(evidence: Evidence) -> bool:
    """Whether there are gates, attention maps, or maps of several branches."""
    shown = _shown_maps(evidence)
    return any(maps.kind != "cam" for maps in shown.values()) or len(shown) > 1


def cam(scene: Scene) -> Strip:
    """The image, the heat map with the attended box, and the crop of that box; no box if the map says nothing."""
    found = scene.looked.class_saliency
    attended = attended_box(scene, found)
    drawn = heat_pixels(scene, found.values[scene.position], found.frame)
    crops: list[Panel] = []
    if attended is not None:
        box, whose = attended
        outline(drawn, scene.place(box), YELLOW, scene.line)
        crop = scene.crop(box, (scene.size[0], round(1.4 * scene.side)))
        crops = [Panel(_padded(crop, scene.size[0]), "inside the box", whose)]
    draw_truth(drawn, scene)
    panels: tuple[Panel | Plot, ...] = (
        plain(scene),
        Panel(drawn, f"{found.kind} of {found.head}", speaks_for(scene, found)),
        colour_bar(scene, "low", "high"),
        *crops,
    )
    facts: dict[str, Any] = {
        "map": found.kind,
        "head": found.head,
        "class": scene.looked.model.classes[int(found.classes[scene.position])],
    }
    facts["box"] = None if attended is None else [round(float(x), 2) for x in attended[0]]
    return Strip((Row(panels),), keys=truth_keys(scene), facts=facts)


def speaks_for(scene: Scene, found: Saliency) -> str:
    """A note below a class's map: its class, or that nothing in the image speaks for it."""
    name = scene.named(found.classes[scene.position])
    return f"for {name}" if found.speaks(scene.position) else f"{NOTHING} {name}"


def attended_box(scene: Scene, found: Saliency) -> tuple[Values, str] | None:
    """The method's own region, or the box of values above half the peak, in original pixels; and a note about it.

    None if the method has no region of its own and the map says nothing: no value above zero, all equal, or not finite.
    """
    for name, boxes in scene.evidence.boxes.items():
        own, _ = scene.boxes_of(name)
        if boxes.kind in ("region", "merged") and len(own):
            return own[0], f"region of the method: {name}"
    if not found.speaks(scene.position):
        return None
    values, frame = found.values[scene.position], found.frame[scene.position].detach().float()
    grown = torch.nn.functional.interpolate(values[None, None], scale_factor=8, mode="bilinear", align_corners=False)[0]
    cells = box_of_mask(grown > HALF * values.max())[0].to(frame.device)
    share = cells / torch.tensor([grown.shape[2], grown.shape[1]] * 2, device=frame.device)
    corners = frame[:2].repeat(2) + share * (frame[2:] - frame[:2]).repeat(2)
    every = found.frame.detach().float().clone()
    every[scene.position] = corners
    return scene.in_original(every[:, None])[0], "above half the peak"


def versus(scene: Scene) -> Strip:
    """The signed map of a class against its rival, and the heat map of each of the two."""
    looked, position = scene.looked, scene.position
    rather = looked.contrast
    mine, theirs = (scene.named(classes[position]) for classes in (looked.classes, looked.rivals))
    values, inside = spread(rather.values[position].cpu().numpy(), scene.frame(rather.frame), scene.size)
    drawn = contrasted(scene.pixels, values, inside, scene.options.alpha)
    draw_truth(drawn, scene)
    shares = scene.looked.seen.probabilities[position]
    panels = (
        plain(scene),
        Panel(drawn, f"{rather.kind} of {rather.head}", f"{mine}\nrather than {theirs}"),
        colour_bar(scene, f"{theirs}", f"{mine}", SIGNED),
        _one_side(scene, looked.class_saliency, mine, float(shares[looked.classes[position]])),
        _one_side(scene, looked.rival_saliency, theirs, float(shares[looked.rivals[position]])),
        colour_bar(scene, "low", "high"),
    )
    names = scene.looked.model.classes
    facts = {"map": rather.kind, "head": rather.head, "class": names[int(looked.classes[position])]}
    facts |= {"against": names[int(looked.rivals[position])]}
    return Strip((Row(panels),), keys=truth_keys(scene), facts=facts)


def _one_side(scene: Scene, found: Saliency, name: str, share: float) -> Panel:
    drawn = heat_pixels(scene, found.values[scene.position], found.frame)
    silent = "" if found.speaks(scene.position) else f"\n{NOTHING} {name}"
    return Panel(drawn, f"for {name}", f"probability {share:.2f}{silent}")


def attention(scene: Scene) -> Strip:
    """Every gate, attention map and branch's map, one row per kind."""
    rows = [Row((plain(scene),))]
    for group in map_rows(scene.evidence):
        panels = tuple(_map_panel(scene, name, scene.evidence.maps[name]) for name in group)
        if len(rows) == 1 and len(rows[0].panels) == 1:
            rows[0] = Row((*rows[0].panels, *panels, colour_bar(scene, "low", "high")))
        else:
            blank = Panel(np.full((*scene.size, 3), 255, np.uint8))
            rows.append(Row((blank, *panels)))
    return Strip(tuple(rows), keys=truth_keys(scene))


def _shown_maps(evidence: Evidence) -> dict[str, Maps]:
    return {name: maps for name, maps in evidence.maps.items() if maps.kind != "channels"}


def map_rows(evidence: Evidence) -> list[list[str]]:
    """Map names in rows of at most 5: a row per kind, or per prefix if all are PREFIX_NAME with the same names."""
    shown = _shown_maps(evidence)
    rows: list[list[str]] = []
    for _, group in itertools.groupby(shown, key=lambda name: shown[name].kind):
        rows += _by_prefix(list(group))
    return [row[start : start + MOST_MAPS] for row in rows for start in range(0, len(row), MOST_MAPS)]


def _by_prefix(names: list[str]) -> list[list[str]]:
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(name.partition("_")[0], []).append(name.partition("_")[2])
    first = next(iter(rows.values()))
    if all(first) and all(row == first for row in rows.values()):
        return [[f"{prefix}_{name}" for name in row] for prefix, row in rows.items()]
    return [names]


def _map_panel(scene: Scene, name: str, maps: Maps) -> Panel:
    values = maps.values[scene.position, 0].detach().float().cpu()
    low, high = float(values.min()), float(values.max())
    if maps.kind == "cam":
        note = ""
        if maps.classes is not None:
            label = maps.classes if maps.classes.dim() == 1 else maps.classes[scene.position]
            name = scene.named(label[0])
            note = f"for {name}" if bool(says_where(values[None])) else f"{NOTHING} {name}"
    else:
        note = f"{short(low)} to {short(high)}"
        values = values / max(high, 1e-6) if low >= 0 else (values - low) / max(high - low, 1e-6)
    drawn = heat_pixels(scene, values, maps.frame)
    draw_truth(drawn, scene)
    return Panel(drawn, _map_title(maps.kind, name), note)


def _map_title(kind: str, name: str) -> str:
    words = name.replace("_", " ")
    return words if words.startswith(kind) else f"{'CAM' if kind == 'cam' else kind} {words}"


def heat_pixels(scene: Scene, values: Tensor, frame: Tensor) -> Pixels:
    """The image under a map (h, w) of values 0..1, pale grey outside the map's frame, which is one of frame (B, 4)."""
    laid, inside = spread(values.detach().float().cpu().numpy(), scene.frame(frame), scene.size)
    return dimmed(heated(scene.pixels, laid, inside, scene.options.alpha), inside)


def plain(scene: Scene) -> Panel:
    """The image itself, with the true box if it is requested."""
    drawn = scene.pixels.copy()
    draw_truth(drawn, scene)
    return Panel(drawn, "image")


def colour_bar(scene: Scene, low: str, high: str, colours: str = HEAT) -> Plot:
    """A colour bar as high as the image, with labels at both ends."""
    dpi = scene.options.dpi
    letters = max(4, int(scene.size[0] / dpi / 2 / 0.062))
    ends = (shortened(low, letters), shortened(high, letters))
    return Plot(_bar(*ends, colours), (scene.size[0], round(0.34 * dpi)), inset=(0.02, 0, 0.22, 0))


def shortened(text: str, cells: int) -> str:
    """A text at most as wide as `cells` letters, where those of East Asia count twice; a longer one ends with …"""
    if cell_len(text) <= cells:
        return text
    while cell_len(text) >= cells:
        text = text[:-1]
    return text.rstrip() + "…"


def _bar(low: str, high: str, colours: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.imshow(table(colours)[::-1, None], aspect="auto", extent=(0, 1, 0, 1))
        axes.set_xticks([])
        axes.set_yticks([])
        for place, text, align in ((0.0, low, "bottom"), (1.0, high, "top")):
            axes.text(1.25, place, text, rotation=90, va=align, ha="left", fontsize=7, parse_math=False)

    return draw


def _padded(pixels: Pixels, height: int) -> Pixels:
    """The picture padded to a height with white above and below."""
    missing = height - pixels.shape[0]
    if missing <= 0:
        return pixels
    above = missing // 2
    return np.pad(pixels, ((above, missing - above), (0, 0), (0, 0)), constant_values=255)
