"""The bird of the demo data set: its pose, its colours and the options of its parts.

The bird's frame: u points forward, v down; one unit is about three quarters of the bird's length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fgvc_cli.data.demo.drawing import (
    Canvas,
    Colour,
    Frame,
    Point,
    RandomStream,
    Shape,
    curve,
    ellipse,
    polygon,
    taper,
    union,
    within,
)
from fgvc_cli.data.demo.scenery import anywhere, hsv, scaled

PARTS: tuple[str, ...] = ("beak", "crown", "wing", "tail")
OPTIONS: dict[str, tuple[str, str, str]] = {
    "beak": ("cone", "long", "hooked"),
    "crown": ("plain", "crested", "browed"),
    "wing": ("plain", "one bar", "two bars"),
    "tail": ("forked", "round", "pointed"),
}
HEAD = 0.165  # radius, in units of the bird's frame


@dataclass(frozen=True)
class Bird:
    """One bird without the options of its species: pose, build and colours. Angles are in radians."""

    frame: Frame
    tilt: float
    head_turn: float
    beak_turn: float
    tail_turn: float
    wing_turn: float
    plump: float
    back: Colour
    belly: Colour
    wing: Colour
    bars: Colour
    brow: Colour
    crest: Colour
    beak: Colour
    marks: tuple[bool, ...]  # bib, cheek, streaks, eye ring: they do not depend on the species

    @property
    def body(self) -> Frame:
        """The body's frame: u along its axis, towards the head."""
        return self.frame.child(0, 0, -self.tilt)

    def joint(self, part: str) -> Frame:
        """Frame of a part: u points away from the body, except at the crown, which has the head's frame."""
        head = self.body.child(0.28, -0.2, self.tilt + self.head_turn)
        if part == "crown":
            return head
        if part == "beak":
            return head.child(HEAD * 0.88, 0.02, self.beak_turn)
        if part == "wing":
            return self.body.child(0.1, -0.03, math.pi + self.wing_turn)
        return self.body.child(-0.29, -0.01, math.pi + self.tail_turn)

    def centre(self, part: str) -> Point:
        """Position of a part in the image. It is the same for all options of the part."""
        u, v = {"beak": (0.05, 0.0), "crown": (-0.01, -0.8 * HEAD), "wing": (0.13, 0.0), "tail": (0.2, 0.0)}[part]
        return self.joint(part).at(u, v)


def _pale(rng: RandomStream) -> Colour:
    return hsv(rng.uniform(0.0, 0.2), rng.uniform(0.0, 0.35), rng.uniform(0.85, 1.0))


def sample_bird(rng: RandomStream) -> Bird:
    """A bird of random pose, build, colours, size and place; wholly inside the image, whatever its species."""
    hue, shade = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.6)  # blue to rose: rare in the surroundings
    back = hsv(hue, rng.uniform(0.25, 0.65), shade)
    wing = hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.2, 0.55), shade * rng.uniform(0.6, 1.0))
    bird = Bird(
        frame=Frame(0, 0).child(0, 0, rng.uniform(-0.35, 0.35)),
        tilt=rng.uniform(0.1, 0.7),
        head_turn=rng.uniform(-0.35, 0.35),
        beak_turn=rng.uniform(-0.12, 0.12),
        tail_turn=rng.uniform(-0.3, 0.35),
        wing_turn=rng.uniform(-0.2, 0.2),
        plump=rng.uniform(0.9, 1.1),
        back=back,
        belly=hsv(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.35), rng.uniform(0.65, 0.85)),
        wing=wing,
        bars=_pale(rng),
        brow=_pale(rng),
        crest=hsv(rng.uniform(-0.05, 0.03), rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.9)),
        beak=hsv(rng.uniform(0.06, 0.14), rng.uniform(0.6, 0.85), rng.uniform(0.75, 0.95)),
        marks=tuple(rng.chance(0.35) for _ in range(4)),
    )
    if rng.chance(0.5):
        bird = replace(bird, frame=bird.frame.mirrored())
    return _placed(bird, rng)


