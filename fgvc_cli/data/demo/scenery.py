"""The surroundings of the bird in a demo image: background, leaves, twigs, stones, clutter; and the camera's noise."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.demo.drawing import (
    SURROUNDINGS,
    Array,
    Canvas,
    Colour,
    Frame,
    RandomStream,
    Tone,
    curve,
    ellipse,
    leaf,
    taper,
)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour as RGB. The hue is in turns and may be any number; the others are clipped to 0..1."""
    return colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def scaled(colour: Colour, factor: float) -> Colour:
    """A darker (factor < 1) or brighter shade."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def value_noise(rng: RandomStream, size: int, cells: int) -> Array:
    """Smooth random field in 0..1, (size, size), with `cells` bumps along each side."""
    grid = rng.array(cells + 1, cells + 1)
    place = (np.arange(size) + 0.5) * (cells / size)
    low = place.astype(np.int64)
    f = place - low
    f = f * f * (3.0 - 2.0 * f)
    rows: Array = grid[low] * (1.0 - f)[:, None] + grid[low + 1] * f[:, None]
    field: Array = rows[:, low] * (1.0 - f) + rows[:, low + 1] * f
    return field


def background(canvas: Canvas, rng: RandomStream) -> Tone:
    """Fill the canvas with a gradient, texture and blurred leaves. Returns the mean hue, saturation, value."""
    tone = SURROUNDINGS[rng.integer(0, len(SURROUNDINGS))]
    colours = [np.asarray(near(rng, tone)) for _ in range(3)]
    slope = canvas.centres[:, None] * rng.uniform(-1, 1) + canvas.centres[None, :] * rng.uniform(-1, 1)
    mix = np.clip(0.5 + 0.7 * slope + 0.9 * (value_noise(rng, canvas.size, 4) - 0.5), 0.0, 1.0)[..., None]
    canvas.rgb[:] = colours[0] * (1 - mix) + colours[1] * mix
    mix = (np.clip(value_noise(rng, canvas.size, 9) * 2.2 - 1.0, 0.0, 1.0) * 0.6)[..., None]
    canvas.rgb += mix * (colours[2] - canvas.rgb)
    grain = value_noise(rng, canvas.size, 21) - 0.5
    canvas.rgb += (rng.uniform(0.03, 0.2) * grain)[..., None]
    for _ in range(rng.integer(5, 11)):
        shape = leaf(rng.uniform(0.15, 0.45), rng.uniform(0.06, 0.2))
        opacity, soft = rng.uniform(0.4, 0.8), rng.uniform(0.02, 0.08)
        canvas.paint(anywhere(rng), shape, near(rng, tone), opacity=opacity, soft=soft)
    return tone


def near(rng: RandomStream, tone: Tone) -> Colour:
    """A random colour near `tone`."""
    hue, saturation, value = tone
    return hsv(hue + rng.uniform(-0.07, 0.07), saturation * rng.uniform(0.6, 1.4), value * rng.uniform(0.5, 1.4))


def anywhere(rng: RandomStream) -> Frame:
    """A frame of the image's scale at a random place and angle."""
    return Frame(rng.uniform(), rng.uniform()).child(0, 0, rng.uniform(0, 2 * math.pi))


def paint_leaf(canvas: Canvas, rng: RandomStream, frame: Frame, tone: Tone) -> None:
    """Paint a leaf. Its stalk is at the frame's origin."""
    length = rng.uniform(0.09, 0.2)
    shape = leaf(length, length * rng.uniform(0.25, 0.5))
    colour = near(rng, tone)
    canvas.paint(frame, shape, colour, light=0.2)
    canvas.paint(frame, taper((0, 0), (length * 0.9, 0), 0.004, 0.002), scaled(colour, 0.65))


def paint_twig(canvas: Canvas, rng: RandomStream, frame: Frame, length: float) -> None:
    """Paint a bent twig through the frame's origin, along its u axis."""
    bend, radius = rng.uniform(-0.08, 0.08), rng.uniform(0.006, 0.014)
    colour = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5))
    shape = curve(((-length, bend), (0, 0), (length, bend)), (radius * 1.2, radius, radius * 0.6))
    canvas.paint(frame, shape, colour)


