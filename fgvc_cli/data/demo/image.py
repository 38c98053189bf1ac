"""The built-in data set `demo`: twelve species of finch that our own code draws.

All species share shape and colours: plumage, pose, light and surroundings vary from image to image and have nothing to
do with the class. A species is a combination of options of four small parts (`TRAITS`): any two species differ in at
least two parts, and each option is shared by four species, so that no part alone tells a species. What lies in front
of a bird hides at most one of its parts. What lies behind it misleads: loose feathers, bars and beaks of any species.

An image depends on (seed, split, index) only. The drawing is frozen: a test holds the hash of its pixels, and whoever
changes them gives the set a new `VERSION`.

`generate` writes this folder:

    demo-v1-seed0/
        annotations.json
        train/00000.png ...     RGB, `size` x `size`
        test/00000.png ...

`annotations.json` holds one object:

    version, seed, size     integers
    classes                 list of K names; a label is a position in it
    parts                   list of part names
    traits                  list of K objects: part name -> option
    images                  object: "train" and "test" -> list, in the order of the index, of objects with
        file                path relative to the folder, "train/00000.png"
        label               integer, 0..K-1
        box                 [x1, y1, x2, y2], pixels, half-open: what is visible of the bird
        parts               object: part name -> [x, y, visible]; pixels (a pixel's centre is at .5) and a boolean
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.demo.bird import OPTIONS, PARTS, Bird, paint_bird, paint_bits, sample_bird
from fgvc_cli.data.demo.drawing import Array, Canvas, Dice, Frame, Tone
from fgvc_cli.data.demo.scenery import background, clutter, paint_leaf, paint_twig, photograph

VERSION = 1
SIZE = 128

# One row a species, one digit a part. Digits sum to a multiple of three: no two rows differ in one part alone.
_CODE = {
    "Alder finch": "0012",
    "Aspen finch": "0021",
    "Beech finch": "0111",
    "Birch finch": "0222",
    "Cedar finch": "1011",
    "Elm finch": "1101",
    "Hazel finch": "1110",
    "Larch finch": "1200",
    "Maple finch": "2022",
    "Oak finch": "2100",
    "Rowan finch": "2202",
    "Willow finch": "2220",
}
CLASSES: tuple[str, ...] = tuple(_CODE)
TRAITS: tuple[dict[str, str], ...] = tuple(
    {part: OPTIONS[part][int(digit)] for part, digit in zip(PARTS, code, strict=True)} for code in _CODE.values()
)


@dataclass(frozen=True)
class DemoImage:
    """One image: pixels (size, size, 3) uint8 RGB; box of what is visible of the bird, xyxy, half-open, pixels;
    parts: name to x, y (pixels) and whether it is visible."""

    pixels: NDArray[np.uint8]
    label: int
    box: tuple[float, float, float, float]
    parts: dict[str, tuple[float, float, bool]]


def _hidden(veil: Array, bird: Bird, part: str) -> bool:
    """Whether `veil`, the coverage of what lies in front, takes more than a third of the part's surroundings."""
    size = veil.shape[0]
    x, y = bird.centre(part)
    place = (np.arange(size) + 0.5) / size
    disc = (place - x) ** 2 + (place[:, None] - y) ** 2 < (0.11 * bird.frame.unit) ** 2
    return 3 * int((veil[disc] > 0.5).sum()) > int(disc.sum())


def _occlude(canvas: Canvas, dice: Dice, bird: Bird, tone: Tone) -> Array:
    """Leaves and twigs in front of the bird, never so that two parts are hidden. Returns their coverage, (S, S)."""
    veil = np.zeros((canvas.size, canvas.size))
    for _ in range(dice.integer(0, 4)):
        rgb, cover = canvas.rgb.copy(), canvas.layer()
        x, y = bird.frame.at(dice.uniform(-0.7, 0.6), dice.uniform(-0.4, 0.4))
        frame = Frame(x, y).child(0, 0, dice.uniform(0, 2 * math.pi))
        if dice.chance(0.6):
            paint_leaf(canvas, dice, frame, tone)
        else:
            paint_twig(canvas, dice, frame, dice.uniform(0.15, 0.5))
        trial = np.maximum(veil, cover)
        if sum(_hidden(trial, bird, part) for part in PARTS) > 1:
            canvas.rgb = rgb
        else:
            veil = trial
    return veil


@dataclass(frozen=True)
class _Composed:
    pixels: NDArray[np.uint8]
    bird: Bird
    mask: NDArray[np.bool_]  # (size, size): where the bird is seen
    veil: Array  # (size, size): coverage of what lies in front of it


def _compose(seed: int, split: str, index: int, size: int, label: int) -> _Composed:
    """The picture of (seed, split, index) with a bird of any species in it: `label` changes nothing but its parts."""
    dice = Dice(f"fgvc demo {VERSION} {seed} {split} {index}")
    canvas = Canvas(size)
    bird = sample_bird(dice)
    tone = background(canvas, dice)
    clutter(canvas, dice, tone)
    paint_bits(canvas, dice, bird)
    if dice.chance(0.6):
        paint_twig(canvas, dice, bird.frame.child(0, 0.45, dice.uniform(-0.2, 0.2), 1 / bird.frame.unit), 0.6)
    cover = canvas.layer()
    paint_bird(canvas, bird, TRAITS[label])
    veil = _occlude(canvas, dice, bird, tone)
    return _Composed(photograph(canvas.rgb, dice), bird, (cover > 0.5) & (veil <= 0.5), veil)


def draw(seed: int, split: str, index: int, *, size: int = SIZE) -> DemoImage:
    """Draw one image; its label is `index % len(CLASSES)`.

    `split` is any word: it only selects the stream of random numbers. `size`: side in pixels; the same scene is drawn
    at every size, apart from the noise of the sensor.
    """
    label = index % len(CLASSES)
    composed = _compose(seed, split, index, size, label)
    ys, xs = np.nonzero(composed.mask)
    parts = {}
    for part in PARTS:
        x, y = composed.bird.centre(part)
        parts[part] = (round(x * size, 2), round(y * size, 2), not _hidden(composed.veil, composed.bird, part))
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    return DemoImage(composed.pixels, label, box, parts)
