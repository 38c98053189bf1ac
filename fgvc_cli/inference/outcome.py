"""What a model says of images, as arrays: the same of a run's model and of an exported one. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.inference.pictures import OnBad, Picture

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PlacedBoxes:
    """R boxes for each of B images, xyxy half-open in the original images' pixels."""

    xyxy: Floats  # (B, R, 4)
    scores: Floats  # (B, R)
    valid: NDArray[np.bool_]  # (B, R)

    @classmethod
    def of_input(
        cls,
        xyxy: Floats,
        scores: Floats,
        valid: NDArray[np.bool_],
        to_original: Floats,
        sizes: Sequence[tuple[int, int]],
    ) -> PlacedBoxes:
        """From boxes in network-input pixels, clipped to the images.

        The evaluation transform neither rotates nor flips, so the result is a box again.

        Args:
            xyxy: (B, R, 4).
            scores: (B, R).
            valid: (B, R).
            to_original: (B, 2, 3) affine maps from network-input pixels to the original images' pixels.
            sizes: (H, W) of each original.
        """
        points = xyxy.astype(np.float32).reshape(len(xyxy), -1, 2)
        placed = points @ to_original[:, :, :2].transpose(0, 2, 1) + to_original[:, None, :, 2]
        ends = np.array([(width, height) * 2 for height, width in sizes], dtype=np.float32)
        clipped = np.minimum(np.maximum(placed.reshape(xyxy.shape), 0), ends[:, None])
        return cls(clipped, scores.astype(np.float32), valid)


@dataclass(frozen=True)
class Outcome:
    """B images and what a model says of them."""

    pictures: tuple[Picture, ...]
    sizes: tuple[tuple[int, int], ...]  # (H, W) of each original
    probabilities: Floats  # (B, K), calibrated
    logits: Floats | None = None  # (B, K), where the evidence was asked for
    embedding: Floats | None = None  # (B, D), where the evidence was asked for and the method has one
    boxes: Mapping[str, PlacedBoxes] = field(default_factory=dict)  # by name, where the evidence was asked for


class Answers(Protocol):
    """A trained model that says what it sees in images: a run's, or an exported one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""

    def answer(
        self, pictures: Sequence[Picture], *, evidence: bool = False, on_bad: OnBad | None = None
    ) -> Iterator[Outcome]:
        """What it says, batch by batch and in order.

        Args:
            pictures: the images.
            evidence: whether logits, embedding and boxes are wanted as well.
            on_bad: called with each image that cannot be read, which is then left out; None: the ImageError is raised.
        """