def _placed(bird: Bird, rng: RandomStream) -> Bird:
    """The bird at a random size and place, inside the image whatever its species."""
    reach = [bird.body.at(u, v) for u in (-0.37, 0.37) for v in (-0.24, 0.24)]
    reach += [bird.joint("tail").at(0.37, v) for v in (-0.11, 0.11)]
    reach += [bird.joint("beak").at(0.31, 0), bird.joint("crown").at(-0.15, -0.34), bird.frame.at(0.05, 0.45)]
    left, right = min(x for x, _ in reach), max(x for x, _ in reach)
    top, bottom = min(y for _, y in reach), max(y for _, y in reach)
    scale = rng.uniform(0.46, 0.84) / max(right - left, bottom - top)
    x = rng.uniform(0.02, 0.98 - scale * (right - left)) - scale * left
    y = rng.uniform(0.02, 0.98 - scale * (bottom - top)) - scale * top
    f = bird.frame
    return replace(bird, frame=Frame(x, y, f.a * scale, f.b * scale, f.c * scale, f.d * scale))


def _beak(option: str) -> Shape:
    if option == "cone":
        return polygon((-0.03, -0.08), (0.03, -0.065), (0.125, 0.01), (0.03, 0.065), (-0.03, 0.07))
    if option == "long":
        return polygon((-0.03, -0.04), (0.3, 0.005), (0.3, 0.02), (-0.03, 0.04))
    return curve(((-0.03, 0), (0.08, -0.015), (0.15, 0.03), (0.15, 0.12)), (0.065, 0.05, 0.034, 0.008))


def _crest() -> Shape:
    tips = ((-0.14, -0.33), (-0.2, -0.25), (-0.23, -0.16))
    roots = ((0.04, -0.14), (-0.03, -0.13), (-0.08, -0.1))
    return union(*(taper(root, tip, 0.04, 0.008) for root, tip in zip(roots, tips, strict=True)))


def _brow() -> Shape:
    return curve(((0.15, -0.05), (0.04, -0.105), (-0.07, -0.095), (-0.16, -0.04)), (0.015, 0.028, 0.03, 0.016))


def _wing() -> Shape:
    return union(ellipse(0.1, 0, 0.19, 0.13), taper((0.12, 0.0), (0.39, 0.03), 0.1, 0.012), smooth=0.05)


def _bars(count: int) -> list[Shape]:
    return [curve(((u, -0.1), (u + 0.03, 0), (u, 0.1)), (0.027,) * 3) for u in ((0.1,), (0.04, 0.15))[count - 1]]


def _tail(option: str) -> Shape:
    if option == "forked":
        half = ((-0.05, -0.06), (0.36, -0.12), (0.33, -0.03))
        return polygon(*half, (0.19, 0), *((u, -v) for u, v in reversed(half)))
    if option == "round":
        return union(polygon((-0.05, -0.06), (0.23, -0.1), (0.23, 0.1), (-0.05, 0.06)), ellipse(0.23, 0, 0.1, 0.1))
    return polygon((-0.05, -0.06), (0.14, -0.085), (0.38, 0), (0.14, 0.085), (-0.05, 0.06))


def _paint_tail(canvas: Canvas, bird: Bird, option: str) -> None:
    joint, shape, colour = bird.joint("tail"), _tail(option), scaled(bird.wing, 0.9)
    canvas.paint(joint, shape, colour, light=0.15)
    for v in (-0.03, 0.03):
        canvas.paint(joint, within(taper((0, v / 2), (0.34, v * 2), 0.006, 0.006), shape), scaled(colour, 0.65))


def _paint_body(canvas: Canvas, bird: Bird) -> None:
    u, v = 0.28, -0.2  # the head's centre
    plump = bird.plump
    head, neck = ellipse(u, v, HEAD, HEAD), taper((0.12, -0.06), (u - 0.03, v + 0.05), 0.18 * plump, 0.13)
    outline = union(ellipse(0, 0, 0.36, 0.23 * plump), neck, head, smooth=0.06)
    canvas.paint(bird.body, outline, bird.back, light=0.2)
    belly = union(ellipse(0.02, 0.16, 0.33, 0.17 * plump), ellipse(0.27, 0.02, 0.1, 0.13), smooth=0.1)
    soft = 0.06 * bird.frame.unit
    canvas.paint(bird.body, within(belly, outline), bird.belly, soft=soft, opacity=0.9)
    bib, _, streaks, _ = bird.marks
    dark = scaled(bird.back, 0.5)
    if bib:
        patch = within(ellipse(0.36, -0.08, 0.09, 0.08), outline)
        canvas.paint(bird.body, patch, dark, soft=soft / 2, opacity=0.8)
    if streaks:
        for k in range(6):
            u, v = 0.24 - 0.07 * k, 0.1 + 0.05 * (k % 2)
            canvas.paint(bird.body, taper((u, v), (u - 0.05, v + 0.03), 0.012, 0.006), dark, opacity=0.7)


