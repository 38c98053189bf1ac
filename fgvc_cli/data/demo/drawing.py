"""Drawing tools of the demo data set: a random generator, frames of reference, shapes and a canvas.

Coordinates are fractions of the image's side: (0, 0) is the top left corner, (1, 1) the bottom right one, y points
down. All operations are float64 and elementwise. All random numbers are uniform numbers of `numpy.random.RandomState`,
which gives the same numbers with every version of numpy. So the pixels are the same on every machine and with every
library version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
Point = tuple[float, float]
Tone = tuple[float, float, float]  # hue, saturation, value


class RandomStream:
    """A random generator whose numbers depend only on `key`.

    It calls only `random_sample`: the integer functions of RandomState depend on the platform's C long.
    """

    def __init__(self, key: str) -> None:
        words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
        self._state = np.random.RandomState(words.astype(np.uint32))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._state.random_sample())

    def integer(self, low: int, high: int) -> int:
        """One of low, ..., high - 1."""
        return low + int(self._state.random_sample() * (high - low))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self._state.random_sample()) < probability

    def array(self, *shape: int) -> Array:
        """Uniform numbers in [0, 1) of this shape."""
        return np.asarray(self._state.random_sample(shape), dtype=np.float64)


@dataclass(frozen=True)
class Frame:
    """An affine frame: local (u, v) is at (x + a u + b v, y + c u + d v) in the image."""

    x: float
    y: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0

    @property
    def unit(self) -> float:
        """Length of one local unit, as a fraction of the image's side (frames are similarities)."""
        return math.sqrt(abs(self.a * self.d - self.b * self.c))

    def child(self, u: float, v: float, turn: float = 0.0, scale: float = 1.0) -> Frame:
        """The frame at local (u, v), rotated by `turn` radians (positive: from u towards v) and scaled."""
        x, y = self.at(u, v)
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        return Frame(
            x,
            y,
            self.a * cos + self.b * sin,
            self.b * cos - self.a * sin,
            self.c * cos + self.d * sin,
            self.d * cos - self.c * sin,
        )

    def mirrored(self) -> Frame:
        """The same frame with u pointing the other way."""
        return Frame(self.x, self.y, -self.a, self.b, -self.c, self.d)

    def at(self, u: float, v: float) -> Point:
        """Position of local (u, v) in the image."""
        return self.x + self.a * u + self.b * v, self.y + self.c * u + self.d * v

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Local coordinates of points in the image."""
        det = self.a * self.d - self.b * self.c
        x, y = x - self.x, y - self.y
        return x * (self.d / det) - y * (self.b / det), y * (self.a / det) - x * (self.c / det)

    def bounds(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Box in the image around a local box, both xyxy."""
        corners = [self.at(u, v) for u in box[::2] for v in box[1::2]]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Shape:
    """A region inside `box` (xyxy): `distance(u, v)` is negative inside and, near the edge, the distance to it."""

    box: tuple[float, float, float, float]
    distance: Callable[[Array, Array], Array]


def ellipse(u: float, v: float, ru: float, rv: float) -> Shape:
    """An ellipse along the axes. Its distance is exact to first order near the edge."""

    def distance(x: Array, y: Array) -> Array:
        x, y = (x - u) / ru, (y - v) / rv
        radius = np.sqrt(x * x + y * y)
        x, y = x / ru, y / rv
        return radius * (radius - 1.0) / np.maximum(np.sqrt(x * x + y * y), 1e-9)

    return Shape((u - ru, v - rv, u + ru, v + rv), distance)


def taper(start: Point, end: Point, r0: float, r1: float) -> Shape:
    """A stroke from `start` to `end` whose radius goes from r0 to r1."""
    (u, v), (du, dv) = start, (end[0] - start[0], end[1] - start[1])
    square = du * du + dv * dv

    def distance(x: Array, y: Array) -> Array:
        x, y = x - u, y - v
        along = np.clip((x * du + y * dv) / square, 0.0, 1.0)
        x, y = x - along * du, y - along * dv
        return np.sqrt(x * x + y * y) - (r0 + along * (r1 - r0))

    r = max(r0, r1)
    return Shape((min(u, end[0]) - r, min(v, end[1]) - r, max(u, end[0]) + r, max(v, end[1]) + r), distance)


def polygon(*points: Point) -> Shape:
    """A simple polygon, convex or not."""
    pairs = list(zip(points, points[-1:] + points[:-1], strict=True))

    def distance(x: Array, y: Array) -> Array:
        square = np.full(np.broadcast(x, y).shape, np.inf)
        inside = np.zeros(square.shape, dtype=bool)
        for (pu, pv), (qu, qv) in pairs:
            du, dv = qu - pu, qv - pv
            x0, y0 = x - pu, y - pv
            along = np.clip((x0 * du + y0 * dv) / (du * du + dv * dv), 0.0, 1.0)
            square = np.minimum(square, (x0 - along * du) ** 2 + (y0 - along * dv) ** 2)
            if dv != 0.0:  # the edge changes sides where the ray towards +u crosses it
                inside ^= ((pv > y) != (qv > y)) & (x0 < y0 * (du / dv))
        edge: Array = np.sqrt(square)
        return np.where(inside, -edge, edge)

    us, vs = [u for u, _ in points], [v for _, v in points]
    return Shape((min(us), min(vs), max(us), max(vs)), distance)


