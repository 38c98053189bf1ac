"""One image as it is drawn: its resized pixels, and the positions of boxes and maps on them."""

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

LONGEST = 1.45  # longest side, relative to the side of a square of the same area
MOST_STRETCHED = 5  # the aspect ratio is limited to about this: a longer picture is stretched to be wider


@dataclass(frozen=True)
class Options:
    """Drawing options."""

    alpha: float = 0.6  # opacity of a heat map, 0..1
    dpi: int = 150
    truth: bool = False  # draw the true box
    label: int | None = None  # the class whose evidence is drawn; None: the predicted one
    against: int | None = None  # the class that it is compared with; None: the most probable other one


@dataclass(frozen=True)
class Looked:
    """A batch with a model's outputs, and maps that are computed once for the whole batch."""

    model: Model
    seen: Seen  # with evidence and originals
    options: Options = field(default_factory=Options)

    @property
    def evidence(self) -> Evidence:
        """The method's evidence for the batch; empty if there is none."""
        return self.seen.output.evidence or Evidence()

    @cached_property
    def classes(self) -> Tensor:
        """(B,) the class whose evidence is drawn for each image."""
        predicted = self.seen.probabilities.argmax(1)
        return predicted if self.options.label is None else torch.full_like(predicted, self.options.label)

    @cached_property
    def rivals(self) -> Tensor:
        """(B,) the class that each image's class is compared with."""
        if self.options.against is not None:
            return torch.full_like(self.classes, self.options.against)
        others = self.seen.probabilities.scatter(1, self.classes[:, None], -1)
        return others.argmax(1)

    @cached_property
    def class_saliency(self) -> Saliency:
        """The maps of the classes."""
        return saliency(self.seen, classes=self.classes)

    @cached_property
    def rival_saliency(self) -> Saliency:
        """The maps of the rivals."""
        return saliency(self.seen, classes=self.rivals)

    @cached_property
    def contrast(self) -> Saliency:
        """The signed maps of the classes against their rivals."""
        return saliency(self.seen, classes=self.classes, against=self.rivals)


@dataclass(frozen=True)
class Scene:
    """The image at a position of a batch, drawn with the area of a square of `side` pixels."""

    looked: Looked
    position: int
    side: float

    @property
    def picture(self) -> Picture:
        """The image's file, label and true box."""
        return self.looked.seen.pictures[self.position]

    @property
    def evidence(self) -> Evidence:
        """The evidence of the whole batch."""
        return self.looked.evidence

    @property
    def options(self) -> Options:
        """The drawing options."""
        return self.looked.options

    @property
    def line(self) -> int:
        """Line width of a box, in pixels."""
        return max(2, round(self.side / 130))

    @property
    def size(self) -> Size:
        """(height, width) as drawn, with the image's aspect ratio within the limit of MOST_STRETCHED."""
        height, width = self.looked.seen.sizes[self.position]
        scale = min(self.side / math.sqrt(height * width), LONGEST * self.side / max(height, width))
        least = round(self.side / MOST_STRETCHED)
        return max(round(height * scale), least), max(round(width * scale), least)

    @cached_property
    def pixels(self) -> Pixels:
        """(H, W, 3) as drawn. It is shared: copy it before drawing on it."""
        return resized(self._original, self.size)

    @property
    def _original(self) -> Pixels:
        picture: Pixels = self.looked.seen.originals[self.position].permute(1, 2, 0).contiguous().numpy()
        return picture

    def in_original(self, boxes: Tensor) -> Values:
        """(R, 4) boxes of this image in original pixels, clipped to it, from (B, R, 4) in network-input pixels."""
        found: Values = self.looked.seen.original_boxes(boxes.detach())[self.position].cpu().numpy()
        return found

    def place(self, boxes: Values) -> Values:
        """Boxes (..., 4) in original pixels → in pixels as drawn."""
        placed: Values = (boxes * self._scale).astype(np.float32)
        return placed

    def frame(self, frame: Tensor) -> Values:
        """(4,) this image's frame in pixels as drawn, from frames (B, 4); it may extend beyond the image."""
        affine = self.looked.seen.batch.to_original[self.position]
        corners = to_original(affine[None], frame[self.position].detach().float().view(1, 2, 2).to(affine.device))
        framed: Values = corners.flatten().cpu().numpy() * self._scale
        return framed

    def truth(self) -> Box | None:
        """The true box in pixels as drawn; None if it is unknown or not requested."""
        if not self.options.truth or self.picture.box is None:
            return None
        return self.place(self.picture.box)

    def boxes_of(self, name: str) -> tuple[Values, Values]:
        """The valid boxes of a set in the method's order: (R, 4) in original pixels, and their scores (R,)."""
        found = self.evidence.boxes[name]
        valid = found.valid[self.position].cpu().numpy()
        scores: Values = found.scores[self.position].detach().float().cpu().numpy()
        return self.in_original(found.xyxy)[valid], scores[valid]

    def crop(self, box: Box, most: Size) -> Pixels:
        """The original image cropped to a box and resized to fit into `most` (height, width)."""
        found = cut(self._original, box)
        scale = min(most[0] / found.shape[0], most[1] / found.shape[1])
        height, width = (max(round(side * scale), most[0] // MOST_STRETCHED) for side in found.shape[:2])
        return resized(found, (height, width))

    def named(self, label: int | Tensor) -> str:
        """The name of a class."""
        return self.looked.model.classes[int(label)]

    @property
    def _scale(self) -> Values:
        height, width = self.looked.seen.sizes[self.position]
        drawn_height, drawn_width = self.size
        return np.array([drawn_width / width, drawn_height / height] * 2, np.float32)
