"""One picture on its way to paper: its pixels at the size they are drawn in, and where boxes and maps lie on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.inference.look import Model, Seen
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.methods.base import Evidence
from fgvc_cli.ops.geometry import to_original
from fgvc_cli.viz.kinds.saliency import Saliency, saliency
from fgvc_cli.viz.pixels import Box, Pixels, Size, Values, cut, resized

LONGEST = 1.45  # sides of the square that a picture takes as much room as
MOST_STRETCHED = 5  # a picture longer than about so many times its width is drawn wider than it is


@dataclass(frozen=True)
class Options:
    """How a user wants pictures."""

    alpha: float = 0.6  # how much of a heat map's colour covers the picture, 0..1
    dpi: int = 150
    truth: bool = False  # draw the true box
    label: int | None = None  # the class to speak for; none: the predicted one
    against: int | None = None  # the class it is told from; none: the likeliest other one


@dataclass(frozen=True)
class Looked:
    """A batch that a model looked at, and what is computed of it once for all its pictures."""

    model: Model
    seen: Seen  # with evidence and originals
    options: Options = field(default_factory=Options)

    @property
    def evidence(self) -> Evidence:
        """What the method handed over."""
        return self.seen.output.evidence or Evidence()

    @cached_property
    def classes(self) -> Tensor:
        """(B,) the class that each picture's maps speak for."""
        predicted = self.seen.probabilities.argmax(1)
        return predicted if self.options.label is None else torch.full_like(predicted, self.options.label)

    @cached_property
    def rivals(self) -> Tensor:
        """(B,) the class that each picture's is told from."""
        if self.options.against is not None:
            return torch.full_like(self.classes, self.options.against)
        others = self.seen.probabilities.scatter(1, self.classes[:, None], -1)
        return others.argmax(1)

    @cached_property
    def speaks_for(self) -> Saliency:
        """What speaks for the class."""
        return saliency(self.seen, classes=self.classes)

    @cached_property
    def speaks_for_rival(self) -> Saliency:
        """What speaks for the rival."""
        return saliency(self.seen, classes=self.rivals)

    @cached_property
    def speaks_rather(self) -> Saliency:
        """What speaks for the class rather than the rival."""
        return saliency(self.seen, classes=self.classes, against=self.rivals)


@dataclass(frozen=True)
class Scene:
    """The picture at a position of a batch, drawn as large as a square of `side` pixels."""

    looked: Looked
    position: int
    side: float

    @property
    def picture(self) -> Picture:
        """What is known of it."""
        return self.looked.seen.pictures[self.position]

    @property
    def evidence(self) -> Evidence:
        """Of the whole batch."""
        return self.looked.evidence

    @property
    def options(self) -> Options:
        """How the user wants it."""
        return self.looked.options

    @property
    def line(self) -> int:
        """Thickness of a box's line, in pixels."""
        return max(2, round(self.side / 130))

    @property
    def size(self) -> Size:
        """(height, width) as drawn: the picture's shape, unless it is all too long."""
        height, width = self.looked.seen.sizes[self.position]
        scale = min(self.side / math.sqrt(height * width), LONGEST * self.side / max(height, width))
        least = round(self.side / MOST_STRETCHED)
        return max(round(height * scale), least), max(round(width * scale), least)

    @cached_property
    def pixels(self) -> Pixels:
        """(H, W, 3) as drawn; copy it to draw on it."""
        return resized(self._original, self.size)

    @property
    def _original(self) -> Pixels:
        picture: Pixels = self.looked.seen.originals[self.position].permute(1, 2, 0).contiguous().numpy()
        return picture

    def in_original(self, boxes: Tensor) -> Values:
        """This picture's boxes (B, R, 4), given in network-input pixels, in the original's, cut where that ends."""
        found: Values = self.looked.seen.original_boxes(boxes.detach())[self.position].cpu().numpy()
        return found

    def place(self, boxes: Values) -> Values:
        """Boxes (..., 4) of the original image in pixels as drawn."""
        placed: Values = (boxes * self._scale).astype(np.float32)
        return placed

    def frame(self, frame: Tensor) -> Values:
        """Of frames (B, 4), which may reach beyond the picture, this picture's as drawn: (4,)."""
        affine = self.looked.seen.batch.to_original[self.position]
        corners = to_original(affine[None], frame[self.position].detach().float().view(1, 2, 2).to(affine.device))
        framed: Values = corners.flatten().cpu().numpy() * self._scale
        return framed

    def truth(self) -> Box | None:
        """The true box as drawn, where it is known and asked for."""
        if not self.options.truth or self.picture.box is None:
            return None
        return self.place(self.picture.box)

    def boxes_of(self, name: str) -> tuple[Values, Values]:
        """The valid boxes of a set, in the method's order: (R, 4) in the original's pixels and their scores (R,)."""
        found = self.evidence.boxes[name]
        valid = found.valid[self.position].cpu().numpy()
        scores: Values = found.scores[self.position].detach().float().cpu().numpy()
        return self.in_original(found.xyxy)[valid], scores[valid]

    def crop(self, box: Box, most: Size) -> Pixels:
        """What is in a box of the original image, from the original's pixels, as large as `most` allows."""
        found = cut(self._original, box)
        scale = min(most[0] / found.shape[0], most[1] / found.shape[1])
        height, width = (max(round(side * scale), most[0] // MOST_STRETCHED) for side in found.shape[:2])
        return resized(found, (height, width))

    def named(self, label: int | Tensor) -> str:
        """A class's name."""
        return self.looked.model.classes[int(label)]

    @property
    def _scale(self) -> Values:
        height, width = self.looked.seen.sizes[self.position]
        drawn_height, drawn_width = self.size
        return np.array([drawn_width / width, drawn_height / height] * 2, np.float32)