def leaf(length: float, width: float) -> Shape:
    """A pointed leaf from (0, 0) to (length, 0): the intersection of two circles."""
    half, thick = length / 2, width / 2
    radius = (half * half + thick * thick) / (2 * thick)

    def distance(x: Array, y: Array) -> Array:
        square = (x - half) ** 2
        y = np.abs(y) + (radius - thick)
        return np.sqrt(square + y * y) - radius

    return Shape((0.0, -thick, length, thick), distance)


def union(*shapes: Shape, smooth: float = 0.0) -> Shape:
    """The union of the shapes. Inner corners are rounded over a width of about `smooth`."""

    def distance(x: Array, y: Array) -> Array:
        total = shapes[0].distance(x, y)
        for shape in shapes[1:]:
            other = shape.distance(x, y)
            if smooth:
                mix = np.clip(0.5 + (other - total) * (0.5 / smooth), 0.0, 1.0)
                total = other + (total - other) * mix - smooth * mix * (1.0 - mix)
            else:
                total = np.minimum(total, other)
        return total

    boxes = list(zip(*(shape.box for shape in shapes), strict=True))
    return Shape((min(boxes[0]), min(boxes[1]), max(boxes[2]), max(boxes[3])), distance)


def within(shape: Shape, outer: Shape) -> Shape:
    """The part of `shape` inside `outer`; both are in the same frame."""
    return Shape(shape.box, lambda x, y: np.maximum(shape.distance(x, y), outer.distance(x, y)))


def curve(points: Sequence[Point], radii: Sequence[float]) -> Shape:
    """A stroke through the points, with a radius at each."""
    pairs = range(len(points) - 1)
    return union(*(taper(points[i], points[i + 1], radii[i], radii[i + 1]) for i in pairs))


class Canvas:
    """A square RGB image, (size, size, 3) in 0..1, on which shapes are painted one over the other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rgb: Array = np.zeros((size, size, 3))
        self.cover: Array = np.zeros((size, size))  # coverage by what was painted since `layer` was called, 0..1
        self.centres: Array = (np.arange(size) + 0.5) / size

    def layer(self) -> Array:
        """Start a layer. Returns the array that collects the coverage of everything painted from now on."""
        self.cover = np.zeros((self.size, self.size))
        return self.cover

    def alpha(self, frame: Frame, shape: Shape, soft: float = 0.0) -> tuple[tuple[slice, slice], Array] | None:
        """The window around the shape and the shape's coverage in it; None if it is outside the image."""
        ramp = max(1.0 / self.size, soft)  # a ramp of one pixel makes the edge antialiased
        box = frame.bounds(shape.box)
        left, top = (max(0, math.floor((edge - ramp) * self.size)) for edge in box[:2])
        right, bottom = (min(self.size, math.ceil((edge + ramp) * self.size)) for edge in box[2:])
        if left >= right or top >= bottom:
            return None
        u, v = frame.local(self.centres[None, left:right], self.centres[top:bottom, None])
        cover = np.clip(0.5 - shape.distance(u, v) * (frame.unit / ramp), 0.0, 1.0)
        return (slice(top, bottom), slice(left, right)), cover

    def paint(
        self,
        frame: Frame,
        shape: Shape,
        colour: Colour,
        *,
        opacity: float = 1.0,
        soft: float = 0.0,
        light: float = 0.0,
    ) -> None:
        """Blend a shape in.

        `soft`: width of its edge, as a fraction of the image's side. `light`: how much brighter its top end is.
        """
        found = self.alpha(frame, shape, soft)
        if found is None:
            return
        window, cover = found
        self.cover[window] = np.maximum(self.cover[window], cover)
        weight = (cover * opacity)[..., None]
        inner = np.asarray(colour)
        if light:
            slope = np.linspace(1.0 + light, 1.0 - light, cover.shape[0])
            inner = inner * slope[:, None, None]
        area = self.rgb[window]
        area += weight * (inner - area)


# Hue, saturation and value of the surroundings: spring, moss, autumn, mist, straw, stone.
SURROUNDINGS: tuple[Tone, ...] = (
    (0.27, 0.5, 0.6),
    (0.36, 0.4, 0.4),
    (0.09, 0.5, 0.6),
    (0.5, 0.15, 0.65),
    (0.14, 0.4, 0.75),
    (0.1, 0.1, 0.55),
)
