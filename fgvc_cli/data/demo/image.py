"""The built-in data set `demo`: drawn images of twelve species of finch.

All species have the same shape and colours. Plumage, pose, light and surroundings vary from image to image and do not
depend on the class. A species is a combination of options of four small parts (`TRAITS`). Any two species differ in at
least two parts, and four species share each option, so no single part identifies a species. Leaves and twigs in front
of a bird hide at most one of its parts. Loose feathers, bars and beaks of any species in the background are
distractors.

An image depends only on (seed, split, index). Its pixels must not change: a test checks their hash. A change of the
pixels needs a new `VERSION`.

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
        box                 [x1, y1, x2, y2], pixels, half-open: around the visible part of the bird
        parts               object: part name -> [x, y, visible]; pixels (a pixel's centre is at .5) and a boolean
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.demo.bird import OPTIONS, PARTS, Bird, paint_bird, paint_bits, sample_bird
from fgvc_cli.data.demo.drawing import Array, Canvas, Frame, RandomStream, Tone
from fgvc_cli.data.demo.scenery import background, clutter, paint_leaf, paint_twig, photograph

VERSION = 1
SIZE = 128

# One row per species, one digit per part. The digits' sum is a multiple of three: no two rows differ in only one part.
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
    """One image. Pixels: (size, size, 3) uint8 RGB. Box: around the visible part of the bird, xyxy, half-open, pixels.
    Parts: name → x, y (pixels) and whether the part is visible."""

    pixels: NDArray[np.uint8]
    label: int
    box: tuple[float, float, float, float]
    parts: dict[str, tuple[float, float, bool]]


def _hidden(occlusion: Array, bird: Bird, part: str) -> bool:
    """Whether `occlusion`, the coverage by objects in front, hides more than a third of the disc around the part."""
    size = occlusion.shape[0]
    x, y = bird.centre(part)
    place = (np.arange(size) + 0.5) / size
    disc = (place - x) ** 2 + (place[:, None] - y) ** 2 < (0.11 * bird.frame.unit) ** 2
    return 3 * int((occlusion[disc] > 0.5).sum()) > int(disc.sum())


def _occlude(canvas: Canvas, rng: RandomStream, bird: Bird, tone: Tone) -> Array:
    """Paint leaves and twigs in front of the bird; they never hide two parts. Returns their coverage, (S, S)."""
    occlusion = np.zeros((canvas.size, canvas.size))
    for _ in range(rng.integer(0, 4)):
        rgb, cover = canvas.rgb.copy(), canvas.layer()
        x, y = bird.frame.at(rng.uniform(-0.7, 0.6), rng.uniform(-0.4, 0.4))
        frame = Frame(x, y).child(0, 0, rng.uniform(0, 2 * math.pi))
        if rng.chance(0.6):
            paint_leaf(canvas, rng, frame, tone)
        else:
            paint_twig(canvas, rng, frame, rng.uniform(0.15, 0.5))
        trial = np.maximum(occlusion, cover)
        if sum(_hidden(trial, bird, part) for part in PARTS) > 1:
            canvas.rgb = rgb
        else:
            occlusion = trial
    return occlusion


@dataclass(frozen=True)
class _Composed:
    pixels: NDArray[np.uint8]
    bird: Bird
    mask: NDArray[np.bool_]  # (size, size): where the bird is visible
    occlusion: Array  # (size, size): coverage by objects in front of the bird


def _compose(seed: int, split: str, index: int, size: int, label: int) -> _Composed:
    """The image of (seed, split, index). `label` is the bird's species and changes only its parts."""
    rng = RandomStream(f"fgvc demo {VERSION} {seed} {split} {index}")
    canvas = Canvas(size)
    bird = sample_bird(rng)
    tone = background(canvas, rng)
    clutter(canvas, rng, tone)
    paint_bits(canvas, rng, bird)
    if rng.chance(0.6):
        paint_twig(canvas, rng, bird.frame.child(0, 0.45, rng.uniform(-0.2, 0.2), 1 / bird.frame.unit), 0.6)
    cover = canvas.layer()
    paint_bird(canvas, bird, TRAITS[label])
    occlusion = _occlude(canvas, rng, bird, tone)
    return _Composed(photograph(canvas.rgb, rng), bird, (cover > 0.5) & (occlusion <= 0.5), occlusion)


def draw(seed: int, split: str, index: int, *, size: int = SIZE) -> DemoImage:
    """Draw one image; its label is `index % len(CLASSES)`.

    `split` is any word; it is a part of the random generator's key. `size`: side in pixels; the same scene is drawn at
    every size, apart from the sensor noise.
    """
    label = index % len(CLASSES)
    composed = _compose(seed, split, index, size, label)
    ys, xs = np.nonzero(composed.mask)
    parts = {}
    for part in PARTS:
        x, y = composed.bird.centre(part)
        parts[part] = (round(x * size, 2), round(y * size, 2), not _hidden(composed.occlusion, composed.bird, part))
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    return DemoImage(composed.pixels, label, box, parts)
