"""An exported file beside its run, on real images and from the bytes of their files on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.data.images.read import ImageError
from fgvc_cli.errors import FgvcError
from fgvc_cli.export.images import LEAST
from fgvc_cli.inference.outcome import Answers, Floats
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.progress import Reporter

LIMIT = 1e-4  # between probabilities of fp32


@dataclass(frozen=True)
class Parity:
    """N images through both."""

    images: int
    largest: float  # difference of probabilities, over all images and classes
    equal: float  # share of images with the same most likely class
    labelled: int = 0  # images of known class
    before: float | None = None  # accuracy of the run on these, 0..1
    after: float | None = None  # of the exported file

    @property
    def loss(self) -> float:
        """How much worse the file is: accuracy lost, or without labels the share of other answers."""
        return 1 - self.equal if self.before is None or self.after is None else self.before - self.after

    def lines(self) -> list[str]:
        """What it found, for the user."""
        found = [
            f"{self.images} images through both: largest difference of probabilities {self.largest:.2g}, "
            f"{100 * self.equal:.1f} % equal answers"
        ]
        if self.before is not None and self.after is not None:
            found.append(
                f"accuracy on the {self.labelled} of known class: run {100 * self.before:.2f} %, "
                f"file {100 * self.after:.2f} %"
            )
        return found


def compare(run: Answers, file: Answers, pictures: Sequence[Picture], reporter: Reporter) -> Parity:
    """Both answer all images. Images that the run cannot read are reported and left out.

    Raises:
        FgvcError: too few can be read, or the file cannot read one that the run reads.
    """

    def bad(picture: Picture, error: ImageError) -> None:
        reporter.line(f"left out: {error}")

    good, expected = said(run, pictures, "through the run", reporter, bad)
    if len(good) < LEAST:
        raise FgvcError(
            f"only {len(good)} of the images can be read, and {LEAST} are needed: name others with --images"
        )
    _, found = said(file, good, "through the exported file", reporter)
    labels = np.array([-1 if picture.label is None else picture.label for picture in good])
    return parity(expected, found, labels)


def said(
    model: Answers, pictures: Sequence[Picture], what: str, reporter: Reporter, on_bad: object = None
) -> tuple[list[Picture], Floats]:
    """The pictures that could be read and their probabilities (N, K). FgvcError where one cannot and must."""
    kept: list[Picture] = []
    parts: list[Floats] = []
    reporter.begin(what, len(pictures))
    try:
        for one in model.answer(pictures, on_bad=on_bad):  # type: ignore[arg-type]
            kept += one.pictures
            parts.append(one.probabilities)
            for _ in one.pictures:
                reporter.advance(1)
    except ImageError as error:
        raise FgvcError(f"the run reads this image and the exported file does not: {error}") from None
    finally:
        reporter.end()
    return kept, np.concatenate(parts) if parts else np.zeros((0, len(model.classes)), dtype=np.float32)


def parity(expected: Floats, found: Floats, labels: NDArray[np.int64]) -> Parity:
    """Of (N, K) probabilities of both and (N,) labels, -1 where the class is not known."""
    largest = float(np.abs(expected - found).max())
    one, other = expected.argmax(1), found.argmax(1)
    known = labels >= 0
    accuracy = [float((answer[known] == labels[known]).mean()) if known.any() else None for answer in (one, other)]
    return Parity(len(labels), largest, float((one == other).mean()), int(known.sum()), accuracy[0], accuracy[1])