def paint_berries(canvas: Canvas, rng: RandomStream, frame: Frame) -> None:
    """Paint a cluster of berries."""
    colour = hsv(rng.uniform(), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9))
    for _ in range(rng.integer(2, 5)):
        u, v, r = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04), rng.uniform(0.012, 0.024)
        canvas.paint(frame, ellipse(u, v, r, r), colour, light=0.3)
        canvas.paint(frame, ellipse(u, v - r / 3, r / 4, r / 4), (1.0, 1.0, 1.0), opacity=0.6)


def paint_stone(canvas: Canvas, rng: RandomStream, frame: Frame) -> None:
    """Paint a round stone."""
    colour = hsv(rng.uniform(), rng.uniform(0.0, 0.2), rng.uniform(0.3, 0.75))
    canvas.paint(frame, ellipse(0, 0, rng.uniform(0.04, 0.1), rng.uniform(0.03, 0.06)), colour, light=0.3)


def paint_butterfly(canvas: Canvas, rng: RandomStream, frame: Frame) -> None:
    """Paint a butterfly seen from above."""
    colour = hsv(rng.uniform(), rng.uniform(0.3, 0.9), rng.uniform(0.5, 0.95))
    size = rng.uniform(0.04, 0.08)
    for side in (-1.0, 1.0):
        for turn, reach in ((0.7, 1.0), (-0.6, 0.75)):
            wing = frame.child(0, 0, side * math.pi / 2 + side * turn)
            canvas.paint(wing, ellipse(size * reach * 0.6, 0, size * reach * 0.6, size * 0.35), colour)
            canvas.paint(wing, ellipse(size * reach * 0.8, 0, size * 0.15, size * 0.15), scaled(colour, 0.5))
    canvas.paint(frame, taper((-size * 0.6, 0), (size * 0.6, 0), 0.006, 0.006), (0.12, 0.1, 0.1))


def clutter(canvas: Canvas, rng: RandomStream, tone: Tone) -> None:
    """Paint sharp objects around the bird: leaves, twigs, berries, stones, butterflies."""
    for _ in range(rng.integer(3, 9)):
        paint_leaf(canvas, rng, anywhere(rng), tone)
    for _ in range(rng.integer(0, 4)):
        paint_twig(canvas, rng, anywhere(rng), rng.uniform(0.2, 0.6))
    for paint, most in ((paint_berries, 2), (paint_stone, 2), (paint_butterfly, 1)):
        for _ in range(rng.integer(0, most + 1)):
            paint(canvas, rng, anywhere(rng))


def photograph(rgb: Array, rng: RandomStream) -> NDArray[np.uint8]:
    """Simulate a camera: gain, tint, a gradient of light, blur and noise, then 8 bits. (S, S, 3) in 0..1 → uint8."""
    size = rgb.shape[0]
    place = (np.arange(size) + 0.5) / size - 0.5
    light = 1.0 + rng.uniform(-0.35, 0.35) * place[:, None] + rng.uniform(-0.35, 0.35) * place[None, :]
    tint = np.asarray([rng.uniform(0.92, 1.08) for _ in range(3)]) * rng.uniform(0.75, 1.15)
    rgb = rgb * light[..., None] * tint
    side = rng.uniform(0.0, 0.25)
    for axis in (0, 1):
        edge = np.concatenate([rgb.take([0], axis), rgb, rgb.take([-1], axis)], axis)
        lower, upper = np.arange(size), np.arange(2, size + 2)
        rgb = (1 - 2 * side) * rgb + side * (edge.take(lower, axis) + edge.take(upper, axis))
    noise = rng.array(size, size, 3) - rng.array(size, size, 3)
    rgb = rgb + rng.uniform(0.01, 0.06) * noise
    return np.floor(np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