def _paint_wing(canvas: Canvas, bird: Bird, option: str) -> None:
    joint, shape = bird.joint("wing"), _wing()
    shadow = joint.child(0.01, -0.03)
    canvas.paint(shadow, shape, (0.0, 0.0, 0.0), soft=0.05 * joint.unit, opacity=0.35)
    canvas.paint(joint, shape, bird.wing, light=0.15)
    for v in (-0.05, 0.0, 0.05):
        canvas.paint(joint, within(taper((0.24, v), (0.4, 0.03 + v / 3), 0.006, 0.006), shape), scaled(bird.wing, 0.6))
    for bar in _bars(OPTIONS["wing"].index(option)) if option != "plain" else ():
        canvas.paint(joint, within(bar, shape), bird.bars)


def _paint_head(canvas: Canvas, bird: Bird, beak: str, crown: str) -> None:
    head, joint, dark = bird.joint("crown"), bird.joint("beak"), scaled(bird.beak, 0.5)
    canvas.paint(joint, _beak(beak), bird.beak, light=0.2)
    canvas.paint(joint, taper((-0.02, 0.005), (0.07, 0.01), 0.006, 0.006), dark)
    _, cheek, _, ring = bird.marks
    if cheek:
        canvas.paint(head, ellipse(-0.03, 0.07, 0.08, 0.055), bird.belly, soft=0.03 * head.unit, opacity=0.75)
    if crown == "browed":
        canvas.paint(head, _brow(), bird.brow)
    if ring:
        canvas.paint(head, ellipse(0.05, -0.03, 0.043, 0.043), bird.belly)
    canvas.paint(head, ellipse(0.05, -0.03, 0.03, 0.03), (0.04, 0.03, 0.03))
    canvas.paint(head, ellipse(0.06, -0.04, 0.01, 0.01), (1.0, 1.0, 1.0))


def paint_bird(canvas: Canvas, bird: Bird, traits: dict[str, str]) -> None:
    """Paint the bird with the options of its species. `traits`: part → option."""
    for u in (-0.04, 0.06):
        leg = curve(((u, 0.15), (u - 0.03, 0.32), (u, 0.42), (u + 0.05, 0.43)), (0.014,) * 4)
        canvas.paint(bird.frame, leg, bird.beak)
    _paint_tail(canvas, bird, traits["tail"])
    if traits["crown"] == "crested":
        canvas.paint(bird.joint("crown"), _crest(), bird.crest)
    _paint_body(canvas, bird)
    _paint_wing(canvas, bird, traits["wing"])
    _paint_head(canvas, bird, traits["beak"], traits["crown"])


def paint_bits(canvas: Canvas, rng: RandomStream, bird: Bird) -> None:
    """Paint loose parts of birds in the background. They are random and do not depend on the species."""
    shapes: tuple[Callable[[int], Shape], ...] = (
        lambda k: _beak(OPTIONS["beak"][k]),
        lambda k: _tail(OPTIONS["tail"][k]),
        lambda k: (_crest(), _brow(), _crest())[k],
        lambda k: union(*_bars(1 + k % 2)),
    )
    for _ in range(rng.integer(1, 5)):
        frame = anywhere(rng).child(0, 0, 0, bird.frame.unit * rng.uniform(0.7, 1.2))
        shape = shapes[rng.integer(0, 4)](rng.integer(0, 3))
        colour = (bird.wing, bird.bars, bird.beak, bird.crest)[rng.integer(0, 4)]
        canvas.paint(frame, shape, colour, light=0.15)
